"""Compare quality and speed of non-local means in this package and in OpenCV.

    python benchmarks/nlm.py PHOTOS [--crop 512] [--grey] [--threads 1]

PHOTOS is a folder; the photos whose names end in 0 or 1 are used. Gaussian noise is added to the middle of each and
clipped to [0, 1]. unblur uses its default settings and the true sigma. OpenCV uses 16-bit levels and absolute
differences (NORM_L1, its only norm for 16 bits) with a bandwidth of 1.5 sigma, the best of 0.5 to 1.5. OpenCV is
optional (`pip install opencv-python-headless`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from unblur.image_io import read_photo
from unblur.imaging.colour import luminance
from unblur.imaging.noise import add_gaussian_noise
from unblur.methods import get
from unblur.metrics import psnr
from unblur.types import Observation

try:
    import cv2
except ImportError:
    cv2 = None

SIGMAS = (0.02, 0.06, 0.12)


def main(
    photos: Annotated[Path, typer.Argument(help="Folder of JPEG photos.")],
    crop: Annotated[int, typer.Option(help="Side of the central crop in pixels.")] = 512,
    grey: Annotated[bool, typer.Option(help="Denoise the luminance instead of the colours.")] = False,
    threads: Annotated[int, typer.Option(help="Number of threads of both implementations.")] = 1,
) -> None:
    """Print mean PSNR and total time at each noise level."""
    torch.set_num_threads(threads)
    if cv2 is not None:
        cv2.setNumThreads(threads)
    contestants: dict[str, Callable[[Tensor, float], Tensor]] = {"unblur": by_unblur}
    if cv2 is not None:
        contestants["OpenCV"] = by_opencv
    files = [path for path in sorted(photos.glob("*.jpg")) if path.stem.endswith(("0", "1"))]
    pictures = [middle(read_photo(path).pixels, crop, grey) for path in files]
    for sigma in SIGMAS:
        scores: dict[str, list[float]] = {name: [] for name in contestants}
        seconds = dict.fromkeys(contestants, 0.0)
        for number, sharp in enumerate(pictures):
            noisy = add_gaussian_noise(sharp, sigma, torch.Generator().manual_seed(number), clip=True)
            for name, denoise in contestants.items():
                started = time.perf_counter()
                restored = denoise(noisy, sigma)
                seconds[name] += time.perf_counter() - started
                scores[name].append(float(psnr(restored.clamp(0, 1), sharp, data_range=1.0)))
        figures = ", ".join(f"{name} {np.mean(scores[name]):.2f} dB in {seconds[name]:.1f} s" for name in contestants)
        ratio = f", ratio {seconds['unblur'] / seconds['OpenCV']:.2f}" if cv2 is not None else ""
        print(f"{len(pictures)} photos, sigma {sigma}: {figures}{ratio}")


def middle(pixels: np.ndarray, crop: int, grey: bool) -> Tensor:
    """The central crop of pixels `(H, W, C)` as a picture `(1, C, crop, crop)`."""
    top, left = (max(0, (side - crop) // 2) for side in pixels.shape[:2])
    picture = torch.from_numpy(pixels[top : top + crop, left : left + crop].copy()).permute(2, 0, 1)[None]
    return luminance(picture) if grey else picture.contiguous()


def by_unblur(noisy: Tensor, sigma: float) -> Tensor:
    """Non-local means of this package."""
    image = get("nlm")(Observation(blurry=noisy, sigma=sigma)).image
    assert image is not None
    return image


def by_opencv(noisy: Tensor, sigma: float) -> Tensor:
    """Non-local means of OpenCV with the same patch and search window."""
    levels = (noisy[0] * 65535).round().permute(1, 2, 0).numpy().astype(np.uint16)
    clean = cv2.fastNlMeansDenoising(np.ascontiguousarray(levels), [1.5 * sigma * 65535], None, 3, 15, cv2.NORM_L1)
    return torch.from_numpy(np.atleast_3d(clean).astype(np.float32) / 65535).permute(2, 0, 1)[None]


if __name__ == "__main__":
    typer.run(main)
