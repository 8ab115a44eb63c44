"""Read and write photos and PSFs, as files or as bytes.

Pixels are read upright, in [0, 1], without loss of bit depth. A photo is written with its EXIF, colour profile,
resolution and transparency. A file appears only when it is complete, and replaces another one only with `overwrite`.
Reading and writing change no global state, so several threads may read and write at the same time.
"""

import logging

from unblur.image_io.photo import MAX_BYTES, MAX_PIXELS, ImageFileError, Photo
from unblur.image_io.psf_file import decode_psf, read_psf, write_psf
from unblur.image_io.read import decode_photo, read_photo
from unblur.image_io.write import check_writable, default_output, encode_photo, write_photo

# Warnings of these libraries go to programs that have set up logging, and not to stderr.
for _library in ("imagecodecs", "tifffile"):
    logging.getLogger(_library).addHandler(logging.NullHandler())

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "ImageFileError",
    "Photo",
    "check_writable",
    "decode_photo",
    "decode_psf",
    "default_output",
    "encode_photo",
    "read_photo",
    "read_psf",
    "write_photo",
    "write_psf",
]
