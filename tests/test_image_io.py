"""A photo goes through a file and comes back: what a second reader shows, and what it carries."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from unblur.image_io import Photo, default_output, read_photo, write_photo

HEIGHT, WIDTH = 11, 17
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="%d" dc:title="Quay"/></x:xmpmeta>'
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def picture(mode: str, depth: str) -> np.ndarray:
    """A small asymmetric picture whose 16-bit values differ in the low byte only as well."""
    row, column, channel = np.indices((HEIGHT, WIDTH, CHANNELS[mode]))
    if depth == "uint8":
        return (row * 19 + column * 3 + channel * 5).astype(np.uint8)
    return (41_000 + row * 17 + column + channel * 5000).astype(np.uint16)


def exif_block(orientation: int, order: str = "<", *, thumbnail: bytes = b"") -> bytes:
    """Orientation and maker in IFD0, a maker note and the pixel sizes in the Exif directory, a thumbnail."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8)
    exif_at, make_at = 8 + 2 + 3 * 12 + 4, 200
    note_at, ifd1_at = 220, 240
    pack = struct.pack
    block = head + pack(order + "H", 3)
    block += pack(order + "HHLL", 271, 2, 12, make_at)
    block += pack(order + "HHLHH", 274, 3, 1, orientation, 0)
    block += pack(order + "HHLL", 34665, 4, 1, exif_at)
    block += pack(order + "L", ifd1_at if thumbnail else 0)
    block += pack(order + "H", 3)
    block += pack(order + "HHLL", 37500, 7, 10, note_at)
    block += pack(order + "HHLL", 40962, 4, 1, 9999) + pack(order + "HHLHH", 40963, 3, 1, 8888, 0)
    block += pack(order + "L", 0)
    block = block.ljust(make_at, b"\0") + b"Acme Camera\0"
    block = block.ljust(note_at, b"\0") + b"MAKERNOTE!"
    block = block.ljust(ifd1_at, b"\0") + pack(order + "H", 2)
    block += pack(order + "HHLL", 513, 4, 1, ifd1_at + 30) + pack(order + "HHLL", 514, 4, 1, len(thumbnail))
    return b"Exif\0\0" + block + pack(order + "L", 0) + thumbnail


def save(path: Path, samples: np.ndarray, orientation: int, *, icc: bool = False) -> None:
    """Write a source file with libraries other than the one under test."""
    profile = SRGB if icc else None
    channels = samples.shape[2]
    if path.suffix == ".tif":
        tags = [(274, 3, 1, orientation, True), (700, 1, len(XMP % 1), XMP % orientation, True)]
        tifffile.imwrite(
            path,
            samples if channels > 1 else samples[..., 0],
            photometric="rgb" if channels > 2 else "minisblack",
            planarconfig="contig" if channels > 1 else None,
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
            iccprofile=profile,
            extratags=tags,
            resolution=(300, 150),
            resolutionunit=2,
            metadata=None,
        )
        return
    squeezed = samples[..., 0] if channels == 1 else samples
    if samples.dtype == np.uint16:
        plain = imagecodecs.spng_encode(squeezed)  # not the library that unblur writes with
        chunks = chunk(b"eXIf", exif_block(orientation)[6:]) + chunk(b"pHYs", struct.pack(">IIB", 11811, 5906, 1))
        if icc:
            chunks += chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB))
        path.write_bytes(plain[:33] + chunks + plain[33:])
        return
    options: dict = {"quality": 98, "subsampling": 0} if path.suffix == ".jpg" else {}
    options |= {"lossless": True, "exact": True} if path.suffix == ".webp" else {}
    image = Image.fromarray(squeezed)
    image.save(path, exif=exif_block(orientation), dpi=(300, 150), icc_profile=profile, **options)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def shown(path: Path) -> np.ndarray:
    """`(H, W, C)` as a viewer that has nothing to do with unblur shows the file, orientation applied."""
    orientation = carried(path)["orientation"]
    if path.suffix == ".tif":
        samples = tifffile.imread(path)
    elif path.suffix == ".png" and path.read_bytes()[24] == 16:
        samples = decoded_16_bit_png(path.read_bytes())
    else:
        with Image.open(path) as image:
            return np.atleast_3d(np.asarray(ImageOps.exif_transpose(image)))
    return np.atleast_3d(reference_turn(samples, orientation))


