"""`unblur psf`: estimate the PSF of a photo, write it to a file and describe it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.console import (
    Device,
    Region,
    check_psf_size,
    parse_region,
    parse_settings,
    parse_sigma,
    progress_bar,
)
from unblur.types import Observation


def psf(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="JPEG, PNG, TIFF or WebP.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="A folder, or .png (16 bit), .npy or .tif (exact). Default: PHOTO.psf.png beside the photo.",
        ),
    ] = None,
    method: Annotated[str, typer.Option("--method", "-m", help="auto, or a method that estimates a PSF.")] = "auto",
    psf_size: Annotated[
        int | None,
        typer.Option("--psf-size", metavar="N", help="Side of the PSF in pixels, odd. Default: chosen automatically."),
    ] = None,
    region: Region = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; may be repeated."),
    ] = None,
    sigma: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="The noise on the 0..1 scale, like 0.02 or 5/255. Default: measured."),
    ] = None,
    device: Device = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Estimate the PSF that blurred a photo."""
    from unblur.image_io import default_output
    from unblur.pipeline.options import Options
    from unblur.pipeline.psf_file import estimate_psf_file

    check_psf_size(psf_size)
    options = Options(
        method=method,
        psf_size=psf_size,
        settings=parse_settings(settings or []),
        device=device,
        region=parse_region(region),
    )
    known = Observation(sigma=parse_sigma(sigma))
    destination = default_output(photo, "psf").with_suffix(".png")
    if output is not None:
        destination = output / destination.name if output.is_dir() else output
    with progress_bar(photo.name, quiet=quiet) as progress:
        result = estimate_psf_file(photo, destination, options, progress, known=known, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps(result.as_json()))
    elif not quiet:
        typer.echo(f"{photo}: PSF {result.description.words}")
        typer.echo(f"  estimated by {result.method} in {result.seconds:.1f} s -> {result.output}")
        for note in result.notes:
            typer.echo(f"  {note}")
