"""Write the mean of two weights files of one network.

python scripts/mean_weights.py denoise/weights.safetensors deblur/weights.safetensors -o mean.safetensors

After further training on other samples, the mean of the weights before and after often performs well on both kinds of
samples (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unblur.trained import read_tensors
from unblur.training.checkpoint import halved, save


def main(before: Path, after: Path, out: Annotated[Path, typer.Option("--out", "-o")]) -> None:
    """Write the mean of BEFORE and AFTER; the metadata are those of AFTER."""
    first, (second, facts) = read_tensors(before)[0], read_tensors(after)
    if {name: tensor.shape for name, tensor in first.items()} != {n: tensor.shape for n, tensor in second.items()}:
        raise typer.BadParameter("these are weights of two different networks")
    if out.exists():
        raise typer.BadParameter(f"{out} is there already")
    save(out, halved({name: (first[name].float() + tensor.float()) / 2 for name, tensor in second.items()}), facts)


if __name__ == "__main__":
    typer.run(main)
