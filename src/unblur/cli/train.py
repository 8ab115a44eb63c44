"""`unblur train`: train the networks of a method on a folder of pictures."""

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
from unblur.cli.sources import CacheOption, DrawnOption, FramesOption, PairsOption, PhotosOption, chosen_source
from unblur.types import Cancelled, Progress, UnblurError


def train(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="The name of a method with a network.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder for weights, log and pictures.")],
    photos: PhotosOption = None,
    drawn: DrawnOption = 0.0,
    pairs: PairsOption = None,
    frames: FramesOption = None,
    samples: Annotated[
        Path | None, typer.Option("--samples", metavar="DIR", help="Samples that `unblur synth` wrote.")
    ] = None,
    preset: Annotated[str, typer.Option("--preset", help="Preset of the recipe.")] = "compact",
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Total number of steps, instead of the recipe's.")
    ] = None,
    init: Annotated[
        list[str] | None,
        typer.Option(
            "--init", metavar="FILE", help="Start from these weights; MODULE=FILE for one module. May be repeated."
        ),
    ] = None,
    recipe_file: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="A recipe.toml of your own.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint in RUN.")] = False,
    devices: Annotated[int, typer.Option("--devices", min=1, help="Number of devices of this machine.")] = 1,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Number of machines, under torchrun.")] = 1,
    accelerator: Annotated[str, typer.Option("--accelerator", help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str | None, typer.Option("--precision", help="bf16 or 32. Default: as in the recipe.")] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that make samples; 0: the main process.")
    ] = 1,
    cache: CacheOption = 4.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Train the networks of a method on one folder of photos, pairs, frames or samples.

    A part of the folder is used for validation only: photos whose names end in 0 or 1, every tenth scene or clip, every
    twentieth sample.
    """
    try:
        import lightning_fabric  # noqa: F401
    except ImportError:
        raise UnblurError("training needs more packages: pip install 'unblur[train]'.") from None
    import torch

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it only repeats the options
    from unblur.training.devices import make_fabric
    from unblur.training.initial import put_initial_weights
    from unblur.training.loop import train as run_training
    from unblur.training.recipe import read_recipe
    from unblur.training.run import CHECKPOINT, WEIGHTS, Run, check_folder, maker
    from unblur.training.subjects import subject

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
        raise UnblurError("--resume continues with the run's own weights; leave --init out.")
    make = maker(method, recipe)
    torch.manual_seed(recipe.seed)
    trainable = make()
    notes = put_initial_weights(trainable.modules, init or [])
    name = subject(method).name
    source = chosen_source(
        trainable,
        name,
        out=out,
        cache=cache,
        photos=photos,
        drawn=drawn,
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
        typer.echo(f"initial weights: {note}.", err=True)
    try:
        with progress_bar(out.name, quiet=silent, remaining=True) as progress, _ending_the_step(progress):
            score = run_training(run, trainable, fabric, progress, resume=resume)
    except (KeyboardInterrupt, Cancelled):
        if fabric.is_global_zero:
            resumable = (out / CHECKPOINT).exists()
            what = f"--resume continues from the last checkpoint in {out}" if resumable else "no step was done"
            typer.echo(f"stopped; {what}.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not silent:
        typer.echo(f"{out / WEIGHTS}: {score:.2f} dB in validation after {recipe.steps} steps")


def _check_processes(batch: int, devices: int, nodes: int) -> None:
    if batch % (devices * nodes):
        raise UnblurError(f"a batch of {batch} cannot be divided evenly among {devices * nodes} devices.")
    processes = int(os.environ.get("WORLD_SIZE", devices * nodes))  # the number that torchrun has started
    if processes != devices * nodes:
        raise UnblurError(f"torchrun has started {processes} processes. Their number must be --devices times --nodes.")


@contextmanager
def _ending_the_step(progress: Progress) -> Iterator[None]:
    """The first Ctrl-C stops training after the current step, with a checkpoint; a second one stops at once."""
    before = signal.getsignal(signal.SIGINT)

    def cancel(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        progress.cancel()

    if before is not signal.SIG_IGN:  # ignored under nohup
        signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
