"""GoPro's test set: blurry frames made from averaged frames at 240 a second, with the sharp middle frame.

Nah, Kim, Lee, "Deep Multi-Scale Convolutional Neural Network for Dynamic Scene Deblurring", CVPR 2017: 11 scenes with
1111 pairs of 1280 x 720 px for testing. `blur` holds means of the frames as they are, `blur_gamma` means of their
linear light. `blur` is used here. Nah et al. used `blur_gamma`, later papers one or the other.

With the option `noise`, white Gaussian noise is added to the blurry frame as in Miao & Zhu (NIDF), sec. 2.3, neither
clipped nor rounded, and its sigma is given to the methods. The noise depends on the seed and the name of the frame.
Published SSIM values were computed by various definitions, and are not comparable with the one here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from unblur.datasets.base import Dataset, Sample, Scores, read_picture, scores_in_place, seeded
from unblur.imaging.noise import add_gaussian_noise, quantise
from unblur.types import UnblurError

BLUR, SHARP = "blur", "sharp"  # folders of a scene


class GoPro(Dataset):
    """The pairs of the test set, scored in RGB with 8 bits, without a crop or a search for a shift."""

    name = "gopro"
    title = "GoPro (Nah et al. 2017): 1111 frames of moving scenes, optionally with added noise"
    layout = f"test/SCENE/{BLUR}/NNNNNN.png and test/SCENE/{SHARP}/NNNNNN.png (or without test/)"
    columns = ("psnr", "gain", "gain_noise_free", "worst_gain", "ssim", "seconds")
    options: Mapping[str, Any] = {"seed": 0, "noise": 0.0}
    protocol: ClassVar[Mapping[str, Any]] = {
        "dataset": "gopro",
        "paper": "Nah, Kim, Lee, CVPR 2017; the whole test set has 1111 pictures of 11 scenes",
        "blurry": f"the frames in {BLUR}, not blur_gamma",
        "added": "white Gaussian noise of sigma `noise` of 255, neither clipped nor rounded, given to the methods",
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
        """The number of pairs.

        Raises:
            UnblurError: when there are none, or a blurry frame has no sharp one.
        """
        return len(self._pairs(root))

    def samples(self, root: Path, limit: int | None = None) -> Iterator[Sample]:
        """The pairs in the order of the scenes and the frames in them."""
        return (self._read(name, *pair) for name, pair in islice(self._pairs(root).items(), limit))

    def score(self, restored: Tensor, sample: Sample, *, reference: Tensor | None = None) -> Scores:
        """PSNR and SSIM of the picture clipped and rounded to 8 bits; a reference is not used."""
        return scores_in_place(quantise(restored, clip=True), sample)

    def _pairs(self, root: Path) -> dict[str, tuple[Path, Path]]:
        """The paths of each blurry frame and its sharp one, by the name SCENE/NNNNNN."""
        scenes = root / "test" if (root / "test").is_dir() else root
        if not scenes.is_dir():
            raise UnblurError(f"there is no folder {root}. Expected there: {self.layout}.")
        pairs = {
            f"{blurry.parent.parent.name}/{blurry.stem}": (blurry, blurry.parent.parent / SHARP / blurry.name)
            for blurry in sorted(scenes.glob(f"*/{BLUR}/*.png"))
        }
        if not pairs:
            raise UnblurError(f"{root} holds no blurry frame. Expected: {self.layout}.")
        lacking = [sharp for _, sharp in pairs.values() if not sharp.is_file()]
        if lacking:
            raise UnblurError(f"{len(lacking)} of {len(pairs)} sharp frames are missing, first {lacking[0]}.")
        return pairs

    def _read(self, name: str, blurry_file: Path, sharp_file: Path) -> Sample:
        blurry, sharp = (read_picture(path, self.layout) for path in (blurry_file, sharp_file))  # (1, 3, H, W)
        if blurry.shape != sharp.shape:
            raise UnblurError(f"{blurry_file} and {sharp_file} differ in size. Expected: {self.layout}.")
        noise = self.options["noise"] / 255
        if not noise:
            return Sample(name, blurry, sharp)
        noisy = add_gaussian_noise(blurry, noise, seeded(self.options["seed"], name))
        return Sample(name, noisy, sharp, sigma=noise, noise_free=blurry)


DATASET = GoPro()
