"""Write a photo: encode it, write a temporary file, and rename this in one step."""

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
    """The default path of a result: `a.jpg` -> `a.restored.jpg`, `a.gif` -> `a.restored.png`.

    Raises:
        ImageFileError: when `path` is a folder.
    """
    path = Path(path)
    if not path.name or path.is_dir():
        raise ImageFileError(path, f"that is a folder; name a photo in it, such as {path / 'IMG_1.jpg'}.")
    return path.with_name(f"{path.stem}.{tag}{written_suffix(path) or path.suffix}")


def written_suffix(path: Path) -> str:
    """The suffix of the format in which the result of a photo is written; "" when it is that of the photo."""
    return "" if path.suffix.lower() in FORMATS else ".png"


def check_writable(
    path: str | Path,
    *,
    overwrite: bool,
    source: str | Path | None = None,
    photo: Photo | None = None,
    option: str = "-o",
) -> None:
    """Check that `write_photo` will be able to write, before a long computation.

    Args:
        path: the file to write.
        overwrite: whether an existing file may be replaced.
        source: the file that the photo was read from; it is never replaced.
        photo: the photo if it is known already, to check that the format can hold it.
        option: the command-line option that names the file, for messages.

    Raises:
        ImageFileError: when the photo cannot be written; the message names the file and the remedy.
    """
    path = Path(path)
    format = FORMATS.get(path.suffix.lower())
    if format is None:
        raise ImageFileError(path, f"'{path.suffix}' cannot be written. Use .jpg, .png, .tif or .webp.")
    check_place(path, overwrite=overwrite, source=source, option=option)
    if photo is None:
        return
    check_format_holds(photo, format, path)


def check_format_holds(photo: Photo, format: Format, path: Path) -> None:
    """Check that a format can hold a photo.

    Raises:
        ImageFileError: when the format cannot hold the transparency or the size of the photo.
    """
    if format == "JPEG" and photo.alpha is not None:
        raise ImageFileError(path, "JPEG holds no transparency. Save as PNG, WebP or TIFF.")
    longest, limit = max(photo.pixels.shape[:2]), _LONGEST_SIDE.get(format)
    if limit and longest > limit:
        raise ImageFileError(path, f"{format} holds no side longer than {limit} pixels. Save as PNG or TIFF.")


