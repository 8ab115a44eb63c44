"""`unblur restore`: restore photos."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unblur.cli.console import (
    USER_ERROR,
    Device,
    Weights,
    check_psf_size,
    is_out_of_memory,
    parse_settings,
    parse_sigma,
    progress_bar,
    say_error,
    with_weights,
)
from unblur.types import Cancelled, Observation, UnblurError

if TYPE_CHECKING:
    from unblur.pipeline.options import Options
    from unblur.pipeline.restore import FileResult


def restore(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO", help="JPEG, PNG, TIFF or WebP.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A file, or a folder for several photos. Default: PHOTO.restored.jpg beside the photo.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option("--method", "-m", help="auto, a method (see `unblur methods`), a chain a+b, or a file ./mine.py."),
    ] = "auto",
    psf: Annotated[
        Path | None,
        typer.Option("--psf", metavar="FILE", help="The PSF, if it is known: .npy, .tif or .png."),
    ] = None,
    noisy: Annotated[
        Path | None,
        typer.Option(
            "--noisy",
            metavar="FILE",
            help="A short, noisy shot of the same scene (one photo only). It is aligned to PHOTO.",
        ),
    ] = None,
    exposure_ratio: Annotated[
        float | None,
        typer.Option("--exposure-ratio", metavar="R", help="Exposure of the photo divided by that of --noisy."),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align/--no-align", help="Move --noisy onto the photo, and make it as bright.")
    ] = True,
    psf_size: Annotated[
        int | None, typer.Option("--psf-size", metavar="N", help="Side in pixels of the PSF to estimate, odd.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; may be repeated."),
    ] = None,
    weights: Weights = None,
    strength: Annotated[
        float, typer.Option(help="Blend of photo and result: 0 is the photo, 1 the restored photo.")
    ] = 1.0,
    sigma: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="The noise on the 0..1 scale, like 0.02 or 5/255. Default: measured."),
    ] = None,
    device: Device = "cpu",
    report: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Also write one picture with before, after, PSF and figures."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per photo.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Keep the result even when it is not credible.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Restore blurred photos.

    The photo file itself is not changed. Where restoring would make a photo worse, the photo is copied unchanged and
    the reason is printed.
    """
    if noisy is not None and len(photos) > 1:
        raise UnblurError(f"--noisy {noisy} belongs to one photo, not to {len(photos)}. Restore them one by one.")
    known = _known(psf, parse_sigma(sigma), exposure_ratio)
    given_settings = with_weights(parse_settings(settings or []), weights)
    options = _options(method, psf_size, given_settings, strength, force, device, align)
    options.plan(known.given() | {"blurry", *([] if noisy is None else ["noisy"])})  # before the first photo is read
    given, photos = len(photos), _without_folders(photos)
    outputs = destinations(photos, output, "restored")
    reports = [None] * len(photos) if report is None else destinations(photos, report, "report")
    keep = [file for file in (psf, weights, *map(Path, method.split("+"))) if file is not None and file.is_file()]
    failed = len(photos) < given
    for photo, destination, sheet in zip(photos, outputs, reports, strict=True):
        files = _Files(photo, noisy, destination, sheet, keep, overwrite)
        result = _restore_one(files, known, options, quiet=quiet, alone=given == 1)
        if result is None:
            failed = True
        elif as_json:
            typer.echo(json.dumps(result.as_json()))
        elif not quiet:
            _tell(result)
    if failed:
        raise typer.Exit(USER_ERROR)


def _without_folders(paths: list[Path]) -> list[Path]:
    """The paths that are not folders; an error is printed for each folder."""
    from unblur.image_io import ImageFileError, default_output

    photos = []
    for path in paths:
        try:
            default_output(path)
        except ImageFileError as error:
            say_error(str(error))
        else:
            photos.append(path)
    return photos


