"""Write a photo: encode it in the format asked for, then put the file in place in one step."""

from __future__ import annotations

import io
import os
import secrets
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin

from unblur.image_io.metadata import EXIF_PREFIX
from unblur.image_io.photo import Format, ImageFileError, Photo
from unblur.image_io.png import encode_png
from unblur.image_io.tiff_write import encode_tiff

FORMATS: dict[str, Format] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
_QUALITY = 95
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
_LONGEST_SEGMENT = 65_533
_MARKERS = {"APP13": b"\xff\xed", "COM": b"\xff\xfe"}
_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"


def default_output(path: str | Path, tag: str = "restored") -> Path:
    """Where the result goes when nobody says: `a.jpg` -> `a.restored.jpg`, `a.gif` -> `a.restored.png`.

    Raises:
        ImageFileError: for a folder.
    """
    path = Path(path)
    if not path.name or path.is_dir():
        raise ImageFileError(path, f"that is a folder; name the photos in it, e.g. {path / '*.jpg'}")
    suffix = path.suffix if path.suffix.lower() in FORMATS else ".png"
    return path.with_name(f"{path.stem}.{tag}{suffix}")


def check_writable(
    path: str | Path,
    *,
    overwrite: bool,
    source: str | Path | None = None,
    photo: Photo | None = None,
    option: str = "-o",
) -> None:
    """Check, before minutes of work, that `write_photo` will be able to write.

    Args:
        path: where the photo is to go.
        overwrite: whether an existing file may be replaced.
        source: the file the photo came from, for a clearer message.
        photo: the photo, when it is known: not every format holds every photo.
        option: what names another place on the command line.

    Raises:
        ImageFileError: one line naming the file and the remedy.
    """
    path = Path(path)
    format = FORMATS.get(path.suffix.lower())
    if format is None:
        raise ImageFileError(path, f"'{path.suffix}' is not written. Use .jpg, .png, .tif or .webp.")
    check_place(path, overwrite=overwrite, source=source, option=option)
    if photo is None:
        return
    check_format_holds(photo, format, path)


def check_format_holds(photo: Photo, format: Format, path: Path) -> None:
    """Check that a format can hold a photo.

    Raises:
        ImageFileError: when the format holds no transparency, or no side so long.
    """
    if format == "JPEG" and photo.alpha is not None:
        raise ImageFileError(path, "JPEG holds no transparency. Save as PNG, WebP or TIFF.")
    longest, limit = max(photo.pixels.shape[:2]), _LONGEST_SIDE.get(format)
    if limit and longest > limit:
        raise ImageFileError(path, f"{format} holds no side longer than {limit} pixels. Save as PNG or TIFF.")


