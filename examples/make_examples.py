"""Make the example photos: free photographs, shaken and made noisy by this package's own image formation.

    python examples/make_examples.py --photos DIR [--out examples]

DIR holds the sharp photographs under the file names given in `EXAMPLES`; examples/README.md says what they are and
where they come from. Every picture is blurred with a margin that is then cut off, so that light from beyond its
borders has reached it, as in a camera. The same seed makes the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import ExifTags, Image

from unblur.image_io import write_psf
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise
from unblur.imaging.trajectory import shake_psf

QUALITY = 92  # of the JPEG files
ORIENTATION_STORED_AS = {1: None, 6: Image.Transpose.ROTATE_90}  # how a picture lies in a file with this tag


@dataclass(frozen=True)
class Example:
    """One example photo.

    Attributes:
        name: of the file to make.
        source: file name of the sharp photograph.
        corner: (left, top) in the photograph of the picture's first pixel.
        size: (width, height) in pixels of the picture.
        psf_size: side in pixels of the camera shake.
        sigma: standard deviation of the noise on the [0, 1] scale.
        seed: of the shake and the noise.
        taken: date and time in the EXIF.
        orientation: EXIF orientation tag; 6 stores the picture lying on its side.
    """

    name: str
    source: str
    corner: tuple[int, int]
    size: tuple[int, int]
    psf_size: int
    sigma: float
    seed: int
    taken: str
    orientation: int = 1


EXAMPLES = (
    Example("shaken", "budgie-536d6860.jpg", (112, 62), (900, 600), 25, 0.005, 4, "2024:05:04 09:41:00"),
    Example("shaken_noisy", "budgie-b9d46e8e.jpg", (8, 8), (900, 600), 17, 0.02, 3, "2024:05:04 19:58:00", 6),
)


def main(
    photos: Annotated[Path, typer.Option(metavar="DIR", help="The folder of sharp photographs.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the examples go.")] = Path("examples"),
) -> None:
    """Write NAME.jpg and its true PSF, NAME.true_psf.png, for every example."""
    for example in EXAMPLES:
        generator = torch.Generator().manual_seed(example.seed)
        psf = shake_psf(generator, example.psf_size)
        area = read_area(photos / example.source, example)
        blurry = add_gaussian_noise(convolve(area, psf, "valid"), example.sigma, generator, clip=True)
        save_photo(blurry, out / f"{example.name}.jpg", example)
        write_psf(psf.numpy(), out / f"{example.name}.true_psf.png", overwrite=True)


def read_area(path: Path, example: Example) -> torch.Tensor:
    """The example's part of a photograph with the margin that its PSF reaches, `(1, 3, H, W)` in [0, 1]."""
    reach = example.psf_size // 2
    (left, top), (width, height) = example.corner, example.size
    with Image.open(path) as photo:
        part = photo.convert("RGB").crop((left - reach, top - reach, left + width + reach, top + height + reach))
    return torch.from_numpy(np.asarray(part, np.float32) / 255).permute(2, 0, 1)[None]


def save_photo(picture: torch.Tensor, path: Path, example: Example) -> None:
    """Write `(1, 3, H, W)` in [0, 1] as a camera would: a JPEG with a date and an orientation."""
    levels = (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8)  # (H, W, 3)
    photo = Image.fromarray(levels.numpy())
    turn = ORIENTATION_STORED_AS[example.orientation]
    if turn is not None:
        photo = photo.transpose(turn)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = example.orientation
    exif[ExifTags.Base.Software] = "unblur examples/make_examples.py"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = example.taken
    photo.save(path, quality=QUALITY, exif=exif)


if __name__ == "__main__":
    typer.run(main)
