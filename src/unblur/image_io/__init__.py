"""A file <-> its pixels and everything else a photo carries.

Pixels are read upright, in [0, 1], at the depth the file has; a photo is written back with its EXIF,
colour profile, resolution and transparency, atomically, and never over something that exists.
"""

import logging

from unblur.image_io.photo import MAX_BYTES, MAX_PIXELS, ImageFileError, Photo
from unblur.image_io.psf_file import read_psf, write_psf
from unblur.image_io.read import decode_photo, read_photo
from unblur.image_io.write import check_writable, default_output, encode_photo, write_photo

# What these libraries find odd in a file goes to programs that have set up logging, and not to stderr.
for _library in ("imagecodecs", "tifffile"):
    logging.getLogger(_library).addHandler(logging.NullHandler())

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "ImageFileError",
    "Photo",
    "check_writable",
    "decode_photo",
    "default_output",
    "encode_photo",
    "read_photo",
    "read_psf",
    "write_photo",
    "write_psf",
]