def check_place(path: Path, *, overwrite: bool, source: str | Path | None = None, option: str = "-o") -> None:
    """Check that a file may be put at `path`.

    Raises:
        ImageFileError: when the folder does not exist or is not writable, or the file exists and must not be
            replaced.
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
    """Write a photo in the format of the suffix of `path`, see `encode_photo`.

    The file appears only when it is complete.

    Returns:
        Sentences that say what the format could not hold.

    Raises:
        ImageFileError: when the file cannot be written there, the format cannot hold the photo, or the pixels are not
            finite.
    """
    path = Path(path)
    check_writable(path, overwrite=overwrite, source=source, photo=photo)
    content, notes = encode_photo(photo, FORMATS[path.suffix.lower()], path)
    put_in_place(content, path, overwrite=overwrite)
    return notes


def encode_photo(photo: Photo, format: Format, name: str | Path = "photo") -> tuple[bytes, list[str]]:
    """Encode a photo as the bytes of a file, in the photo's depth if the format supports it.

    For integer depths, pixels are clipped to [0, 1] and rounded to the nearest level, halves up. For a floating-point
    TIFF they are not clipped; its values are `pixels * scale + offset`.

    Args:
        photo: the photo.
        format: JPEG, PNG, TIFF or WEBP.
        name: name of the file in messages.

    Returns:
        The bytes, and sentences that say what the format could not hold.

    Raises:
        ImageFileError: when the format cannot hold the photo, or the pixels are not finite.
    """
    path = Path(name)
    check_format_holds(photo, format, path)
    if not np.isfinite(photo.pixels).all():
        raise ImageFileError(path, "not written, as the result holds NaN or infinite values.")
    notes: list[str] = []
    if photo.cicp and not photo.icc and format != "PNG":
        notes.append(
            f"The colours of the photo are not sRGB (H.273: primaries {photo.cicp[0]}, transfer {photo.cicp[1]}). "
            f"{format} cannot say so; save it as PNG, or they will be shown wrongly."
        )
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
    """Write `content` to a temporary file beside `path`, and rename it to `path` in one step.

    A new file gets the default permissions of the process; a replaced file keeps its permissions.

    Raises:
        ImageFileError: when writing fails or, without `overwrite`, `path` exists by now. The temporary file is removed.
    """
    # For a symbolic link, the file that it points to is replaced, and the link is kept.
    target = path.resolve() if path.is_symlink() else path
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:  # the system applies the umask; reading the umask would change it
            if target.exists():
                temporary.chmod(target.stat().st_mode & 0o777)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        move_in_place(temporary, path, overwrite=overwrite)
    except OSError as error:
        raise ImageFileError(path, f"not written ({error.strerror}). Choose another folder.") from error
    finally:
        temporary.unlink(missing_ok=True)


def move_in_place(finished: Path, path: Path, *, overwrite: bool) -> None:
    """Move a finished file to its place on the same disk, in one step.

    Raises:
        ImageFileError: when it cannot be moved or, without `overwrite`, `path` exists; `finished` may then still exist.
    """
    target = path.resolve() if path.is_symlink() else path
    try:
        if overwrite:
            finished.replace(target)
        else:
            _move_without_replacing(finished, target)
            finished.unlink(missing_ok=True)
    except FileExistsError as error:
        raise ImageFileError(path, _taken("-o")) from error
    except OSError as error:
        raise ImageFileError(path, f"not written ({error.strerror}). Choose another folder.") from error


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
    """Samples `(H, W, C + alpha)` in the photo's type, or in the deepest type that the format holds.

    Adds to `notes` what is lost.
    """
    pixels, alpha = photo.pixels, photo.alpha
    if photo.depth == "float32" and format == "TIFF":
        colour = pixels * np.float32(photo.scale) + np.float32(photo.offset)
        return colour if alpha is None else np.dstack([colour, alpha])
    bits = 8 if photo.depth == "uint8" or format in ("JPEG", "WEBP") else 16
    if photo.depth == "float32" or (photo.depth == "uint16" and bits == 8):
        deep = "16-bit" if photo.format not in ("HEIF", "AVIF") else "10-bit or 12-bit"
        kind = deep if photo.depth == "uint16" else "32-bit floating-point"
        notes.append(f"The {kind} photo was saved as {bits}-bit; {format} holds no more.")
    if photo.scale != 1 or photo.offset != 0:
        notes.append(f"The values saved are the original ones minus {photo.offset:g}, divided by {photo.scale:g}.")
    together = pixels if alpha is None else np.dstack([pixels, alpha])
    top = np.float32(2**bits - 1)
    samples = np.empty(together.shape, np.uint8 if bits == 8 else np.uint16)
    for row in range(0, len(samples), _ROWS):  # in parts, so that a large picture is not copied in float32
        part = together[row : row + _ROWS]
        if photo.linear:
            part = np.dstack([srgb_values(part[..., : pixels.shape[2]]), part[..., pixels.shape[2] :]])
        samples[row : row + _ROWS] = np.floor(np.clip(part, 0, 1) * top + np.float32(0.5))
    return samples


_ROWS = 256


def srgb_values(light: np.ndarray) -> np.ndarray:
    """The sRGB values of linear light, both in [0, 1]; smaller and larger values are clipped."""
    import torch

    from unblur.imaging.synthesis.camera import to_srgb

    return to_srgb(torch.from_numpy(np.clip(light, 0, 1))).numpy()


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
        # The source has finer quantisation than our quality; its tables are used. `quality` would scale them.
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
    """The quantisation tables of libjpeg at quality `_QUALITY`."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=_QUALITY)
    with Image.open(buffer) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        return list(image.quantization.values())
