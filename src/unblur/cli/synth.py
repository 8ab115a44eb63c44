"""`unblur synth`: the samples that a recipe trains on, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.console import make_folder, progress_bar
from unblur.cli.sources import CacheOption, FramesOption, PairsOption, PhotosOption, chosen_source


def synth(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="METHOD or METHOD:PRESET, such as wiener_stack.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A folder for the samples.")],
    photos: PhotosOption = None,
    pairs: PairsOption = None,
    frames: FramesOption = None,
    recipe_file: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="A recipe.toml of your own.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="How many there are to be.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="S", help="Of all randomness.")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes that make samples; 0: none.")] = 1,
    cache: CacheOption = 4.0,
    resume: Annotated[bool, typer.Option("--resume", help="Make the samples that are missing in DIR.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Write the samples that a method is trained on, to look at or for `unblur train --samples DIR`.

    A sample is a folder of pictures and numbers. One in twenty is held out for validation, and made of what the source
    holds out. Sample number i is the same whatever the number of samples and workers.
    """
    from unblur import methods
    from unblur.training.recipe import read_recipe
    from unblur.training.run import maker
    from unblur.training.sample_files import begin
    from unblur.training.synthesis import SampleWriter, write_missing

    method, _, preset = recipe.partition(":")
    preset = preset or "compact"
    plan = read_recipe(method, preset, recipe_file)
    make, name = maker(method, plan), methods.get(method).card.name
    source = chosen_source(make(), name, out=out, cache=cache, photos=photos, pairs=pairs, frames=frames)
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
