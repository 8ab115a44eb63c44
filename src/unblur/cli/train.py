"""`unblur train`: a method's networks, trained on a folder of sharp photos."""

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
from unblur.types import Cancelled, Progress, UnblurError


def train(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="The name of a method with a network.")],
    photos: Annotated[Path, typer.Option("--photos", metavar="DIR", help="Sharp photos, in any subfolders.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder for weights, log and pictures.")],
    preset: Annotated[str, typer.Option("--preset", help="Which recipe of the method.")] = "compact",
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Fewer or more steps than planned.")] = None,
    init: Annotated[
        Path | None, typer.Option("--init", metavar="FILE", help="Begin with these weights of the same network.")
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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Train a method's networks on a folder of sharp photos.

    What they learn from is made of the photos on the fly. Photos whose names end in 0 or 1 are never trained on; they
    are restored now and then to see how it goes.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise UnblurError("training needs more packages: pip install 'unblur[train]'.") from None
    import torch

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # says what was asked for
    from unblur import methods
    from unblur.layers.weights import read_tensors
    from unblur.training.checkpoint import put_state
    from unblur.training.journal import LOG, is_begun
    from unblur.training.loop import CHECKPOINT, WEIGHTS, Run
    from unblur.training.loop import train as run_training
    from unblur.training.photos import Photos
    from unblur.training.recipe import read_recipe

    recipe = read_recipe(method, preset, recipe_file)
    if precision is not None:
        if precision not in ("32", "bf16"):
            raise UnblurError(f"--precision is 32 or bf16, not '{precision}'.")
        recipe = recipe.model_copy(update={"precision": precision})
    if steps is not None:
        recipe = recipe.with_steps(steps)
    if recipe.batch % (devices * nodes):
        raise UnblurError(f"a batch of {recipe.batch} cannot be shared out evenly to {devices * nodes} devices.")
    processes = int(os.environ.get("WORLD_SIZE", devices * nodes))  # what torchrun has started
    if processes != devices * nodes:
        raise UnblurError(
            f"torchrun has started {processes} processes. Say --devices and --nodes so that they make as many."
        )
    begun = (out / CHECKPOINT).exists()
    if begun and not resume:
        raise UnblurError(f"{out} holds a run already. Add --resume to go on with it, or take another -o.")
    if not resume and ((out / WEIGHTS).exists() or is_begun(out)):
        kept = WEIGHTS if (out / WEIGHTS).exists() else LOG
        raise UnblurError(f"{out / kept} is there already and would be overwritten. Take another -o.")
    if resume and not begun:
        raise UnblurError(f"{out} holds no checkpoint to resume from. Leave --resume out to begin.")
    if resume and init is not None:
        raise UnblurError("--resume goes on with the run's own weights; leave --init out.")
    weights = None if init is None else read_tensors(init)[0]
    run = Run(method, preset, recipe, Photos.of(photos, out=out), out, workers)
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy="ddp_find_unused_parameters_true" if devices * nodes > 1 else "auto",
            precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
        )
    except (ValueError, RuntimeError) as error:
        raise UnblurError(f"--accelerator {accelerator}, --devices {devices}: {error}") from None
    make_folder(out)
    fabric.launch()
    torch.manual_seed(recipe.seed)
    build = methods.get(method).trainable
    assert build is not None
    trainable = build(recipe.network, recipe.observations)
    if weights is not None:
        put_state(trainable.modules, weights, str(init))
    try:
        silent = quiet or not fabric.is_global_zero
        with progress_bar(out.name, quiet=silent, remaining=True) as progress, _ending_the_step(progress):
            score = run_training(run, trainable, fabric, progress, resume=resume)
    except (KeyboardInterrupt, Cancelled):
        resumable = (out / CHECKPOINT).exists()
        what = f"--resume goes on from the last checkpoint in {out}" if resumable else "no step was done"
        typer.echo(f"stopped; {what}.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if fabric.is_global_zero and not quiet:
        typer.echo(f"{out / WEIGHTS}: {score:.2f} dB on the validation photos after {recipe.steps} steps")


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
