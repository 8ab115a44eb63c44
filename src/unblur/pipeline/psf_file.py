"""A photo's file in, the file of its PSF out, and what is to be said about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

from torch import Tensor

from unblur.image_io import ImageFileError, read_photo, write_psf
from unblur.image_io.write import check_place
from unblur.imaging.psf import PsfDescription, describe_psf
from unblur.pipeline.options import Options
from unblur.pipeline.picture import estimate_psf_of
from unblur.pipeline.restore import picture_of
from unblur.types import Observation, Progress

PSF_SUFFIXES = {".npy", ".png", ".tif", ".tiff"}


@dataclass(frozen=True)
class PsfResult:
    """The PSF that was found in a photo.

    Attributes:
        input: the photo.
        output: the file written.
        method: the chain of methods.
        psf: `(h, w)`.
        description: its size, spread and angle.
        noise_sigma: on the [0, 1] scale.
        seconds: from reading to writing.
        credible: False when it does not explain the photo, or the photo is not blurred.
        notes: plain sentences for the person; the first says why, when it is not credible.
    """

    input: Path
    output: Path
    method: str
    psf: Tensor
    description: PsfDescription
    noise_sigma: float | None
    seconds: float
    credible: bool
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """The figures under their names; lengths in pixels, the angle in degrees."""
        return {
            "input": str(self.input),
            "output": str(self.output),
            "method": self.method,
            "psf_size": max(self.psf.shape),
            "length": round(self.description.length, 2),
            "width": round(self.description.width, 2),
            "angle": round(self.description.angle, 1),
            "description": self.description.words,
            "noise_sigma": self.noise_sigma,
            "seconds": round(self.seconds, 3),
            "credible": self.credible,
            "notes": self.notes,
        }


def estimate_psf_file(
    path: Path,
    output: Path,
    options: Options,
    progress: Progress | None = None,
    *,
    known: Observation | None = None,
    overwrite: bool = False,
) -> PsfResult:
    """Estimate the PSF of the photo at `path` and write it to `output` (`.png`, `.npy` or `.tif`).

    `known` holds the noise level, if it is known.

    Raises:
        UnblurError: one line naming what is wrong and the remedy; nothing is written then.
        Cancelled: after `progress.cancel()`; nothing is written then.
    """
    started = perf_counter()
    progress = progress or Progress()
    if output.suffix.lower() not in PSF_SUFFIXES:
        raise ImageFileError(output, f"a PSF is not written as '{output.suffix}'. Use .npy, .tif or .png.")
    check_place(output, overwrite=overwrite, source=path)
    progress.stage("reading")
    observation = replace(known or Observation(), blurry=picture_of(read_photo(path)))
    found = estimate_psf_of(observation, options, progress)
    progress.stage("writing")
    assert found.psf is not None
    write_psf(found.psf.numpy(), output, overwrite=overwrite)
    return PsfResult(
        input=path,
        output=output,
        method=found.method,
        psf=found.psf,
        description=describe_psf(found.psf),
        noise_sigma=found.sigma,
        seconds=perf_counter() - started,
        credible=found.changed,
        notes=found.notes,
    )
