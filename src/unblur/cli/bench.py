"""`unblur bench`: score methods on a data set by its published protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.console import Device, Weights, parse_settings, progress_bar, with_weights


def bench(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The name of a data set, such as levin.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder of the data set.")],
    method: Annotated[
        str,
        typer.Option(
            "--method",
            "-m",
            metavar="A,B,...",
            help="Methods or chains a+b, separated by commas; a[key=value] has a setting of its own; noisy:a restores "
            "the noisy shot of a pair.",
        ),
    ],
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
    """
    from rich.console import Console

    from unblur import benchmark
    from unblur.image_io.write import check_place, put_in_place

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