def decoded_16_bit_png(data: bytes) -> np.ndarray:
    """`(H, W, C)` by the words of the PNG specification, section 9: each byte was predicted from its neighbours."""
    width, height, _, colour_type = struct.unpack_from(">IIBB", data, 16)
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    packed, position = b"", 8
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        packed += data[position + 8 : position + 8 + length] if name == b"IDAT" else b""
        position += 12 + length
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, -1).astype(int)
    step = 2 * channels
    rows = np.zeros((height + 1, step + lines.shape[1] - 1), int)  # a row above and a pixel on the left, all 0
    for y, (filtering, *line) in enumerate(lines, 1):
        for x, byte in enumerate(line, step):
            left, up, corner = rows[y, x - step], rows[y - 1, x], rows[y - 1, x - step]
            paeth = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
            rows[y, x] = (byte + (0, left, up, (left + up) // 2, paeth)[filtering]) % 256
    return rows[1:, step:].astype(np.uint8).copy().view(">u2").astype(np.uint16).reshape(height, width, channels)


def carried(path: Path) -> dict:
    """Orientation, profile and resolution as another reader finds them."""
    if path.suffix == ".tif":  # Pillow opens no 16-bit grey with alpha
        with tifffile.TiffFile(path) as file:
            tags = file.pages[0].tags
            dpi = tuple(tags[tag].value[0] / tags[tag].value[1] for tag in (282, 283) if tag in tags)
            icc = bytes(tags[34675].value) if 34675 in tags else None
            return {"orientation": tags[274].value, "icc": icc, "dpi": dpi}
    with Image.open(path) as image:
        orientation = image.getexif().get(274, 1)
        return {
            "orientation": orientation,
            "icc": image.info.get("icc_profile"),
            "dpi": image.info.get("dpi"),
        }


def reference_turn(samples: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF's own words: which side of the scene the 0th row and the 0th column show."""
    if orientation >= 5:  # the 0th row is a vertical side
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):  # the picture starts at the bottom
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):  # the picture starts at the right
        samples = samples[:, ::-1]
    return samples


CASES = [
    *itertools.product([".png", ".tif"], ["uint8", "uint16"], ["L", "LA", "RGB", "RGBA"]),
    *itertools.product([".webp"], ["uint8"], ["RGB", "RGBA"]),
    *itertools.product([".jpg"], ["uint8"], ["L", "RGB"]),
]


@pytest.mark.parametrize("icc", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("suffix", "depth", "mode"), CASES)
def test_a_viewer_shows_the_same_picture_before_and_after(tmp_path, suffix, depth, mode, orientation, icc):
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    samples = picture(mode, depth)
    save(source, samples, orientation, icc=icc)
    before = samples if suffix != ".jpg" else np.atleast_3d(np.asarray(Image.open(source)))
    expected = reference_turn(before, orientation)

    photo = read_photo(source)
    notes = write_photo(photo, target)

    assert notes == [] or suffix == ".webp"
    assert photo.depth == depth
    after = shown(target)
    assert after.dtype == samples.dtype
    assert after.shape == expected.shape
    if suffix == ".jpg":
        assert np.abs(after.astype(int) - expected).max() <= 4
    else:
        np.testing.assert_array_equal(after, expected)
    found = carried(target)
    assert found["orientation"] == 1
    assert found["icc"] == (SRGB if icc else None)
    if suffix != ".webp":
        assert np.allclose(found["dpi"], (300, 150) if orientation < 5 else (150, 300), atol=0.05)
    again = read_photo(target)
    if photo.lossless:
        np.testing.assert_array_equal(again.pixels, photo.pixels)
    if photo.alpha is not None:
        np.testing.assert_array_equal(again.alpha, photo.alpha)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_16_bit_never_passes_through_8(tmp_path, suffix, mode):
    low_bytes = np.arange(256, dtype=np.uint16).reshape(16, 16) + 0x4200
    samples = np.dstack([low_bytes + 0x100 * channel for channel in range(CHANNELS[mode])])
    colour, alpha = (samples[..., :-1], samples[..., -1]) if "A" in mode else (samples, None)
    photo = Photo(
        colour.astype(np.float32) / np.float32(65535),
        alpha if alpha is None else alpha.astype(np.float32) / np.float32(65535),
        depth="uint16",
    )

    write_photo(photo, tmp_path / f"a{suffix}")

    np.testing.assert_array_equal(shown(tmp_path / f"a{suffix}"), samples)
    again = read_photo(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    assert len(np.unique(again.pixels[..., 0])) == 256


TIFF_LAYOUTS = list(
    itertools.product(
        ["uint8", "uint16", "float32"],
        [(None, False), ("lzw", False), ("lzw", True), ("zlib", True), ("packbits", False), ("zstd", True)],
        ["contig", "separate"],
        [None, (16, 16)],
        "<>",
    )
)


@pytest.mark.parametrize(("kind", "packing", "planes", "tile", "order"), TIFF_LAYOUTS)
def test_every_layout_of_tiff_reads_the_same(tmp_path, kind, packing, planes, tile, order):
    samples = np.random.default_rng(3).integers(0, 65536, (37, 21, 4))
    samples = samples.astype(kind) if kind != "float32" else (samples / 65536).astype(np.float32)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        samples if planes == "contig" else np.moveaxis(samples, -1, 0),
        photometric="rgb",
        planarconfig=planes,
        extrasamples=["unassalpha"],
        compression=packing[0],
        predictor=packing[1],
        tile=tile,
        rowsperstrip=None if tile else 5,
        byteorder=order,
    )

    photo = read_photo(path)

    top = 1 if kind == "float32" else np.iinfo(kind).max
    expected = samples.astype(np.float32) / np.float32(top)
    np.testing.assert_array_equal(np.dstack([photo.pixels, photo.alpha]), expected)


def test_white_is_zero_shows_as_a_viewer_shows_it(tmp_path):
    samples = picture("L", "uint16")[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="miniswhite")
    write_photo(read_photo(tmp_path / "a.tif"), tmp_path / "b.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), 65535 - samples)


def test_the_alpha_of_a_white_is_zero_picture_is_not_inverted(tmp_path):
    samples = picture("LA", "uint8")
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="miniswhite", extrasamples=[2])
    photo = read_photo(tmp_path / "a.tif")
    np.testing.assert_allclose(photo.pixels[..., 0] * 255, 255 - samples[..., 0], atol=1e-4)
    np.testing.assert_allclose(photo.alpha * 255, samples[..., 1], atol=1e-4)


@pytest.mark.parametrize(("low", "high"), [(0, 4000), (0, 1), (-100, 4000), (0, 0.003), (0, 1e9)])
def test_float_tiff_keeps_its_own_numbers(tmp_path, low, high):
    counts = np.random.default_rng(5).uniform(low, high, (HEIGHT, WIDTH, 3)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", counts, photometric="rgb")

    photo = read_photo(tmp_path / "a.tif")
    write_photo(photo, tmp_path / "b.tif")

    assert photo.depth == "float32"
    assert photo.pixels.min() >= 0 and 1 / 16 < photo.pixels.max() <= 1
    after = tifffile.imread(tmp_path / "b.tif")
    if low == 0:
        np.testing.assert_array_equal(after, counts)
    else:
        np.testing.assert_allclose(after, counts, atol=photo.scale * 2**-23)
    np.testing.assert_array_equal(read_photo(tmp_path / "b.tif").pixels, photo.pixels)


def test_float_pixels_above_one_are_not_clipped_in_a_tiff(tmp_path):
    photo = Photo(np.full((3, 4, 1), 1.25, np.float32), depth="float32", scale=4096.0)
    write_photo(photo, tmp_path / "a.tif")
    assert (tifffile.imread(tmp_path / "a.tif") == 5120).all()


@pytest.mark.parametrize(("bits", "key"), [(1, 0), (2, 1), (4, 9), (8, 200), (16, 41_017)])
def test_a_grey_colour_key_becomes_alpha(tmp_path, bits, key):
    rows = np.full((2, 8), key, np.uint16)
    rows[1] = (key + 1) % 2**bits
    if bits == 16:
        lines = rows.astype(">u2").view(np.uint8)
    else:
        digits = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        lines = np.packbits(digits.reshape(2, -1).astype(np.uint8), axis=1)
    data = b"".join(b"\0" + line.tobytes() for line in lines)
    header = struct.pack(">IIBBBBB", 8, 2, bits, 0, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"tRNS", struct.pack(">H", key))
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )

    alpha = read_photo(path).alpha

    assert alpha is not None
    np.testing.assert_array_equal(alpha, [[0] * 8, [1] * 8])


def test_a_transparent_palette_becomes_colour_and_alpha(tmp_path):
    palette = Image.fromarray(picture("RGB", "uint8")).convert("P", palette=Image.Palette.ADAPTIVE, colors=9)
    palette.save(tmp_path / "a.png", transparency=4)
    photo = read_photo(tmp_path / "a.png")
    write_photo(photo, tmp_path / "b.png")
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "b.png")), np.asarray(Image.open(tmp_path / "a.png").convert("RGBA"))
    )
    assert photo.alpha is not None and photo.alpha.min() == 0
    assert any("palette" in note for note in photo.notes)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_palette_tiff_is_turned_once(tmp_path, orientation):
    """Pillow decodes these and turns them by itself; it must not happen twice."""
    palette = Image.fromarray(picture("RGB", "uint8")).quantize(16)
    palette.save(tmp_path / "a.tif", tiffinfo={274: orientation})
    expected = reference_turn(np.asarray(palette.convert("RGB")), orientation)

    write_photo(read_photo(tmp_path / "a.tif"), tmp_path / "b.tif")

    np.testing.assert_array_equal(shown(tmp_path / "b.tif"), expected)


