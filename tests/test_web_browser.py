"""The page in a real Chromium, as a person uses it. Run with `pytest -m browser`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakes import PSF
from unblur.image_io import Photo, encode_photo
from unblur.pipeline.in_memory import restore_bytes
from unblur.pipeline.options import Options
from unblur.types import Observation
from web_pages import Page, bomb, expected, npy, photo_of, serving, wait_until

pytestmark = pytest.mark.browser

PATIENCE = 60_000  # ms
INSTALL = "`apt-get install chromium` (or set CHROMIUM to the program) and `pip install playwright`"

DROP = """([selector, files]) => {
  const data = new DataTransfer();
  for (const [name, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name));
  const place = document.querySelector(selector);
  for (const kind of ["dragover", "drop"]) {
    place.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  }
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    playwright = pytest.importorskip("playwright.sync_api", reason=f"the browser tests need {INSTALL}")
    if program is None:
        pytest.skip(f"the browser tests need {INSTALL}")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])  # CI runs as root
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


class Person:
    """Somebody in front of an open page."""

    def __init__(self, browser: Any, port: int, **options: Any) -> None:
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.page.goto(f"http://localhost:{port}/")
        self.page.wait_for_selector("#fields select")

    def drop(self, *files: tuple[str, bytes], on: str = "body") -> None:
        self.page.evaluate(DROP, [on, [[name, list(data)] for name, data in files]])

    def give_psf(self) -> None:
        self.page.get_by_label("Known PSF", exact=True).set_input_files(
            {"name": "psf.npy", "mimeType": "application/octet-stream", "buffer": npy(PSF.numpy())}
        )
        self.page.get_by_label("Remove: Known PSF").wait_for()

    def choose(self, label: str, value: str) -> None:
        self.page.get_by_label(label, exact=True).select_option(value)

    def keep_doubtful(self) -> None:
        self.page.get_by_text("More", exact=True).click()
        self.page.get_by_label("Keep doubtful results").check()

    def wait_for_photos(self, count: int) -> None:
        self.page.locator("#strip .pick").nth(count - 1).wait_for()

    def wait(self, words: str = "Restored by") -> None:
        self.page.locator("#headline", has_text=words).wait_for()

    def download(self) -> tuple[str, bytes]:
        with self.page.expect_download() as saved:
            self.page.get_by_role("button", name="Download").click()
        return saved.value.suggested_filename, Path(saved.value.path()).read_bytes()


@pytest.fixture
def person(chromium, port) -> Iterator[Person]:
    person = Person(chromium, port)
    yield person
    assert person.errors == []
    person.context.close()


def ready_for_wiener(person: Person) -> None:
    """The PSF of the tests is given, and `wiener` is chosen."""
    person.give_psf()
    person.choose("Method", "wiener")
    person.keep_doubtful()


def test_drop_wait_and_download(person):
    ready_for_wiener(person)
    data = photo_of("JPEG")
    person.drop(("holiday.jpg", data))
    person.wait("Restored by wiener")
    assert "it was asked for" in person.page.inner_text("#reason")
    assert "7 x 7 px" in person.page.inner_text("#facts")
    assert person.page.locator("#psf img").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [7, 7]
    assert person.download() == ("holiday.restored.jpg", expected(data))


def test_sixteen_bits_come_back_with_a_strength_that_was_set_afterwards(person):
    ready_for_wiener(person)
    data = photo_of("16-bit PNG")
    person.drop(("deep.png", data))
    person.wait()
    person.page.get_by_label("Strength", exact=True).fill("40")
    assert person.page.locator("#viewer .after").evaluate("image => image.style.opacity") == "0.4"
    assert person.download() == ("deep.restored.png", expected(data, strength=0.4))


def test_the_border_between_before_and_after_is_moved_by_mouse_and_keys(person):
    ready_for_wiener(person)
    person.drop(("a.jpg", photo_of("JPEG")))
    person.wait()
    divider, box = person.page.locator(".divider"), person.page.locator("#viewer").bounding_box()
    middle = box["y"] + box["height"] / 2
    assert divider.get_attribute("aria-valuenow") == "50"
    person.page.mouse.move(box["x"] + box["width"] / 2, middle)
    person.page.mouse.down()
    person.page.mouse.move(box["x"] + box["width"] / 4, middle, steps=5)
    person.page.mouse.up()
    assert divider.get_attribute("aria-valuenow") == "25"
    divider.press("ArrowRight")
    assert divider.get_attribute("aria-valuenow") == "27"
    clip = person.page.locator("#viewer .after").evaluate("image => image.style.clipPath")
    divider.press("End")
    assert person.page.locator("#viewer .after").evaluate("image => image.style.clipPath") != clip
    assert divider.get_attribute("aria-valuenow") == "100"


