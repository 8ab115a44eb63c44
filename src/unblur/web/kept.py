"""A restored photo, kept so that its strength can be changed: its pixels lie in a temporary file without a name."""

from __future__ import annotations

import sys
import tempfile
import threading
from dataclasses import replace

import numpy as np
import torch

from unblur.image_io import decode_photo
from unblur.pipeline.in_memory import RestoredPhoto
from unblur.pipeline.options import Options
from unblur.types import UnblurError


class KeptPhoto:
    """The bytes of a restored photo at any strength. Its methods may be called in any thread.

    The restored pixels are 12 bytes a pixel in colour, too much for the memory if there are many photos. The temporary
    file has no name (on Linux and macOS), so that nothing is left of it when the process ends, however it ends.

    Args:
        made: the restored photo.

    Attributes:
        result: what is to be said about it.
        content: its bytes at strength 1.
    """

    def __init__(self, made: RestoredPhoto) -> None:
        self.result, self.content = made.result, made.content
        self._data = made.data
        self._outcome = replace(made.outcome, image=torch.empty(0), stages={})
        self._shape = tuple(made.outcome.image.shape)
        self._lock = threading.Lock()
        self._pixels = None
        if made.outcome.changed:
            try:
                self._pixels = tempfile.TemporaryFile(prefix="unblur-")  # noqa: SIM115, closed by `release`
                self._pixels.write(made.outcome.image.contiguous().numpy().tobytes())
                self._pixels.flush()
            except OSError:  # the disk is full: the result can be had at strength 1
                self.release()

    @property
    def bytes_on_disk(self) -> int:
        """The size of the temporary file."""
        return 0 if self._pixels is None else 4 * int(np.prod(self._shape))

    def at(self, strength: float) -> bytes:
        """The bytes of the file that `unblur restore --strength STRENGTH` writes.

        Raises:
            UnblurError: a strength out of range, or the pixels are kept no longer.
        """
        Options(strength=strength)  # checks the range
        if strength == 1 or not self._outcome.changed:
            return self.content
        with self._lock:
            if self._pixels is None:
                raise UnblurError("The pixels of this result are kept no longer. Restore again to change its strength.")
            self._pixels.seek(0)
            image = torch.frombuffer(bytearray(self._pixels.read()), dtype=torch.float32).reshape(self._shape)
        known_to_fit = sys.maxsize  # its size was checked before it was restored
        photo = decode_photo(self._data, self.result.input, max_pixels=known_to_fit, max_bytes=known_to_fit)
        outcome = replace(self._outcome, image=image)
        return RestoredPhoto(self._data, photo, outcome, self.result, self.content).at(strength)

    def release(self) -> None:
        """Keep the pixels no longer."""
        with self._lock:
            if self._pixels is not None:
                self._pixels.close()
                self._pixels = None
