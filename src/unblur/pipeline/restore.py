"""A photo in a file -> the restored photo in another file, and what is to be said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from unblur.image_io import ImageFileError, Photo, check_writable, read_photo, write_photo, write_psf
from unblur.image_io.write import FORMATS, check_place, put_in_place
from unblur.imaging.psf import PsfDescription, describe_psf
from unblur.pipeline.options import Options
from unblur.pipeline.picture import estimate_psf_of, restore_picture
from unblur.pipeline.report import write_report
from unblur.types import Observation, Progress

PSF_SUFFIXES = {".npy", ".png", ".tif", ".tiff"}


@dataclass(frozen=True)
class FileResult:
    """What became of one photo.

    Attributes:
        input: the file read.
        output: the file written.
        method: the chain of methods.
        psf: the PSF given or estimated, as the last method used it, `(h, w)`; None when there was none.
        noise_sigma: on the [0, 1] scale; None for a photo too small to measure.
        seconds: from reading to writing.
        changed: False when the photo is as it was.
        notes: plain sentences for the person; the first says why, when nothing changed.
        reason: why this method, in a few plain words.
        stages: intermediate pictures by name, `(1, C, H, W)`.
    """

    input: Path
    output: Path
    method: str
    psf: Tensor | None
    noise_sigma: float | None
    seconds: float
    changed: bool
    notes: list[str] = field(default_factory=list)
    reason: str = ""
    stages: Mapping[str, Tensor] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The figures under their names; `psf_size` is the longer side in pixels, or None."""
        return {
            "input": str(self.input),
            "output": str(self.output),
            "method": self.method,
            "reason": self.reason,
            "psf_size": None if self.psf is None else max(self.psf.shape),
            "noise_sigma": self.noise_sigma,
            "seconds": round(self.seconds, 3),
            "changed": self.changed,
            "notes": self.notes,
        }


def restore_file(
    path: Path,
    output: Path,
    options: Options,
    progress: Progress | None = None,
    *,
    known: Observation | None = None,
    noisy: Path | None = None,
    overwrite: bool = False,
    report: Path | None = None,
) -> FileResult:
    """Restore the photo at `path` into `output`, which appears whole or not at all.

    What the photo carried (EXIF, colour profile, resolution, transparency, depth) is kept. A photo that is better
    left alone is copied: byte by byte where the format stays the same, else pixel by pixel.

    Args:
        path: the photo.
        output: where the result goes; its suffix names the format.
        options: what to do.
        progress: told of the stages; may cancel.
        known: what is known besides the pictures: psf, sigma, exposure ratio.
        noisy: a short, noisy shot of the same scene, of the same size; it is not aligned.
        overwrite: whether `output` and `report` may replace a file.
        report: where a picture of before, after and PSF goes.

    Raises:
        UnblurError: one line naming what is wrong and the remedy; nothing is written then, except where the report
            alone could not be.
        Cancelled: after `progress.cancel()`; nothing is written then.
    """
    started = perf_counter()
    progress = progress or Progress()
    known = known or Observation()
    pictures = {"blurry", *([] if noisy is None else ["noisy"])}
    options.plan(known.given() | pictures)  # what does not fit together is said before anything is read
    check_writable(output, overwrite=overwrite, source=path)
    if report is not None:
        if report.resolve() in (output.resolve(), path.resolve()):
            raise ImageFileError(report, "the report needs a place of its own. Choose another name with --report.")
        check_writable(report, overwrite=overwrite, source=path, option="--report")
    progress.stage("reading")
    photo = read_photo(path)
    check_writable(output, overwrite=overwrite, source=path, photo=photo)
    _check_psf_fits(known.psf, photo, path)
    short = None if noisy is None else _picture(_read_short_shot(noisy, photo, path))
    observation = replace(known, blurry=_picture(photo), noisy=short)
    outcome = restore_picture(observation, options, progress)
    progress.stage("writing")
    if outcome.changed:
        pixels = outcome.image[0].permute(1, 2, 0).numpy()  # (H, W, C); the writer clips whole-number formats
        notes = [*photo.notes, *write_photo(photo.with_pixels(pixels), output, overwrite=overwrite, source=path)]
    else:
        notes = _copy(photo, path, output, overwrite=overwrite)
    result = FileResult(
        input=path,
        output=output,
        method=outcome.method,
        psf=outcome.psf,
        noise_sigma=outcome.sigma,
        seconds=perf_counter() - started,
        changed=outcome.changed,
        notes=[*outcome.notes, *notes],
        reason=outcome.reason,
        stages=outcome.stages,
    )
    if report is not None:
        write_report(photo.pixels, outcome.image, result, report, overwrite=overwrite)
    return result


def _check_psf_fits(psf: Tensor | None, photo: Photo, path: Path) -> None:
    if psf is None:
        return
    (rows, columns), (height, width) = psf.shape[-2:], photo.pixels.shape[:2]
    if rows > height or columns > width:
        raise ImageFileError(
            path, f"it is {width} x {height} px, smaller than the PSF ({columns} x {rows} px). Crop the PSF."
        )


def _read_short_shot(noisy: Path, photo: Photo, path: Path) -> Photo:
    """The short shot of a pair, upright as the photo is."""
    short = read_photo(noisy)
    (height, width, channels), (rows, columns, colours) = photo.pixels.shape, short.pixels.shape
    if (height, width) != (rows, columns):
        raise ImageFileError(
            noisy,
            f"it is {columns} x {rows} px, and {path} is {width} x {height} px. The two shots must be of one size; "
            "they are not aligned yet.",
        )
    if channels != colours:
        raise ImageFileError(noisy, f"one of it and {path} is grey, the other in colour. Save both alike.")
    return short


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
    observation = replace(known or Observation(), blurry=_picture(read_photo(path)))
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


def _picture(photo: Photo) -> Tensor:
    """A photo's pixels `(H, W, C)` as a picture `(1, C, H, W)`."""
    return torch.from_numpy(photo.pixels).permute(2, 0, 1)[None].contiguous()


def _copy(photo: Photo, path: Path, output: Path, *, overwrite: bool) -> list[str]:
    """Write the photo as it was; notes on what the copy lacks, none where it is byte for byte the same."""
    formats = {FORMATS.get(path.suffix.lower()), FORMATS[output.suffix.lower()], photo.format}
    if len(formats) > 1:  # the suffix of the input counts too: a GIF or a BMP is read as a PNG
        return [*photo.notes, *write_photo(photo, output, overwrite=overwrite, source=path)]
    put_in_place(path.read_bytes(), output, overwrite=overwrite)
    return []
