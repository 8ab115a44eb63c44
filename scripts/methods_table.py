"""Generate the table of methods in README.md from the methods' cards.

python scripts/methods_table.py             # write it between the two comments
python scripts/methods_table.py --check     # exit code 1 when it is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from unblur import methods
from unblur.contract import Card

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- methods: written by scripts/methods_table.py -->", "<!-- end of methods -->"


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Only check; exit with code 1 when it is out of date.")
    ] = False,
) -> None:
    """Write the table, or check it."""
    text = README.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{README.name} has no '{BEGIN}' ... '{END}'")
    updated = f"{before}{BEGIN}\n{table(methods())}\n{END}{after}"
    if check and updated != text:
        print("README.md's table of methods is out of date: run scripts/methods_table.py", file=sys.stderr)
        raise typer.Exit(1)
    if not check:
        README.write_text(updated, encoding="utf-8")


def table(cards: list[Card]) -> str:
    """The cards as a table in Markdown."""
    lines = ["| method | needs | gives | what it does | paper |", "|---|---|---|---|---|"]
    for card in cards:
        needs, gives = ", ".join(sorted(card.needs)), ", ".join(sorted(card.gives))
        cells = (f"`{card.name}`", needs, gives, card.title, card.paper)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
