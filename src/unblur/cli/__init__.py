"""The command line, one module per command. Large packages are imported only when a command runs."""

from __future__ import annotations

import os
import warnings
from typing import Annotated

import typer

from unblur.cli import bench, doctor, export, methods, psf, restore, synth, train, web
from unblur.cli.console import PoliteGroup

app = typer.Typer(
    name="unblur",
    cls=PoliteGroup,
    help="Restore shaken, blurred or noisy photographs.",
    epilog="Exit codes: 0 done, 2 refused or a photo failed, 130 stopped with Ctrl-C, 1 a bug with its traceback.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug shows Python's own traceback; a user's mistake shows one line
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    restore.restore,
    psf.psf,
    web.web,
    bench.bench,
    methods.methods,
    train.train,
    synth.synth,
    export.export,
    doctor.doctor,
):
    app.command()(command)


ENVIRONMENT = {
    # Many of the FFTs are small. On a busy machine, a thread that waits actively for another thread occupies the core
    # which the other one needs, and the computation takes twice as long.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Large memory pages for large tensors: without them, a training step spends a sixth of its time on page faults.
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""Environment variables that torch reads when it is imported. Those that the user has set are kept."""


def main() -> None:
    """Run the command line."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module="PIL")  # a photo's notes say what matters to the user
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
