"""A run over a folder: each photo gets a result and a record, and a run that was ended can be continued."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes import fake_method
from folder_runs import PHOTOS, ThisProcess, brightening_job, folder_of_photos, results, run_folder
from unblur.image_io import write_psf
from unblur.layers.precision import agree_on
from unblur.pipeline.folders import run, task
from unblur.pipeline.folders.manifest import MANIFEST, read_records
from unblur.pipeline.folders.processes import LocalProcesses
from unblur.pipeline.folders.scan import find_photos
from unblur.pipeline.folders.task import Job, describe_job
from unblur.pipeline.options import Options
from unblur.pipeline.restore import restore_file
from unblur.types import UnblurError


@pytest.fixture
def photos(tmp_path):
    return folder_of_photos(tmp_path / "photos")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def job(tmp_path):
    return brightening_job(tmp_path / "methods")


def test_the_tree_is_mirrored_with_what_a_single_photo_would_become(photos, out, job, tmp_path):
    run_folder(photos, out, job)
    assert set(results(out)) == set(PHOTOS)
    for name, content in results(out).items():
        alone = tmp_path / f"alone.{name.rpartition('.')[2]}"
        restore_file(photos / name, alone, job.options, overwrite=True)
        assert content == alone.read_bytes()


def test_each_photo_has_a_record(photos, out, job):
    records = run_folder(photos, out, job)
    assert {record.output: record for record in read_records(out)} == records
    record = records["trips/c.png"]
    assert record.input == str(photos / "trips/c.png")
    assert record.method == "brightening"
    assert (record.changed, record.error, record.pixels) == (True, None, 24 * 22)
    assert record.noise_sigma is not None and record.seconds > 0
    assert record.input_bytes == (photos / "trips/c.png").stat().st_size
    assert record.output_mtime_ns == (out / "trips/c.png").stat().st_mtime_ns
    assert record.options["settings"] == {}
    assert record.version.startswith("unblur ")


def test_the_psf_and_the_noise_that_are_known_are_used(photos, out, tmp_path):
    body = "return Restoration(image=observation.blurry, psf=observation.psf, notes=[f'{observation.sigma:.3f}'])"
    options = Options(fake_method(tmp_path, "telling", body, needs=("blurry", "psf")), force=True)
    psf = np.full((5, 1), 0.2, np.float32)
    record = run_folder(photos, out, Job(options, psf=psf, sigma=0.125))["a.png"]
    assert (record.psf_size, record.notes) == (5, ["0.125"])
    assert record.psf is not None and record.psf.startswith("1 x 5 px")


def test_one_bad_photo_does_not_stop_the_others(photos, out, job):
    (photos / "aa.jpg").write_bytes(b"this is no photo")
    (photos / "bb.png").write_bytes((photos / "a.png").read_bytes()[:-60])
    records = run_folder(photos, out, job)
    assert set(results(out)) == set(PHOTOS)
    assert {name for name, record in records.items() if record.error} == {"aa.jpg", "bb.png"}
    assert "its format is not known" in (records["aa.jpg"].error or "")


def test_a_bug_with_one_photo_does_not_stop_the_others(photos, out, tmp_path):
    Image.new("RGB", (24, 24)).save(photos / "black.png")
    body = "assert observation.blurry.any(), 'it is black'; return Restoration(image=observation.blurry)"
    records = run_folder(photos, out, Job(Options(fake_method(tmp_path, "buggy", body), force=True)))
    assert "AssertionError: it is black" in (records["black.png"].error or "")
    assert set(results(out)) == set(PHOTOS)


def test_a_run_that_was_ended_is_continued_with_the_same_bytes(photos, out, job, tmp_path):
    run_folder(photos, tmp_path / "undisturbed", job)
    with pytest.raises(KeyboardInterrupt):
        run_folder(photos, out, job, ThisProcess(most=2))
    assert len(results(out)) == 2
    again = ThisProcess()
    run_folder(photos, out, job, again, resume=True)
    assert len(again.done) == len(PHOTOS) - 2
    assert results(out) == results(tmp_path / "undisturbed")


def test_a_run_that_was_ended_between_the_record_and_the_result_is_continued(photos, out, job, monkeypatch):
    """The record is written first; then nothing may take the result for done."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run, "move_in_place", killed)
        run_folder(photos, out, job)
    assert len(list(read_records(out))) == 1 and results(out) == {}
    assert len(run_folder(photos, out, job, resume=True)) == len(PHOTOS)
    stronger = brightening_job(out.parent / "methods", settings={"shift": 0.2})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run, "move_in_place", killed)
        run_folder(photos, out, stronger, resume=True)
    assert len(run_folder(photos, out, stronger, resume=True)) == len(PHOTOS), "the older result was replaced"