def test_the_photo_is_enlarged_by_wheel_buttons_and_keys(person):
    ready_for_wiener(person)
    person.drop(("a.jpg", photo_of("JPEG")))
    person.wait()

    def scale() -> float:
        return person.page.locator("#viewer .before").evaluate("image => new DOMMatrix(image.style.transform).a")

    whole = scale()
    person.page.locator("#viewer").hover()
    person.page.mouse.wheel(0, -300)
    assert scale() == pytest.approx(2 * whole)
    person.page.get_by_role("button", name="Larger").click()
    assert scale() == pytest.approx(3 * whole)
    person.page.get_by_role("button", name="Fit").click()
    assert scale() == whole
    person.page.locator(".divider").press("+")
    assert scale() == pytest.approx(1.5 * whole)


def test_a_job_is_cancelled_in_the_middle_and_another_one_follows(person):
    person.give_psf()
    person.choose("Method", "richardson_lucy")
    person.keep_doubtful()
    person.page.get_by_text("Settings of richardson_lucy").click()
    person.page.get_by_label("iterations", exact=True).fill("10000")
    person.drop(("a.jpg", photo_of("JPEG")))
    wait_until(lambda: person.page.evaluate("document.querySelector('#bar').value") > 100)
    person.page.get_by_role("button", name="Cancel").click()
    person.page.locator("#strip .state", has_text="cancelled").wait_for()
    assert not person.page.is_visible("#progress")
    person.page.get_by_label("iterations", exact=True).fill("2")
    person.page.get_by_role("button", name="Restore again").click()
    person.wait("Restored by richardson_lucy")
    settings = {"iterations": 2}
    known = Observation(psf=PSF[None, None])
    options = Options("richardson_lucy", settings=settings, force=True)
    assert person.download()[1] == restore_bytes(photo_of("JPEG"), options, known=known)[0]


def test_a_pair_is_restored(person):
    person.choose("Method", "deblur_merger")
    person.keep_doubtful()
    person.drop(("long.jpg", photo_of("JPEG")))
    person.page.get_by_role("button", name="This method needs the short shot as well.").wait_for()
    person.drop(("short.png", photo_of("PNG")), on="#fields .drop")
    person.page.get_by_label("Align the short shot").uncheck()
    person.page.get_by_label("Exposure ratio").fill("2")
    person.page.get_by_role("button", name="Restore", exact=True).click()
    person.wait("Restored by deblur_merger")
    options = Options("deblur_merger", force=True, align=False)
    pair = {"known": Observation(exposure_ratio=2.0), "noisy": photo_of("PNG")}
    assert person.download()[1] == restore_bytes(photo_of("JPEG"), options, **pair)[0]


def test_a_photo_that_is_left_alone_says_why_and_can_be_restored_all_the_same(person):
    flat = np.full((64, 64, 3), 0.5, np.float32)
    data = encode_photo(Photo(flat), "PNG")[0]
    person.give_psf()
    person.choose("Method", "wiener")
    person.drop(("flat.png", data))
    person.wait("Left as it was")
    assert person.page.inner_text("#notes") != ""
    assert person.download()[1] == data
    person.page.get_by_role("button", name="Restore it all the same").click()
    person.wait("Restored by wiener")
    known = Observation(psf=torch.from_numpy(PSF.numpy())[None, None])
    assert person.download()[1] == restore_bytes(data, Options("wiener", force=True), known=known)[0]


def test_a_bomb_and_a_text_are_refused_and_the_photo_beside_them_is_restored(person):
    ready_for_wiener(person)
    person.drop(("bomb.png", bomb(100_000)), ("notes.txt", b"some text"), ("a.jpg", photo_of("JPEG")))
    person.page.locator("#trouble", has_text="bomb.png: it declares 100000 x 100000 pixels").wait_for()
    person.page.locator("#strip li", has_text="a.jpg").locator(".state", has_text="restored").wait_for()
    person.page.locator("#strip .pick", has_text="notes.txt").click()
    assert "its format is not known" in person.page.inner_text("#trouble")
    person.page.locator("#strip .pick", has_text="a.jpg").click()
    assert person.download() == ("a.restored.jpg", expected(photo_of("JPEG")))


def test_a_value_out_of_range_is_shown_and_nothing_is_sent(person):
    person.choose("Method", "nlm")
    person.page.get_by_text("Settings of nlm").click()
    person.drop(("a.jpg", photo_of("JPEG")))
    person.page.locator("#headline").wait_for()
    person.page.get_by_label("strength", exact=True).fill("1000")
    sent = len(person.asked)
    person.page.get_by_role("button", name="Restore again").click()
    assert person.page.get_by_label("strength", exact=True).evaluate("input => input.matches(':focus')")
    assert len(person.asked) == sent


def test_two_people_at_once_get_their_own_photos(chromium, port):
    people = [Person(chromium, port) for _ in range(2)]
    data = [photo_of("JPEG", 1), photo_of("JPEG", 2)]
    for person in people:
        ready_for_wiener(person)
    for person, own in zip(people, data, strict=True):
        person.drop(*[(f"{number}.jpg", own) for number in range(3)])
    for person, own in zip(people, data, strict=True):
        person.page.locator("#strip .state", has_text="restored").nth(2).wait_for()
        assert person.download()[1] == expected(own)
    for person in people:
        assert person.errors == []
        person.context.close()


