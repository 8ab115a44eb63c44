"""The report of a folder: one page that needs nothing else."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import pytest

from folder_runs import brightening_job, folder_of_photos, run_folder
from unblur.pipeline.folders import page
from unblur.pipeline.folders.manifest import Record
from unblur.pipeline.folders.page import Summary, check_report, make_page, write_page
from unblur.pipeline.folders.run import preview_files
from unblur.types import UnblurError

NASTY = '</script><img src="https://example.com/x.png"> & <!-- .jpg'


class Resources(HTMLParser):
    """Collects whatever a page would load, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script"
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)
            self._in_script = False


def data_of(text: str) -> dict:
    return json.loads(Resources(text).scripts[0])


def test_the_page_holds_the_photos_and_loads_nothing(tmp_path):
    photos = folder_of_photos(tmp_path / "photos")
    (photos / "bad.jpg").write_bytes(b"no photo")
    records = list(run_folder(photos, tmp_path / "out", brightening_job(tmp_path / "methods")).values())
    text = write_page(records, tmp_path / "out").read_text()
    assert Resources(text).loaded == []
    assert not re.search(r"https?:|url\(|@import", text)
    assert "default-src 'none'" in text
    failed, *others = data_of(text)["photos"]
    assert (failed["output"], failed["pictures"]) == ("bad.jpg", None)
    for photo in others:
        pictures = [path.read_bytes() for path in preview_files(tmp_path / "out", photo["output"])]
        assert [base64.b64decode(picture) for picture in photo["pictures"]] == pictures
        assert pictures[0].startswith(b"\xff\xd8\xff") and pictures[0] != pictures[1]


def test_a_file_name_cannot_add_to_the_page(tmp_path):
    record = Record(NASTY, NASTY, notes=[NASTY], error=NASTY)
    text = make_page([record], tmp_path)
    assert Resources(text).loaded == []
    assert data_of(text)["photos"][0]["output"] == NASTY


def test_a_long_table_is_cut_and_keeps_what_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_ROWS", 2)
    records = [Record(name, name, changed=True) for name in "abc"] + [Record("z", "z", error="z: too dark")]
    data = data_of(make_page(records, tmp_path))
    assert [photo["output"] for photo in data["photos"]] == ["z", "a"]
    assert data["more"].startswith("2 more photos")


def test_the_summary_counts():
    records = [
        Record("a", "a", method="nlm", changed=True, seconds=2.5),
        Record("b", "b", method="two_way", changed=True, seconds=1),
        Record("c", "c", method="two_way", changed=True, seconds=1),
        Record("d", "d", method="two_way"),
        Record("e", "e", error="e: too dark"),
    ]
    summary = Summary.of(records)
    assert (summary.photos, summary.restored, summary.left, summary.failed, summary.seconds) == (5, 3, 1, 1, 4.5)
    assert list(summary.methods.items()) == [("two_way", 2), ("nlm", 1)]
    assert summary.words().startswith("5 photos: 3 restored (two_way: 2, nlm: 1), 1 left as they were, 1 failed.")


def test_a_report_of_something_else_is_not_replaced(tmp_path):
    check_report(tmp_path / "new", overwrite=False)
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(UnblurError, match=r"report.html: it exists already"):
        check_report(tmp_path, overwrite=False)
    check_report(tmp_path, overwrite=True)
    (tmp_path / "manifest.jsonl").touch()
    check_report(tmp_path, overwrite=False)
