"""What the commands share: errors in one line, the progress bar, and how values are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from unblur.types import Cancelled, Progress, UnblurError

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

USER_ERROR = 2
INTERRUPTED = 130


class PoliteGroup(TyperGroup):
    """Turns what a person can put right, and Ctrl-C, into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except UnblurError as error:
            say_error(str(error))
            raise typer.Exit(USER_ERROR) from None
        except (KeyboardInterrupt, Cancelled):
            typer.echo("stopped; the picture being worked on was not written.", err=True)
            raise typer.Exit(INTERRUPTED) from None


def say_error(message: str) -> None:
    """`error: message` on stderr, in one line."""
    typer.echo("error: " + " ".join(message.split()), err=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch found no memory; torch says so in a RuntimeError."""
    words = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


def parse_settings(assignments: list[str]) -> dict[str, str]:
    """`["key=value", ...]` as a dictionary; the methods turn the values into their types.

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


def parse_sigma(text: str | None) -> float | None:
    """A noise level on the 0..1 scale, written `0.02` or `5/255`.

    Raises:
        UnblurError: for anything else.
    """
    if text is None:
        return None
    try:
        above, slash, below = text.partition("/")
        return float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError):
        raise UnblurError(f"--sigma takes a noise level on the 0..1 scale like 0.02 or 5/255, not '{text}'.") from None


@contextmanager
def progress_bar(title: str, *, quiet: bool) -> Iterator[Progress]:
    """A `Progress` drawn on stderr, or a silent one when quiet or when nobody is looking."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield Progress()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[title]}"),
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        yield _DrawnProgress(bars, title)


class _DrawnProgress(Progress):
    """Draws the current stage as one rich progress bar."""

    def __init__(self, bars: Bars, title: str) -> None:
        super().__init__()
        self._bars = bars
        self._task = bars.add_task("starting", total=None, title=title)

    def on_stage(self, name: str, total: int | None) -> None:
        self._bars.reset(self._task, description=name, total=total)

    def on_advance(self, steps: int, figures: dict[str, float]) -> None:
        self._bars.advance(self._task, steps)