def test_premultiplied_colour_is_divided_by_its_alpha(tmp_path):
    samples = np.zeros((2, 3, 4), np.uint16) + np.array([10_000, 20_000, 0, 32_768], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["assocalpha"])
    photo = read_photo(tmp_path / "a.tif")
    assert np.allclose(photo.pixels * 65535, [20_000, 40_000, 0], atol=1)
    write_photo(photo, tmp_path / "b.tif")
    assert tifffile.TiffFile(tmp_path / "b.tif").pages[0].extrasamples == (2,)


def test_a_second_picture_in_a_phone_jpeg_is_not_an_animation(tmp_path):
    image = Image.fromarray(picture("RGB", "uint8"))
    image.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[image])
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.format == "JPEG"
    assert any("second picture" in note for note in photo.notes)


def test_a_name_that_does_not_fit_the_content_is_noted(tmp_path):
    Image.fromarray(picture("RGB", "uint8")).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read_photo(tmp_path / "a.jpg").notes == ["This is a PNG file, though its name ends in .jpg."]


@pytest.mark.parametrize(
    ("depth", "suffix", "words"),
    [("uint16", ".jpg", "8-bit"), ("uint16", ".webp", "8-bit"), ("float32", ".png", "16-bit")],
)
def test_a_loss_of_depth_is_said(tmp_path, depth, suffix, words):
    notes = write_photo(Photo(np.full((8, 8, 3), 0.5, np.float32), depth=depth), tmp_path / f"a{suffix}")
    assert any(words in note for note in notes)


def test_rounding_is_to_the_nearest_and_clipped(tmp_path):
    values = np.array([-0.2, 0, 0.49 / 255, 0.5 / 255, 1.49 / 255, 254.6 / 255, 1, 1.3], np.float32)
    write_photo(Photo(values.reshape(1, 8, 1)), tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[0, 0, 0, 1, 1, 255, 255, 255]]


def test_other_pixels_must_fit_the_photo():
    photo = Photo(np.zeros((4, 5, 1), np.float32))
    assert photo.with_pixels(np.ones((4, 5))).pixels.shape == (4, 5, 1)
    with pytest.raises(ValueError, match="new pixels"):
        photo.with_pixels(np.ones((5, 4, 1)))


def test_the_default_output_lies_beside_the_input():
    assert default_output("trip/IMG_2041.JPG") == Path("trip/IMG_2041.restored.JPG")
    assert default_output("a.b.gif", tag="sharp") == Path("a.b.sharp.png")


def test_importing_costs_neither_imagecodecs_nor_tifffile():
    code = "import sys, unblur.image_io; sys.exit(bool({'imagecodecs', 'tifffile'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
