"""Pictures for the printing press become sRGB, through their own profile where they have one."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from test_image_io import carried
from unblur.image_io import read_photo, write_photo


def cmyk_profile() -> bytes:
    """A printer whose cyan ink is green, so that ignoring its profile shows; other inks are black."""
    white, green, black = b"\xff\x80\x80", b"\xa0\x40\xb0", b"\x00\x80\x80"  # L, a, b
    corners = [white if ink == 0 else green if ink == 0b1000 else black for ink in range(16)]
    identity = b"".join(struct.pack(">l", 65536 * (place % 4 == 0)) for place in range(9))
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + b"".join(corners) + ramp * 3
    tags = struct.pack(">L4sLL", 1, b"A2B0", 144, len(table))
    d50 = struct.pack(">LLL", 0xF6D6, 0x10000, 0xD32D)
    head = struct.pack(">LL4s4s4s4s", 144 + len(table), 0, b"\x02\x40\0\0", b"prtr", b"CMYK", b"Lab ")
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp"
    return (head.ljust(68, b"\0") + d50).ljust(128, b"\0") + tags + table


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_becomes_srgb_the_right_way_round(tmp_path, suffix):
    red_then_white = Image.new("CMYK", (32, 16), (0, 0, 0, 0))
    red_then_white.paste((0, 255, 255, 0), (0, 0, 16, 16))
    red_then_white.save(tmp_path / f"a{suffix}", quality=95)  # Pillow writes Adobe's inverted CMYK

    photo = read_photo(tmp_path / f"a{suffix}")

    assert np.allclose(photo.pixels[8, 4], [1, 0, 0], atol=0.1)
    assert np.allclose(photo.pixels[8, 28], [1, 1, 1], atol=0.02)
    assert photo.icc is not None and photo.icc[16:20] == b"RGB "
    assert any("CMYK" in note for note in photo.notes)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_goes_through_its_own_profile(tmp_path, suffix):
    cyan = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    cyan.save(tmp_path / f"a{suffix}", quality=98, icc_profile=cmyk_profile())

    photo = read_photo(tmp_path / f"a{suffix}")
    write_photo(photo, tmp_path / "b.png")

    red, green, blue = photo.pixels[16, 16]
    assert green > red + 0.2 and green > blue + 0.2  # without the profile blue would equal green
    assert any("through its colour profile" in note for note in photo.notes)
    icc = carried(tmp_path / "b.png")["icc"]
    assert icc[16:20] == b"RGB "
