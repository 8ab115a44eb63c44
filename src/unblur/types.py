"""What every part of the package shares: what the camera gave, what was restored, and the progress of long tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Array = TypeVar("Array")


class UnblurError(Exception):
    """Something a person can put right: a file, an option, a setting.

    The message is one line saying what was wrong, with what, and what to do. The command line
    prints it without a traceback and exits with code 2.
    """


class Cancelled(Exception):
    """Raised inside long work after `Progress.cancel` was called."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What the camera gave us. Fields a method does not need may be None.

    Attributes:
        blurry: the blurred photo, `(B, C, H, W)` float32 in [0, 1], C = 1 or 3.
        noisy: a short, sharp but noisy exposure of the same scene, same shape as `blurry`.
        psf: the point spread function, `(B, 1, h, w)`; odd sides, non-negative, sums to 1, centred.
            The model is convolution: `blurry = convolve(sharp, psf) + noise`.
        psf_estimated: True when `psf` was estimated from the picture, so that its details may be wrong.
        frames: consecutive frames of one scene, `(B, T, C, H, W)`.
        exposure_ratio: long exposure divided by short exposure, for a blurry/noisy pair; above 0.
        sigma: standard deviation of the noise of `blurry` on the [0, 1] scale, at most 0.5; None: it is measured.

    Raises:
        UnblurError: `sigma` or `exposure_ratio` out of range, or a tensor with the wrong number of axes.
    """

    blurry: Tensor | None = None
    noisy: Tensor | None = None
    psf: Tensor | None = None
    psf_estimated: bool = False
    frames: Tensor | None = None
    exposure_ratio: float | None = None
    sigma: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers out of range, and tensors with the wrong number of axes."""
        for name, axes in (("blurry", "BCHW"), ("noisy", "BCHW"), ("psf", "B1hw"), ("frames", "BTCHW")):
            tensor = getattr(self, name)
            if tensor is not None and tensor.ndim != len(axes):
                missing = " Add axes of size 1, as in psf[None, None]." if tensor.ndim < len(axes) else ""
                raise UnblurError(
                    f"{name} of an Observation must be ({', '.join(axes)}), not {tuple(tensor.shape)}.{missing}"
                )
        if self.sigma is not None and not 0 <= self.sigma <= 0.5:
            raise UnblurError(
                f"sigma is the noise's standard deviation on the 0..1 scale, 0.5 at the most, not {self.sigma:g}; "
                "for 5 of 255 levels give 0.0196 (or --sigma 5/255)."
            )
        if self.exposure_ratio is not None and not 0 < self.exposure_ratio < float("inf"):
            raise UnblurError(
                f"the exposure ratio is the long exposure divided by the short one, not {self.exposure_ratio:g}."
            )

    def pictures(self) -> dict[str, Tensor]:
        """The pictures of one scene, by the names of their fields; the last two axes of each are `(H, W)`."""
        fields = {"blurry": self.blurry, "noisy": self.noisy, "frames": self.frames}
        return {name: picture for name, picture in fields.items() if picture is not None}

    def given(self) -> frozenset[str]:
        """The names of the inputs that are there: pictures, `psf`, `exposure_ratio`."""
        further = {"psf": self.psf, "exposure_ratio": self.exposure_ratio}
        return frozenset({*self.pictures(), *(name for name, value in further.items() if value is not None)})

    def photo(self) -> Tensor:
        """The picture to be restored, `(B, C, H, W)`: the blurry one, else the noisy one, else the first frame.

        Raises:
            UnblurError: when there is no picture.
        """
        if self.blurry is not None:
            return self.blurry
        if self.noisy is not None:
            return self.noisy
        if self.frames is None:
            raise UnblurError("there is nothing to restore: no picture was given.")
        return self.frames[:, 0]

    def with_pictures(self, change: Callable[[Tensor], Tensor]) -> Observation:
        """The same observation with every picture changed alike: cut, padded, or with other channels.

        Args:
            change: is given pictures `(B, C, H, W)` or frames `(B, T, C, H, W)` and returns them changed.
        """
        changed: dict[str, Any] = {name: change(picture) for name, picture in self.pictures().items()}
        return replace(self, **changed)

    def to(self, device: torch.device | str) -> Observation:
        """The same observation with all its tensors on `device`; those that are there already are not copied."""
        tensors = {**self.pictures(), **({} if self.psf is None else {"psf": self.psf})}
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in tensors.items()}
        return replace(self, **moved)


