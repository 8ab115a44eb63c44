"""`unblur bench`: score methods on a data set by its published protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.console import Device, Weights, parse_settings, progress_bar, with_weights
from unblur.types import UnblurError

REAL = "real"
"""The name that stands for a folder of photos without sharp pictures."""


def bench(
    dataset: Annotated[
        str,
        typer.Argument(metavar="DATASET", help="The name of a data set, such as levin; real: a folder of photos."),
    ],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder of the data set.")],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            metavar="A,B,...",
            help="Methods or chains a+b, separated by commas; a[key=value] has a setting of its own; noisy:a restores "
            "the noisy shot of a pair. Left out for DATASET real: auto.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write protocol, versions and rows as JSON.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N pictures.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write the pictures here.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the methods; may be repeated."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="S", min=0, help="Seed of the pictures, for data sets that are made here."),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            "--noise", metavar="SIGMA", min=0, help="Add white noise of SIGMA of 255, where the data set can."
        ),
    ] = None,
    weights: Weights = None,
    device: Device = "cpu",
    together: Annotated[
        int,
        typer.Option("--together", metavar="N", min=1, help="Restore up to N pictures of one size as one batch."),
    ] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the JSON file if it exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Score methods on a data set.

    A non-blind method that is named alone gets the true PSF. A PSF estimator that is named alone is followed by a quick
    non-blind method.

    DATASET real is a folder of blurred photos without sharp pictures: each is restored as by `unblur restore`. A line
    is printed for each, and --out gets results and contact sheets; a photo that is there already is not restored again.
    """
    from rich.console import Console

    from unblur import benchmark
    from unblur.image_io.write import check_place, put_in_place

    if dataset == REAL:
        _bench_real(data, method, out, limit, parse_settings(settings or []), device, overwrite=overwrite, quiet=quiet)
        return
    if method is None:
        raise UnblurError("name the methods to score: --method A,B,...")
    if json_file is not None:
        check_place(json_file, overwrite=overwrite, option="--json")
    options = {name: value for name, value in (("seed", seed), ("noise", noise)) if value is not None}
    with progress_bar(dataset, quiet=quiet) as progress:
        result = benchmark.run(
            dataset,
            data,
            benchmark.split_names(method),
            limit=limit,
            out=out,
            settings=with_weights(parse_settings(settings or []), weights),
            options=options,
            device=device,
            together=together,
            progress=progress,
        )
    if not quiet:
        Console().print(benchmark.table(result))
    if json_file is not None:
        put_in_place(json.dumps(result, indent=1).encode() + b"\n", json_file, overwrite=overwrite)


def _bench_real(
    folder: Path,
    method: str | None,
    out: Path | None,
    limit: int | None,
    settings: dict[str, str],
    device: str,
    *,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Restore the photos of a folder, and print a line for each."""
    from unblur.benchmark.real import run_real
    from unblur.pipeline.options import Options

    if out is None:
        raise UnblurError("name a folder for the results and contact sheets: --out DIR.")
    options = Options(method or "auto", settings=settings, device=device)
    with progress_bar(REAL, quiet=quiet) as progress:
        done = run_real(
            folder,
            out,
            options,
            limit=limit,
            overwrite=overwrite,
            progress=progress,
            report=lambda one: None if quiet else typer.echo(one.line),
        )
    if not quiet:
        changed = sum(bool(one.figures["changed"]) for one in done)
        typer.echo(f"{changed} of {len(done)} photos were restored; results and contact sheets are in {out}.")
