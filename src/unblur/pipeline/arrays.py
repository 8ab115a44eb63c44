"""Restoring for programmers: numpy arrays or torch tensors in, the same kind out.

| a picture in | shapes | types | values |
|---|---|---|---|
| numpy | `(H, W)`, `(H, W, C)` | uint8, uint16, floating point | all of the integer's range, or [0, 1] |
| torch | `(H, W)`, `(C, H, W)`, `(B, C, H, W)` | the same | the same |

C is 1 (grey), 3 (RGB), or 2 or 4 with an alpha channel last, which comes back untouched. What comes back has the
shape, the type and the device of what went in. Whole numbers are rounded and kept in their range; floating-point
results are not clipped. Work is done in float32. Pictures are sRGB (or linear) as they are: nothing is converted.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from unblur.imaging.psf import normalize_psf
from unblur.pipeline.chain import DEFAULT_ESTIMATOR, DEFAULT_NON_BLIND
from unblur.pipeline.picture import Options, Outcome, estimate_psf_of, restore_picture
from unblur.types import Progress, UnblurError

Array = TypeVar("Array", np.ndarray, Tensor)

_LEVELS = {torch.uint8: 255, torch.uint16: 65535}
_FARTHEST = 2.0  # a floating-point value beyond is no overshoot of [0, 1] but another scale


def restore(
    image: Array,
    *,
    method: str = "auto",
    psf: np.ndarray | Tensor | None = None,
    psf_size: int | None = None,
    sigma: float | None = None,
    strength: float = 1.0,
    force: bool = False,
    settings: Mapping[str, Any] | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> Array:
    """Restore a blurred or noisy picture.

    A picture that is not blurred, or whose blur cannot be found credibly, comes back as it was, with a
    `UserWarning` that says why. Every picture of a batch has its own PSF estimated.

    Args:
        image: numpy or torch; shapes, types and ranges are in the module's table.
        method: a method (`unblur.methods.names()`), a chain `a+b`, a file `./mine.py`, or "auto":
            `wiener_stack` when a PSF is given, else `l0_psf+wiener_stack`.
        psf: the known PSF, `(h, w)`, odd sides, non-negative, of any sum above 0. None: it is estimated.
        psf_size: odd side in pixels of the PSF to estimate. None: found automatically.
        sigma: standard deviation of the noise on the [0, 1] scale; more gives a smoother result. None: measured.
        strength: 0 returns the picture as it was, 1 restores it fully, linearly between.
        force: True returns the result even when it is not credible.
        settings: the method's settings, by `key` or `method.key`.
        device: where the work is done: "cpu", "cuda", "cuda:1", ... None: where `image` is.
        progress: told of the stages; may cancel.

    Returns:
        A new picture like `image`.

    Raises:
        UnblurError: a picture, PSF, device or option that will not do; the message names the remedy.
        Cancelled: after `progress.cancel()`.
    """
    options = Options(method, _psf(psf), psf_size, settings or {}, strength, sigma, force, device)
    options.chain()  # an option that will not do is not the picture's fault
    layout, pictures, alpha = _taken_apart(image)
    restored = []
    for picture in pictures:
        outcome = restore_picture(picture[None], options, progress or Progress())
        _warn_if_unchanged(outcome)
        restored.append(outcome.image)
    return layout.put_together(torch.cat(restored), alpha)


def deconvolve(
    image: Array,
    psf: np.ndarray | Tensor,
    method: str = DEFAULT_NON_BLIND,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    settings: Mapping[str, Any] | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> Array:
    """Restore a picture whose PSF is known: `image = convolve(sharp, psf) + noise`.

    Arguments, result and errors as for `restore`, but for the method, which is the quickest good one unless you say.
    """
    return restore(
        image,
        method=method,
        psf=psf,
        sigma=sigma,
        strength=strength,
        settings=settings,
        device=device,
        progress=progress,
    )


def estimate_psf(
    image: Array,
    method: str = DEFAULT_ESTIMATOR,
    *,
    size: int | None = None,
    sigma: float | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> Array:
    """Estimate the PSF that blurred one picture, on its Rec. 601 luma.

    An estimate that does not explain the picture is returned all the same, with a `UserWarning`.

    Args:
        image: as for `restore`; a batch must hold one picture.
        method: a method that gives a psf.
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
    layout, pictures, _ = _taken_apart(image)
    if len(pictures) != 1:
        raise UnblurError(f"a PSF is estimated from one picture, not from {len(pictures)}. Call once for each.")
    options = Options(method, psf_size=size, settings=settings or {}, sigma=sigma, device=device)
    found = estimate_psf_of(pictures, options, progress or Progress())
    assert found.psf is not None
    _warn_if_unchanged(found)
    psf: Any = found.psf.cpu().numpy() if layout.is_numpy else found.psf
    return psf


