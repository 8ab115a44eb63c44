"""The interface of data sets: samples read from a folder, and a published protocol to score them."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from unblur.image_io import ImageFileError, read_photo
from unblur.metrics import align, error_ratio_norm2, error_ratio_ssd, psnr, ssim
from unblur.types import UnblurError

Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One observation of a data set, with its sharp picture and true PSF where they are known.

    Attributes:
        name: unique within the data set; names the row of the result and the files.
        blurry: `(1, C, H, W)` float32 in [0, 1]; where the protocol does not clip the noise, some values lie outside.
        sharp: the sharp picture, same shape; None where there is none, as for real photos.
        psf: the true PSF, `(1, 1, h, w)`, non-negative, sums to 1; None where the blur is not uniform.
            Not recentred: `sharp` convolved with it gives `blurry`.
        sigma: standard deviation of the noise on the [0, 1] scale; None where it is not stated.
        noisy: the short, noisy shot of a pair, same shape as `blurry`.
        frames: consecutive frames of the scene, `(1, T, C, H, W)`.
        exposure_ratio: exposure of `blurry` divided by that of `noisy`.
        noise_free: `blurry` without its noise, same shape; None where it is not known.
        group: samples of one group are also averaged apart, for instance "sigma 10"; None: there are no groups.
    """

    name: str
    blurry: Tensor
    sharp: Tensor | None = None
    psf: Tensor | None = None
    sigma: float | None = None
    noisy: Tensor | None = None
    frames: Tensor | None = None
    exposure_ratio: float | None = None
    noise_free: Tensor | None = None
    group: str | None = None


class Dataset(ABC):
    """A folder layout and a scoring protocol. Every data set's module has an instance called `DATASET`.

    Attributes:
        name: name on the command line; equal to the module's name.
        title: one line for a table.
        layout: which files the folder must hold, in one sentence.
        protocol: everything that defines the scores, ready for JSON; printed below every table of scores.
        columns: the figures of a summary, in order. Besides the scores: `gain` (PSNR minus that of the unchanged blurry
            picture), `gain_noise_free` (PSNR minus that of `Sample.noise_free`), `kernel_similarity`, `seconds`, and
            `worst_` with a score for its minimum.
        options: the options of `unblur bench` that the data set accepts, with their values: `seed`, and `noise`, the
            standard deviation of added noise on the scale 0..255. `with_options` changes them.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    layout: ClassVar[str]
    protocol: ClassVar[Mapping[str, Any]]
    columns: ClassVar[tuple[str, ...]] = (
        *("psnr", "ssim", "error_ratio_ssd", "error_ratio_norm2"),
        *("worst_psnr", "seconds"),
    )
    options: Mapping[str, Any] = {}

    def with_options(self, values: Mapping[str, Any]) -> Self:
        """The same data set with some of its options changed.

        Raises:
            KeyError: when it has no such option.
            UnblurError: when a value is out of range.
        """
        for name, value in values.items():
            if name not in self.options:
                raise KeyError(name)
            if value < 0:
                raise UnblurError(f"the {name} of '{self.name}' must be 0 or more, not {value}.")
        changed = copy.copy(self)
        changed.options = {**self.options, **values}
        return changed

    @abstractmethod
    def count(self, root: Path) -> int:
        """How many samples the folder `root` holds.

        Raises:
            UnblurError: when `root` is not laid out as `layout` says.
        """

    @abstractmethod
    def samples(self, root: Path, limit: int | None = None) -> Iterator[Sample]:
        """The samples in the folder `root` in a fixed order, read one by one; the first `limit` of them.

        Raises:
            UnblurError: when `root` is not laid out as `layout` says, or a file cannot be read.
        """

    @abstractmethod
    def score(self, restored: Tensor, sample: Sample, *, reference: Tensor | None = None) -> Scores:
        """Score one restored picture by the protocol.

        Args:
            restored: the result of a method for `sample.blurry`, same shape.
            sample: the sample that was restored.
            reference: the result of a non-blind method with `sample.psf`, same shape.

        Returns:
            Those scores of `columns` that compare the picture with the sharp one: `psnr` in dB, `ssim` and, with a
            reference, `error_ratio_ssd` and `error_ratio_norm2`.

        Raises:
            ValueError: when the shapes differ, a value is not finite, or the sample has no sharp picture.
        """


def scores_after_shift(
    restored: Tensor, sample: Sample, reference: Tensor | None, *, crop: int, search: int, step: float
) -> Scores:
    """PSNR, SSIM and error ratios of pictures clipped to [0, 1], each at its own best shift.

    Arguments as `Dataset.score` and `unblur.metrics.align`; nothing is rounded to 8 bits.
    """
    if sample.sharp is None:
        raise ValueError(f"'{sample.name}' has no sharp picture to score against.")
    found = align(restored.clamp(0, 1), sample.sharp, crop=crop, search=search, step=step)
    scores = {
        "psnr": psnr(found.restored, found.sharp).item(),
        "ssim": ssim(found.restored, found.sharp).item(),
    }
    if reference is not None:
        known = align(reference.clamp(0, 1), sample.sharp, crop=crop, search=search, step=step)
        for name, ratio in (("error_ratio_ssd", error_ratio_ssd), ("error_ratio_norm2", error_ratio_norm2)):
            # Both are aligned and cropped already, so the ratio needs no further search.
            scores[name] = ratio(found.restored, known.restored, found.sharp, crop=0, search=0).item()
    return scores


def scores_in_place(restored: Tensor, sample: Sample) -> Scores:
    """PSNR and SSIM over all pixels and channels, without a search for a shift. Nothing is clipped or rounded.

    Raises:
        ValueError: as `Dataset.score`.
    """
    if sample.sharp is None:
        raise ValueError(f"'{sample.name}' has no sharp picture to score against.")
    return {"psnr": psnr(restored, sample.sharp).item(), "ssim": ssim(restored, sample.sharp).item()}


def read_picture(path: Path, layout: str) -> Tensor:
    """Read a picture of a data set: `(1, C, H, W)` float32 in [0, 1].

    Raises:
        UnblurError: when it cannot be read; the message also says which files are expected.
    """
    try:
        return torch.from_numpy(read_photo(path).pixels).movedim(-1, 0)[None].contiguous()
    except ImageFileError as error:
        raise UnblurError(f"{error} Expected: {layout}.") from error


def seeded(seed: int, name: str) -> torch.Generator:
    """A random generator that depends on a seed and on the name of a picture only."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
