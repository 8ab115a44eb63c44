"""Hook of mkdocs.yml: a page for each method, generated from its card, its settings and its docstring."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from unblur import methods
from unblur.cli.methods import describe_settings, shown_range, shown_value
from unblur.contract import Card, Method

_PICTURES = (
    "The pictures were made by `benchmarks/method_pictures.py` from oakland-zoo-otters of Budgie (CC0) and "
    "city8 of Endless Sky (public domain). A single picture does not compare methods; the tables do."
)
DOCS = Path(__file__).resolve().parent.parent / "docs"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of the methods, and a list of them."""
    found = [methods.get(name) for name in methods.names()]
    for path, content in pages(found).items():
        files.append(File.generated(config, path, content=content))
    return files


def pages(found: list[Method]) -> dict[str, str]:
    """The text of each page by its path."""
    made = {f"catalogue/{method.card.name}.md": page(method) for method in found}
    return {"catalogue/index.md": overview([method.card for method in found]), **made}


def overview(cards: list[Card]) -> str:
    """The list of all methods."""
    lines = ["# Methods", "", "| method | needs | gives | what it does | paper |", "|---|---|---|---|---|"]
    for card in cards:
        row = (_joined(card.needs), _joined(card.gives), card.title, card.paper)
        lines.append(f"| [`{card.name}`]({card.name}.md) | {' | '.join(map(_cell, row))} |")
    return "\n".join([*lines, "", _PICTURES, ""])


def page(method: Method) -> str:
    """What a method is, what it needs, its settings, and what was measured of it."""
    card, module = method.card, sys.modules[f"unblur.methods.{method.card.name}"]
    facts = {"Paper": card.paper, "Needs": card.needs, "Uses if given": card.takes, "Gives": card.gives}
    lines = [f"# {card.name}", "", card.title.rstrip(".") + ".", "", *picture(card.name)]
    for word, value in {**facts, "Undoes": card.undoes}.items():
        if value:
            lines.append(f"- {word}: {value if isinstance(value, str) else _joined(value)}")
    lines += ["", *_text(module.__doc__ or ""), "", "## What it computes", "", *_text(method.restore.__doc__ or "")]
    lines += ["", "## Settings", "", "```console", f"$ unblur methods {card.name}", "```", ""]
    lines += ["| setting | default | range | meaning |", "|---|---|---|---|"]
    for setting in describe_settings(method):
        cells = (shown_value(setting["default"]), shown_range(setting), setting["help"])
        lines.append(f"| `{setting['name']}` | {' | '.join(map(_cell, cells))} |")
    for name, values in card.presets.items():
        said = ", ".join(f"{key}={shown_value(value)}" for key, value in values.items())
        lines.append(f"| `preset={name}` | | | {_cell(said)} |")
    rows = measured(card.name)
    return "\n".join([*lines, "", *(["## Measured", "", *rows, ""] if rows else [])])


def picture(name: str) -> list[str]:
    """What a method makes of one picture, from benchmarks/method_pictures.py; nothing if there is none."""
    folder = DOCS / "method_pictures"
    captions = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    if name not in captions:
        return []
    caption = captions[name]
    return [f"![{caption.partition('. ')[0]}](../method_pictures/{name}.jpg)", "", f"*{caption}*", ""]


def measured(name: str) -> list[str]:
    """The rows about a method in the tables of measured.md, with the heading of each table."""
    found: list[str] = []
    heading: list[str] = []
    lines = (DOCS / "measured.md").read_text(encoding="utf-8").splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if re.match(r"\|[-|]+\|$", after):
            heading = [line, after]
        elif heading and re.match(rf"\| `([a-z0-9_]+\+)?{re.escape(name)}` \|", line):
            row = re.sub(r"\]\((\w+\.md)", r"](../\1", line)  # links from this folder
            found += [*([] if heading[0] in found else ["", *heading]), row]
    note = "[What was measured](../measured.md) names the pictures, the protocols and the commands."
    return [note, *found] if found else []


def _joined(names: Any) -> str:
    return ", ".join(sorted(names))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _text(docstring: str) -> list[str]:
    """A docstring as Markdown."""
    return inspect.cleandoc(docstring).replace("<", "&lt;").splitlines()
