"""The server of `unblur web`, asked as the page asks it."""

from __future__ import annotations

import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import repeat

import numpy as np
import pytest
import torch
from PIL import Image

from fakes import PSF
from unblur.pipeline.in_memory import restore_bytes
from unblur.pipeline.options import Options
from unblur.types import Observation
from unblur.web import sessions
from unblur.web.queue import FairQueue
from web_pages import Page, bomb, expected, npy, photo_of, serving, wait_until

QUICK = {"method": "wiener", "force": True}
LONG = {"method": "richardson_lucy", "settings": {"richardson_lucy.iterations": 10_000}, "force": True}


@pytest.fixture(scope="module")
def port():
    with serving() as port:
        yield port


@pytest.fixture
def page(port):
    page = Page(port)
    yield page
    page.ask("POST", "/api/session/end", page.token)


# --- what a person does ---------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "name"), [("JPEG", "a.jpg"), ("16-bit PNG", "a.png"), ("float TIFF", "a.tif")])
def test_the_download_is_what_restore_writes(page, format, name):
    data = photo_of(format)
    psf = page.send(npy(PSF.numpy()), "psf.npy", "psf")
    job = page.order(page.send(data, name), psf=psf, **QUICK)
    told = page.wait_for(job, "done")
    assert page.download(job) == expected(data)
    assert told["result"]["output"] == f"a.restored{name[1:]}"
    assert told["result"]["method"] == "wiener"
    assert told["result"]["reason"] == "it was asked for"
    assert told["result"]["psf"].startswith("7 x 7 px")


def test_another_strength_is_what_restore_writes_and_nothing_is_restored_again(page, monkeypatch):
    data = photo_of("JPEG")
    job = page.order(page.send(data), psf=page.send(npy(PSF.numpy()), "psf.npy", "psf"), **QUICK)
    page.wait_for(job, "done")
    at_some = expected(data, strength=0.4)
    monkeypatch.setattr("unblur.pipeline.restore.restore_picture", lambda *_: pytest.fail("restored again"))
    assert page.download(job, 0.4) == at_some
    assert page.download(job, 0) == data
    assert page.refused("GET", f"/api/jobs/{job}/download?strength=2")[0] == 400
    assert page.refused("GET", f"/api/jobs/{job}/download?strength=much")[0] == 400


def test_a_pair_is_restored_as_by_the_command(page):
    long, short = photo_of("JPEG"), photo_of("PNG")
    choices = {"method": "deblur_merger", "force": True, "align": False, "exposure_ratio": 2.0}
    job = page.order(page.send(long), short=page.send(short, "b.png", "short"), **choices)
    assert page.wait_for(job, "done", "failed")["error"] == ""
    options = Options("deblur_merger", force=True, align=False)
    assert page.download(job) == restore_bytes(long, options, known=Observation(exposure_ratio=2.0), noisy=short)[0]


def test_the_pictures_of_before_and_after_have_one_size(page):
    photo = page.send(photo_of("16-bit PNG"))
    job = page.order(photo, psf=page.send(npy(PSF.numpy()), "psf.npy", "psf"), **QUICK)
    page.wait_for(job, "done")
    for path in (f"/api/uploads/{photo}/preview", f"/api/jobs/{job}/preview"):
        with Image.open(io.BytesIO(page.ask("GET", path)[1])) as image:
            assert (image.format, image.size) == ("JPEG", (64, 48))
    with Image.open(io.BytesIO(page.ask("GET", f"/api/jobs/{job}/psf")[1])) as image:
        levels = np.asarray(image).astype(np.float64)
    shown = np.sqrt(PSF.numpy() / PSF.numpy().max())
    assert np.abs(levels / 255 - shown).max() < 1 / 255


def test_a_psf_may_be_a_picture(page):
    data, levels = photo_of("JPEG"), np.floor(PSF.numpy() / PSF.numpy().max() * 255 + 0.5).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    job = page.order(page.send(data), psf=page.send(buffer.getvalue(), "my psf.PNG", "psf"), **QUICK)
    page.wait_for(job, "done")
    psf = torch.from_numpy((levels / levels.astype(np.float64).sum()).astype(np.float32))[None, None]
    assert page.download(job) == restore_bytes(data, Options("wiener", force=True), known=Observation(psf=psf))[0]


