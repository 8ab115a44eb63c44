"""Pictures as a browser shows them: 8 bits, in the photo's colour profile, and not larger than a screen can use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.image_io import Photo, encode_photo

LARGEST = 24_000_000
"""Pixels of the largest picture that is shown as it is; a larger one is reduced by a whole factor."""


def shown(photo: Photo) -> bytes:
    """A photo as a JPEG, without its metadata and transparency."""
    pixels = torch.from_numpy(photo.pixels).permute(2, 0, 1)[None]
    return _jpeg(photo, pixels)


def shown_restored(photo: Photo, image: Tensor) -> bytes:
    """The restored picture `(1, C, H, W)` of a photo as a JPEG, in the same size as `shown(photo)`."""
    return _jpeg(photo, image)


def _jpeg(photo: Photo, picture: Tensor) -> bytes:
    height, width = picture.shape[-2:]
    factor = 1
    while (height // factor) * (width // factor) > LARGEST:
        factor += 1
    if factor > 1:
        picture = F.avg_pool2d(picture, factor, ceil_mode=True)
    pixels = picture[0].permute(1, 2, 0).numpy()
    # The profile is kept: the browser converts the colours by it.
    plain = replace(photo, pixels=pixels, alpha=None, exif=None, xmp=None, native=(), jpeg_tables=None)
    return encode_photo(plain, "JPEG")[0]


def shown_psf(psf: Tensor) -> bytes:
    """A PSF `(h, w)` as a grey PNG. The square root shows its faint parts."""
    levels = torch.sqrt(psf.clamp(min=0) / psf.max().clamp(min=1e-12))
    pixels = np.ascontiguousarray(levels.numpy()[..., None])
    return encode_photo(Photo(pixels=pixels), "PNG")[0]
