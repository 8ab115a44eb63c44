"""Shared by all commands: errors in one line, the progress bar, and the parsing of values."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperGroup

from unblur.types import Cancelled, Progress, UnblurError

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

USER_ERROR = 2
INTERRUPTED = 130

Device = Annotated[str, typer.Option("--device", metavar="DEVICE", help="Where to compute: cpu, cuda, cuda:1, ...")]


Weights = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="Weights of the method, from `unblur train`.")
]


# Raised for an option or argument that is missing or unknown; typer gives this class no public name.
_UsageError = cast("type[Exception]", typer.BadParameter.__base__)


class PoliteGroup(TyperGroup):
    """Turns user errors and Ctrl-C into one line on stderr and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the command."""
        if not args:
            return super().parse_args(ctx, args)  # shows the help
        args = _with_values(args)
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            _refuse(error)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            _refuse(error)
        except UnblurError as error:
            say_error(str(error))
            raise typer.Exit(USER_ERROR) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EIO) or not _is_of_output(error):
                raise
            with contextlib.suppress(OSError):
                sys.stdout.close()  # else Python would try again to write what is left
            say_error(f"standard output: not written ({error.strerror}).")
            raise typer.Exit(USER_ERROR) from None
        except (KeyboardInterrupt, Cancelled):
            typer.echo("stopped; the current picture was not written.", err=True)
            raise typer.Exit(INTERRUPTED) from None


def _is_of_output(error: OSError) -> bool:
    """Whether an error is one of printing a line."""
    return any(frame.f_code is typer.echo.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))


def _with_values(args: list[str]) -> list[str]:
    """The arguments, with `local` after a `--ray` that has no address. An address does not begin with a dash."""
    end = args.index("--") if "--" in args else len(args)
    made = []
    for number, one in enumerate(args):
        made.append(one)
        if one == "--ray" and number < end and (number + 1 == end or args[number + 1].startswith("-")):
            made.append("local")
    return made


def _refuse(error: Any) -> NoReturn:
    """Print what is wrong with the arguments, and exit."""
    command = error.ctx.command_path if error.ctx else "unblur"
    say_error(f"{error.format_message().rstrip('.')}. `{command} -h` lists the options.")
    raise typer.Exit(USER_ERROR) from None


def say_error(message: str) -> None:
    """Print `error: message` on stderr, in one line."""
    typer.echo("error: " + " ".join(message.split()), err=True)


def parse_settings(assignments: list[str]) -> dict[str, str]:
    """`["key=value", ...]` as a dictionary of strings.

    Raises:
        UnblurError: for a text without a key or an equals sign.
    """
    settings = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not key.strip() or not equals:
            raise UnblurError(f"--set takes key=value, not '{assignment}'. `unblur methods NAME` lists the keys.")
        settings[key.strip()] = value.strip()
    return settings


def with_weights(settings: dict[str, str], weights: Path | None) -> dict[str, str]:
    """The settings, with the file of `--weights` as the setting `weights`.

    Raises:
        UnblurError: when `weights` is given by both `--weights` and `--set`.
    """
    if weights is not None and "weights" in settings:
        raise UnblurError(f"--weights {weights} and --set weights={settings['weights']}: leave one out.")
    return settings if weights is None else {**settings, "weights": str(weights)}


def parse_sigma(text: str | None) -> float | None:
    """A noise level on the 0..1 scale, given as `0.02` or `5/255`; None for None.

    Raises:
        UnblurError: for any other text.
    """
    if text is None:
        return None
    try:
        above, slash, below = text.partition("/")
        return float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        raise UnblurError(f"--sigma takes a noise level on the 0..1 scale like 0.02 or 5/255, not '{text}'.") from None


Region = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="X,Y,W,H",
        help="Estimate the PSF from this part of the photo only: left, top, width, height in pixels.",
    ),
]


def parse_region(text: str | None) -> tuple[int, int, int, int] | None:
    """The value of `--region`, as `Options.region`.

    Raises:
        UnblurError: for anything but four whole numbers.
    """
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise UnblurError(f"--region takes left, top, width and height in pixels, like 200,150,600,600, not '{text}'.")
    left, top, width, height = map(int, parts)
    return left, top, width, height


def make_folder(folder: Path) -> None:
    """Make the folder of `-o` if it does not exist.

    Raises:
        UnblurError: when it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnblurError(f"{folder}: this folder cannot be made ({error.strerror}). Name another with -o.") from None


def check_psf_size(size: int | None) -> None:
    """Check the value of `--psf-size`.

    Raises:
        UnblurError: for a size that is even or less than 3.
    """
    if size is None or (size >= 3 and size % 2 == 1):
        return
    instead = f"Give {size - 1} or {size + 1}" if size > 3 else "Give 3 or more"
    raise UnblurError(f"--psf-size takes an odd number of pixels, at least 3, not {size}. {instead}, or leave it out.")


@contextmanager
def progress_bar(title: str, *, quiet: bool, remaining: bool = False) -> Iterator[Progress]:
    """A `Progress` that is shown on stderr; nothing is shown when `quiet` is set or stderr is not a terminal.

    Args:
        title: text in front of the bar.
        quiet: show nothing.
        remaining: for long work with steps of equal duration: also show the remaining time, and write plain lines
            when stderr is not a terminal.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield Progress() if quiet or not remaining else _WrittenProgress(title)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[title]}"),
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *([TimeRemainingColumn()] if remaining else []),
        TextColumn("{task.fields[figures]}"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        yield _DrawnProgress(bars, title)


class _WrittenProgress(Progress):
    """Writes a line on stderr for each stage and each validation."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title, self._done = title, 0
        self._score: float | None = None

    def on_stage(self, name: str, total: int | None) -> None:
        self._done = 0
        typer.echo(f"{self._title}: {name}, {total} steps", err=True)

    def on_advance(self, steps: int, figures: dict[str, float]) -> None:
        self._done += steps
        score = figures.get("psnr")
        if score is not None and score != self._score:
            self._score = score
            typer.echo(f"{self._title}: step {self._done}, {_said(figures)}", err=True)


def _said(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {figure:.4g}" for name, figure in figures.items())


class _DrawnProgress(Progress):
    """Shows the current stage as one rich progress bar."""

    def __init__(self, bars: Bars, title: str) -> None:
        super().__init__()
        self._bars = bars
        self._task = bars.add_task("starting", total=None, title=title, figures="")

    def on_stage(self, name: str, total: int | None) -> None:
        self._bars.reset(self._task, description=name, total=total)
        self._bars.tasks[0].total = total  # also None, which `reset` would ignore
        self._bars.update(self._task, figures="")  # `reset` clears the other fields

    def on_advance(self, steps: int, figures: dict[str, float]) -> None:
        self._bars.advance(self._task, steps)
        if figures:
            self._bars.update(self._task, figures=_said(figures))
