"""Make the picture of each method on the documentation site: what it was given, what it made of it, and the PSF.

    python benchmarks/method_pictures.py PHOTOS DOCS [--only NAME]

PHOTOS is a folder of free photos that holds `PHOTO` and `NIGHT`, which nothing was trained on. From them are made, by
synthesis, one observation of the kind that each method is for (`KIND_OF`); each is restored by the method itself,
without any check. DOCS gets `method_pictures/NAME.jpg`, and `captions.json` with what each picture shows and the PSNR,
which replace those of an earlier run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import torch
import typer
from kodak import read
from PIL import Image
from shaken_scenes import shaken_scene
from torch import Tensor

from unblur import methods
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise, quantise
from unblur.imaging.synthesis.mixed import middle
from unblur.imaging.synthesis.shaken import KINDS, ShakenRecipe, shaken_picture
from unblur.imaging.trajectory import shake_psf
from unblur.metrics import psnr_aligned
from unblur.pipeline.report import psf_square
from unblur.types import Observation, Restoration

PHOTO, NIGHT = "budgie-82f313b0.jpg", "endless-sky-f8ee72d0.jpg"
SIDE, LARGE = 256, 512  # pixels
PSF_SIDE, SIGMA, NOISE = 21, 0.01, 0.08
_SHORT_NOISE = 0.1
FRAMES = 8
QUALITY = 72  # of the JPEG files
_HEIGHT = 400  # pixels


@dataclass(frozen=True)
class Given:
    """What a method is given.

    Attributes:
        observation: the pictures, `(1, 3, H, W)` each.
        sharp: the sharp picture, `(1, 3, H, W)`.
        shown: pictures of the observation that are shown, by what they are.
        psf: the right PSF `(h, w)`, to be shown beside that of a method that gives nothing else.
    """

    observation: Observation
    sharp: Tensor
    shown: dict[str, Tensor]
    psf: Tensor | None = None


def shaken(photos: Path, sigma: float = SIGMA, *, known: bool = False) -> Given:
    """A photo blurred by one PSF, with noise; `known`: its PSF is given."""
    chance = torch.Generator().manual_seed(5)
    psf = shake_psf(chance, PSF_SIDE)
    area = _area(photos / PHOTO, SIDE + 2 * PSF_SIDE)
    seen = middle(convolve(area, psf), SIDE)
    blurry = quantise(add_gaussian_noise(seen, sigma, chance, clip=True), clip=True)
    given = Observation(blurry=blurry, psf=psf[None, None] if known else None)
    return Given(given, middle(area, SIDE), {"blurry": blurry}, psf)


def noisy(photos: Path) -> Given:
    """A sharp photo with noise."""
    sharp = _area(photos / PHOTO, SIDE)
    seen = quantise(add_gaussian_noise(sharp, NOISE, torch.Generator().manual_seed(1), clip=True), clip=True)
    return Given(Observation(blurry=seen), sharp, {"noisy": seen})


def scene(photos: Path, kind: str, side: int = SIDE) -> Given:
    """A photo of a camera that turned ("rolled"), or of things that move ("moving")."""
    shares = tuple(float(one == kind) for one in KINDS)
    recipe = ShakenRecipe(side=side, shares=shares, faint=0.0, dark=0.0, sharpened=0.0)
    sharp, seen, _ = shaken_picture(
        _area(photos / PHOTO, recipe.area), recipe, torch.Generator().manual_seed(SEEDS[kind])
    )
    return Given(Observation(blurry=seen), sharp, {"blurry": seen})


def night(photos: Path) -> Given:
    """A night photo with lights, in which the method finds a PSF: the first one of `shaken_scenes.py`."""
    for number in range(40):
        made = shaken_scene([photos / NIGHT], "lights", number, LARGE)
        result = methods.get("light_streaks")(Observation(blurry=made.blurry))
        if result.changed:
            return Given(Observation(blurry=made.blurry), made.sharp, {"blurry": made.blurry})
    raise typer.BadParameter("none of 40 pictures has lines that are found")


def two_shots(photos: Path) -> Given:
    """A long, blurry shot and a short, noisy one, as bright and in the same place."""
    long = shaken(photos)
    short = add_gaussian_noise(long.sharp, _SHORT_NOISE, torch.Generator().manual_seed(3), clip=True)
    assert long.observation.blurry is not None
    given = Observation(blurry=long.observation.blurry, noisy=quantise(short, clip=True))
    return Given(given, long.sharp, {"long shot": long.observation.blurry, "short shot": short})


def burst(photos: Path) -> Given:
    """Noisy frames of a camera that moves a little between them."""
    chance = torch.Generator().manual_seed(4)
    area = _area(photos / PHOTO, SIDE + 32)
    frames = []
    for number in range(FRAMES):
        shift = torch.randint(-6, 7, (2,), generator=chance).tolist() if number else [0, 0]
        frames.append(add_gaussian_noise(middle(area.roll(shift, (-2, -1)), SIDE), NOISE, chance, clip=True))
    return Given(
        Observation(frames=torch.stack(frames, 1)), middle(area, SIDE), {f"first of {FRAMES} frames": frames[0]}
    )


SEEDS = {"rolled": 2, "moving": 8}
KIND_OF: dict[str, tuple[str, Callable[[Path], Given]]] = {
    **dict.fromkeys(
        ("wiener", "richardson_lucy", "hyper_laplacian", "sparse", "tv_admm", "wiener_stack"),
        ("blurred by a known PSF", lambda photos: shaken(photos, known=True)),
    ),
    **dict.fromkeys(("l0_psf", "selfdeblur"), ("blurred by one PSF", shaken)),
    **dict.fromkeys(("nidf", "exemplar_psf"), ("noisy, blurred by one PSF", lambda photos: shaken(photos, NOISE))),
    **dict.fromkeys(("deblur_rnn", "deblur_merger", "pair_psf"), ("a pair of shots", two_shots)),
    "nlm": ("sharp, noisy", noisy),
    "camera_path": ("taken by a camera that turned", lambda photos: scene(photos, "rolled", LARGE)),
    "two_way": ("a scene in which things move", lambda photos: scene(photos, "moving")),
    "light_streaks": ("a night photo with lights", night),
    "burst_merge": ("a burst of frames", burst),
}


def main(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="The folder of free photos.")],
    docs: Annotated[Path, typer.Argument(metavar="DOCS", help="The folder of the documentation.")],
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A method; may be repeated.")] = None,
) -> None:
    """Write the pictures and the captions."""
    torch.set_num_threads(1)
    folder = docs / "method_pictures"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "captions.json"
    captions: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    for name in only or methods.names():
        kind, make = KIND_OF[name]
        given = make(photos)
        started = perf_counter()
        made = methods.get(name)(given.observation)
        seconds = perf_counter() - started
        pictures, words = shown(given, made)
        panel(pictures).save(folder / f"{name}.jpg", quality=QUALITY, optimize=True)
        captions[name] = f"{words}. The photo is synthesised ({kind}); {seconds:.1f} s with one thread."
        print(f"{name}: {captions[name]}", flush=True)
    file.write_text(json.dumps(dict(sorted(captions.items())), indent=1) + "\n")


def shown(given: Given, made: Restoration) -> tuple[list[Tensor], str]:
    """The pictures from left to right, `(3, H, W)` each, and the words that say what they are."""
    found: dict[str, Tensor] = {}
    for name, picture in given.shown.items():
        found[f"{name} ({_psnr(picture, given.sharp):.2f} dB)"] = picture[0]
    if made.image is not None:
        found[f"restored ({_psnr(made.image, given.sharp):.2f} dB)"] = made.image[0].clamp(0, 1)
    side = given.sharp.shape[-1]
    psf = made.psf if given.observation.psf is None else given.observation.psf
    if made.image is None and given.psf is not None:
        found["the right PSF"] = _square(given.psf, side)
    if psf is not None:
        found["the PSF that was given" if given.observation.psf is not None else "the PSF that was found"] = _square(
            psf[0, 0], side
        )
    elif "psfs" in made.stages:
        found["the PSFs that were found"] = _square(made.stages["psfs"][0].mean(0), side)
    first, *rest = found
    return list(found.values()), ", ".join([first[0].upper() + first[1:], *rest])


def panel(pictures: Sequence[Tensor]) -> Image.Image:
    """The pictures side by side; large ones are reduced."""
    whole = torch.cat([picture.cpu() for picture in pictures], -1)
    image = Image.fromarray((whole.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    return (
        image
        if image.height <= SIDE
        else image.resize((image.width * SIDE // image.height, SIDE), Image.Resampling.LANCZOS)
    )


def _psnr(picture: Tensor, sharp: Tensor) -> float:
    return float(psnr_aligned(picture.clamp(0, 1), sharp, crop=24, search=16, step=0.5))


def _square(psf: Tensor, side: int) -> Tensor:
    """A PSF `(h, w)` as a picture `(3, side, side)`."""
    pixels = np.asarray(psf_square(psf.cpu().numpy(), side).convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _area(path: Path, side: int) -> Tensor:
    """The middle of a photo that is reduced to a height of `_HEIGHT`, if that is enough: `(1, 3, side, side)`."""
    photo = read(path)
    scale = max(_HEIGHT, side) / photo.shape[-2]
    small = torch.nn.functional.interpolate(photo, scale_factor=scale, mode="bicubic", antialias=True)
    edge = (small.shape[-1] - small.shape[-2]) // 2
    return middle(small[..., edge : edge + small.shape[-2]].clamp(0, 1), side)


if __name__ == "__main__":
    typer.run(main)