def test_everything_comes_from_this_server(person, port):
    ready_for_wiener(person)
    person.drop(("a.jpg", photo_of("JPEG")))
    person.wait()
    assert person.asked
    own = (f"http://localhost:{port}/", f"blob:http://localhost:{port}/", "data:")
    assert [address for address in person.asked if not address.startswith(own)] == []


FOREIGN = """async (address) => {
  const results = [];
  for (const [method, mode] of [["GET", "cors"], ["POST", "cors"], ["POST", "no-cors"]]) {
    try {
      const answer = await fetch(address, { method, mode, body: method === "POST" ? "x" : undefined });
      results.push(answer.type === "opaque" ? "opaque" : await answer.text());
    } catch (error) { results.push("refused"); }
  }
  const image = new Image();
  results.push(await new Promise((done) => {
    image.onload = () => done("shown");
    image.onerror = () => done("refused");
    image.src = address;
  }));
  return results;
}"""


def test_a_page_of_another_origin_learns_nothing(chromium, port):
    context = chromium.new_context()
    page = context.new_page()
    page.route(
        "http://evil.example/*", lambda route: route.fulfill(body="<title>evil</title>", content_type="text/html")
    )
    page.goto("http://evil.example/")
    for path in ("/api/session", "/api/form"):
        assert page.evaluate(FOREIGN, f"http://localhost:{port}{path}") == ["refused"] * 4
    frame = page.evaluate_handle("document.body.appendChild(document.createElement('iframe'))").as_element()
    frame.evaluate("(frame, address) => { frame.src = address; }", f"http://localhost:{port}/")
    page.wait_for_timeout(500)
    assert frame.content_frame().locator("#empty").count() == 0
    context.close()


def test_the_session_ends_with_the_page(chromium):
    with serving() as port:
        person = Person(chromium, port)
        person.drop(("a.jpg", photo_of("JPEG")))
        person.wait_for_photos(1)
        old = Page(port)
        with person.page.expect_request("**/api/uploads?*") as sent:
            person.drop(("b.jpg", photo_of("JPEG")))
        old.headers["X-Unblur-Session"] = sent.value.all_headers()["x-unblur-session"]
        assert old.ask("GET", "/api/uploads/x/preview")[0] == 404
        person.page.reload()
        wait_until(lambda: old.ask("GET", "/api/uploads/x/preview")[0] == 410)
        person.page.wait_for_selector("#empty")
        person.context.close()


def test_the_password_is_asked_and_opens_the_page(chromium):
    with serving(password="correct horse") as port:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"http://localhost:{port}/")
        page.get_by_label("Password").fill("battery staple")
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("alert").wait_for()
        page.get_by_label("Password").fill("correct horse")
        page.get_by_role("button", name="Continue").click()
        page.wait_for_selector("#fields select", timeout=PATIENCE)
        context.close()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(chromium, port, width):
    person = Person(chromium, port, viewport={"width": width, "height": 800})
    ready_for_wiener(person)
    person.drop(*[(f"a long name of a photo {number}.jpg", photo_of("JPEG")) for number in range(6)])
    person.wait()
    assert person.page.evaluate("document.documentElement.scrollWidth") <= width
    person.context.close()


def test_the_psf_is_estimated_in_a_region_that_is_drawn_on_the_photo(person):
    data = photo_of("JPEG")
    person.choose("Method", "wiener")
    person.keep_doubtful()
    person.page.get_by_label("PSF size").fill("7")
    person.drop(("a.jpg", data))
    person.wait()
    person.page.get_by_role("button", name="Draw").click()
    corner = person.page.locator("#viewer .before").bounding_box()
    scale = corner["width"] / 64
    person.page.mouse.move(corner["x"] + 4.2 * scale, corner["y"] + 6.1 * scale)
    person.page.mouse.down()
    person.page.mouse.move(corner["x"] + 54.1 * scale, corner["y"] + 46.2 * scale, steps=4)
    person.page.mouse.up()
    assert person.page.get_by_label("Region of the PSF").input_value() == "4,6,50,40"
    drawn = person.page.locator("#viewer .region").bounding_box()
    assert drawn["width"] == pytest.approx(50 * scale, abs=3)
    person.page.get_by_role("button", name="Restore again").click()
    person.page.locator("#progress").wait_for()
    person.page.locator("#progress").wait_for(state="hidden")
    options = Options("l0_psf+wiener", 7, force=True, region=(4, 6, 50, 40))
    assert person.download()[1] == restore_bytes(data, options)[0]
    assert person.download()[1] != restore_bytes(data, Options("l0_psf+wiener", 7, force=True))[0]
