"""A point spread function goes into a file and comes back normalised, odd and centred."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import tifffile
from PIL import Image

from unblur.image_io import ImageFileError, decode_psf, read_psf, write_psf


def some_psf(height: int = 5, width: int = 7) -> np.ndarray:
    psf = np.random.default_rng(4).random((height, width)).astype(np.float32)
    return psf / psf.sum()


@pytest.mark.parametrize(("suffix", "tolerance"), [(".npy", 1e-7), (".tif", 1e-7), (".png", 1e-5)])
def test_a_psf_comes_back(tmp_path, suffix, tolerance):
    psf = some_psf()
    write_psf(psf, tmp_path / f"psf{suffix}")
    again = read_psf(tmp_path / f"psf{suffix}")
    assert again.dtype == np.float32
    assert np.abs(again - psf).max() < tolerance
    assert abs(again.sum() - 1) < 1e-6


def test_tif_and_npy_hold_the_exact_values(tmp_path):
    psf = some_psf()
    write_psf(psf, tmp_path / "psf.tif")
    write_psf(psf, tmp_path / "psf.npy")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "psf.tif"), psf)
    np.testing.assert_array_equal(np.load(tmp_path / "psf.npy"), psf)


def test_png_is_scaled_to_its_maximum_in_16_bits(tmp_path):
    write_psf(some_psf(), tmp_path / "psf.png")
    with Image.open(tmp_path / "psf.png") as image:
        assert np.asarray(image).max() == 65535


def test_even_sides_gain_a_row_of_zeros_and_keep_their_centre(tmp_path):
    psf = np.zeros((6, 4))
    psf[3, 2] = 1  # the centre of an even side is n // 2
    np.save(tmp_path / "psf.npy", psf)
    odd = read_psf(tmp_path / "psf.npy")
    assert odd.shape == (7, 5)
    assert odd[3, 2] == 1


def test_colour_that_is_grey_is_read_and_8_bits_suffice(tmp_path):
    grey = np.zeros((3, 3), np.uint8)
    grey[0, 1], grey[1, 1] = 50, 150
    Image.fromarray(np.dstack([grey] * 3)).save(tmp_path / "psf.png")
    np.testing.assert_allclose(read_psf(tmp_path / "psf.png"), grey / 200)


def test_leading_axes_of_length_one_are_dropped(tmp_path):
    np.save(tmp_path / "psf.npy", some_psf()[None, None])
    assert read_psf(tmp_path / "psf.npy").shape == (5, 7)


BAD_ARRAYS = {
    "negative": (np.array([[1.0, -0.5, 0.2]]), "negative"),
    "zero": (np.zeros((3, 3)), "zero everywhere"),
    "nan": (np.array([[1.0, np.nan, 0]]), "NaN"),
    "stack": (np.ones((3, 3, 3)), "two dimensions"),
    "line": (np.ones(5), "two dimensions"),
    "large": (np.ones((3, 2003)), "larger than 2001"),
    "complex": (np.ones((3, 3), complex), "real numbers"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_what_is_no_psf_is_refused_by_name(tmp_path, name):
    array, words = BAD_ARRAYS[name]
    path = tmp_path / f"{name}.npy"
    np.save(path, array)
    with pytest.raises(ImageFileError, match=words) as caught:
        read_psf(path)
    assert f"{name}.npy" in str(caught.value)


def test_negative_values_in_a_float_tif_are_seen(tmp_path):
    tifffile.imwrite(tmp_path / "psf.tif", np.array([[0.1, -0.2, 0.5]] * 3, np.float32))
    with pytest.raises(ImageFileError, match="negative"):
        read_psf(tmp_path / "psf.tif")


def test_an_archive_or_a_pickle_that_is_called_npy_is_refused(tmp_path):
    with (tmp_path / "archive.npy").open("wb") as file:
        np.savez(file, psf=some_psf())
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(some_psf()))
    np.save(tmp_path / "objects.npy", np.array([[some_psf()]], dtype=object), allow_pickle=True)
    for name in ("archive.npy", "pickle.npy", "objects.npy"):
        with pytest.raises(ImageFileError, match=rf"{name}: .*archives and Python objects are not read.*numpy\.save"):
            read_psf(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [("cut.npy", b"\x93NUMPY\x01\0v"), ("none.npy", None), ("psf.jpg", b"x"), ("psf.mat", b"x")],
)
def test_files_that_hold_no_array_are_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageFileError, match=name):
        read_psf(tmp_path / name)


def test_a_coloured_psf_is_refused(tmp_path):
    Image.new("RGB", (3, 3), (200, 100, 0)).save(tmp_path / "psf.png")
    with pytest.raises(ImageFileError, match="colour"):
        read_psf(tmp_path / "psf.png")


def test_a_psf_file_is_not_replaced_unasked(tmp_path):
    write_psf(some_psf(), tmp_path / "psf.npy")
    with pytest.raises(ImageFileError, match="exists already"):
        write_psf(some_psf(3, 3), tmp_path / "psf.npy")
    write_psf(some_psf(3, 3), tmp_path / "psf.npy", overwrite=True)
    assert read_psf(tmp_path / "psf.npy").shape == (3, 3)
    with pytest.raises(ImageFileError, match=r"Use \.npy"):
        write_psf(some_psf(), tmp_path / "psf.jpg")


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".png"])
def test_bytes_give_what_a_file_gives(tmp_path, suffix):
    path = tmp_path / f"psf{suffix}"
    write_psf(some_psf(), path)
    np.testing.assert_array_equal(decode_psf(path.read_bytes(), path.name), read_psf(path))


def test_the_bytes_of_an_array_in_the_order_of_columns_are_read_as_the_file_is(tmp_path):
    np.save(tmp_path / "psf.npy", np.asfortranarray(some_psf()))
    data = (tmp_path / "psf.npy").read_bytes()
    np.testing.assert_array_equal(decode_psf(data, "psf.npy"), read_psf(tmp_path / "psf.npy"))


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bytes_that_hold_no_psf_are_refused_by_name(name):
    array, words = BAD_ARRAYS[name]
    buffer = io.BytesIO()
    np.save(buffer, array)
    with pytest.raises(ImageFileError, match=rf"^{name}\.npy: .*{words}"):
        decode_psf(buffer.getvalue(), f"{name}.npy")


def test_an_array_that_declares_more_than_there_is_asks_for_no_memory():
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**7, 10**7)})
    with pytest.raises(ImageFileError, match="not a whole"):
        decode_psf(buffer.getvalue() + bytes(800), "psf.npy")


@pytest.mark.parametrize("allow", ["an object", "a pickle", "an archive"])
def test_bytes_that_would_run_a_program_are_refused(allow):
    buffer = io.BytesIO()
    if allow == "an object":
        np.save(buffer, np.array([[some_psf()]], dtype=object), allow_pickle=True)
    elif allow == "a pickle":
        pickle.dump(some_psf(), buffer)
    else:
        np.savez(buffer, psf=some_psf())
    with pytest.raises(ImageFileError, match="archives and Python objects are not read"):
        decode_psf(buffer.getvalue(), "psf.npy")


def test_a_picture_that_declares_more_pixels_than_a_psf_may_have_is_refused_before_it_is_decoded(monkeypatch):
    buffer = io.BytesIO()
    Image.new("L", (2003, 2003)).save(buffer, "PNG")
    monkeypatch.setattr("imagecodecs.png_decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageFileError, match=r"^psf\.png: it declares 2003 x 2003 pixels"):
        decode_psf(buffer.getvalue(), "psf.png")
