"""Compare Richardson-Lucy in this package and in scikit-image: difference of the results, and speed.

    python benchmarks/richardson_lucy.py [--width 2000] [--height 1500] [--psf 21] [--iterations 30] [--repeats 3]

Both start from 0.5 everywhere, assume black outside the picture, and run in turns in one process on the same float32
picture: random rectangles blurred by a camera shake, with 0.5 % noise. scikit-image computes in the type of its input,
so it is also timed once on the picture as float64, the type that `skimage.img_as_float` gives for a photo.
Needs scikit-image (`.[bench]`).
"""

from __future__ import annotations

import statistics
import time
from typing import Annotated

import numpy as np
import torch
import typer
from skimage.restoration import richardson_lucy as by_skimage

from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise
from unblur.imaging.trajectory import shake_psf
from unblur.methods import get
from unblur.types import Observation


def main(
    width: Annotated[int, typer.Option(help="Width of the picture in pixels.")] = 2000,
    height: Annotated[int, typer.Option(help="Height of the picture in pixels.")] = 1500,
    psf: Annotated[int, typer.Option(help="Side of the PSF in pixels, odd.")] = 21,
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of both implementations.")] = 30,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of both implementations.")] = 3,
) -> None:
    """Print the largest difference, both median times, and their ratio."""
    generator = torch.Generator().manual_seed(0)
    kernel = shake_psf(generator, psf)
    blurry = add_gaussian_noise(
        convolve(patches(height, width, generator), kernel, "zero"), 0.005, generator, clip=True
    )
    method = get("richardson_lucy")
    settings = method.configure({"iterations": iterations, "boundary": "zero"})
    observation = Observation(blurry=blurry, psf=kernel[None, None], sigma=0.005)
    ours, theirs = [], []
    for turn in range(repeats):
        started = time.perf_counter()
        image = method(observation, settings).image
        between = time.perf_counter()
        reference = by_skimage(blurry[0, 0].numpy(), kernel.numpy(), num_iter=iterations, clip=False)
        ended = time.perf_counter()
        ours.append(between - started)
        theirs.append(ended - between)
        assert image is not None
        difference = np.abs(image[0, 0].numpy() - reference).max()
        print(f"turn {turn + 1}: unblur {ours[-1]:.2f} s, scikit-image {theirs[-1]:.2f} s, differ by {difference:.1e}")
    ratio = statistics.median(theirs) / statistics.median(ours)
    print(
        f"{width}x{height}, {psf} px PSF, {iterations} iterations, {torch.get_num_threads()} thread(s): "
        f"unblur {statistics.median(ours):.2f} s, scikit-image {statistics.median(theirs):.2f} s, "
        f"{ratio:.1f} times faster"
    )
    started = time.perf_counter()
    by_skimage(blurry[0, 0].double().numpy(), kernel.double().numpy(), num_iter=iterations, clip=False)
    seconds = time.perf_counter() - started
    print(f"scikit-image in float64: {seconds:.2f} s, {seconds / statistics.median(ours):.1f} times unblur in float32")


def patches(height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """A picture of random rectangles that overlap, `(1, 1, height, width)` in [0.1, 0.9]."""
    picture = torch.full((1, 1, height, width), 0.5)
    for _ in range(400):
        y, x, h, w, value = torch.rand(5, generator=generator).tolist()
        top, left = int(y * height), int(x * width)
        picture[..., top : top + 4 + int(h**3 * height), left : left + 4 + int(w**3 * width)] = 0.1 + 0.8 * value
    return picture


if __name__ == "__main__":
    typer.run(main)
