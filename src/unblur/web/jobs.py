"""One photo that a page has asked to be restored: its state, its progress, and what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from unblur.pipeline.trouble import is_out_of_memory
from unblur.types import Cancelled, Observation, Progress, UnblurError

if TYPE_CHECKING:
    from unblur.pipeline.options import Options
    from unblur.web.kept import KeptPhoto

State = Literal["waiting", "running", "done", "failed", "cancelled"]

REPORT_EVERY = 0.1  # s between two reports of one stage

_log = logging.getLogger("unblur.web")


class Limits(TypedDict):
    """What is refused before it is decoded: more pixels, more bytes."""

    max_pixels: int
    max_bytes: int


class JobProgress(Progress):
    """Writes the progress into fields, and tells that these have changed.

    Attributes:
        name: the stage.
        done: steps of the stage that are done.
        total: steps of the stage, or None.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._told_at = 0.0
        self._changed = changed
        self.name, self.done, self.total = "", 0, None

    def on_stage(self, name: str, total: int | None) -> None:
        """Take over the new stage."""
        self.name, self.done, self.total = name, 0, total
        self._told_at = time.monotonic()
        self._changed()

    def on_advance(self, steps: int, figures: dict[str, float]) -> None:
        """Count; tell not more often than `REPORT_EVERY`."""
        self.done += steps
        now = time.monotonic()
        if now - self._told_at >= REPORT_EVERY:
            self._told_at = now
            self._changed()


@dataclass(eq=False)
class Job:
    """One photo to be restored. Made in the thread of the server, run in a thread for work.

    Attributes:
        id: its name in addresses.
        owner: the session.
        photo: id of the photo.
        name: file name of the photo.
        data: bytes of the photo.
        noisy: bytes of the short shot.
        options: what to do.
        known: what is known besides the pictures.
        limits: what is refused.
        changed: called, from any thread, when something about the job has changed.
        state: see `State`.
        error: why it failed, in one sentence.
        kept: the restored photo.
        preview: the restored photo as JPEG.
        psf: the PSF as PNG, or None.
        facts: what is to be said about the result.
    """

    id: str
    owner: str
    photo: str
    name: str
    data: bytes
    noisy: bytes | None
    options: Options
    known: Observation
    limits: Limits
    changed: Callable[[Job], None]
    state: State = "waiting"
    error: str = ""
    kept: KeptPhoto | None = None
    preview: bytes = b""
    psf: bytes | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the progress."""
        self.progress = JobProgress(lambda: self.changed(self))

    def run(self) -> None:
        """Restore the photo. Errors are written into the job."""
        self.state = "running"
        self.changed(self)
        try:
            self._restore()
            self.state = "done"
        except Cancelled:
            self.state = "cancelled"
        except UnblurError as error:
            self.state, self.error = "failed", str(error)
        except Exception as error:
            self.state = "failed"
            if is_out_of_memory(error):
                self.error = f"{self.name}: there is not enough memory for it. Crop or reduce the photo."
            else:
                _log.exception("a photo could not be restored")
                self.error = f"{self.name}: {type(error).__name__} (the terminal of `unblur web` shows the details)."
        self.changed(self)

    def cancel(self) -> None:
        """Stop at the next report; a job that waits is not started."""
        self.progress.cancel()
        if self.state == "waiting":
            self.state = "cancelled"
        self.changed(self)

    def release(self) -> None:
        """Stop, and keep nothing of the photo."""
        self.progress.cancel()
        self.data, self.noisy, self.preview, self.psf, self.known = b"", None, b"", None, Observation()
        if self.kept is not None:
            self.kept.release()
            self.kept = None

    def as_json(self) -> dict[str, Any]:
        """What the page is told."""
        stage = {"name": self.progress.name, "done": self.progress.done, "total": self.progress.total}
        return {
            "job": self.id,
            "photo": self.photo,
            "state": self.state,
            "stage": stage,
            "error": self.error,
            "result": self.facts or None,
        }

    def _restore(self) -> None:
        from unblur.imaging.psf import describe_psf
        from unblur.pipeline.in_memory import restore_to_keep
        from unblur.web.kept import KeptPhoto
        from unblur.web.pictures import shown_psf, shown_restored

        made = restore_to_keep(
            self.data,
            self.options,
            self.progress,
            known=self.known,
            noisy=self.noisy,
            name=self.name,
            **self.limits,
        )
        self.progress.stage("preparing the preview")
        result = made.result
        self.preview = shown_restored(made.photo, made.outcome.image)
        self.psf = None if result.psf is None else shown_psf(result.psf)
        self.kept = KeptPhoto(made)
        self.facts = {
            "method": result.method,
            "reason": result.reason,
            "changed": result.changed,
            "seconds": result.seconds,
            "noise": result.noise_sigma,
            "psf": None if result.psf is None else describe_psf(result.psf).words,
            "notes": result.notes,
            "output": result.output.name,
        }