def test_the_stages_are_told_while_they_run(page):
    job = page.order(page.send(photo_of("JPEG")), psf=page.send(npy(PSF.numpy()), "psf.npy", "psf"), **LONG)
    running = (told for told in page.events() if told["job"] == job and told["stage"]["done"] > 0)
    stage = next(running)["stage"]
    assert stage["total"] == 10_000
    assert 0 < stage["done"] < 10_000
    assert next(running)["stage"]["done"] > stage["done"]
    assert page.ask("DELETE", f"/api/jobs/{job}")[0] == 204
    assert page.wait_for(job, "cancelled", "done")["state"] == "cancelled"
    assert page.refused("GET", f"/api/jobs/{job}/download")[0] == 404


def test_a_job_that_waits_is_told_its_place_and_can_be_cancelled(page):
    photos = [page.send(photo_of("JPEG", seed)) for seed in range(3)]
    psf = page.send(npy(PSF.numpy()), "psf.npy", "psf")
    first, second, third = (page.order(photo, psf=psf, **LONG) for photo in photos)
    page.wait_for(first, "running")
    assert page.wait_for(third, "waiting")["before"] == 1
    page.ask("DELETE", f"/api/jobs/{second}")
    assert page.wait_for(second, "cancelled")
    assert page.wait_for(third, "waiting")["before"] == 0
    page.ask("DELETE", f"/api/jobs/{first}")
    assert page.wait_for(third, "running")
    page.ask("DELETE", f"/api/jobs/{third}")


def test_a_photo_that_is_removed_ends_its_job(page):
    photo = page.send(photo_of("JPEG"))
    job = page.order(photo, psf=page.send(npy(PSF.numpy()), "psf.npy", "psf"), **LONG)
    page.wait_for(job, "running")
    assert page.ask("DELETE", f"/api/uploads/{photo}")[0] == 204
    assert page.refused("DELETE", f"/api/jobs/{job}")[0] == 404
    next_one = page.order(page.send(photo_of("JPEG")), method="nlm")
    assert page.wait_for(next_one, "done", "failed")  # the removed one does not keep the thread


# --- what is refused ------------------------------------------------------------------------------


