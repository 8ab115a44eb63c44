"""`unblur doctor`: what is installed, what works, and what can be installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from unblur.cli.console import USER_ERROR

if TYPE_CHECKING:
    from unblur.pipeline.installation import Examination, Package


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what is installed, whether it works, and what else can be installed.

    The exit code is 0 if photos can be restored; extras may be missing. Else it is 2, and the last
    lines say what to do.
    """
    from unblur.pipeline.installation import examine

    found = examine()
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1))
    else:
        for line in _lines(found):
            typer.echo(line)
    if not found.works:
        raise typer.Exit(USER_ERROR)


def _lines(found: Examination) -> Iterator[str]:
    yield f"unblur {found.unblur or 'is not installed'}, Python {found.python}, {found.system}"
    torch = found.torch
    if torch is not None:
        bfloat16 = "bfloat16" if torch.bfloat16 else "float32, as this processor has no instructions for bfloat16"
        yield f"torch {torch.version}: {torch.threads} threads on {found.processors} processors; {bfloat16}"
        yield f"devices: {', '.join(torch.devices)}"
    yield f"packages: {', '.join(map(_said, found.core))}"
    weights = ", ".join(f"{one.method} {one.preset} ({one.megabytes:.1f} MB)" for one in found.weights)
    yield f"weights: {weights or 'none'}"
    if found.temporary_gb is not None:
        yield f"temporary files: {found.temporary}, {found.temporary_gb:.1f} GB free"
    yield "extras:"
    for extra in found.extras:
        mark = "ok     " if extra.install is None else "missing"
        yield f"  {mark} {extra.name}{f' ({extra.purpose})' if extra.purpose else ''}"
        yield f"          {', '.join(map(_said, extra.packages))}"
        if extra.install is not None:
            yield f"          {extra.install}"
    if found.trial_seconds is not None:
        yield f"a small picture was restored in {found.trial_seconds:.2f} s"
    yield "unblur works" if found.works else "unblur does not work:"
    for trouble in found.troubles:
        yield f"  {trouble}"


def _said(package: Package) -> str:
    if package.version is None:
        return f"{package.name} (missing)"
    return f"{package.name} {package.version}" + ("" if package.fits else f" (needs {package.wanted})")