@dataclass(slots=True)
class Restoration:
    """What a method gives back.

    Attributes:
        image: the restored picture, `(B, C, H, W)`; None for a method that only estimates a PSF.
        psf: the PSF used or estimated, `(B, 1, h, w)`.
        stages: intermediate pictures by name (a denoised stage, a coarse scale).
        changed: False when the picture came back as it was, because that was better.
        notes: plain sentences for the person: what was found, what was done, what to doubt.
    """

    image: Tensor | None = None
    psf: Tensor | None = None
    stages: dict[str, Tensor] = field(default_factory=dict)
    changed: bool = True
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Result(Generic[Array]):
    """What became of one picture, and why.

    `unblur.restore(..., full=True)` returns it with arrays of the kind that came in (numpy or torch).

    Attributes:
        image: the restored picture; when nothing changed, the picture as it came in.
        psf: the PSF given or estimated, as the last method used it, `(h, w)`, credible or not; None: there was none.
        stages: intermediate pictures by name, float32: `(H, W, C)` in numpy, `(C, H, W)` in torch; their values may be
            negative where they are differences. A step that works in tiles leaves none.
        changed: False when the picture is as it was; the first note, if there is one, says why.
        method: the chain of methods, `a+b`.
        reason: why this method, in a few plain words.
        sigma: the noise's standard deviation on the [0, 1] scale, given or measured; None for a picture too small to
            measure.
        notes: plain sentences: what was found, what was done, what to doubt.
    """

    image: Array
    psf: Array | None = None
    stages: Mapping[str, Array] = field(default_factory=dict)
    changed: bool = True
    method: str = ""
    reason: str = ""
    sigma: float | None = None
    notes: list[str] = field(default_factory=list)


class Progress:
    """How a long task reports its progress, and how it is cancelled. This base class shows nothing.

    A method calls `stage` once per phase and `advance` inside its loop, and may call `preview`. Whoever started the
    work overrides `on_stage`, `on_advance` and `on_preview` in a subclass to draw them.

    Threads: one `Progress` belongs to one piece of work. `cancel` and `cancelled` may be used from any thread; the next
    `stage`, `advance` or `preview` then raises `Cancelled`. The `on_` methods are called in the thread that does the
    work, or in threads that it has started, but never two at a time; so they need no lock of their own. They should
    return soon, and must not wait for the work.
    """

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._reporting = threading.RLock()

    def cancel(self) -> None:
        """Ask the work to stop at its next report. Does not wait for it."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether someone asked the work to stop."""
        return self._cancelled.is_set()

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a phase called `name` of `total` steps (None: not known).

        Raises:
            Cancelled: after `cancel`.
        """
        with self._reporting:
            self._check()
            self.on_stage(name, total)

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Say that `steps` more steps are done, with figures worth showing (a loss, say).

        Raises:
            Cancelled: after `cancel`.
        """
        with self._reporting:
            self._check()
            self.on_advance(steps, figures)

    def preview(self, **pictures: Tensor) -> None:
        """Show what there is so far: tensors `(B, C, H, W)` by name, which must not be changed.

        Raises:
            Cancelled: after `cancel`.
        """
        with self._reporting:
            self._check()
            self.on_preview(pictures)

    def on_stage(self, name: str, total: int | None) -> None:
        """Called when a phase starts; does nothing unless a subclass draws it."""

    def on_advance(self, steps: int, figures: dict[str, float]) -> None:
        """Called at every advance; does nothing unless a subclass draws it."""

    def on_preview(self, pictures: dict[str, Tensor]) -> None:
        """Called with a preview; does nothing unless a subclass draws it."""

    def _check(self) -> None:
        if self.cancelled:
            raise Cancelled