BAD_FILES = {
    "a bomb": (
        "photo",
        "bomb.png",
        bomb(100_000),
        400,
        "bomb.png: it declares 100000 x 100000 pixels; the limit is 100",
    ),
    "a bomb as PSF": ("psf", "bomb.png", bomb(100_000), 400, "it declares 100000 x 100000 pixels"),
    "a text": ("photo", "notes.txt", b"some text", 400, "notes.txt: its format is not known."),
    "nothing": ("photo", "a.jpg", b"", 400, "a.jpg: the file is empty"),
    "a text as PSF": ("psf", "psf.txt", b"1 2 3", 400, "a PSF cannot be read from '.txt'"),
    "a program": ("photo", "mine.py", b"print(1)", 400, "its format is not known"),
    "an unknown role": ("method", "mine.py", b"print(1)", 400, "there is no role 'method'"),
    "a path": ("photo", "../../etc/cut.jpg", b"\xff\xd8\xff", 400, "cut.jpg: the file is damaged"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_no_photo_is_refused_with_the_reason(page, name):
    role, file, data, status, words = BAD_FILES[name]
    answer = page.refused("POST", f"/api/uploads?role={role}&name={file}", data)
    assert answer[0] == status
    assert answer[1].startswith(words) or words in answer[1]
    assert "/" not in answer[1]


def test_a_long_file_is_refused_before_it_has_arrived():
    with serving(max_bytes=1000, max_pixels=10_000) as port:
        page = Page(port)
        assert page.refused("POST", "/api/uploads?role=photo&name=a.jpg", bytes(1001))[0] == 413
        pieces = repeat(bytes(60_000), 10_000)  # sent without a length
        with suppress(BrokenPipeError, ConnectionResetError):  # the server closes the connection
            assert page.refused("POST", "/api/uploads?role=photo&name=a.jpg", pieces)[0] == 413
        assert next(pieces, None) is not None, "the whole file was read"
        assert page.refused("POST", "/api/uploads?role=photo&name=a.png", bomb(101))[0] == 400


def test_an_order_for_what_is_not_there_is_refused(page, port):
    photo = page.send(photo_of("JPEG"))
    other = Page(port).send(photo_of("JPEG"))
    for body in ({"photo": "x"}, {"photo": other}, {"photo": photo, "psf": photo}, {"photo": photo, "short": photo}):
        assert page.refused("POST", "/api/jobs", json.dumps(body))[0] == 404
    status, error = page.refused("POST", "/api/jobs", json.dumps({"photo": photo, "method": "./mine.py"}))
    assert (status, "there is no method './mine.py'" in error) == (400, True)
    assert page.refused("POST", "/api/jobs", b" " * 30_000)[0] == 413


def test_without_the_secret_of_a_session_nothing_is_told(page, port):
    photo = page.send(photo_of("JPEG"))
    stranger = Page(port)
    assert stranger.refused("GET", f"/api/uploads/{photo}/preview")[0] == 404
    for secret in ("", "guessed", f"{page.token}x"):
        stranger.headers["X-Unblur-Session"] = secret
        for path in (f"/api/uploads/{photo}/preview", "/api/events", "/api/jobs/x/download"):
            assert stranger.refused("GET", path)[0] == 410


def test_a_foreign_origin_or_name_is_refused_by_the_running_server(page):
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert page.ask("POST", "/api/session", headers=headers)[0] == 403
        assert page.ask("POST", "/api/uploads?role=photo&name=a", photo_of("JPEG"), headers)[0] == 403


def test_no_file_of_the_machine_is_served(page):
    for path in ("/page/../app.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/app.py", "/page/style.css/.."):
        assert page.ask("GET", path)[0] == 404


def test_a_full_queue_is_said():
    with serving(queue=FairQueue(longest=2, longest_of_one=2)) as port:
        page = Page(port)
        psf = page.send(npy(PSF.numpy()), "psf.npy", "psf")
        photos = [page.send(photo_of("JPEG", seed)) for seed in range(4)]
        running = page.order(photos[0], psf=psf, **LONG)
        page.wait_for(running, "running")
        for photo in photos[1:3]:
            page.order(photo, psf=psf, **QUICK)
        status, error = page.refused("POST", "/api/jobs", json.dumps({"photo": photos[3], "psf": psf, **QUICK}))
        assert (status, "waiting, which is the most" in error) == (429, True)


# --- what is kept ---------------------------------------------------------------------------------


def test_nothing_is_kept_of_a_page_that_says_it_is_closed(port):
    page = Page(port)
    photo = page.send(photo_of("JPEG"))
    job = page.order(photo, psf=page.send(npy(PSF.numpy()), "psf.npy", "psf"), **LONG)
    page.wait_for(job, "running")
    assert page.ask("POST", "/api/session/end", page.token)[0] == 204
    assert page.refused("GET", f"/api/uploads/{photo}/preview")[0] == 410
    after = Page(port)
    began = time.monotonic()
    assert after.wait_for(after.order(after.send(photo_of("JPEG")), method="nlm"), "done", "failed")
    assert time.monotonic() - began < 20, "the job of the closed page still runs"


def test_nothing_is_kept_of_a_page_that_has_gone(monkeypatch):
    monkeypatch.setattr(sessions, "GRACE", 0.3)
    monkeypatch.setattr("unblur.web.app._TIDY_EVERY", 0.05)
    with serving() as port:
        page, open_page = Page(port), Page(port)
        photo = page.send(photo_of("JPEG"))
        events = open_page.events()
        open_page.send(photo_of("JPEG"))
        threading.Thread(target=lambda: list(events), daemon=True).start()

        def has_gone() -> bool:
            time.sleep(0.5)  # a request keeps the session
            return page.ask("GET", f"/api/uploads/{photo}/preview")[0] == 410

        wait_until(has_gone)
        assert open_page.send(photo_of("JPEG")), "a page that listens is kept"


def test_no_file_that_has_a_name_is_left(page, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    job = page.order(page.send(photo_of("JPEG")), psf=page.send(npy(PSF.numpy()), "psf.npy", "psf"), **QUICK)
    page.wait_for(job, "done")
    page.download(job, 0.5)
    assert list(tmp_path.iterdir()) == []


def test_the_pixels_of_the_oldest_results_are_given_up_when_the_disk_has_no_room(page, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_ON_DISK", 4 * 3 * 48 * 64)
    psf = page.send(npy(PSF.numpy()), "psf.npy", "psf")
    jobs = [page.order(page.send(photo_of("JPEG", seed)), psf=psf, **QUICK) for seed in (0, 1)]
    for job in jobs:
        page.wait_for(job, "done")
    wait_until(lambda: page.ask("GET", f"/api/jobs/{jobs[0]}/download?strength=0.5")[0] == 400)
    assert "kept no longer" in page.refused("GET", f"/api/jobs/{jobs[0]}/download?strength=0.5")[1]
    assert page.download(jobs[0]) == expected(photo_of("JPEG", 0))
    assert page.download(jobs[1], 0.5) == expected(photo_of("JPEG", 1), strength=0.5)


def test_more_than_the_memory_allows_is_refused(page, monkeypatch):
    page.send(photo_of("JPEG"))
    monkeypatch.setattr(sessions, "MOST_HELD", 1000)
    status, error = page.refused("POST", "/api/uploads?role=photo&name=a.jpg", photo_of("JPEG"))
    assert (status, "as many photos as it may" in error) == (503, True)


# --- several people -------------------------------------------------------------------------------


def test_a_person_with_one_photo_does_not_wait_for_all_photos_of_another(port):
    many, one = Page(port), Page(port)
    psf = many.send(npy(PSF.numpy()), "psf.npy", "psf")
    photos = [many.send(photo_of("JPEG", seed)) for seed in range(6)]
    single, own_psf = one.send(photo_of("JPEG", 9)), one.send(npy(PSF.numpy()), "psf.npy", "psf")
    busy = many.order(photos[0], psf=psf, **LONG)
    many.wait_for(busy, "running")
    for photo in photos[1:]:
        many.order(photo, psf=psf, **LONG)
    job = one.order(single, psf=own_psf, **QUICK)
    assert one.wait_for(job, "waiting")["before"] == 0
    many.ask("DELETE", f"/api/jobs/{busy}")
    assert one.wait_for(job, "done")
    for page in (many, one):
        page.ask("POST", "/api/session/end", page.token)


def test_pages_at_the_same_time_get_their_own_pictures(port):
    """Eight pages with four photos each. benchmarks/web_load.py does it with 200 photos."""
    data = [photo_of("JPEG", seed) for seed in range(4)]
    answers = [expected(each) for each in data]
    assert len(set(answers)) == 4

    def work(number: int) -> list[bool]:
        page = Page(port)
        psf = page.send(npy(PSF.numpy()), "psf.npy", "psf")
        order = [(number + step) % 4 for step in range(4)]
        right = [page.restored(data[each], psf=psf, **QUICK) == answers[each] for each in order]
        page.ask("POST", "/api/session/end", page.token)
        return right

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [[True] * 4] * 8


def test_an_order_that_is_refused_leaves_the_result_of_the_photo():
    with serving(queue=FairQueue(longest=1, longest_of_one=1)) as port:
        page = Page(port)
        psf = page.send(npy(PSF.numpy()), "psf.npy", "psf")
        photos = [page.send(photo_of("JPEG", seed)) for seed in range(3)]
        job = page.order(photos[0], psf=psf, **QUICK)
        page.wait_for(job, "done")
        page.wait_for(page.order(photos[1], psf=psf, **LONG), "running")
        page.order(photos[2], psf=psf, **QUICK)
        assert page.refused("POST", "/api/jobs", json.dumps({"photo": photos[0], "psf": psf, **QUICK}))[0] == 429
        assert page.download(job) == expected(photo_of("JPEG"))
