"""`unblur synth`: write the samples of a recipe to files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.console import make_folder, progress_bar
from unblur.cli.sources import CacheOption, DrawnOption, FramesOption, PairsOption, PhotosOption, chosen_source


def synth(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="METHOD or METHOD:PRESET, such as wiener_stack.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A folder for the samples.")],
    photos: PhotosOption = None,
    drawn: DrawnOption = 0.0,
    pairs: PairsOption = None,
    frames: FramesOption = None,
    recipe_file: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="A recipe.toml of your own.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="Number of samples.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="S", help="Seed of the random generators.")] = 0,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that make samples; 0: the main process.")
    ] = 1,
    cache: CacheOption = 4.0,
    resume: Annotated[bool, typer.Option("--resume", help="Make only the samples that are missing in DIR.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Write the samples that a method is trained on, for `unblur train --samples DIR` or to look at.

    A sample is a folder of pictures and numbers. Every twentieth sample is for validation and is made from the
    validation part of the source. Sample number i does not depend on the number of samples or workers.
    """
    from unblur.training.recipe import read_recipe
    from unblur.training.run import maker
    from unblur.training.sample_files import begin
    from unblur.training.subjects import subject
    from unblur.training.synthesis import SampleWriter, write_missing

    method, _, preset = recipe.partition(":")
    preset = preset or "compact"
    plan = read_recipe(method, preset, recipe_file)
    make, name = maker(method, plan), subject(method).name
    source = chosen_source(make(), name, out=out, cache=cache, photos=photos, drawn=drawn, pairs=pairs, frames=frames)
    facts = {
        "method": name,
        "preset": preset,
        "network": plan.network,
        "observations": plan.observations,
        "seed": seed,
        "source": source.digest(),
    }
    make_folder(out)
    begin(out, facts, resume=resume)
    writer = SampleWriter(out, source.shared_by(workers), make, seed)
    with progress_bar(recipe, quiet=quiet) as progress:
        write_missing(writer, count, workers, progress)
