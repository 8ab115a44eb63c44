"""The manifest: one whole line for each photo, whatever happens."""

from __future__ import annotations

import json

import pytest

from unblur.pipeline.folders.manifest import MANIFEST, Manifest, Record, read_histories, read_records
from unblur.types import UnblurError

RECORD = Record("photos/a.jpg", "a.jpg", method="nlm", notes=["A note."], input_bytes=5, options={"method": "nlm"})


def test_a_record_is_one_line_of_json(tmp_path):
    with Manifest(tmp_path, new=True) as manifest:
        manifest.add(RECORD)
        line = (tmp_path / MANIFEST).read_text()  # on the disk before the run ends
    assert line.endswith("}\n") and line.count("\n") == 1
    assert json.loads(line)["method"] == "nlm"
    assert list(read_records(tmp_path)) == [RECORD]


@pytest.mark.parametrize("name", ["two\nlines.jpg", "写真.jpg", "not utf-8 \udcff.jpg"])
def test_any_file_name_is_kept(tmp_path, name):
    with Manifest(tmp_path, new=True) as manifest:
        manifest.add(Record(name, name))
    assert [record.input for record in read_records(tmp_path)] == [name]


def test_a_line_that_was_cut_off_is_ignored_and_does_not_spoil_the_next(tmp_path):
    (tmp_path / MANIFEST).write_text(RECORD.line() + "\n" + RECORD.line()[:40])
    with Manifest(tmp_path, new=False) as manifest:
        manifest.add(Record("b.jpg", "b.jpg"))
    assert [record.output for record in read_records(tmp_path)] == ["a.jpg", "b.jpg"]


def test_the_last_record_of_a_photo_counts_and_all_its_results_are_known(tmp_path):
    with Manifest(tmp_path, new=True) as manifest:
        manifest.add(Record("a.jpg", "a.jpg", output_bytes=1, output_mtime_ns=10, path="/there/a.jpg"))
        manifest.add(Record("a.jpg", "a.jpg", error="a.jpg: too dark"))
        manifest.add(Record("a.jpg", "a.jpg", output_bytes=2, output_mtime_ns=20))
    history = read_histories(tmp_path)["a.jpg"]
    assert (history.last.output_bytes, history.results) == (2, {(1, 10): "/there/a.jpg", (2, 20): ""})


def test_fields_of_another_version_do_not_matter(tmp_path):
    (tmp_path / MANIFEST).write_text(json.dumps({"input": "a", "output": "a", "mood": "good"}) + "\n[]\n7\n")
    assert list(read_records(tmp_path)) == [Record("a", "a")]


def test_only_one_run_at_a_time_writes_into_a_folder(tmp_path):
    with Manifest(tmp_path, new=True), pytest.raises(UnblurError, match="another unblur writes into this folder"):
        Manifest(tmp_path, new=False)
    with Manifest(tmp_path, new=False):
        pass


def test_unfinished_files_are_removed(tmp_path):
    with Manifest(tmp_path, new=True) as manifest:
        left = manifest.parts / "left"
        left.mkdir()
        kept = left.rename(tmp_path / "kept")  # as after a run that was killed
    manifest.parts.mkdir()
    kept.rename(left)
    with Manifest(tmp_path, new=False):
        assert not left.exists()


def test_a_place_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UnblurError, match="not writable"):
        Manifest(tmp_path / "file", new=True)


@pytest.mark.parametrize("line", ['{"input": "a", "output": ["x"]}', '{"input": 1, "output": "x"}', "[" * 100_000])
def test_a_line_with_values_of_other_kinds_is_no_record(line):
    assert Record.of_line(line) is None


def test_what_is_checked_is_checked_before_anything_is_written(tmp_path):
    with Manifest(tmp_path, new=True) as manifest:
        manifest.add(Record("a", "a.jpg"))

    def refuse() -> None:
        raise UnblurError("there are results")

    with pytest.raises(UnblurError, match="there are results"):
        Manifest(tmp_path, new=True, check=refuse)
    assert [record.output for record in read_records(tmp_path)] == ["a.jpg"]
    with Manifest(tmp_path, new=False):
        pass  # the lock was given back
