"""The command line. One module per command; nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
import warnings
from typing import Annotated

import typer

from unblur.cli import bench, methods, psf, restore, synth, train
from unblur.cli.console import PoliteGroup

app = typer.Typer(
    name="unblur",
    cls=PoliteGroup,
    help="Give a shaken, blurred or noisy photograph back sharp.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a bug shows Python's own traceback; a person's mistake shows one line
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (restore.restore, psf.psf, bench.bench, methods.methods, train.train, synth.synth):
    app.command()(command)


ENVIRONMENT = {
    # Many of the FFTs are small. On a busy machine a thread that spins while it waits for another takes the core
    # the other one needs, and everything takes twice as long.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Large tensors in large pages: a network's training step spends a sixth of its time on page faults otherwise.
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""What torch reads when it is imported; a person's own environment comes first."""


def main() -> None:
    """Run the command line."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module="PIL")  # what a person should know of a photo stands in its notes
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        import unblur

        typer.echo(f"unblur {unblur.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass
