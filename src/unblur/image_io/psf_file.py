"""Read and write PSFs: exactly as `.npy` or `.tif`, or in 16 bits as `.png`."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from unblur.image_io.photo import ImageFileError, Photo
from unblur.image_io.png import encode_png
from unblur.image_io.read import decode_photo, read_photo
from unblur.image_io.tiff_write import encode_tiff
from unblur.image_io.write import check_place, put_in_place

MAX_SIDE = 2001
_PICTURES = {".png", ".tif", ".tiff"}


def read_psf(path: str | Path) -> np.ndarray:
    """Read a PSF as `(h, w)` float32 with odd sides, non-negative, summing to 1.

    The file is a `.npy` array, or a grey `.tif` or `.png`; a colour picture with equal channels counts as grey. The
    centre of a side of even length n is index n // 2. Such a side is made odd by a row of zeros at the bottom or a
    column of zeros at the right, which does not move the centre.

    Raises:
        ImageFileError: when the file does not hold such an array; the message names the remedy.
    """
    path = Path(path)
    return _psf_of(path, array=lambda: _read_npy(path), photo=lambda: read_photo(path))


def decode_psf(data: bytes, name: str | Path) -> np.ndarray:
    """Decode the bytes of a file of a PSF, as `read_psf` does.

    Args:
        data: the content of the file.
        name: name of the file in messages; its suffix names the format.

    Raises:
        ImageFileError: when the data do not hold a PSF, or declare more than `MAX_SIDE` x `MAX_SIDE` values.
    """
    path = Path(name)
    photo = partial(decode_photo, data, path, max_pixels=MAX_SIDE**2)
    return _psf_of(path, array=lambda: _decode_npy(data, path), photo=photo)


def _psf_of(path: Path, array: Callable[[], np.ndarray], photo: Callable[[], Photo]) -> np.ndarray:
    """The PSF in a file of this name: in its array or in its picture, whichever the suffix says."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        psf = array()
    elif suffix in _PICTURES:
        psf = _grey(photo(), path)
    else:
        raise ImageFileError(path, f"a PSF cannot be read from '{suffix}'. Save it as .npy, .tif or .png.")
    if psf.ndim != 2 or psf.size == 0:
        raise ImageFileError(path, f"a PSF has two dimensions, this is {psf.shape}. Save one plane.")
    if max(psf.shape) > MAX_SIDE:
        raise ImageFileError(
            path, f"it is {psf.shape[1]} x {psf.shape[0]}, larger than {MAX_SIDE} a side. Crop it to the PSF."
        )
    psf = psf.astype(np.float64)
    if not np.isfinite(psf).all():
        raise ImageFileError(path, "it holds NaN or infinite values. Replace them by 0.")
    if psf.min() < 0:
        raise ImageFileError(path, f"it holds negative values (down to {psf.min():g}). Set them to 0.")
    if psf.sum() == 0:
        raise ImageFileError(path, "it is zero everywhere. Save the PSF again.")
    psf = np.pad(psf, [(0, 1 - side % 2) for side in psf.shape])
    psf /= psf.max()  # first, since the sum of very large values would overflow
    return (psf / psf.sum()).astype(np.float32)


def write_psf(psf: np.ndarray, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a PSF `(h, w)`: `.npy` and `.tif` as exact float32, `.png` as 16 bits scaled to its maximum.

    Raises:
        ImageFileError: when the file cannot be written there, or the suffix is not supported.
        ValueError: when `psf` is not a finite, non-negative `(h, w)` array, or is zero everywhere.
    """
    path = Path(path)
    psf = np.asarray(psf, dtype=np.float32)
    if psf.ndim != 2 or not np.isfinite(psf).all() or psf.min() < 0 or psf.max() == 0:
        raise ValueError(f"not a PSF: an array of shape {psf.shape}")
    check_place(path, overwrite=overwrite)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, psf)
        content = buffer.getvalue()
    elif suffix in (".tif", ".tiff"):
        content = encode_tiff(psf[..., None], Photo(psf[..., None]))
    elif suffix == ".png":
        levels = np.floor(psf / psf.max() * np.float32(65535) + np.float32(0.5)).astype(np.uint16)
        content = encode_png(levels[..., None], Photo(psf[..., None]))
    else:
        raise ImageFileError(path, f"a PSF cannot be written as '{suffix}'. Use .npy, .tif or .png.")
    put_in_place(content, path, overwrite=overwrite)


def _read_npy(path: Path) -> np.ndarray:
    if not path.is_file():
        raise ImageFileError(path, "there is no such file. Check the name.")
    try:
        # Memory-mapped, so that the shape of a very large array is checked before it needs memory. Unlike `numpy.load`,
        # this opens .npy files only.
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise ImageFileError(path, _NO_ARRAY) from error
    return _real_numbers(array, path)


def _decode_npy(data: bytes, path: Path) -> np.ndarray:
    stream = io.BytesIO(data)
    try:
        read_header = _NPY_HEADERS[np.lib.format.read_magic(stream)]
        shape, in_columns, dtype = read_header(stream)
        if dtype.hasobject:
            raise ValueError("objects are pointers, which must not come from a file")
        # A view of the data: a header that declares more than there is cannot ask for memory.
        array = np.ndarray(shape, dtype, data, stream.tell(), order="F" if in_columns else "C")
    except (KeyError, OSError, ValueError, TypeError) as error:
        raise ImageFileError(path, _NO_ARRAY) from error
    return _real_numbers(array, path)


_NO_ARRAY = "it is not a whole .npy array; archives and Python objects are not read. Save it with numpy.save."
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _real_numbers(array: np.ndarray, path: Path) -> np.ndarray:
    """The array without leading axes of length 1."""
    if array.dtype.kind not in "uif":
        raise ImageFileError(path, f"it holds {array.dtype.name}, not real numbers. Save it as float32.")
    return array.squeeze() if array.ndim > 2 else array


def _grey(photo: Photo, path: Path) -> np.ndarray:
    if (photo.pixels != photo.pixels[..., :1]).any():
        raise ImageFileError(path, "it is a colour picture; a PSF is grey. Save one channel.")
    return photo.pixels[..., 0].astype(np.float64) * photo.scale + photo.offset
