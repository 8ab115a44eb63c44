"""Pairs of a short, noisy and a long, blurry shot from files, such as the triplets of LSD2.

LSD2 is Mustaniemi, Kannala, Matas, Särkkä, Heikkilä, "LSD2 - Joint Denoising and Deblurring of Short and Long Exposure
Images with CNNs" (BMVC 2020). The shots are files of one name in the folders `short` and `long`, and the sharp picture,
where there is one, in `sharp`. The short shot is moved onto the long one and made as bright and as coloured, as
`unblur restore long.png --noisy short.png` does (`imaging.short_shot`), before the methods get it.

The sharp picture need not lie on the long shot: that of LSD2 lies on the short one. It is moved onto the long shot by a
homography, and the best small shift counts, because no picture tells where in its blur a long shot lies. Its camera and
development may differ too, so scores are computed after a fit of the colours. They do not depend on place, white
balance, brightness and contrast, and cannot be compared with scores without such fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from unblur.datasets.base import Dataset, Sample, Scores, read_picture
from unblur.imaging.registration import register, warped
from unblur.imaging.short_shot import ONE_SCENE, NotOneScene, align_short
from unblur.metrics import align, psnr, ssim, with_colours_of
from unblur.types import Progress, UnblurError

SHORT, LONG, SHARP = "short", "long", "sharp"
_CROP, _SEARCH, _STEP = 15, 5, 0.25  # pixels, as for Levin et al. 2009
_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}


class Pairs(Dataset):
    """Pairs from files, scored in RGB after a colour fit and at the best shift."""

    name = "pairs"
    title = "pairs of a short and a long shot from files, such as the triplets of LSD2"
    layout = f"{LONG}/NAME.png, {SHORT}/NAME.png and, where known, {SHARP}/NAME.png (PNG, JPEG or TIFF)"
    columns = ("psnr", "gain", "worst_gain", "ssim", "seconds")
    protocol: ClassVar[Mapping[str, Any]] = {
        "dataset": "pairs",
        "noisy": "the short shot, moved onto the long one and with its tones, as by `unblur restore --noisy`",
        "sharp": "moved onto the long shot by a homography",
        "colour fit": "an affine map of RGB (12 numbers) by least squares, of the restored to the sharp picture",
        "clip": [0.0, 1.0],
        "channel": "RGB",
        "crop": _CROP,
        "search": _SEARCH,
        "step": _STEP,
        "data_range": 1.0,
        "ssim": "Wang 2004: 11x11 Gaussian, sigma 1.5, valid windows",
        "average": "mean of the figures of each picture",
    }

    def count(self, root: Path) -> int:
        """The number of pairs.

        Raises:
            UnblurError: when there is none, or a long shot has no short one.
        """
        return len(self._pairs(root))

    def samples(self, root: Path, limit: int | None = None) -> Iterator[Sample]:
        """The pairs in the order of their names. Those without a sharp picture have no scores."""
        return (self._read(name, *files) for name, files in islice(self._pairs(root).items(), limit))

    def score(self, restored: Tensor, sample: Sample, *, reference: Tensor | None = None) -> Scores:
        """PSNR and SSIM of the picture clipped, with fitted colours, at its best shift; a reference is not used."""
        if sample.sharp is None:
            raise ValueError(f"'{sample.name}' has no sharp picture to score against.")
        # The colours are fitted roughly for the search of the shift, then where the pictures lie on each other.
        roughly = with_colours_of(restored.clamp(0, 1), sample.sharp)
        found = align(roughly, sample.sharp, crop=_CROP, search=_SEARCH, step=_STEP)
        fitted = with_colours_of(found.restored, found.sharp).clamp(0, 1)
        return {"psnr": psnr(fitted, found.sharp).item(), "ssim": ssim(fitted, found.sharp).item()}

    def _pairs(self, root: Path) -> dict[str, tuple[Path, Path, Path | None]]:
        """The paths of the long, the short and the sharp picture, by name."""
        folders = [_pictures(root / folder) for folder in (LONG, SHORT, SHARP)]
        long, short, sharp = folders
        if not long:
            raise UnblurError(f"{root} holds no long shot. Expected: {self.layout}.")
        lacking = [path for name, path in long.items() if name not in short]
        if lacking:
            raise UnblurError(
                f"{len(lacking)} of {len(long)} long shots have no short one, first {lacking[0]}. "
                f"Expected: {self.layout}."
            )
        return {name: (path, short[name], sharp.get(name)) for name, path in long.items()}

    def _read(self, name: str, long_file: Path, short_file: Path, sharp_file: Path | None) -> Sample:
        long, short = (read_picture(path, self.layout) for path in (long_file, short_file))  # (1, C, H, W)
        sharp = None if sharp_file is None else read_picture(sharp_file, self.layout)
        if sharp is not None and sharp.shape != long.shape:
            raise UnblurError(f"{long_file} and {sharp_file} differ in size or in colour. Expected: {self.layout}.")
        if short.shape[1] != long.shape[1]:
            raise UnblurError(f"{long_file} and {short_file} must both be grey, or both be in colour.")
        try:
            aligned = align_short(short, long, Progress())
        except NotOneScene as error:
            raise UnblurError(f"{short_file}: {error}, with {long_file}.") from None
        if sharp is not None:
            found = register(sharp, long, local=False)
            if found.agreement < ONE_SCENE:
                raise UnblurError(f"{sharp_file}: it does not show the scene of {long_file}.")
            sharp = warped(sharp, found, (long.shape[-2], long.shape[-1]))[0].clamp(0, 1)
        return Sample(name, aligned.long, sharp, noisy=aligned.picture)


def _pictures(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by name without suffix, sorted; none if it is not there."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.stem: path for path in paths if path.suffix.lower() in _SUFFIXES}


DATASET = Pairs()
