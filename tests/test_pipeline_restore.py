"""From file to file: what is kept, what is never touched, and what is left when it goes wrong."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image

from fakes import (
    PSF,
    brightening,
    estimating,
    fake_method,
    pair_method,
    photo_pixels,
    sharp_pixels,
    write_photo_file,
)
from helpers import CountingProgress
from odd_files import make_odd_files
from unblur.image_io import read_photo, read_psf
from unblur.pipeline.options import Options
from unblur.pipeline.psf_file import estimate_psf_file
from unblur.pipeline.restore import picture_of, restore_file
from unblur.types import Cancelled, Observation, UnblurError

KNOWN = Observation(psf=PSF[None, None])


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def leave_alone(folder) -> Options:
    """Options under which every picture is better left as it is."""
    body = "return Restoration(image=observation.blurry, changed=False, notes=['It is sharp already.'])"
    return Options(method=fake_method(folder, "content", body, undoes=("noise",)))


@pytest.fixture
def folder(tmp_path):
    """An empty folder apart from where the fake methods are."""
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def test_a_jpeg_comes_back_sharper_with_everything_it_carried(folder):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6  # stored lying on its side
    profile = b"p" * 200
    photo = write_photo_file(folder / "a.jpg", quality=95, exif=exif, icc_profile=profile, dpi=(300, 300))
    before = digest(photo)
    result = restore_file(photo, folder / "b.jpg", Options(), known=KNOWN)
    assert digest(photo) == before
    with Image.open(folder / "b.jpg") as image:
        assert image.size == (48, 64), "upright"
        assert (image.getexif()[0x010F], image.getexif().get(0x0112, 1)) == ("Maker", 1)
        assert (image.info["icc_profile"], image.info["dpi"]) == (profile, (300, 300))
        restored = np.rot90(np.asarray(image).astype(float))
    errors = [np.square(picture - sharp_pixels()).mean() for picture in (photo_pixels().astype(float), restored)]
    assert errors[1] < 0.5 * errors[0]
    assert result.as_json() == {
        "input": str(photo),
        "output": str(folder / "b.jpg"),
        "method": "wiener_stack",
        "reason": "the PSF was given",
        "psf_size": 7 + 4,  # corrected, with room to grow
        "noise_sigma": pytest.approx(0.01, abs=0.005),
        "seconds": pytest.approx(result.seconds, abs=1e-3),
        "changed": True,
        "notes": [],
    }
    json.dumps(result.as_json())


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_depth_and_alpha_are_kept(folder, tmp_path, dtype):
    top = 65535 if dtype == np.uint16 else 1
    colours = (photo_pixels() / 255 * 0.7 * top).astype(dtype)
    alpha = np.linspace(0, top, 48 * 64).reshape(48, 64, 1).astype(dtype)
    tifffile.imwrite(folder / "a.tif", np.dstack([colours, alpha]), photometric="rgb", extrasamples=[2])
    options = Options(method=brightening(tmp_path), settings={"shift": 0.25}, force=True)
    restore_file(folder / "a.tif", folder / "b.tif", options)
    written = tifffile.imread(folder / "b.tif")
    assert written.dtype == dtype
    np.testing.assert_array_equal(written[..., 3:], alpha)
    np.testing.assert_allclose(written[..., :3], (colours / top + 0.25) * top, atol=1e-6 * top + (top > 1))


def test_only_whole_number_formats_are_clipped(folder, tmp_path):
    tifffile.imwrite(folder / "a.tif", np.full((40, 40), 0.75, np.float32))
    options = Options(method=brightening(tmp_path), settings={"shift": 0.5}, force=True)
    restore_file(folder / "a.tif", folder / "b.tif", options)
    restore_file(folder / "a.tif", folder / "b.png", options)
    np.testing.assert_allclose(tifffile.imread(folder / "b.tif"), 1.25)
    assert np.asarray(Image.open(folder / "b.png")).max() == 65535


def test_a_photo_left_alone_is_copied_byte_by_byte(folder, tmp_path):
    photo = write_photo_file(folder / "a.jpg", quality=60)
    result = restore_file(photo, folder / "b.jpg", leave_alone(tmp_path))
    assert (folder / "b.jpg").read_bytes() == photo.read_bytes()
    assert (result.changed, result.notes) == (False, ["It is sharp already."])


def test_a_byte_for_byte_copy_has_lost_nothing_and_says_nothing_of_it(folder, tmp_path):
    write_photo_file(folder / "a.jpg", exif=b"Exif\0\0damaged")
    options = leave_alone(tmp_path)
    assert restore_file(folder / "a.jpg", folder / "b.jpg", options).notes == ["It is sharp already."]
    elsewhere = restore_file(folder / "a.jpg", folder / "b.png", options)
    assert "The EXIF data is damaged and was left out." in elsewhere.notes


def test_stages_and_the_reason_are_kept_for_the_report(folder, tmp_path):
    body = "b = observation.blurry; return Restoration(image=b, stages={'first': b})"
    options = Options(method=fake_method(tmp_path, "staged", body, undoes=("noise",)))
    result = restore_file(write_photo_file(folder / "a.png"), folder / "b.png", options)
    assert (result.reason, result.stages["first"].shape) == ("it was asked for", (1, 3, 48, 64))


@pytest.mark.parametrize(("name", "output"), [("a.jpg", "b.png"), ("a.gif", "b.png"), ("a.bmp", "b.png")])
def test_a_photo_left_alone_is_copied_pixel_by_pixel_into_another_format(folder, tmp_path, name, output):
    photo = write_photo_file(folder / name)
    restore_file(photo, folder / output, leave_alone(tmp_path))
    with Image.open(photo) as before, Image.open(folder / output) as after:
        assert after.format == "PNG"
        np.testing.assert_array_equal(np.asarray(before.convert("RGB")), np.asarray(after))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_photo_is_never_replaced_by_what_is_made_of_it(folder, overwrite):
    photo = write_photo_file(folder / "a.png")
    before = photo.read_bytes()
    with pytest.raises(UnblurError, match="the picture being read, which is kept"):
        restore_file(photo, photo, Options(), known=KNOWN, overwrite=overwrite)
    assert photo.read_bytes() == before


@pytest.mark.parametrize("taken", ["b.jpg", "report.png"])
def test_an_output_that_exists_is_refused_before_any_work(folder, tmp_path, taken):
    photo = write_photo_file(folder / "a.jpg")
    (folder / taken).write_bytes(b"precious")
    slow = Options(method=fake_method(tmp_path, "failing", "raise AssertionError('worked')"))
    with pytest.raises(UnblurError, match="exists already"):
        restore_file(photo, folder / "b.jpg", slow, report=folder / "report.png")
    assert (folder / taken).read_bytes() == b"precious"
    assert len(list(folder.iterdir())) == 2


def test_transparency_that_the_output_cannot_hold_is_refused_before_any_work(folder, tmp_path):
    Image.fromarray(photo_pixels()).convert("RGBA").save(folder / "a.png")
    slow = Options(method=fake_method(tmp_path, "failing", "raise AssertionError('worked')"))
    with pytest.raises(UnblurError, match="holds no transparency"):
        restore_file(folder / "a.png", folder / "b.jpg", slow)


def test_a_cancellation_at_any_moment_leaves_nothing(folder, tmp_path):
    photo = write_photo_file(folder / "a.jpg")
    options = Options(method=estimating(tmp_path), force=True)
    progress = CountingProgress()
    restore_file(photo, tmp_path / "whole.jpg", options, progress)
    assert progress.reports >= 6
    for moment in range(1, progress.reports):
        with pytest.raises(Cancelled):
            restore_file(photo, folder / "b.jpg", options, CountingProgress(cancel_at=moment))
        assert list(folder.iterdir()) == [photo]


def test_ctrl_c_leaves_nothing(folder, tmp_path):
    photo = write_photo_file(folder / "a.jpg")
    options = Options(method=fake_method(tmp_path, "interrupted", "raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        restore_file(photo, folder / "b.jpg", options)
    assert list(folder.iterdir()) == [photo]


def test_the_report_is_a_picture(folder):
    photo = write_photo_file(folder / "a.jpg")
    restore_file(photo, folder / "b.jpg", Options(), known=KNOWN, report=folder / "report.png")
    with Image.open(folder / "report.png") as report:
        assert report.format == "PNG"
        assert min(report.size) > 400


def test_odd_files_are_restored_or_refused_in_one_line(folder, tmp_path):
    wrong, files = [], make_odd_files(folder)
    outputs = tmp_path / "outputs"
    for path, expectation in files:
        shutil.rmtree(outputs, ignore_errors=True)
        outputs.mkdir()
        output = outputs / f"{path.stem}.tif"
        try:
            restore_file(path, output, Options(method=estimating(tmp_path), force=True))
            good = expectation == "ok" and np.isfinite(tifffile.imread(output)).all()
        except UnblurError as error:
            good = expectation == "error" and path.name in str(error) and "\n" not in str(error)
            good = good and not list(outputs.iterdir())
        if not good:
            wrong.append(path.name)
    assert wrong == []
    assert len(files) >= 30


@pytest.mark.parametrize("name", ["psf.png", "psf.npy", "psf.tif"])
def test_the_psf_of_a_photo_goes_into_a_file(folder, tmp_path, name):
    photo = write_photo_file(folder / "a.jpg")
    result = estimate_psf_file(photo, folder / name, Options(method=estimating(tmp_path), psf_size=5))
    np.testing.assert_allclose(read_psf(folder / name), np.full((5, 5), 1 / 25), atol=1e-5)
    figures = result.as_json()
    assert (figures["psf_size"], figures["credible"]) == (5, True)
    assert "5 x 5 px" in str(figures["description"])
    json.dumps(figures)


@pytest.mark.parametrize(("name", "message"), [("psf.jpg", "not written as '.jpg'"), ("taken.png", "exists already")])
def test_a_psf_that_cannot_be_written_is_refused_before_any_work(folder, tmp_path, name, message):
    photo = write_photo_file(folder / "a.jpg")
    (folder / "taken.png").write_bytes(b"precious")
    slow = Options(method=fake_method(tmp_path, "failing", "raise AssertionError('worked')", gives=("psf",)))
    with pytest.raises(UnblurError, match=message):
        estimate_psf_file(photo, folder / name, slow)


def test_a_photo_and_its_picture_share_their_memory(tmp_path):
    """So that a photo of 100 megapixels is in memory once."""
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert np.shares_memory(picture_of(photo).numpy(), photo.pixels)


@pytest.mark.parametrize("what", ["output", "report"])
def test_a_file_that_is_to_be_kept_is_never_replaced(folder, tmp_path, what):
    psf = tmp_path / "psf.png"
    Image.fromarray(np.eye(5, dtype=np.uint8)).save(psf)
    before = digest(psf)
    places = {"output": tmp_path / "out.png", "report": tmp_path / "report.png"} | {what: psf}
    photo = folder / "photo.png"
    Image.fromarray(np.zeros((40, 44, 3), np.uint8)).save(photo)
    with pytest.raises(UnblurError, match=r"psf.png"):
        restore_file(photo, options=Options("nlm"), keep=[psf], overwrite=True, **places)
    assert digest(psf) == before


@pytest.mark.parametrize("what", ["output", "report"])
def test_the_short_shot_of_a_pair_is_never_replaced(folder, tmp_path, what):
    long, short = tmp_path / "long.png", tmp_path / "short.png"
    for path in (long, short):
        Image.fromarray(np.zeros((40, 44, 3), np.uint8)).save(path)
    places = {"output": tmp_path / "out.png", "report": tmp_path / "report.png"} | {what: short}
    options = Options(method=pair_method(tmp_path))
    before = digest(short)
    with pytest.raises(UnblurError, match=r"short.png"):
        restore_file(long, options=options, noisy=short, overwrite=True, **places)
    assert digest(short) == before
