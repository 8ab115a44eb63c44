"""`unblur methods`: list all methods, or the settings of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from unblur.contract import Method


def methods(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Show the settings of this method, or of a file ./mine.py."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of methods.")] = False,
) -> None:
    """List the methods; with a NAME, show its settings with their ranges."""
    from rich.console import Console

    from unblur.methods import get, names

    found = [get(each) for each in ([name] if name else names())]
    if as_json:
        typer.echo(json.dumps([describe(method) for method in found], indent=1))
    elif name:
        Console().print(_sheet(found[0]))
    else:
        Console().print(_table(found))


def describe(method: Method) -> dict[str, Any]:
    """The card and the settings of a method, ready for JSON."""
    card = method.card
    return {
        "name": card.name,
        "title": card.title,
        "paper": card.paper,
        "needs": sorted(card.needs),
        "takes": sorted(card.takes),
        "gives": sorted(card.gives),
        "undoes": sorted(card.undoes),
        "channels": list(card.channels),
        "tiling": card.tiling,
        "presets": {name: dict(values) for name, values in card.presets.items()},
        "settings": describe_settings(method),
    }


def describe_settings(method: Method) -> list[dict[str, Any]]:
    """The settings of a method, from the JSON schema of its settings model; a field that does not apply is None."""
    schema = method.settings.model_json_schema()
    described = []
    for name, entry in schema["properties"].items():
        # For "a number or None" the number comes first; only it has a range.
        kind = {**entry, **entry["anyOf"][0]} if "anyOf" in entry else entry
        described.append(
            {
                "name": name,
                "type": kind.get("type", "string"),
                "default": entry.get("default"),
                "minimum": kind.get("minimum"),
                "maximum": kind.get("maximum"),
                "choices": kind.get("enum"),
                "help": entry.get("description", ""),
            }
        )
    return described


def _table(found: list[Method]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("method", "needs", "gives", "undoes", "what it does", "paper"):
        table.add_column(heading, no_wrap=heading == "method")
    for method in found:
        card = method.card
        fields = (", ".join(sorted(names)) for names in (card.needs, card.gives, card.undoes))
        table.add_row(card.name, *fields, card.title, card.paper)
    return table


def _sheet(method: Method) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    card = method.card
    heading = Text.assemble((card.name, "bold"), f": {card.title}\n")
    said = {"needs": card.needs, "takes": card.takes, "gives": card.gives, "undoes": card.undoes}
    heading.append("; ".join(f"{word} {', '.join(sorted(names))}" for word, names in said.items() if names))
    heading.append(f"; {card.paper}\n" if card.paper else "\n")
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("setting", "default", "range", "help"):
        table.add_column(column, no_wrap=column != "help")
    for setting in describe_settings(method):
        table.add_row(setting["name"], shown_value(setting["default"]), shown_range(setting), setting["help"])
    for name, values in card.presets.items():
        assignments = ", ".join(f"{key}={shown_value(value)}" for key, value in values.items())
        table.add_row(f"preset={name}", "", "", assignments)
    return Group(heading, table)


def shown_range(setting: dict[str, Any]) -> str:
    """The values that a setting of `describe_settings` may have."""
    if setting["choices"]:
        return " | ".join(str(choice) for choice in setting["choices"])
    if setting["type"] == "boolean":
        return "true | false"
    low, high = setting["minimum"], setting["maximum"]
    if low is None and high is None:
        return setting["type"]
    return f"{'' if low is None else shown_value(low)} .. {'' if high is None else shown_value(high)}"


def shown_value(value: Any) -> str:
    """A value as it is typed after `--set key=`."""
    if value is None:
        return "automatic"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
