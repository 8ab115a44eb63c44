"""Measure the PSF size above which an FFT is faster than a direct convolution.

    OMP_NUM_THREADS=1 python benchmarks/convolution.py [--repeats 5]

Prints the median time in milliseconds of `convolve(..., "replicate")` by both algorithms, on a grey 512 x 512 and a
grey 2000 x 1500 picture. `_DIRECT_MAX_AREA` in src/unblur/imaging/convolution.py was chosen by it. More threads help a
direct convolution more than an FFT, so state the number of threads with the result.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from unblur.imaging.convolution import Algorithm, convolve

PICTURES = ((512, 512), (1500, 2000))  # (H, W)
PSF_SIDES = (3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 25, 31, 41)
ALGORITHMS: tuple[Algorithm, Algorithm] = ("direct", "fft")


def main(repeats: Annotated[int, typer.Option(min=1, help="Number of timings of each cell.")] = 5) -> None:
    """Print one row per PSF size and, below, the largest PSF area at which a direct convolution is faster."""
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(1, 1, *shape, generator=generator) for shape in PICTURES]
    headings = [f"{w}x{h} {algorithm}" for h, w in PICTURES for algorithm in ALGORITHMS]
    table = Table("PSF", "area", *headings, title=f"milliseconds, {torch.get_num_threads()} thread(s)")
    largest_direct = [0] * len(pictures)
    for side in PSF_SIDES:
        psf = torch.rand(side, side, generator=generator)
        cells = []
        for number, picture in enumerate(pictures):
            direct, fft = (
                1000 * median_seconds(lambda a=algorithm, p=picture: convolve(p, psf, algorithm=a), repeats)  # noqa: B023
                for algorithm in ALGORITHMS
            )
            if direct < fft:
                largest_direct[number] = side * side
            faster = direct < fft
            cells += [f"[bold]{direct:.1f}[/]" if faster else f"{direct:.1f}"]
            cells += [f"{fft:.1f}" if faster else f"[bold]{fft:.1f}[/]"]
        table.add_row(f"{side} px", str(side * side), *cells)
    console = Console()
    console.print(table)
    for (height, width), area in zip(PICTURES, largest_direct, strict=True):
        console.print(f"{width}x{height}: direct is faster up to a PSF of {area} px")


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """The median time of `work` in seconds, after one run that is not timed."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    typer.run(main)
