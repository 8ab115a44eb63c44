"""Read and write photos and PSFs: a file, or its bytes, to pixels and back.

Pixels are read upright, in [0, 1], at the depth of the file. A photo is written back with its EXIF, colour profile,
resolution and transparency. A file appears whole or not at all, and replaces another only when that is asked for.
Reading and writing change nothing that belongs to the whole process, so several threads may do so at once.
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
