"""The report of an output folder: one HTML page without external resources, with a table and a slider.

The table is sorted with a click on a heading. A click on a row shows its photo before and after, if pictures were kept.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from unblur.image_io import ImageFileError
from unblur.image_io.write import check_place, put_in_place
from unblur.pipeline.folders.manifest import MANIFEST, Record
from unblur.pipeline.folders.run import preview_files

REPORT = "report.html"
MOST_ROWS = 5000
"""Number of photos in the table, chosen by hand: a browser shows a longer one slowly. Failed photos come first."""

_SHOWN = ("output", "method", "reason", "psf_size", "psf", "noise_sigma", "seconds", "changed", "notes", "error")


@dataclass(frozen=True)
class Summary:
    """How many photos became what, and how long it took.

    Attributes:
        restored: number of photos that were restored.
        left: number of photos whose result is the photo as it was.
        failed: number of photos without a result.
        seconds: of all photos together, as if they had been restored one after the other.
        methods: number of photos restored by each method, the most frequent first.
    """

    restored: int
    left: int
    failed: int
    seconds: float
    methods: dict[str, int]

    @staticmethod
    def of(records: Iterable[Record]) -> Summary:
        """The summary of some records, one for each photo."""
        restored = left = failed = 0
        seconds = 0.0
        methods: Counter[str] = Counter()
        for record in records:
            seconds += record.seconds
            if record.error is not None:
                failed += 1
            elif record.changed:
                restored += 1
                methods[record.method] += 1
            else:
                left += 1
        return Summary(restored, left, failed, seconds, dict(methods.most_common()))

    @property
    def photos(self) -> int:
        """The number of photos."""
        return self.restored + self.left + self.failed

    def words(self) -> str:
        """The summary in one line."""
        by = ", ".join(f"{name}: {count}" for name, count in self.methods.items())
        return (
            f"{self.photos} photos: {self.restored} restored{f' ({by})' if by else ''}, {self.left} left as they were, "
            f"{self.failed} failed. {self.seconds:.0f} s of work."
        )


def check_report(out: Path, *, overwrite: bool) -> None:
    """Check that the report may be written. That of an earlier run, which left a manifest, may be replaced.

    Raises:
        ImageFileError: when there is a file of its name that may not be replaced, or the folder is not writable.
    """
    if (out / REPORT).is_symlink():
        raise ImageFileError(out / REPORT, "this is a link, which may lead to a photo. Remove it.")
    if out.is_dir():
        check_place(out / REPORT, overwrite=overwrite or (out / MANIFEST).exists())


def write_page(records: Sequence[Record], out: Path) -> Path:
    """Write the report, in place of an earlier one.

    Args:
        records: one for each photo.
        out: the output folder.

    Raises:
        ImageFileError: when it cannot be written.
    """
    path = out / REPORT
    put_in_place(make_page(records, out).encode(), path, overwrite=True)
    return path


def make_page(records: Sequence[Record], out: Path) -> str:
    """The report as the text of an HTML page.

    Args:
        records: one for each photo.
        out: the output folder, where the pictures of the photos are kept.
    """
    shown = sorted(records, key=lambda record: (record.error is None, record.output))[:MOST_ROWS]
    missing = len(records) - len(shown)
    data = {
        "summary": Summary.of(records).words(),
        "more": f"{missing} more photos are in the manifest only." if missing else "",
        "photos": [_row(record, out) for record in shown],
    }
    # In a script element, only "</script" and "<!--" have a meaning. A JSON string may hold "<" as an escape.
    text = json.dumps(data).replace("<", "\\u003c")
    template = files("unblur.pipeline.folders").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("{{DATA}}", text)


def _row(record: Record, out: Path) -> dict[str, object]:
    row: dict[str, object] = {name: getattr(record, name) for name in _SHOWN}
    try:
        row["pictures"] = [base64.b64encode(path.read_bytes()).decode() for path in preview_files(out, record.output)]
    except OSError:  # none were kept
        row["pictures"] = None
    return row