@dataclass(frozen=True)
class _Layout:
    """How a picture came in, so that the result goes out alike."""

    is_numpy: bool
    shape: torch.Size
    dtype: torch.dtype

    def put_together(self, pictures: Tensor, alpha: Tensor | None) -> Any:
        """`(B, C, H, W)` float32 as what came in, with its alpha as it was."""
        if self.dtype in _LEVELS:
            top = _LEVELS[self.dtype]
            # torch converts float to uint16 on no device but the CPU before 2.7; int32 is safe everywhere
            pictures = (pictures * top + 0.5).floor().clamp(0, top).to(torch.int32)
        pictures = pictures.to(self.dtype)
        if alpha is not None:
            pictures = torch.cat([pictures, alpha], dim=1)
        if not self.is_numpy:
            return pictures.reshape(self.shape)
        return np.ascontiguousarray(pictures[0].permute(1, 2, 0).numpy()).reshape(self.shape)


def _taken_apart(image: Any) -> tuple[_Layout, Tensor, Tensor | None]:
    """The layout, the colours `(B, C, H, W)` as float32 in [0, 1], and the alpha `(B, 1, H, W)` as it came."""
    is_numpy = isinstance(image, np.ndarray)
    if not is_numpy and not isinstance(image, Tensor):
        raise UnblurError(f"a picture is a numpy array or a torch tensor, not a {type(image).__name__}.")
    if 0 in image.shape:
        raise UnblurError(f"the picture is empty: its shape is {tuple(image.shape)}.")
    tensor = _from_numpy(image) if is_numpy else image.detach()
    layout = _Layout(is_numpy, tensor.shape, tensor.dtype)
    batch = _batch(tensor, is_numpy)
    colours = batch.shape[1] - (batch.shape[1] % 2 == 0)
    return layout, _unit_range(batch[:, :colours]), batch[:, colours:] if colours < batch.shape[1] else None


def _from_numpy(image: np.ndarray) -> Tensor:
    if image.dtype not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise UnblurError(f"numpy pictures are uint8, uint16 or floating point, not {image.dtype}. {_CONVERT}")
    native = image.astype(image.dtype.newbyteorder("="), copy=True)  # also what is read-only, or strided backwards
    return torch.from_numpy(np.ascontiguousarray(native))


_CONVERT = "Convert it with its whole range: image.astype('uint8'), or a float in [0, 1]."


def _batch(tensor: Tensor, is_numpy: bool) -> Tensor:
    """As `(B, C, H, W)`, C = 1 to 4."""
    batch = tensor
    if is_numpy and tensor.ndim == 3:
        batch = tensor.permute(2, 0, 1)[None]
    elif tensor.ndim in (2, 3):
        batch = tensor.expand(1, *([1] * (3 - tensor.ndim)), *tensor.shape)
    if batch.ndim == 4 and 1 <= batch.shape[1] <= 4 and not (is_numpy and tensor.ndim == 4):
        return batch
    shapes = "(H, W) or (H, W, C), channels last," if is_numpy else "(H, W), (C, H, W) or (B, C, H, W)"
    kind = "numpy" if is_numpy else "torch"
    raise UnblurError(f"a {kind} picture is {shapes} with C = 1 to 4, not {tuple(tensor.shape)}.")


def _unit_range(batch: Tensor) -> Tensor:
    """As float32 in [0, 1]."""
    if batch.dtype in _LEVELS:
        return batch.to(torch.float32) / _LEVELS[batch.dtype]
    if not batch.dtype.is_floating_point:
        raise UnblurError(f"torch pictures are uint8, uint16 or floating point, not {batch.dtype}. {_CONVERT}")
    values = batch.to(torch.float32).contiguous()
    if not torch.isfinite(values).all():
        raise UnblurError("the picture holds NaN or infinite values. Replace them first.")
    low, high = float(values.min()), float(values.max())
    if high > _FARTHEST or low < 1 - _FARTHEST:
        raise UnblurError(
            f"a floating-point picture is in [0, 1]; this one goes from {low:g} to {high:g}. "
            "Divide it by its white level (255, say)."
        )
    return values


def _psf(psf: Any) -> Tensor | None:
    """A known PSF as `(h, w)` summing to 1."""
    if psf is None:
        return None
    plane = torch.as_tensor(np.array(psf) if isinstance(psf, np.ndarray) else psf).detach().float()
    while plane.ndim > 2 and plane.shape[0] == 1:
        plane = plane[0]
    if plane.ndim != 2 or 0 in plane.shape or not all(side % 2 for side in plane.shape):
        raise UnblurError(f"a PSF is (h, w) with odd sides, so that it has a centre, not {tuple(plane.shape)}.")
    if not torch.isfinite(plane).all() or plane.min() < 0 or plane.max() <= 0:
        raise UnblurError("a PSF is finite and non-negative, with something above 0 in it.")
    return normalize_psf(plane)


def _warn_if_unchanged(outcome: Outcome) -> None:
    if not outcome.changed and outcome.notes:
        warnings.warn(outcome.notes[0], stacklevel=3)
