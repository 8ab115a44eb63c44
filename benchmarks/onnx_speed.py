"""Compare the seconds of torch and of onnxruntime for the networks that `unblur export` writes.

    python benchmarks/onnx_speed.py [--side 512] [--threads 2] [--rounds 5]

Each network computes one random picture; torch in float32 (channels last, as `restore` does) and in bfloat16, and
onnxruntime with the exported file. They take turns, and the shortest time of each is printed, with the time of
onnxruntime relative to the better one of torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from unblur import methods
from unblur.layers.precision import autocast
from unblur.pipeline.export import export_onnx
from unblur.trained import channels_last, network

NAMES = ("deblur_merger", "deblur_rnn", "nidf", "two_way")


def main(
    side: Annotated[int, typer.Option(help="Side of the picture in pixels, a multiple of 64.")] = 512,
    threads: Annotated[int, typer.Option(min=1, help="Number of threads.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Number of turns.")] = 5,
) -> None:
    """Print one row for each network."""
    torch.set_num_threads(threads)
    table = Table("network", "torch, float32", "torch, bfloat16", "onnxruntime", "onnxruntime / torch")
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            runs = ways(name, Path(folder), side, threads)
            shortest = dict.fromkeys(runs, float("inf"))
            for _ in range(rounds + 1):  # the first one is a warm-up, which is never the shortest
                for way, compute in runs.items():
                    started = perf_counter()
                    compute()
                    shortest[way] = min(shortest[way], perf_counter() - started)
        ratio = shortest["onnx"] / min(shortest["float32"], shortest["bfloat16"])
        table.add_row(name, *(f"{seconds:.3f} s" for seconds in shortest.values()), f"{ratio:.2f}")
    Console().print(table)


def ways(name: str, folder: Path, side: int, threads: int) -> dict[str, Callable[[], Any]]:
    """What computes one picture, by the way."""
    import onnxruntime

    method = methods.get(name)
    assert method.trained is not None and method.trained.picture is not None
    picture = method.trained.picture
    exported = export_onnx(method, folder / "network.onnx")
    inputs = [torch.rand(1, 3, side, side).to(memory_format=torch.channels_last) for _ in exported.inputs]
    module = channels_last(network(method, None))  # the export has changed the order of the weights in memory
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(exported.path, options, providers=["CPUExecutionProvider"])
    feed = {key: value.contiguous().numpy() for key, value in zip(exported.inputs, inputs, strict=True)}

    def by_torch(dtype: torch.dtype) -> None:
        with torch.no_grad(), autocast(torch.device("cpu"), dtype):
            picture(module, *inputs)

    return {
        "float32": lambda: by_torch(torch.float32),
        "bfloat16": lambda: by_torch(torch.bfloat16),
        "onnx": lambda: session.run(["image"], feed),
    }


if __name__ == "__main__":
    typer.run(main)
