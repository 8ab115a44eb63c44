"""A photo's file in, the restored photo's file out, and what is to be said about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from unblur.image_io import (
    MAX_BYTES,
    MAX_PIXELS,
    ImageFileError,
    Photo,
    check_writable,
    encode_photo,
    read_photo,
)
from unblur.image_io.metadata import exposure_of
from unblur.image_io.read import read_bytes
from unblur.image_io.write import FORMATS, check_format_holds, put_in_place, srgb_values
from unblur.imaging.short_shot import AlignedShot, NotOneScene, align_short
from unblur.imaging.synthesis.camera import to_srgb
from unblur.pipeline.options import Options
from unblur.pipeline.picture import restore_picture
from unblur.pipeline.report import write_report
from unblur.types import Observation, Progress, Result


@dataclass(frozen=True)
class FileResult:
    """What became of one photo.

    Attributes:
        input: the file read, or the name given to the bytes.
        output: the file written, or a name that fits the bytes returned.
        method: the chain of methods.
        psf: the PSF given or estimated, as the last method used it, `(h, w)`; None when there was none.
        noise_sigma: on the [0, 1] scale; None for a photo too small to measure.
        seconds: from reading to writing.
        changed: False when the photo is as it was.
        notes: plain sentences for the person; the first says why, when nothing changed. The last list what the
            format of the output could not keep.
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
    keep: Sequence[Path] = (),
    overwrite: bool = False,
    report: Path | None = None,
    preview: Callable[[np.ndarray, Tensor], None] | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
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
        noisy: a short, noisy shot of the same scene, of any size; it is aligned to the photo unless `options.align` is
            False.
        keep: further files that are never replaced: that of the PSF, of weights, of a method.
        overwrite: whether `output` and `report` may replace a file.
        report: where a picture of before, after and PSF goes.
        preview: called with the photo `(H, W, C)` and the restored picture `(1, C, H, W)`, after the file was written.
        max_pixels: a photo whose header declares more is refused before it is decoded.
        max_bytes: a larger file is refused before it is read.

    Raises:
        UnblurError: one line naming what is wrong and the remedy; nothing is written then. If only the report cannot be
            written, the photo has been.
        Cancelled: after `progress.cancel()`; nothing is written then.
    """
    started = perf_counter()
    progress = progress or Progress()
    known = known or Observation()
    pictures = {"blurry", *([] if noisy is None else ["noisy"])}
    options.plan(known.given() | pictures)  # what does not fit together is said before anything is read
    check_places(path, output, noisy=noisy, keep=keep, overwrite=overwrite, report=report)
    progress.stage("reading")
    photo = read_photo(path, max_pixels=max_pixels, max_bytes=max_bytes)
    short = None if noisy is None else read_photo(noisy, max_pixels=max_pixels, max_bytes=max_bytes)
    observation, aligned = observed(photo, path, short, noisy, known, options, progress)
    outcome = restored(observation, aligned, options, progress, photo, path, output)
    content, notes = content_of(outcome, photo, output, original=lambda: read_bytes(path, max_bytes))
    put_in_place(content, output, overwrite=overwrite)
    result = file_result(path, output, outcome, notes, started)
    before, after = photo.pixels, outcome.image
    if photo.linear and (preview is not None or report is not None):
        before, after = srgb_values(before), to_srgb(after.clamp(0, 1))
    if preview is not None:
        preview(before, after)
    if report is not None:
        write_report(before, after, result, report, overwrite=overwrite)
    return result


def check_places(
    path: Path,
    output: Path,
    *,
    noisy: Path | None = None,
    keep: Sequence[Path] = (),
    overwrite: bool = False,
    report: Path | None = None,
) -> None:
    """Check that the results of `restore_file` can be written, before anything is read; arguments as there.

    Raises:
        ImageFileError: one line naming the file and the remedy.
    """
    for source in (path, *([] if noisy is None else [noisy]), *keep):
        check_writable(output, overwrite=overwrite, source=source)
        if report is not None:
            if report.resolve() in (output.resolve(), source.resolve()):
                raise ImageFileError(report, "the report needs a place of its own. Choose another name with --report.")
            check_writable(report, overwrite=overwrite, source=source, option="--report")


def restored(
    observation: Observation,
    aligned: AlignedShot | None,
    options: Options,
    progress: Progress,
    photo: Photo,
    path: Path,
    output: Path,
) -> Result[Tensor]:
    """What became of a photo.

    Args:
        observation: the pictures, and what is known besides.
        aligned: the short shot of a pair, if it was aligned.
        options: what to do.
        progress: told of the stages; may cancel.
        photo: the input.
        path: what messages call the input.
        output: what messages call the output; its suffix names the format.

    Raises:
        UnblurError: one line saying what is wrong and the remedy.
        Cancelled: after `progress.cancel()`.
    """
    check_format_holds(photo, FORMATS[output.suffix.lower()], output)
    _check_psf_fits(observation.psf, photo, path)
    outcome = restore_picture(observation, options, progress)
    if aligned is not None:
        outcome = aligned.added_to(outcome, picture_of(photo), options.strength)
    progress.stage("writing")
    return outcome


def content_of(
    outcome: Result[Tensor], photo: Photo, output: Path, original: Callable[[], bytes]
) -> tuple[bytes, list[str]]:
    """The bytes of the output, and what these do not hold of the input.

    Args:
        outcome: what became of the photo.
        photo: the input.
        output: what messages call the output; its suffix names the format.
        original: gives the bytes of the input, for a copy byte by byte.

    Raises:
        ImageFileError: the format cannot hold the photo.
    """
    format = FORMATS[output.suffix.lower()]
    if not outcome.changed and photo.format == format:
        return original(), []
    if outcome.changed:
        pixels = outcome.image[0].permute(1, 2, 0).numpy()  # (H, W, C); the encoder clips whole-number formats
        photo = photo.with_pixels(pixels)
    content, notes = encode_photo(photo, format, output)
    return content, [*photo.notes, *notes]


def file_result(path: Path, output: Path, outcome: Result[Tensor], notes: list[str], started: float) -> FileResult:
    """What is to be said of a photo; `started` is the time of `perf_counter` when it was read."""
    return FileResult(
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


def _check_psf_fits(psf: Tensor | None, photo: Photo, path: Path) -> None:
    if psf is None:
        return
    (rows, columns), (height, width) = psf.shape[-2:], photo.pixels.shape[:2]
    if rows > height or columns > width:
        raise ImageFileError(
            path, f"it is {width} x {height} px, smaller than the PSF ({columns} x {rows} px). Crop the PSF."
        )


def observed(
    photo: Photo,
    path: Path,
    short: Photo | None,
    short_path: Path | None,
    known: Observation,
    options: Options,
    progress: Progress,
) -> tuple[Observation, AlignedShot | None]:
    """The photo, the short shot if there is one, and what is known besides; and how the shot was aligned."""
    observation = replace(known, blurry=picture_of(photo))
    if short is None:
        return observation, None
    assert short_path is not None
    (height, width, channels), (rows, columns, colours) = photo.pixels.shape, short.pixels.shape
    if channels != colours:
        raise ImageFileError(short_path, f"it and {path} must both be grey, or both be in colour.")
    if photo.linear or short.linear:
        raise ImageFileError(
            short_path if short.linear else path,
            "pairs of camera RAW are not restored. Convert both shots to TIFF first.",
        )
    if not options.align:
        if (height, width) != (rows, columns):
            raise ImageFileError(
                short_path,
                f"it is {columns} x {rows} px, and {path} is {width} x {height} px. Shots that are not to be aligned "
                "must be of one size.",
            )
        return replace(observation, noisy=picture_of(short)), None
    try:
        aligned = align_short(
            picture_of(short),
            picture_of(photo),
            progress,
            ratio=known.exposure_ratio,
            exposures=_ratio_of_exposures(photo, short),
        )
    except NotOneScene as error:
        raise ImageFileError(short_path, f"{error}, with {path}. Give the short shot that belongs to it.") from None
    return replace(observation, blurry=aligned.long, noisy=aligned.picture), aligned


def _ratio_of_exposures(long: Photo, short: Photo) -> float | None:
    """The long exposure divided by the short one, from their EXIF; None if one of them does not say."""
    of_long, of_short = exposure_of(long.exif), exposure_of(short.exif)
    return None if of_long is None or of_short is None else of_long / of_short


def picture_of(photo: Photo) -> Tensor:
    """A photo's pixels `(H, W, C)` as a picture `(1, C, H, W)`."""
    return torch.from_numpy(photo.pixels).permute(2, 0, 1)[None].contiguous()