@pytest.mark.parametrize("first", [True, False])
def test_all_photos_are_computed_in_one_number_format_also_when_a_run_is_continued(
    photos, out, tmp_path, monkeypatch, first
):
    """Each process, and each run, might measure something else."""
    body = (
        "from unblur.layers.precision import restores_in_bfloat16\n"
        "    return Restoration(image=observation.blurry + (0.1 if restores_in_bfloat16() else 0.2))"
    )
    telling = Job(Options(fake_method(tmp_path, "telling", body), force=True))
    monkeypatch.setattr(run, "restores_in_bfloat16", lambda: first)
    try:
        run_folder(photos, tmp_path / "undisturbed", telling)
        with pytest.raises(KeyboardInterrupt):
            run_folder(photos, out, telling, ThisProcess(most=2))
        monkeypatch.setattr(run, "restores_in_bfloat16", lambda: not first)
        records = run_folder(photos, out, telling, LocalProcesses(1), resume=True)
        assert {record.bfloat16 for record in records.values()} == {first}
        assert results(out) == results(tmp_path / "undisturbed")
        run_folder(photos, tmp_path / "new", telling)
        assert results(out) != results(tmp_path / "new")
    finally:
        agree_on(None)


def test_nothing_is_done_twice(photos, out, job):
    run_folder(photos, out, job)
    before = results(out)
    assert run_folder(photos, out, job, resume=True) == {}
    assert results(out) == before


def test_what_has_changed_is_done_again(photos, out, job):
    run_folder(photos, out, job)
    (photos / "b.jpg").write_bytes(b"no photo any more")
    os.utime(photos / "a.png", ns=(0, 0))
    (out / "trips/c.png").unlink()
    assert set(run_folder(photos, out, job, resume=True)) == {"a.png", "b.jpg", "trips/c.png"}
    assert set(run_folder(photos, out, job, resume=True)) == {"b.jpg"}, "what failed is tried again"


def test_other_options_do_all_again(photos, out, job, tmp_path):
    run_folder(photos, out, job)
    before = results(out)
    stronger = brightening_job(tmp_path / "methods", settings={"shift": 0.2})
    assert len(run_folder(photos, out, stronger, resume=True)) == len(PHOTOS)
    assert all(results(out)[name] != before[name] for name in PHOTOS)


def test_the_reason_why_a_photo_is_done_again_is_known(photos, out, job, tmp_path):
    run_folder(photos, out, job)
    (out / "a.png").unlink()
    stronger = brightening_job(tmp_path / "methods", settings={"shift": 0.2})
    for other, why in ((job, "the result is gone"), (stronger, "other options: settings")):
        entries = run.plan(find_photos([photos], out), out, dict(other.digest), resume=True)
        assert next(entry.why for entry in entries if entry.found.name == "a.png") == why


def test_a_method_file_that_was_edited_is_another_option(photos, tmp_path):
    options = Options(fake_method(tmp_path, "mine", "return Restoration(image=observation.blurry)"))
    path = tmp_path / "mine.py"
    before = describe_job(options, {"method": path})
    assert before == describe_job(options, {"method": path})
    path.write_text(path.read_text() + "\n")
    assert before != describe_job(options, {"method": path})


@pytest.mark.parametrize("resume", [False, True])
def test_a_file_that_was_there_before_is_not_replaced(photos, out, job, resume):
    out.mkdir()
    (out / "a.png").write_bytes(b"precious")
    records = run_folder(photos, out, job, resume=resume)
    assert (out / "a.png").read_bytes() == b"precious"
    assert "it exists already" in (records["a.png"].error or "")
    assert len(results(out)) == len(PHOTOS)
    run_folder(photos, out, job, overwrite=True)
    assert (out / "a.png").read_bytes() != b"precious"


def test_a_result_that_somebody_has_changed_is_kept(photos, out, job, tmp_path):
    run_folder(photos, out, job)
    (out / "a.png").write_bytes(b"retouched")
    assert run_folder(photos, out, job, resume=True) == {}
    stronger = brightening_job(tmp_path / "methods", settings={"shift": 0.2})
    assert "it exists already" in (run_folder(photos, out, stronger, resume=True)["a.png"].error or "")
    assert (out / "a.png").read_bytes() == b"retouched"


def test_a_photo_that_changes_while_it_is_read_has_no_result(photos, out, tmp_path):
    body = f"open({str(photos / 'a.png')!r}, 'ab').write(b'more'); return Restoration(image=observation.blurry)"
    records = run_folder(photos, out, Job(Options(fake_method(tmp_path, "writing", body), force=True)))
    assert "it was changed while it was read" in (records["a.png"].error or "")
    assert not (out / "a.png").exists()


