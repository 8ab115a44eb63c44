"""WebP: with and without loss."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from test_image_io import picture
from unblur.image_io import read_photo, write_photo


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_with_alpha_and_a_long_profile_is_written_as_it_was_read(tmp_path, lossless):
    image = Image.fromarray(picture("RGBA", "uint8"))
    image.save(tmp_path / "a.webp", lossless=lossless, icc_profile=bytes(8000))
    assert read_photo(tmp_path / "a.webp").lossless is lossless


def test_lossless_sources_stay_lossless_as_webp(tmp_path):
    samples = picture("RGBA", "uint8")
    samples[..., 3] *= samples[..., 3] > 60  # colour under full transparency counts too
    Image.fromarray(samples).save(tmp_path / "a.png")
    write_photo(read_photo(tmp_path / "a.png"), tmp_path / "b.webp")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.webp")), samples)
