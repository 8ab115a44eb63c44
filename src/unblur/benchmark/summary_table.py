"""The summary of a run as a table, with the protocol and the versions below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text


class _Column(NamedTuple):
    """A column of the table.

    Attributes:
        heading: at most two short lines.
        key: of the figure in the summary.
        digits: decimals.
        meaning: what the caption says about it.
        always: False: left out when no method has the figure.
    """

    heading: str
    key: str
    digits: int
    meaning: str = ""
    always: bool = True


_COLUMNS = (
    _Column("PSNR", "psnr", 2),
    _Column("worst", "worst_psnr", 2, "the worst PSNR"),
    _Column("gain", "gain", 2, "gain over the input"),
    _Column("worst\ngain", "worst_gain", 2),
    _Column("gain\nn.-fr.", "gain_noise_free", 2, "gain over the noise-free blurry picture (n.-fr.)", False),
    _Column("SSIM", "ssim", 4),
    _Column("KS", "kernel_similarity", 3, "kernel similarity (KS)", False),
    _Column("ratio\nSSD", "error_ratio_ssd", 3),
    _Column("ratio\nnorm2", "error_ratio_norm2", 3),
    _Column("s", "seconds", 2, "seconds a picture"),
    _Column("failed", "failed", 0),  # only shown when a method failed
)


def table(result: Mapping[str, Any]) -> Group:
    """The summary of the result of `run`, with its protocol below. It fits into 80 columns."""
    lines = result["summary"]
    columns = [column for column in _COLUMNS if _is_shown(column, lines)]
    grouped = any("group" in line for line in lines)
    rows = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    rows.add_column("method", vertical="bottom", overflow="fold")
    if grouped:
        rows.add_column("pictures", no_wrap=True, vertical="bottom")
    for column in columns:
        rows.add_column(column.heading, justify="right", no_wrap=True, vertical="bottom")
    before = None
    for line in lines:
        name = Text("" if line["method"] == before else line["method"])  # not markup: a label may have brackets
        figures = (_figure(line[column.key], column.digits) for column in columns)
        rows.add_row(name, *([line["group"]] if grouped else []), *figures)
        before = line["method"]
    return Group(rows, Text("\n" + _caption(result, columns), overflow="fold"))


def _is_shown(column: _Column, lines: Sequence[Mapping[str, Any]]) -> bool:
    figures = [line[column.key] for line in lines if column.key in line]
    if column.key == "failed":
        return any(figures)
    return bool(figures) and (column.always or any(figure is not None for figure in figures))


def _caption(result: Mapping[str, Any], columns: Sequence[_Column]) -> str:
    """The meaning of the columns, the protocol and the versions."""
    protocol, versions = result["protocol"], result["versions"]
    counts = {line["count"] + line["failed"] for line in result["summary"]}
    count = max(counts, default=0)
    meanings = ", ".join(["means", *(column.meaning for column in columns if column.meaning)])
    scored = f"{result['dataset']}, {count} picture{'s'[: count != 1]}: {meanings}."
    said = "; ".join(f"{key}: {value}" for key, value in protocol.items() if value not in (None, {}))
    where = f"{versions['threads']} thread(s), {versions['device']}"
    return f"{scored}\n{said}\nunblur {versions['unblur']}, torch {versions['torch']}, {where}"


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 makes of -0.0 a 0