def test_a_folder_that_cannot_be_made_is_an_error_of_its_photos(photos, out, job):
    out.mkdir()
    (out / "trips").write_bytes(b"a file")
    records = run_folder(photos, out, job)
    assert {name for name, record in records.items() if record.error} == {"trips/c.png", "trips/2024/d.tif"}


def test_the_files_of_psf_and_method_are_not_replaced(photos, out, job, tmp_path):
    out.mkdir()
    write_psf(np.ones((1, 1), np.float32), out / "a.png")
    before = (out / "a.png").read_bytes()
    records = run_folder(photos, out, Job(job.options, keep=(out / "a.png",)), overwrite=False)
    assert records["a.png"].error and (out / "a.png").read_bytes() == before


def test_pictures_for_the_report_are_kept_of_the_first_photos(photos, out, job, monkeypatch):
    monkeypatch.setattr(run, "MOST_PREVIEWS", 2)
    monkeypatch.setattr(task, "PREVIEW", 12)
    run_folder(photos, out, job)
    sizes = []
    for name in ("a.png", "b.jpg"):
        before, after = (Image.open(path) for path in run.preview_files(out, name))
        sizes += [before.size, after.size]
        assert np.mean(after) - np.mean(before) == pytest.approx(25.5, abs=4)
    assert sizes == [(10, 12)] * 4
    assert not any(path.exists() for path in run.preview_files(out, "trips/c.png"))


def test_a_manifest_that_cannot_be_written_ends_the_run(photos, out, job, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unblur.pipeline.folders.manifest.os.fsync", full)
    with pytest.raises(UnblurError, match=f"{MANIFEST}: not written .No space left on device"):
        run_folder(photos, out, job)
    assert results(out) == {}


def test_a_link_among_the_results_is_not_followed(photos, out, job):
    """It may lead to a photo, which must not be replaced, whatever was asked."""
    before = (photos / "b.jpg").read_bytes()
    out.mkdir()
    (out / "a.png").symlink_to(photos / "b.jpg")
    (out / "trips").symlink_to(photos / "trips")
    records = run_folder(photos, out, job, overwrite=True)
    assert (photos / "b.jpg").read_bytes() == before
    for name in ("a.png", "trips/c.png", "trips/2024/d.tif"):
        assert "this is a link. Remove it" in (records[name].error or "")
    assert records["b.jpg"].error is None


def test_the_results_of_another_folder_are_not_replaced(photos, out, job, tmp_path):
    run_folder(photos, out, job)
    before = results(out)
    others = folder_of_photos(tmp_path / "others", ("a.png", "x.png"))
    os.utime(others / "a.png", ns=(1, 1))
    for attempt in range(3):
        records = run_folder(others, out, job, resume=True)
        assert "it exists already" in (records["a.png"].error or "")
        assert ("x.png" in records) == (attempt == 0)
        assert {name: results(out)[name] for name in before} == before


def test_the_results_of_a_folder_that_was_moved_are_its_own(photos, out, job, tmp_path):
    run_folder(photos, out, job)
    photos.rename(tmp_path / "moved")
    os.utime(tmp_path / "moved/a.png", ns=(1, 1))
    records = run_folder(tmp_path / "moved", out, job, resume=True)
    assert {name: record.error for name, record in records.items()} == {"a.png": None}


def test_another_photo_of_the_same_relative_path_is_another(photos, out, job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_folder(Path("photos"), out, job)
    before = results(out)
    folder_of_photos(tmp_path / "else/photos", ("a.png",))
    os.utime(tmp_path / "else/photos/a.png", ns=(1, 1))
    monkeypatch.chdir(tmp_path / "else")
    assert "it exists already" in (run_folder(Path("photos"), out, job, resume=True)["a.png"].error or "")
    assert results(out) == before


@pytest.mark.parametrize("own", [MANIFEST, ".unblur"])
def test_a_link_in_place_of_the_own_files_is_not_followed(photos, out, job, own):
    out.mkdir()
    (out / own).symlink_to(photos / "a.png" if own == MANIFEST else photos)
    before = (photos / "a.png").read_bytes()
    with pytest.raises(UnblurError, match="this is a link"):
        run_folder(photos, out, job, overwrite=True)
    assert (photos / "a.png").read_bytes() == before


def test_a_report_without_pictures_is_better_than_a_run_that_ends(photos, out, job, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run.Path, "write_bytes", full)
    assert all(record.error is None for record in run_folder(photos, out, job).values())


def test_nothing_is_measured_when_nothing_is_to_be_done(photos, out, job, monkeypatch):
    run_folder(photos, out, job)
    monkeypatch.setattr(run, "_in_bfloat16", lambda *_: pytest.fail("there is nothing to do"))
    assert run_folder(photos, out, job, resume=True) == {}
