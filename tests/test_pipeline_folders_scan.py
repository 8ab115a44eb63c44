"""Which photos a folder or a pattern stands for, and where their results go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unblur.pipeline.folders.scan import find_photos, is_pattern
from unblur.types import UnblurError


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder `photos` in the current folder; its files are empty, as only their names count."""
    monkeypatch.chdir(tmp_path)
    files = ("a.jpg", "b.TIF", "notes.txt", ".hidden.jpg", ".trash/x.jpg", "trips/a.jpg", "trips/2024/c.gif", "d.heic")
    for name in files:
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Path("photos")


def found(*sources: str | Path, out: str = "out") -> dict[str, str]:
    return {one.name: str(one.photo) for one in find_photos([Path(source) for source in sources], Path(out))}


def test_a_folder_is_searched_with_its_subfolders_and_mirrored(photos):
    assert found(photos) == {
        "a.jpg": "photos/a.jpg",
        "b.TIF": "photos/b.TIF",
        "d.heic.png": "photos/d.heic",  # a format that is not written
        "trips/2024/c.gif.png": "photos/trips/2024/c.gif",
        "trips/a.jpg": "photos/trips/a.jpg",
    }


def test_each_of_several_folders_gets_a_folder(photos):
    Path("more").mkdir()
    Path("more/a.jpg").touch()
    Path("single.png").touch()
    assert {"photos/a.jpg", "photos/trips/a.jpg", "more/a.jpg", "single.png"} < set(found(photos, "more", "single.png"))


def test_a_pattern_is_mirrored_from_its_first_wildcard(photos):
    assert found("photos/**/a.*") == {"a.jpg": "photos/a.jpg", "trips/a.jpg": "photos/trips/a.jpg"}
    assert found("photos/trips/*") == {"a.jpg": "photos/trips/a.jpg"}
    assert found(Path.cwd() / "photos/*.jpg") == {"a.jpg": str(Path.cwd() / "photos/a.jpg")}


def test_a_file_with_brackets_in_its_name_is_not_a_pattern(photos):
    Path("photos/[1].jpg").touch()
    assert is_pattern(Path("photos/*.jpg"))
    assert not is_pattern(Path("photos/[1].jpg"))
    assert not is_pattern(Path("photos/a.jpg"))


def test_the_results_are_not_restored_again(photos):
    Path("photos/out").mkdir()
    Path("photos/out/a.jpg").touch()
    assert "out/a.jpg" not in found(photos, out="photos/out")
    assert "out/a.jpg" not in found("photos/**/*.jpg", out="photos/out")


def test_photos_may_lie_in_the_output_folder(photos):
    assert set(found(photos, out=".")) == set(found(photos))


@pytest.mark.parametrize(
    ("sources", "out", "message"),
    [
        (["photos"], "photos", "cannot go into the folder of the photos"),
        (["photos/*.jpg"], "photos/../photos", "cannot go into the folder of the photos"),
        (["none"], "out", "none: there is no such file or folder"),
        (["photos/*.doc"], "out", "photos/*.doc: there is no photo"),
        (["photos/a.jpg", "photos/trips/a.jpg"], "out", "would both go to out/a.jpg"),
    ],
)
def test_what_makes_no_sense_is_refused(photos, sources, out, message):
    with pytest.raises(UnblurError, match=r"^[^\n]*$") as refusal:
        found(*sources, out=out)
    assert message in str(refusal.value)


def test_a_photo_that_is_named_twice_is_restored_once(photos):
    assert found("photos/a.jpg", "photos/*.jpg") == {"a.jpg": "photos/a.jpg"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_what_is_no_file_is_left_out(photos):
    os.mkfifo("photos/pipe.jpg")
    Path("photos/broken.jpg").symlink_to("nowhere.jpg")
    assert "pipe.jpg" not in found(photos)
    assert "broken.jpg" in found(photos), "so that somebody is told"
    with pytest.raises(UnblurError, match="not an ordinary file"):
        found(photos, "photos/pipe.jpg")


def test_a_pattern_finds_a_photo_once_however_many_links_lead_to_it(photos):
    Path("photos/trips/A").symlink_to(".")  # before a.jpg, in alphabetical order
    assert found("photos/trips/**/*.jpg") == {"a.jpg": "photos/trips/a.jpg"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_that_cannot_be_read_does_not_stop_the_others(photos):
    Path("photos/trips").chmod(0)
    told: list[str] = []
    names = {one.name for one in find_photos([photos], Path("out"), lambda error: told.append(str(error)))}
    Path("photos/trips").chmod(0o755)
    assert "a.jpg" in names and told == ["photos/trips: this folder cannot be read (Permission denied)."]


def test_of_two_photos_for_one_place_the_one_that_keeps_its_name_is_restored(photos):
    Path("photos/d.heic.png").touch()
    told: list[str] = []
    everything = find_photos([photos], Path("out"), lambda error: told.append(str(error)))
    assert {one.name: str(one.photo) for one in everything}["d.heic.png"] == "photos/d.heic.png"
    assert len(told) == 1 and "would both go to out/d.heic.png" in told[0]


def test_a_folder_named_like_the_report_is_left_out(photos):
    Path("photos/report.html").mkdir()
    Path("photos/report.html/a.jpg").touch()
    told: list[str] = []
    names = [
        one.name for one in find_photos([photos], Path("out"), lambda error: told.append(str(error)), ("report.html",))
    ]
    assert "report.html/a.jpg" not in names
    assert told == ["photos/report.html/a.jpg: its result cannot be in a folder 'report.html'. Rename the folder."]


def test_a_broken_link_beside_a_photo_of_the_same_place_is_refused(photos):
    Path("photos/d.heic").unlink()
    Path("photos/d.heic").symlink_to("nowhere")
    Path("photos/d.heic.png").touch()
    told: list[str] = []
    everything = find_photos([photos], Path("out"), lambda error: told.append(str(error)))
    assert {one.name: str(one.photo) for one in everything}["d.heic.png"] == "photos/d.heic.png"
    assert len(told) == 1
