"""Restoring for programmers: numpy arrays or torch tensors in, the same kind out.

| a picture in | shapes | types | values |
|---|---|---|---|
| numpy | `(H, W)`, `(H, W, C)` | uint8, uint16, floating point | all of the integer's range, or [0, 1] |
| torch | `(H, W)`, `(C, H, W)`, `(B, C, H, W)` | the same | the same |

C is 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha); alpha is returned as it came. What comes back has the
shape, the type and the device of what went in. Whole numbers are rounded and kept in their range; floating-point
results are not clipped. Work is done in float32. Pictures are sRGB (or linear) as they are: nothing is converted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from unblur.imaging.psf import normalize_psf
from unblur.imaging.short_shot import align_short
from unblur.pipeline.array_layout import Layout, native, taken_apart
from unblur.pipeline.auto import AUTO
from unblur.pipeline.options import Options
from unblur.pipeline.picture import estimate_psf_of, restore_picture
from unblur.types import Observation, Progress, Result, UnblurError

Array = TypeVar("Array", np.ndarray, Tensor)


@overload
def restore(
    image: Array,
    *,
    method: str = ...,
    noisy: np.ndarray | Tensor | None = ...,
    frames: Sequence[np.ndarray | Tensor] | None = ...,
    psf: np.ndarray | Tensor | None = ...,
    psf_size: int | None = ...,
    sigma: float | None = ...,
    exposure_ratio: float | None = ...,
    strength: float = ...,
    force: bool = ...,
    align: bool = ...,
    settings: Mapping[str, Any] | None = ...,
    device: str | torch.device | None = ...,
    progress: Progress | None = ...,
    full: Literal[False] = ...,
) -> Array: ...


@overload
def restore(
    image: np.ndarray,
    *,
    method: str = ...,
    noisy: np.ndarray | Tensor | None = ...,
    frames: Sequence[np.ndarray | Tensor] | None = ...,
    psf: np.ndarray | Tensor | None = ...,
    psf_size: int | None = ...,
    sigma: float | None = ...,
    exposure_ratio: float | None = ...,
    strength: float = ...,
    force: bool = ...,
    align: bool = ...,
    settings: Mapping[str, Any] | None = ...,
    device: str | torch.device | None = ...,
    progress: Progress | None = ...,
    full: Literal[True],
) -> Result[np.ndarray]: ...


@overload
def restore(
    image: Tensor,
    *,
    method: str = ...,
    noisy: np.ndarray | Tensor | None = ...,
    frames: Sequence[np.ndarray | Tensor] | None = ...,
    psf: np.ndarray | Tensor | None = ...,
    psf_size: int | None = ...,
    sigma: float | None = ...,
    exposure_ratio: float | None = ...,
    strength: float = ...,
    force: bool = ...,
    align: bool = ...,
    settings: Mapping[str, Any] | None = ...,
    device: str | torch.device | None = ...,
    progress: Progress | None = ...,
    full: Literal[True],
) -> Result[Tensor] | list[Result[Tensor]]: ...


def restore(
    image: Array,
    *,
    method: str = AUTO,
    noisy: np.ndarray | Tensor | None = None,
    frames: Sequence[np.ndarray | Tensor] | None = None,
    psf: np.ndarray | Tensor | None = None,
    psf_size: int | None = None,
    sigma: float | None = None,
    exposure_ratio: float | None = None,
    strength: float = 1.0,
    force: bool = False,
    align: bool = True,
    settings: Mapping[str, Any] | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
    full: bool = False,
) -> Any:
    """Restore a blurred or noisy picture.

    A picture that is not blurred, or whose blur cannot be found credibly, comes back as it was. Why is logged (logger
    "unblur", level INFO) and stands in the notes of `full=True`. Every picture of a batch is restored by itself, with a
    PSF of its own unless one is given.

    Args:
        image: numpy or torch; shapes, types and ranges are in the module's table.
        method: a method (`unblur.methods.names()`), a chain `a+b`, a file `./mine.py`, or "auto", which chooses by what
            is given: a PSF, a noisy shot, frames, or the picture alone.
        noisy: a short, sharp but noisy exposure of the same scene, of the kind and the channels of `image`; its height
            and width may differ if it is aligned.
        frames: the other frames of a burst of which `image` is the first, of its kind and shape: all short, sharp and
            noisy. The result is `image` with less noise. Not for a batch.
        psf: the known PSF, `(h, w)`, odd sides, non-negative, of any sum above 0. None: it is estimated.
        psf_size: odd side in pixels of the PSF to estimate. None: found automatically.
        sigma: standard deviation of the noise on the [0, 1] scale; more gives a smoother result. None: measured.
        exposure_ratio: the exposure of `image` divided by that of `noisy`, for methods that ask for it.
        strength: 0 returns the picture as it was, 1 restores it fully, linearly between.
        force: True returns the result even when it is not credible.
        align: whether `noisy` is moved onto `image` and made as bright (unless `exposure_ratio` is given). False: it is
            used as it is, so it must lie on `image` pixel by pixel.
        settings: the method's settings, by `key` or `method.key`.
        device: where the work is done: "cpu", "cuda", "cuda:1", ... None: where `image` is.
        progress: told of the stages; may cancel.
        full: True returns everything that was found and why, not only the picture.

    Returns:
        A new picture like `image`. With `full=True` a `Result` that holds it; for a batch `(B, C, H, W)` a list with a
        `Result` for each picture `(C, H, W)`.

    Raises:
        UnblurError: a picture, PSF, device or option that will not do; the message names the remedy.
        Cancelled: after `progress.cancel()`.
    """
    options = Options(method, psf_size, settings or {}, strength, force, device, align=align)
    known = Observation(psf=_psf(psf), exposure_ratio=exposure_ratio, sigma=sigma)
    if frames is not None and noisy is not None:
        raise UnblurError("a noisy shot and the frames of a burst were given. Give one of them.")
    pictures = {"frames"} if frames is not None else {"blurry", *([] if noisy is None else ["noisy"])}
    options.plan(known.given() | pictures)  # what is wrong with an option is said before the pictures are looked at
    layout, photos, alpha = taken_apart(image)
    burst = None if frames is None else _burst(photos, frames, layout)
    shorts = [None] * len(photos) if noisy is None else _short_shots(noisy, layout, align)
    results = []
    for photo, short in zip(photos, shorts, strict=True):
        if burst is not None:
            results.append(restore_picture(replace(known, frames=burst), options, progress or Progress()))
            _log_if_unchanged(results[-1])
            continue
        aligned, blurry = None, photo[None]
        if short is not None and align:
            aligned = align_short(short.to(photo.device), photo[None], progress or Progress(), ratio=exposure_ratio)
            blurry, short = aligned.long, aligned.picture
        result = restore_picture(replace(known, blurry=blurry, noisy=short), options, progress or Progress())
        results.append(result if aligned is None else aligned.added_to(result, photo[None], strength))
        _log_if_unchanged(results[-1])
    restored = layout.put_together(torch.cat([result.image for result in results]), alpha)
    for number, result in enumerate(results):
        if not result.changed:  # exactly: a float64 picture would have been rounded to float32
            place = (number,) if len(layout.shape) == 4 else ()
            restored[(*place, ...)] = image[(*place, ...)]
    if not full:
        return restored
    if len(layout.shape) < 4:
        return layout.as_came(results[0], restored)
    return [layout.as_came(result, picture) for result, picture in zip(results, restored, strict=True)]


def deconvolve(
    image: Array,
    psf: np.ndarray | Tensor,
    method: str = AUTO,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    force: bool = False,
    settings: Mapping[str, Any] | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> Array:
    """Restore a picture whose PSF is known: `image = convolve(sharp, psf) + noise`.

    The same as `restore(image, psf=psf)`. Arguments, result and errors as for `restore`.
    """
    return restore(
        image,
        method=method,
        psf=psf,
        sigma=sigma,
        strength=strength,
        force=force,
        settings=settings,
        device=device,
        progress=progress,
    )


def estimate_psf(
    image: Array,
    method: str = AUTO,
    *,
    size: int | None = None,
    sigma: float | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> Array:
    """Estimate the PSF that blurred one picture, on its Rec. 601 luma.

    An estimate that does not explain the picture is returned all the same, and the doubt is logged (logger "unblur",
    level INFO).

    Args:
        image: as for `restore`; a batch must hold one picture.
        method: a method that gives a psf, or "auto".
        size: odd side in pixels. None: found automatically.
        sigma: as for `restore`.
        settings: as for `restore`.
        device: as for `restore`.
        progress: as for `restore`.

    Returns:
        `(h, w)` float32 of the same kind (numpy or torch), on the same device: odd sides, non-negative, summing to 1.

    Raises:
        UnblurError: as for `restore`, or a method that estimates no PSF.
        Cancelled: after `progress.cancel()`.
    """
    layout, pictures, _ = taken_apart(image)
    if len(pictures) != 1:
        raise UnblurError(f"a PSF is estimated from one picture, not from {len(pictures)}. Call once for each.")
    options = Options(method, psf_size=size, settings=settings or {}, device=device)
    found = estimate_psf_of(Observation(blurry=pictures, sigma=sigma), options, progress or Progress())
    _log_if_unchanged(found)
    psf: Any = layout.as_came(found, image).psf
    return psf


def _psf(psf: Any) -> Tensor | None:
    """A known PSF as `(1, 1, h, w)` summing to 1, on the CPU."""
    if psf is None:
        return None
    try:
        plane = torch.as_tensor(native(psf) if isinstance(psf, np.ndarray) else psf).detach()
    except (TypeError, ValueError, RuntimeError):
        raise UnblurError(f"a PSF is a numpy array or a torch tensor of numbers, not {psf!r:.60}.") from None
    plane = plane.float().cpu()  # it is normalised in float64, which not every device has
    while plane.ndim > 2 and plane.shape[0] == 1:
        plane = plane[0]
    if plane.ndim != 2 or 0 in plane.shape or not all(side % 2 for side in plane.shape):
        raise UnblurError(f"a PSF is (h, w) with odd sides, so that it has a centre, not {tuple(plane.shape)}.")
    if not torch.isfinite(plane).all() or plane.min() < 0 or plane.max() <= 0:
        raise UnblurError("a PSF is finite and non-negative, with something above 0 in it.")
    return normalize_psf(plane)[None, None]


def _short_shots(noisy: Any, photo: Layout, align: bool) -> list[Tensor]:
    """The short shots of a pair, `(1, C, H, W)` each, as many as there are photos.

    Raises:
        UnblurError: they are of another kind, number or colour, or of another size and not to be aligned.
    """
    layout, pictures, _ = taken_apart(noisy)
    shape, wanted = layout.shape, photo.shape
    alike = layout.is_numpy == photo.is_numpy and len(shape) == len(wanted)
    if align:  # height and width may differ
        sides = (0, 1) if photo.is_numpy else (-2, -1)
        shape, wanted = (torch.Size(np.delete(one, sides)) for one in (shape, wanted)) if alike else (shape, wanted)
    if not alike or shape != wanted:
        raise UnblurError(
            f"the noisy picture ({layout}) must be of the kind and shape of the blurry one ({photo})"
            f"{', except for height and width' if align else ''}."
        )
    return list(pictures.split(1))


def _burst(first: Tensor, others: Sequence[Any], photo: Layout) -> Tensor:
    """A burst `(1, T, C, H, W)`: the first frame `(1, C, H, W)` and the others, as the caller gave them.

    Raises:
        UnblurError: no other frame, one of another kind or shape, or a batch.
    """
    if len(first) != 1:
        raise UnblurError(f"a burst is of one scene, but the picture is a batch of {len(first)}. Call once for each.")
    try:
        others = list(others)
    except TypeError:
        raise UnblurError(f"frames is a list of pictures, not a {type(others).__name__}.") from None
    if not others:
        raise UnblurError("the burst has one frame only. Give the other ones in frames.")
    burst = [first]
    for number, frame in enumerate(others, start=2):
        layout, picture, _ = taken_apart(frame)
        if (layout.is_numpy, layout.shape) != (photo.is_numpy, photo.shape):
            raise UnblurError(f"frame {number} ({layout}) must be of the kind and shape of the first one ({photo}).")
        burst.append(picture.to(first.device))
    return torch.stack(burst, 1)


def _log_if_unchanged(result: Result[Tensor]) -> None:
    if not result.changed and result.notes:
        logging.getLogger("unblur").info(result.notes[0])
