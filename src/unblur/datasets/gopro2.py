"""GOPRO2: pairs of a short, noisy and a long, blurry shot, made from frames of a camera of 240 frames a second.

Zhang, Zhen, Stevenson, "Deep Motion Blur Removal Using Noisy/Blurry Image Pairs", sec. III-C, from the frames of Nah et
al. 2017 (GOPRO_Large_all) or any others. Of 7 to 13 consecutive frames, the first is the sharp picture, the second is
left out, and the mean of the others is the blurry shot, with Gaussian noise of variance `sigma_r^2 / N`. The noisy shot
is the first frame times f, with f uniform in .3 ... .8, and the noise of `imaging.synthesis.pairs.published_noise`,
rounded to 8 bits. It is brightened by the ratio of the exposures estimated from both shots before the methods get it.
For methods that merge a burst (sec. IV-E), each frame of the blurry shot is also taken like the noisy one, so that the
burst takes as long as the pair.

Not in the paper, and so our reading: a window starts at every fourth frame, so that windows overlap (the paper's 1111
test sets do not); its length is uniform; f is below .5 for photon noise; the ratio is estimated and applied in linear
light (`imaging.exposure`). The random numbers depend on the seed and the name of the window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from unblur.datasets.base import Dataset, Sample, Scores, read_picture, scores_in_place, seeded
from unblur.imaging.exposure import brightened, exposure_ratio
from unblur.imaging.noise import quantise
from unblur.imaging.synthesis.pair_samples import first_and_mean
from unblur.imaging.synthesis.pairs import as_published, published_levels, published_noise
from unblur.types import UnblurError

FEWEST, MOST = 7, 13  # frames of a window, as in the data of Nah et al.
STRIDE = 4  # frames between the beginnings of two windows
_SUFFIXES = {".png", ".jpg", ".jpeg"}


class GoPro2(Dataset):
    """Windows of frames, scored in RGB with 8 bits, without a crop or a search for a shift."""

    name = "gopro2"
    title = "GOPRO2 (Zhang, Zhen, Stevenson): a noisy and a blurry shot made from consecutive frames"
    layout = f"folders of at least {MOST} consecutive frames (PNG or JPEG), in the order of their names; or one folder"
    columns = ("psnr", "gain", "worst_gain", "ssim", "seconds")
    options: Mapping[str, Any] = {"seed": 0}
    protocol: ClassVar[Mapping[str, Any]] = {
        "dataset": "gopro2",
        "paper": "Zhang, Zhen, Stevenson, sec. III-C; the windows and the threshold of f are our reading",
        "windows": f"{FEWEST} to {MOST} frames, one beginning at every {STRIDE}th frame of a folder",
        "sharp": "the first frame",
        "blurry": "the mean of the third to the last frame in sRGB, Gaussian noise of variance sigma_r^2 / N, 8 bits",
        "noisy": "the first frame times f in .3 ... .8; Poisson noise (Eq. 8) below f = .5, else Gaussian; 8 bits",
        "sigma_r": "uniform in .05 ... .1",
        "frames": "the noisy shot, and the third to the last frame with the same exposure and noise level",
        "brightened": "by the ratio of the exposures, estimated in linear light",
        "clip": [0.0, 1.0],
        "bits": 8,
        "channel": "RGB",
        "crop": 0,
        "search": 0,
        "data_range": 1.0,
        "ssim": "Wang 2004: 11x11 Gaussian, sigma 1.5, valid windows",
        "average": "mean of the figures of each picture",
    }

    def count(self, root: Path) -> int:
        """The number of windows.

        Raises:
            UnblurError: when there is none.
        """
        return len(self._windows(root))

    def samples(self, root: Path, limit: int | None = None) -> Iterator[Sample]:
        """The windows in the order of the folders and the frames in them."""
        return (self._made(name, frames) for name, frames in islice(self._windows(root).items(), limit))

    def score(self, restored: Tensor, sample: Sample, *, reference: Tensor | None = None) -> Scores:
        """PSNR and SSIM of the picture clipped and rounded to 8 bits; a reference is not used."""
        return scores_in_place(quantise(restored, clip=True), sample)

    def _windows(self, root: Path) -> dict[str, list[Path]]:
        """The paths of the frames from the beginning of each window, at most 13, by its name FOLDER/FRAME."""
        root = root / "test" if (root / "test").is_dir() else root
        if not root.is_dir():
            raise UnblurError(f"there is no folder {root}. Expected there: {self.layout}.")
        clips: dict[Path, list[Path]] = {}
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in _SUFFIXES:
                clips.setdefault(path.parent, []).append(path)
        windows = {
            f"{folder.name}/{frames[first].stem}": frames[first : first + MOST]
            for folder, frames in clips.items()
            for first in range(0, len(frames) - MOST + 1, STRIDE)
        }
        if not windows:
            raise UnblurError(f"{root} holds no folder of {MOST} frames. Expected: {self.layout}.")
        return windows

    def _made(self, name: str, paths: list[Path]) -> Sample:
        generator = seeded(self.options["seed"], name)
        length = int(torch.randint(FEWEST, MOST + 1, (), generator=generator))
        frames = [read_picture(path, self.layout) for path in paths[:length]]  # (1, 3, H, W) each
        for path, frame in zip(paths, frames, strict=False):
            if frame.shape != frames[0].shape:
                raise UnblurError(f"{path} and {paths[0]} differ in size. Expected: {self.layout}.")
        exposure, sigma = published_levels(generator)
        made = as_published(*first_and_mean(torch.cat(frames)), length - 2, exposure, sigma, generator)
        others = (published_noise(frame, sigma, exposure, generator) for frame in frames[2:])
        ratio = exposure_ratio(made.blurry, made.noisy)
        burst = torch.stack([brightened(short, ratio) for short in (made.noisy, *others)], 1)
        return Sample(name, made.blurry, made.sharp, noisy=burst[:, 0], frames=burst)


DATASET = GoPro2()
