"""`unblur synth`: the observations a recipe trains on, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.console import make_folder, progress_bar
from unblur.types import UnblurError


def synth(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="METHOD or METHOD:PRESET, such as wiener_stack.")],
    photos: Annotated[Path, typer.Option("--photos", metavar="DIR", help="Sharp photos, in any subfolders.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new or empty folder for the pictures.")],
    recipe_file: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="A recipe.toml of your own.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="How many.")] = 10,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of what chance decides.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Write the observations that a method is trained on.

    The first N observations of a training run with that seed: pictures as 8-bit PNG, PSFs as float TIFF (and as PNG,
    stretched, to look at).
    """
    from unblur import methods
    from unblur.training.photos import Photos, Samples
    from unblur.training.recipe import read_recipe
    from unblur.training.sheets import write_sample

    method, _, preset = recipe.partition(":")
    plan = read_recipe(method, preset or "compact", recipe_file)
    if out.is_dir() and any(out.iterdir()):
        raise UnblurError(f"{out} is not empty. Take a new folder for -o.")
    build = methods.get(method).trainable
    assert build is not None
    samples = Samples(Photos.of(photos, out=out).training, build(plan.network, plan.observations), seed)
    make_folder(out)
    with progress_bar(recipe, quiet=quiet) as progress:
        progress.stage("writing observations", count)
        for index in range(count):
            write_sample(out, f"{index:0{len(str(count - 1))}d}", samples[index])
            progress.advance()
