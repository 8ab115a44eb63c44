"""`unblur restore`: restore photos."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unblur.cli.console import (
    USER_ERROR,
    Device,
    Region,
    Weights,
    check_psf_size,
    make_folder,
    parse_region,
    parse_settings,
    parse_sigma,
    progress_bar,
    say_error,
    with_weights,
)
from unblur.cli.folder import Manner, photos_of, restore_folders, say_plan, say_plans
from unblur.cli.streams import STREAM, Ends, restore_stream
from unblur.types import Cancelled, Observation, UnblurError

if TYPE_CHECKING:
    from unblur.pipeline.folders.task import Job
    from unblur.pipeline.options import Options
    from unblur.pipeline.restore import FileResult


MOST_THREADS = 256
"""More threads for one photo than this are a mistake."""


def restore(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO",
            help="JPEG, PNG, TIFF or WebP; - is standard input; with -o also a folder or 'DIR/**/*.jpg'.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A file, a folder for several photos or folders, or - for standard output. "
            "Default: PHOTO.restored.jpg beside the photo.",
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
    region: Region = None,
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
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            metavar="N",
            min=1,
            help="For folders: photos restored at the same time. Default: as many as memory and processors allow.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            metavar="N",
            min=1,
            max=MOST_THREADS,
            help="Threads for a photo. Default: all processors; for folders, 1.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="For folders: use a Ray cluster; without an address (or 'local'), start Ray on this machine.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="For folders: continue an earlier run; what is done is left out.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per photo.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Keep the result even when it is not credible.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Restore blurred photos.

    The photo file itself is not changed. Where restoring would make a photo worse, the photo is copied unchanged and
    the reason is printed.

    `unblur restore DIR -o OUT` restores all photos in DIR and its subfolders, in several processes. OUT then holds the
    results in the same subfolders, manifest.jsonl and report.html.
    """
    from unblur.pipeline.options import Options

    way = _way(photos, output, resume or jobs is not None or ray is not None)
    if way != "files" and report is not None:
        raise UnblurError("--report is for photos in files. A folder gets a report.html in any case.")
    for name, value in (("--noisy", noisy), ("--region", region)):
        if value is not None and (way == "folder" or len(photos) > 1):
            what = "a folder" if way == "folder" else f"{len(photos)} photos"
            raise UnblurError(f"{name} {value} belongs to one photo, not to {what}. Restore photos one by one.")
    known = _known(psf, parse_sigma(sigma), exposure_ratio)
    given_settings = with_weights(parse_settings(settings or []), weights)
    check_psf_size(psf_size)
    options = Options(
        method, psf_size, given_settings, strength, force, device, align=align, region=parse_region(region)
    )
    options.plan(known.given() | {"blurry", *([] if noisy is None else ["noisy"])})  # before the first photo is read
    keep = [file for file in (psf, weights, *map(Path, method.split("+"))) if file is not None and file.is_file()]
    if way == "folder":
        assert output is not None
        job = _job(options, known, keep, threads or 1)
        manner = Manner(jobs, ray, resume, overwrite, as_json, quiet)
        found, complete = photos_of(photos, output, manner)
        done = (say_plans if dry_run else restore_folders)(found, output, job, manner)
        if not (done and complete):
            raise typer.Exit(USER_ERROR)
        return
    if threads is not None:
        _use_threads(threads)
    if way == "stream":
        ends = Ends(photos[0], output, noisy, tuple(keep), overwrite)
        if dry_run:
            say_plan(ends.photo, ends.place, as_json=as_json)
        else:
            result = restore_stream(ends, options, known, quiet=quiet)
            _say(result, as_json=as_json, quiet=quiet, err=ends.place == STREAM)
        return
    given, photos = len(photos), _without_folders(photos)
    outputs = destinations(photos, output, "restored", make=not dry_run)
    reports = [None] * len(photos) if report is None else destinations(photos, report, "report", make=not dry_run)
    failed = len(photos) < given
    for photo, destination, sheet in zip(photos, outputs, reports, strict=True):
        files = _Files(photo, noisy, destination, sheet, keep, overwrite)
        if dry_run:
            failed = not _plan_one(files, {output, report}, as_json=as_json) or failed
            continue
        result = _restore_one(files, known, options, quiet=quiet, as_json=as_json, alone=given == 1)
        if result is None:
            failed = True
        else:
            _say(result, as_json=as_json, quiet=quiet)
    if failed:
        raise typer.Exit(USER_ERROR)