def check_place(path: Path, *, overwrite: bool, source: str | Path | None = None, option: str = "-o") -> None:
    """Check that a file may be put at `path`.

    Raises:
        ImageFileError: when the folder is missing or closed, or something is there that must not be replaced.
    """
    if not path.parent.is_dir():
        raise ImageFileError(path, f"the folder {path.parent} does not exist. Create it first.")
    if path.is_dir():
        raise ImageFileError(path, "this is a folder. Name a file in it.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ImageFileError(path, f"you may not write in {path.parent}. Choose another folder.")
    if source is not None and path.exists() and Path(source).exists() and path.samefile(source):
        raise ImageFileError(path, f"this is the picture being read, which is kept. Choose another name with {option}.")
    if not overwrite and os.path.lexists(path):
        raise ImageFileError(path, _taken(option))


def _taken(option: str) -> str:
    return f"it exists already. Choose another name with {option}, or replace it with --overwrite."


def write_photo(
    photo: Photo, path: str | Path, *, overwrite: bool = False, source: str | Path | None = None
) -> list[str]:
    """Write `photo` in the format of the suffix of `path`, at its own depth where the format holds it.

    The file appears whole or not at all; see `encode_photo` for what is in it.

    Returns:
        Plain sentences about what the format could not keep.

    Raises:
        ImageFileError: when the place or the format will not do, or the pixels are not finite.
    """
    path = Path(path)
    check_writable(path, overwrite=overwrite, source=source, photo=photo)
    content, notes = encode_photo(photo, FORMATS[path.suffix.lower()], path)
    put_in_place(content, path, overwrite=overwrite)
    return notes


def encode_photo(photo: Photo, format: Format, name: str | Path = "photo") -> tuple[bytes, list[str]]:
    """The bytes of a file that shows `photo`, at its own depth where the format holds it.

    Integer depths are clipped to [0, 1] and rounded to the nearest, halves up; a floating-point TIFF is not clipped
    and gets its scale back.

    Args:
        photo: what to encode.
        format: JPEG, PNG, TIFF or WEBP.
        name: what messages call the file.

    Returns:
        The bytes, and plain sentences about what the format could not keep.

    Raises:
        ImageFileError: when the format cannot hold the photo, or the pixels are not finite.
    """
    path = Path(name)
    check_format_holds(photo, format, path)
    if not np.isfinite(photo.pixels).all():
        raise ImageFileError(path, "not written, as the result holds NaN or infinite values.")
    notes: list[str] = []
    samples = _quantise(photo, format, notes)
    try:
        if format == "PNG":
            content = encode_png(samples, photo)
        elif format == "TIFF":
            content = encode_tiff(samples, photo)
        else:
            content = _encode_by_pillow(samples, photo, format, notes)
    except OverflowError as error:
        raise ImageFileError(path, "it would be larger than the 4 GB a TIFF holds. Save as PNG.") from error
    return content, notes


def put_in_place(content: bytes, path: Path, *, overwrite: bool) -> None:
    """Write `content` to a temporary file beside `path`, then make it appear as `path` in one step.

    A new file gets the permissions that the process gives to new files; a replaced one keeps its own.

    Raises:
        ImageFileError: when the disk refuses, or `path` came into being meanwhile. Nothing is left behind.
    """
    # A link is written through, so that it goes on pointing at the picture.
    target = path.resolve() if path.is_symlink() else path
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:  # the system applies the umask; asking for the umask would change it
            if target.exists():
                temporary.chmod(target.stat().st_mode & 0o777)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(target)
        else:
            _move_without_replacing(temporary, target)
    except FileExistsError as error:
        raise ImageFileError(path, _taken("-o")) from error
    except OSError as error:
        raise ImageFileError(path, f"not written ({error.strerror}). Choose another folder.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _move_without_replacing(temporary: Path, target: Path) -> None:
    try:
        target.hardlink_to(temporary)  # fails, rather than replacing, when the target exists
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: make an empty file of that name first, then replace it
        with target.open("xb"):
            pass
        try:
            temporary.replace(target)
        except OSError:
            target.unlink()
            raise


def _quantise(photo: Photo, format: Format, notes: list[str]) -> np.ndarray:
    """Samples `(H, W, C + alpha)` in the deepest type both the photo and the format have."""
    pixels, alpha = photo.pixels, photo.alpha
    if photo.depth == "float32" and format == "TIFF":
        colour = pixels * np.float32(photo.scale) + np.float32(photo.offset)
        return colour if alpha is None else np.dstack([colour, alpha])
    names = {"uint8": "8-bit", "uint16": "16-bit", "float32": "32-bit floating-point"}
    bits = 8 if photo.depth == "uint8" or format in ("JPEG", "WEBP") else 16
    if names[photo.depth] != f"{bits}-bit":
        notes.append(f"The {names[photo.depth]} photo was saved as {bits}-bit; {format} holds no more.")
    if photo.scale != 1 or photo.offset != 0:
        notes.append(f"The values saved are the original ones minus {photo.offset:g}, divided by {photo.scale:g}.")
    together = pixels if alpha is None else np.dstack([pixels, alpha])
    top = np.float32(2**bits - 1)
    samples = np.empty(together.shape, np.uint8 if bits == 8 else np.uint16)
    for row in range(0, len(samples), _ROWS):  # a large picture as floating-point numbers is not copied as a whole
        part = together[row : row + _ROWS]
        samples[row : row + _ROWS] = np.floor(np.clip(part, 0, 1) * top + np.float32(0.5))
    return samples


_ROWS = 256


def _encode_by_pillow(samples: np.ndarray, photo: Photo, format: Format, notes: list[str]) -> bytes:
    icc, exif = photo.icc, photo.exif
    options: dict[str, object] = {}
    if format == "WEBP":
        if samples.shape[2] <= 2:
            samples = np.dstack([samples[..., :1]] * 3 + [samples[..., 1:]])
            notes.append("The grey photo was saved as colour because WEBP holds no grey.")
            if icc and icc[16:20] == b"GRAY":
                icc = None
                notes.append("Its grey colour profile was left out.")
        if photo.dpi:
            notes.append("The resolution (dpi) was left out because WEBP holds none.")
        options |= {"exact": True, "quality": _QUALITY, "method": 4, "lossless": photo.lossless}
        if photo.xmp:
            options["xmp"] = photo.xmp
        if exif:
            options["exif"] = exif.removeprefix(EXIF_PREFIX)
    else:
        options |= _jpeg_options(photo, notes)
    if icc:
        options["icc_profile"] = icc
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def _jpeg_options(photo: Photo, notes: list[str]) -> dict[str, object]:
    options: dict[str, object] = {"quality": _QUALITY, "subsampling": 0, "progressive": False}
    tables = photo.jpeg_tables
    if tables and sum(tables[0]) < sum(_tables_of_quality()[0]):
        # The source was compressed less than we would; a quality beside the tables would scale them.
        options["qtables"] = [list(table) for table in tables]
        del options["quality"]
    if photo.dpi:
        options["dpi"] = tuple(max(1, min(65_535, round(value))) for value in photo.dpi)
    if photo.exif and len(photo.exif) <= _LONGEST_SEGMENT:
        options["exif"] = photo.exif
    elif photo.exif:
        notes.append("The EXIF data was left out because it is larger than JPEG allows.")
    segments = [(_MARKERS[name], content) for name, content in photo.native if name in _MARKERS]
    if photo.xmp:
        segments.append((b"\xff\xe1", _XMP_SEGMENT + photo.xmp))
    extra = b""
    for marker, content in segments:
        if len(content) <= _LONGEST_SEGMENT:
            extra += marker + (len(content) + 2).to_bytes(2, "big") + content
        else:
            notes.append("The XMP data was left out because it is larger than JPEG allows.")
    options["extra"] = extra
    return options


def _tables_of_quality() -> list[list[int]]:
    """The quantisation tables of libjpeg at our quality."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=_QUALITY)
    with Image.open(buffer) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        return list(image.quantization.values())
