"""The summary of a run as a table, with the protocol and the versions below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

_COLUMNS = (  # heading, key in the summary, digits
    ("PSNR", "psnr", 2),
    ("worst", "worst_psnr", 2),
    ("SSIM", "ssim", 4),
    ("ratio\nSSD", "error_ratio_ssd", 3),
    ("ratio\nnorm2", "error_ratio_norm2", 3),
    ("s", "seconds", 2),
    ("failed", "failed", 0),  # only shown when a method failed
)


def table(result: Mapping[str, Any]) -> Group:
    """The summary of the result of `run`, with its protocol below. It fits into 80 columns."""
    lines = result["summary"]
    columns = _COLUMNS if any(line["failed"] for line in lines) else _COLUMNS[:-1]
    rows = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    rows.add_column("method", vertical="bottom", overflow="fold")
    for heading, _, _ in columns:
        rows.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for line in lines:
        rows.add_row(line["method"], *(_figure(line[key], digits) for _, key, digits in columns))
    return Group(rows, Text("\n" + _caption(result), overflow="fold"))


def _caption(result: Mapping[str, Any]) -> str:
    """The meaning of the columns, the protocol and the versions."""
    protocol, versions = result["protocol"], result["versions"]
    counts = {line["count"] + line["failed"] for line in result["summary"]}
    count = max(counts, default=0)
    scored = f"{result['dataset']}, {count} picture{'s'[: count != 1]}: means, the worst PSNR, seconds a picture."
    said = "; ".join(f"{key}: {value}" for key, value in protocol.items() if value not in (None, {}))
    where = f"{versions['threads']} thread(s), {versions['device']}"
    return f"{scored}\n{said}\nunblur {versions['unblur']}, torch {versions['torch']}, {where}"


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
