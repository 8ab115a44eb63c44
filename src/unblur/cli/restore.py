"""`unblur restore`: photos in, restored photos out."""

from __future__ import annotations

import json
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
from unblur.types import UnblurError

if TYPE_CHECKING:
    from unblur.pipeline.picture import Options
    from unblur.pipeline.restore import FileResult


def restore(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO", help="JPEG, PNG, TIFF or WebP.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A file; or a folder, for several photos. Default: PHOTO.restored.jpg beside the photo.",
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
    psf_size: Annotated[
        int | None, typer.Option("--psf-size", metavar="N", help="Side in pixels of the PSF to estimate.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; may be repeated."),
    ] = None,
    weights: Weights = None,
    strength: Annotated[
        float, typer.Option(help="How far to go: 0 leaves the photo as it is, 1 restores it fully.")
    ] = 1.0,
    sigma: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="The noise on the 0..1 scale, like 0.02 or 5/255. Default: measured."),
    ] = None,
    device: Device = "cpu",
    report: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Also draw before, after, PSF and figures as one picture."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per photo.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Keep a result even when it is not credible.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Restore blurred photos.

    The photo itself is never changed. A photo that would only get worse is copied as it is, with the reason.
    """
    given_settings = with_weights(parse_settings(settings or []), weights)
    options = _options(method, psf, psf_size, given_settings, strength, sigma, force, device)
    given, photos = len(photos), _without_folders(photos)
    outputs = destinations(photos, output, "restored")
    reports = [None] * len(photos) if report is None else destinations(photos, report, "report")
    failed = len(photos) < given
    for photo, destination, sheet in zip(photos, outputs, reports, strict=True):
        result = _restore_one(photo, destination, sheet, options, overwrite=overwrite, quiet=quiet)
        if result is None:
            failed = True
        elif as_json:
            typer.echo(json.dumps(result.as_json()))
        elif not quiet:
            _tell(result)
    if failed:
        raise typer.Exit(USER_ERROR)


def _without_folders(paths: list[Path]) -> list[Path]:
    """The photos among `paths`; what is wrong with the folders is said."""
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
    """Where each photo's result goes; a folder is made where one is meant and missing.

    Raises:
        UnblurError: a file named for several photos, or two photos that would go to one file.
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
            raise UnblurError(f"{output}: no such folder can be made ({error.strerror}). Name another.") from None
    else:
        places = [output]
    for i, place in enumerate(places):
        if place in places[:i]:
            first = photos[places.index(place)]
            raise UnblurError(f"{first} and {photos[i]} would both go to {place}. Restore them one by one.")
    return places


def _options(
    method: str,
    psf: Path | None,
    psf_size: int | None,
    settings: dict[str, str],
    strength: float,
    sigma: str | None,
    force: bool,
    device: str,
) -> Options:
    """The options, checked before the first photo is read."""
    import torch

    from unblur.image_io import read_psf
    from unblur.pipeline.picture import Options

    check_psf_size(psf_size)
    options = Options(
        method=method,
        psf=None if psf is None else torch.from_numpy(read_psf(psf)),
        psf_size=psf_size,
        settings=settings,
        strength=strength,
        sigma=parse_sigma(sigma),
        force=force,
        device=device,
    )
    options.chain()  # what does not fit together is said before the first photo is read
    return options


def _restore_one(
    photo: Path, destination: Path, sheet: Path | None, options: Options, *, overwrite: bool, quiet: bool
) -> FileResult | None:
    """Restore one photo; None, after saying why, when it cannot be done."""
    from unblur.pipeline.restore import restore_file

    try:
        with progress_bar(photo.name, quiet=quiet) as progress:
            return restore_file(photo, destination, options, progress, overwrite=overwrite, report=sheet)
    except UnblurError as error:
        say_error(str(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        say_error(f"{photo}: there is not enough memory for it. Close other programs, or crop or shrink it.")
    return None


def _tell(result: FileResult) -> None:
    """What was found, and what was done."""
    from unblur.imaging.psf import describe_psf

    found = [] if result.psf is None else [f"PSF {describe_psf(result.psf).words}"]
    if result.noise_sigma is not None:
        found.append(f"noise {result.noise_sigma:.4f} ({255 * result.noise_sigma:.1f} of 255)")
    typer.echo(f"{result.input}: {'; '.join(found) or 'nothing measured'}")
    done = f"restored by {result.method}" if result.changed else "left as it was"
    typer.echo(f"  {done} in {result.seconds:.1f} s -> {result.output}")
    for note in result.notes:
        typer.echo(f"  {note}")