def destinations(photos: list[Path], output: Path | None, tag: str) -> list[Path]:
    """The path of each photo's result. A missing output folder is made.

    Args:
        photos: the photos.
        output: a file or folder; None: beside each photo.
        tag: what is added to the name, `a.jpg` -> `a.TAG.jpg`.

    Raises:
        UnblurError: when one file is named for several photos, two photos would go to the same file, or the folder
            cannot be made.
    """
    from unblur.image_io import default_output
    from unblur.image_io.write import FORMATS

    if output is None:
        places = [default_output(photo, tag) for photo in photos]
    elif output.is_dir() or len(photos) > 1 or not (output.suffix or output.exists()):
        if not output.is_dir() and (output.exists() or output.suffix.lower() in FORMATS):
            raise UnblurError(f"{output}: {len(photos)} photos do not go into one file. Name a folder.")
        places = [output / default_output(photo, tag).name for photo in photos]
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnblurError(f"{output}: this folder cannot be made ({error.strerror}). Name another one.") from None
    else:
        places = [output]
    for i, place in enumerate(places):
        if place in places[:i]:
            first = photos[places.index(place)]
            raise UnblurError(f"{first} and {photos[i]} would both go to {place}. Restore them one by one.")
    return places


@dataclass(frozen=True)
class _Files:
    """The input files and output files of one photo."""

    photo: Path
    noisy: Path | None
    output: Path
    report: Path | None
    keep: list[Path]
    overwrite: bool


def _known(psf: Path | None, sigma: float | None, exposure_ratio: float | None) -> Observation:
    """An observation of what was given besides the pictures."""
    import torch

    from unblur.image_io import read_psf

    plane = None if psf is None else torch.from_numpy(read_psf(psf))[None, None]  # (1, 1, h, w)
    return Observation(psf=plane, sigma=sigma, exposure_ratio=exposure_ratio)


def _options(
    method: str, psf_size: int | None, settings: dict[str, str], strength: float, force: bool, device: str, align: bool
) -> Options:
    from unblur.pipeline.options import Options

    check_psf_size(psf_size)
    return Options(method, psf_size, settings, strength, force, device, align=align)


def _restore_one(files: _Files, known: Observation, options: Options, *, quiet: bool, alone: bool) -> FileResult | None:
    """Restore one photo. After an error, print it and return None.

    `alone`: this is the only photo, so an unexpected exception is raised with its traceback.
    """
    from unblur.image_io import ImageFileError
    from unblur.pipeline.restore import restore_file

    photo = files.photo
    try:
        with progress_bar(photo.name, quiet=quiet) as progress:
            return restore_file(
                photo,
                files.output,
                options,
                progress,
                known=known,
                noisy=files.noisy,
                keep=files.keep,
                overwrite=files.overwrite,
                report=files.report,
            )
    except Cancelled:
        raise
    except UnblurError as error:
        named = isinstance(error, ImageFileError) or str(photo) in str(error)
        say_error(str(error) if named else f"{photo}: {error}")
    except Exception as error:
        if is_out_of_memory(error):
            say_error(f"{photo}: there is not enough memory for it. Close other programs, or crop or reduce the photo.")
        elif alone:
            raise
        else:
            say_error(f"{photo}: {type(error).__name__}: {error} (restore it alone for the whole traceback)")
    return None


def _tell(result: FileResult) -> None:
    """Print the PSF and the noise level, what was done and why, and the notes."""
    from unblur.imaging.psf import describe_psf

    found = [] if result.psf is None else [f"PSF {describe_psf(result.psf).words}"]
    if result.noise_sigma is not None:
        found.append(f"noise {result.noise_sigma:.4f} ({255 * result.noise_sigma:.1f} of 255)")
    typer.echo(f"{result.input}: {'; '.join(found) or 'nothing measured'}")
    done = f"restored by {result.method} ({result.reason})" if result.changed else "left as it was"
    typer.echo(f"  {done} in {result.seconds:.1f} s -> {result.output}")
    for note in result.notes:
        typer.echo(f"  {note}")