def _way(photos: list[Path], output: Path | None, asked_for_folder: bool) -> Literal["files", "folder", "stream"]:
    """Whether photos go from files to files, from folders to a folder, or through standard input or output.

    Raises:
        UnblurError: things that do not go together.
    """
    from unblur.pipeline.folders.scan import is_pattern

    if STREAM in (*photos, output):
        if len(photos) > 1 or asked_for_folder:
            raise UnblurError("'-' is standard input or output, which holds one photo. Name it alone.")
        return "stream"
    if output is None and asked_for_folder:
        raise UnblurError("--jobs, --ray and --resume are for folders of results. Name one with -o.")
    if output is not None and (asked_for_folder or any(path.is_dir() or is_pattern(path) for path in photos)):
        return "folder"
    return "files"


def _without_folders(paths: list[Path]) -> list[Path]:
    """The paths that are not folders; an error is printed for each folder."""
    for path in paths:
        if path.is_dir():
            say_error(f"{path}: that is a folder; name a folder for the results, too: -o OUT.")
    return [path for path in paths if not path.is_dir()]


def destinations(photos: list[Path], output: Path | None, tag: str, *, make: bool = True) -> list[Path]:
    """The path of each photo's result.

    Args:
        photos: the photos.
        output: a file or folder; None: beside each photo.
        tag: what is added to the name, `a.jpg` -> `a.TAG.jpg`.
        make: whether to make the output folder, if it is missing.

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
        if make:
            make_folder(output)
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


def _job(options: Options, known: Observation, keep: list[Path], threads: int) -> Job:
    from unblur.pipeline.folders.task import Job, describe_job

    weights = [Path(value) for key, value in options.settings.items() if key.rpartition(".")[2] == "weights"]
    files = {str(file): file for file in (*keep, *weights) if file.is_file()}
    psf = None if known.psf is None else known.psf[0, 0].numpy()
    digest = describe_job(options, files, sigma=known.sigma, threads=threads)
    return Job(options, psf, known.sigma, tuple(keep), threads, digest)


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _plan_one(files: _Files, folders: set[Path | None], *, as_json: bool) -> bool:
    """Print what would be done with one photo, or why nothing; True if it would be restored.

    `folders`: where it is one of these and does not exist, the folder of a result would be made.
    """
    from unblur.image_io import check_writable
    from unblur.image_io.read import check_readable
    from unblur.pipeline.restore import check_places

    def is_new(place: Path) -> bool:
        return place.parent in folders and not place.parent.exists()

    try:
        for source in (files.photo, *([] if files.noisy is None else [files.noisy])):
            check_readable(source)
        report = None if files.report is None or is_new(files.report) else files.report
        if not is_new(files.output):
            check_places(
                files.photo,
                files.output,
                noisy=files.noisy,
                keep=files.keep,
                overwrite=files.overwrite,
                report=report,
            )
        elif report is not None:
            check_writable(report, overwrite=files.overwrite, source=files.photo, option="--report")
    except UnblurError as error:
        _say_failure(files, str(error), as_json=as_json)
        return False
    say_plan(files.photo, files.output, as_json=as_json)
    return True


def _say_failure(files: _Files, error: str, *, as_json: bool) -> None:
    """Print an error, and with `--json` also a line for the photo."""
    say_error(error)
    if as_json:
        typer.echo(json.dumps({"input": str(files.photo), "output": str(files.output), "error": error}))


def _restore_one(
    files: _Files, known: Observation, options: Options, *, quiet: bool, as_json: bool, alone: bool
) -> FileResult | None:
    """Restore one photo. After an error, print it and return None.

    `alone`: this is the only photo, so an unexpected exception is raised with its traceback.
    """
    from unblur.pipeline.restore import restore_file
    from unblur.pipeline.trouble import is_out_of_memory, said_of

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
    except Exception as error:
        if alone and not isinstance(error, UnblurError) and not is_out_of_memory(error):
            raise
        _say_failure(files, said_of(photo, error), as_json=as_json)
    return None


def _say(result: FileResult, *, as_json: bool, quiet: bool, err: bool = False) -> None:
    """Print what became of a photo, as JSON or as text; `err`: on stderr, as stdout holds the picture."""
    if as_json:
        typer.echo(json.dumps(result.as_json()), err=err)
    elif not quiet:
        for line in _lines(result):
            typer.echo(line, err=err)


def _lines(result: FileResult) -> list[str]:
    """The PSF and the noise level, what was done and why, and the notes."""
    from unblur.imaging.psf import describe_psf

    found = [] if result.psf is None else [f"PSF {describe_psf(result.psf).words}"]
    if result.noise_sigma is not None:
        found.append(f"noise {result.noise_sigma:.4f} ({255 * result.noise_sigma:.1f} of 255)")
    done = f"restored by {result.method} ({result.reason})" if result.changed else "left as it was"
    place = "standard output" if result.output == STREAM else result.output
    return [
        f"{result.input}: {'; '.join(found) or 'nothing measured'}",
        f"  {done} in {result.seconds:.1f} s -> {place}",
        *(f"  {note}" for note in result.notes),
    ]
