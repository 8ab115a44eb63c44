"""Köhler et al. 2012: four pictures photographed through twelve recorded camera shakes, played back by a robot.

"Recording and Playback of Camera Shake: Benchmarking Blind Deconvolution with a Real-World Database", ECCV 2012. The
published archives hold 48 blurry pictures `Blurry1_1.png` ... `Blurry4_12.png` and, for each, about 199 sharp frames
along its trajectory, `Image1/Kernel1/GroundTruth1_1_1.png` and so on.

A restored picture is compared with each frame, and the best frame counts. As in the authors' script `eval_image.m`, the
restored picture z, in 8 bits, is made similar to a frame x first:

1. gain: z is multiplied by <x, z> / <z, z>, over all channels and pixels, before it is shifted;
2. shift: z is shifted by the whole pixels at which the circular cross-correlation of the channels' means is greatest.
   What comes in from outside is 0, and x is set to 0 there as well;
3. PSNR of their luminance 0.299 R + 0.587 G + 0.114 B over the whole picture, with these zeros, with a peak of 255.

What is ours: SSIM is the project's own, on the luminance, of the frame with the best PSNR only. The script has the
multi-scale MSSIM, best over all frames. Published SSIM or MSSIM values are therefore not comparable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from unblur.datasets.base import Dataset, Sample, Scores, read_picture
from unblur.imaging.colour import luminance
from unblur.imaging.noise import quantise
from unblur.metrics import psnr, ssim
from unblur.types import UnblurError

PICTURES, SHAKES = 4, 12
BLURRY = re.compile(r"Blurry(\d+)_(\d+)\.png")
FRAME = re.compile(r"GroundTruth(\d+)_(\d+)_(\d+)\.png")

_Key = tuple[int, int]
"""Number of the picture and of the shake, both from 1."""


@dataclass(frozen=True, slots=True)
class KohlerSample(Sample):
    """A blurry picture with the files of all its sharp frames; `sharp` is the frame in the middle."""

    frame_files: tuple[Path, ...] = ()


class Kohler(Dataset):
    """The 48 blurry pictures, scored against the most similar sharp frame of each."""

    name = "kohler"
    title = "Köhler et al. 2012: 4 pictures x 12 recorded camera shakes"
    layout = (
        f"{PICTURES * SHAKES} pictures Blurry1_1.png ... Blurry{PICTURES}_{SHAKES}.png, and for each the sharp frames "
        "GroundTruth1_1_1.png, GroundTruth1_1_2.png, ..., in any subfolders (published: Image1/Kernel1)"
    )
    columns = ("psnr", "gain", "worst_gain", "ssim", "seconds")
    protocol: ClassVar[Mapping[str, Any]] = {
        "dataset": "kohler",
        "paper": "Köhler, Hirsch, Mohler, Schölkopf, Harmeling, ECCV 2012",
        "pictures": PICTURES * SHAKES,
        "clip": [0.0, 1.0],
        "bits": 8,
        "scale": "least squares factor of the restored picture to each frame",
        "shift": "whole pixels, greatest circular cross-correlation with each frame; zeros outside count as equal",
        "channel": "Rec. 601 luminance of both, full range",
        "frame": "the one with the best PSNR",
        "crop": 0,
        "data_range": 1.0,
        "ssim": "of the same frame (ours; the authors' script has MSSIM): 11x11 Gaussian, sigma 1.5, valid windows",
        "average": "mean of the figures of each picture",
    }

    def count(self, root: Path) -> int:
        """The number of blurry pictures: 48.

        Raises:
            UnblurError: when a blurry picture or all its sharp frames are missing.
        """
        return len(self._files(root))

    def samples(self, root: Path, limit: int | None = None) -> Iterator[Sample]:
        """The blurry pictures: all shakes of the first picture, then of the next one."""
        return (self._read(key, *files) for key, files in islice(self._files(root).items(), limit))

    def score(self, restored: Tensor, sample: Sample, *, reference: Tensor | None = None) -> Scores:
        """PSNR and SSIM with the most similar frame; a reference is not used. The frames are read one by one."""
        if not isinstance(sample, KohlerSample):
            raise ValueError(f"'{sample.name}' has no sharp frames to score against.")
        if restored.shape != sample.blurry.shape:
            raise ValueError(f"{sample.name} is of shape {tuple(sample.blurry.shape)}, not {tuple(restored.shape)}.")
        compared = _Compared(quantise(restored, clip=True).double())
        least, pair = torch.inf, None
        for path in sample.frame_files:
            alike = compared.with_frame(self._frame(path, sample).double())
            error = float((alike[0] - alike[1]).square().sum())
            if error < least or pair is None:
                least, pair = error, alike
        assert pair is not None
        return {"psnr": psnr(*pair).item(), "ssim": ssim(*pair).item()}

    def _frame(self, path: Path, sample: Sample) -> Tensor:
        frame = read_picture(path, self.layout)
        if frame.shape != sample.blurry.shape:
            raise UnblurError(f"{path} is not of the size of {sample.name}. Expected: {self.layout}.")
        return frame

    def _files(self, root: Path) -> dict[_Key, tuple[Path, tuple[Path, ...]]]:
        """The files of each blurry picture and of its frames, both in their order."""
        if not root.is_dir():
            raise UnblurError(f"there is no folder {root}. Expected there: {self.layout}.")
        blurry: dict[_Key, Path] = {}
        frames: dict[_Key, dict[int, Path]] = {}
        for path in sorted(root.rglob("*.png")):
            if found := BLURRY.fullmatch(path.name):
                blurry[int(found[1]), int(found[2])] = path
            elif found := FRAME.fullmatch(path.name):
                frames.setdefault((int(found[1]), int(found[2])), {})[int(found[3])] = path
        keys = list(product(range(1, PICTURES + 1), range(1, SHAKES + 1)))
        for key in keys:
            for files, name in ((blurry, "Blurry{}_{}.png"), (frames, "GroundTruth{}_{}_1.png")):
                if key not in files:
                    raise UnblurError(f"{root} lacks {name.format(*key)}. Expected: {self.layout}.")
        return {key: (blurry[key], tuple(path for _, path in sorted(frames[key].items()))) for key in keys}

    def _read(self, key: _Key, blurry_file: Path, frame_files: tuple[Path, ...]) -> Sample:
        sample = KohlerSample("{}_{}".format(*key), read_picture(blurry_file, self.layout), frame_files=frame_files)
        middle = self._frame(frame_files[len(frame_files) // 2], sample)
        return KohlerSample(sample.name, sample.blurry, middle, frame_files=frame_files)


class _Compared:
    """A restored picture z `(1, 3, H, W)`, float64, that is compared with many frames."""

    def __init__(self, restored: Tensor) -> None:
        self._restored = restored
        self._luminance = luminance(restored)  # (1, 1, H, W); gain and shift do not change its weights
        self._energy = restored.square().sum()
        self._spectrum = torch.fft.rfft2(restored.mean((0, 1)))  # (H, W // 2 + 1)

    def with_frame(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """The luminance of z with its best gain and shift, and of the frame, both `(1, 1, H, W)` and 0 outside."""
        # A black picture stays black.
        gain = (frame * self._restored).sum() / self._energy if self._energy > 0 else 1.0
        dy, dx = self._best_whole_shift(frame.mean((0, 1)))
        (to_y, from_y), (to_x, from_x) = _overlap(dy, frame.shape[-2]), _overlap(dx, frame.shape[-1])
        shifted, cut = torch.zeros_like(self._luminance), torch.zeros_like(self._luminance)
        shifted[..., to_y, to_x] = gain * self._luminance[..., from_y, from_x]
        cut[..., to_y, to_x] = luminance(frame)[..., to_y, to_x]
        return shifted, cut

    def _best_whole_shift(self, frame: Tensor) -> tuple[int, int]:
        """The shift (dy, dx) of z with the greatest circular cross-correlation with a frame's mean `(H, W)`."""
        size = (frame.shape[0], frame.shape[1])
        correlation = torch.fft.irfft2(torch.fft.rfft2(frame) * self._spectrum.conj(), s=size)  # (H, W)
        place = divmod(int(correlation.argmax()), size[1])
        dy, dx = (p - side if p >= side // 2 else p for p, side in zip(place, size, strict=True))
        return dy, dx


def _overlap(shift: int, side: int) -> tuple[slice, slice]:
    """Where on one axis the shifted picture has values, and the values of the unshifted picture that go there."""
    return slice(max(shift, 0), side + min(shift, 0)), slice(max(-shift, 0), side + min(-shift, 0))


DATASET = Kohler()
