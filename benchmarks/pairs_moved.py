"""Measure whether a method for pairs does harm where the two shots disagree: something moved, or was not aligned.

    python benchmarks/pairs_moved.py DIR [--count 8] [--method deblur_rnn] [--no-mask]

DIR holds photos; those for validation are used. Each gives a pair (`imaging.synthesis.pairs`, 256 x 256 px, nothing
from the paper's noise) with up to two objects that move. Of each pair, there are further versions in which the right
half of the long shot is changed:

plain       as it was made
8 px        moved by 8 px, as if the alignment had failed there
24 px       moved by 24 px
elsewhere   mirrored: it shows something else

The long shot is given to the method as by `unblur restore --noisy`: where the shots disagree, the blurred short one
stands in its place (`imaging.disagreement`); with --no-mask, as it is.

Printed is the gain of the method over the short shot denoised by `nidf`, in dB: of the whole picture, of the right
half, and the lowest and the highest 5 % of cells of 32 x 32 px in the right half.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from validation import busiest_crop, validation_photos

from unblur.image_io import read_photo
from unblur.imaging.disagreement import with_agreement
from unblur.imaging.exposure import brightened, exposure_ratio
from unblur.imaging.synthesis.moving import SceneRecipe
from unblur.imaging.synthesis.pairs import PairRecipe, pair
from unblur.pipeline.chain import Chain
from unblur.types import Observation

VERSIONS = ("plain", "8 px", "24 px", "elsewhere")
CELL = 32


def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of photos.")],
    count: Annotated[int, typer.Option(min=1, help="Number of photos.")] = 8,
    method: Annotated[str, typer.Option(help="A method for pairs.")] = "deblur_rnn",
    mask: Annotated[bool, typer.Option(help="Whether the long shot is replaced where the shots disagree.")] = True,
) -> None:
    """Print one row for each version."""
    recipe = PairRecipe(
        still=0.0, published=0.0, sigma=(0.05, 0.1), scene=SceneRecipe(side=256, instants=16, objects=1.0, linear=1.0)
    )
    merger, denoiser = Chain.parse(method), Chain.parse("nidf", {"output": "denoised"})
    pictures = (torch.from_numpy(read_photo(path).pixels).movedim(-1, 0)[None] for path in validation_photos(folder))
    photos = [photo for photo in pictures if min(photo.shape[-2:]) >= recipe.area]
    table = Table("right half", "whole", "right half", "lowest 5 %", "highest 5 %")
    errors: dict[str, list[tuple[Tensor, Tensor]]] = {version: [] for version in VERSIONS}
    for number, photo in enumerate(photos[:: max(len(photos) // count, 1)][:count]):
        generator = torch.Generator().manual_seed(number)
        made = pair(busiest_crop(photo, recipe.area, generator), recipe, generator)
        noisy = brightened(made.noisy, exposure_ratio(made.blurry, made.noisy))
        before = _cells(denoiser(Observation(blurry=noisy)).image, made.sharp)
        for version in VERSIONS:
            blurry = changed(made.blurry, version)
            if mask:
                blurry, _ = with_agreement(blurry, noisy, torch.ones_like(noisy[:, :1]))
            image = merger(Observation(blurry=blurry, noisy=noisy)).image
            errors[version].append((before, _cells(image, made.sharp)))
    for version, both in errors.items():
        before, after = (torch.stack(cells) for cells in zip(*both, strict=True))  # (n, 8, 8)
        right = before.shape[-1] // 2
        gains = (10 * torch.log10(before / after))[..., right:].flatten().numpy()
        low, high = np.quantile(gains, (0.05, 0.95))
        whole, half = (_mean_gain(before[..., part:], after[..., part:]) for part in (0, right))
        table.add_row(version, *(f"{value:+.2f}" for value in (whole, half, low, high)))
    Console().print(table)


def changed(blurry: Tensor, version: str) -> Tensor:
    """The long shot `(1, 3, H, W)` with another right half."""
    half = blurry.shape[-1] // 2
    right = blurry[..., half:].flip(-1, -2)
    if version != "elsewhere":
        pixels = 0 if version == "plain" else int(version.removesuffix(" px"))
        right = blurry.roll((pixels, pixels), (-2, -1))[..., half:]
    return torch.cat((blurry[..., :half], right), -1)


def _cells(image: Tensor | None, sharp: Tensor) -> Tensor:
    """The mean squared error of each cell: `(H / 32, W / 32)`."""
    assert image is not None
    return F.avg_pool2d((image.clamp(0, 1) - sharp).square().mean(1, keepdim=True), CELL)[0, 0]


def _mean_gain(before: Tensor, after: Tensor) -> float:
    """The mean over the pictures of the difference of their PSNRs."""
    return float((10 * torch.log10(before.mean((1, 2)) / after.mean((1, 2)))).mean())


if __name__ == "__main__":
    typer.run(main)
