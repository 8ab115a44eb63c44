"""Decode HEIF and camera RAW in a process of its own: a damaged file may end the process in libheif or LibRaw.

`decode_apart` starts a process that reads the file from its standard input and writes a line of JSON and the samples to
its standard output. It takes a fifth of a second more than decoding in this process.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unblur.image_io.heif import decode_heif, require_pi_heif
from unblur.image_io.photo import Decoded, ImageFileError
from unblur.image_io.raw import decode_raw, require_rawpy

ApartFormat = Literal["HEIF", "RAW"]

_DECODERS = {"HEIF": decode_heif, "RAW": decode_raw}
_REQUIREMENTS = {"HEIF": require_pi_heif, "RAW": require_rawpy}
_OPTIONS = ("-P", "-c")  # no code from the working folder, where the photos may lie
_PROGRAM = "from unblur.image_io.apart import answer; answer()"
_KILLED = 9  # the signal SIGKILL
_PACKAGE_FOLDER = str(Path(__file__).parents[2])


def decode_apart(format: ApartFormat, data: bytes, path: Path, max_pixels: int) -> Decoded:
    """Decode a file in another process.

    Args:
        format: of the file.
        data: its content.
        path: its name in messages.
        max_pixels: a picture with more pixels is refused before it is decoded.

    Raises:
        ImageFileError: when the package for the format is not installed, or the file cannot be decoded.
    """
    _REQUIREMENTS[format](path)
    paths = os.pathsep.join([_PACKAGE_FOLDER, *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, *_OPTIONS, _PROGRAM, format, str(max_pixels)],
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,  # Ctrl-C is for the process that waits for this one
        check=False,
    )
    if done.returncode == -_KILLED:
        raise MemoryError("the system has ended the process that decoded it")
    end = done.stdout.find(b"\n")
    if done.returncode != 0 or end < 0:
        raise ImageFileError(path, "the file is damaged or cut short. Copy it again.")
    header: dict[str, Any] = json.loads(done.stdout[:end])
    if "memory" in header:
        raise MemoryError(header["memory"])
    if "refused" in header:
        raise ImageFileError(path, header["refused"])
    return _unpacked(header, memoryview(done.stdout)[end + 1 :])


def answer() -> None:
    """What the other process does: decode standard input, as the arguments say, and write the result."""
    format, max_pixels = sys.argv[1], int(sys.argv[2])
    header: dict[str, Any]
    arrays: list[np.ndarray] = []
    try:
        header, arrays = _packed(_DECODERS[format](sys.stdin.buffer.read(), Path("photo"), max_pixels))
    except ImageFileError as error:
        header = {"refused": error.trouble}
    except MemoryError as error:
        header = {"memory": str(error)}
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
    for array in arrays:
        sys.stdout.buffer.write(array.data)


def _packed(decoded: Decoded) -> tuple[dict[str, Any], list[np.ndarray]]:
    """A dictionary for JSON, and the arrays that it speaks of."""
    header: dict[str, Any] = {}
    arrays: list[np.ndarray] = []
    for name in (field.name for field in fields(Decoded)):
        value = getattr(decoded, name)
        if isinstance(value, np.ndarray):
            arrays.append(np.ascontiguousarray(value))
            value = {"shape": value.shape, "type": value.dtype.name}
        elif isinstance(value, bytes):
            value = {"bytes": base64.b64encode(value).decode("ascii")}
        header[name] = value
    return header, arrays


def _unpacked(header: dict[str, Any], rest: memoryview) -> Decoded:
    """The inverse of `_packed`."""
    values: dict[str, Any] = {}
    position = 0
    for name, value in header.items():
        if isinstance(value, dict) and "shape" in value:
            count = int(np.prod(value["shape"]))
            array = np.frombuffer(rest, value["type"], count, position)
            position += array.nbytes
            value = array.reshape(value["shape"])
        elif isinstance(value, dict):
            value = base64.b64decode(value["bytes"])
        elif isinstance(value, list) and name != "notes":
            value = tuple(value)
        values[name] = value
    return Decoded(**values)
