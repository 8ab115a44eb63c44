"""`unblur train`: a method's networks, trained on a folder of pictures."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.console import INTERRUPTED, make_folder, progress_bar
from unblur.cli.sources import CacheOption, FramesOption, PairsOption, PhotosOption, chosen_source
from unblur.types import Cancelled, Progress, UnblurError


def train(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="The name of a method with a network.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder for weights, log and pictures.")],
    photos: PhotosOption = None,
    pairs: PairsOption = None,
    frames: FramesOption = None,
    samples: Annotated[
        Path | None, typer.Option("--samples", metavar="DIR", help="Samples that `unblur synth` wrote.")
    ] = None,
    preset: Annotated[str, typer.Option("--preset", help="Which recipe of the method.")] = "compact",
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Fewer or more steps than planned.")] = None,
    init: Annotated[
        list[str] | None,
        typer.Option(
            "--init", metavar="FILE", help="Begin with these weights; MODULE=FILE for one module. Repeatable."
        ),
    ] = None,
    recipe_file: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="A recipe.toml of your own.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in RUN.")] = False,
    devices: Annotated[int, typer.Option("--devices", min=1, help="How many of this machine's devices.")] = 1,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="How many machines, under torchrun.")] = 1,
    accelerator: Annotated[str, typer.Option("--accelerator", help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str | None, typer.Option("--precision", help="bf16 or 32; by default what the recipe says.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes that make samples; 0: none.")] = 1,
    cache: CacheOption = 4.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Train a method's networks on one folder: of photos, pairs, frames or samples.

    A part of the folder is never trained on and restored every so often, to see how it goes: photos whose names end in
    0 or 1, every tenth scene or clip, every twentieth sample.
    """
    try:
        import lightning_fabric  # noqa: F401
    except ImportError:
        raise UnblurError("training needs more packages: pip install 'unblur[train]'.") from None
    import torch

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it repeats what was typed
    from unblur import methods
    from unblur.training.devices import make_fabric
    from unblur.training.initial import put_initial_weights
    from unblur.training.loop import train as run_training
    from unblur.training.recipe import read_recipe
    from unblur.training.run import CHECKPOINT, WEIGHTS, Run, check_folder, maker

    recipe = read_recipe(method, preset, recipe_file)
    if precision is not None:
        if precision not in ("32", "bf16"):
            raise UnblurError(f"--precision is 32 or bf16, not '{precision}'.")
        recipe = recipe.model_copy(update={"precision": precision})
    if steps is not None:
        recipe = recipe.with_steps(steps)
    _check_processes(recipe.batch, devices, nodes)
    check_folder(out, resume=resume)
    if resume and init:
        raise UnblurError("--resume goes on with the run's own weights; leave --init out.")
    make = maker(method, recipe)
    torch.manual_seed(recipe.seed)
    trainable = make()
    notes = put_initial_weights(trainable.modules, init or [])
    name = methods.get(method).card.name
    source = chosen_source(
        trainable,
        name,
        out=out,
        cache=cache,
        photos=photos,
        pairs=pairs,
        frames=frames,
        samples=samples,
        observations=recipe.observations,
    )
    run = Run(name, preset, recipe, source, make, out, workers)
    fabric = make_fabric(accelerator, devices, nodes, recipe.precision)
    make_folder(out)
    fabric.launch()
    silent = quiet or not fabric.is_global_zero
    for note in notes if not silent else ():
        typer.echo(f"begun: {note}.", err=True)
    try:
        with progress_bar(out.name, quiet=silent, remaining=True) as progress, _ending_the_step(progress):
            score = run_training(run, trainable, fabric, progress, resume=resume)
    except (KeyboardInterrupt, Cancelled):
        if fabric.is_global_zero:
            resumable = (out / CHECKPOINT).exists()
            what = f"--resume goes on from the last checkpoint in {out}" if resumable else "no step was done"
            typer.echo(f"stopped; {what}.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not silent:
        typer.echo(f"{out / WEIGHTS}: {score:.2f} dB in validation after {recipe.steps} steps")


def _check_processes(batch: int, devices: int, nodes: int) -> None:
    if batch % (devices * nodes):
        raise UnblurError(f"a batch of {batch} cannot be shared out evenly to {devices * nodes} devices.")
    processes = int(os.environ.get("WORLD_SIZE", devices * nodes))  # what torchrun has started
    if processes != devices * nodes:
        raise UnblurError(
            f"torchrun has started {processes} processes. Say --devices and --nodes so that they make as many."
        )


@contextmanager
def _ending_the_step(progress: Progress) -> Iterator[None]:
    """Ctrl-C lets the step end and a checkpoint be written; a second one stops at once."""
    before = signal.getsignal(signal.SIGINT)

    def cancel(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        progress.cancel()

    if before is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
