"""What is said about a photo that could not be restored."""

from __future__ import annotations

from pathlib import Path

from unblur.image_io import ImageFileError
from unblur.types import UnblurError

NO_MEMORY = "there is not enough memory for it. Close other programs, or crop or reduce the photo."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that Python or torch ran out of memory; torch raises a RuntimeError for it."""
    words = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


def said_of(photo: Path, error: Exception) -> str:
    """The line about an error with one photo; it begins with the name of a file."""
    if isinstance(error, UnblurError):
        named = isinstance(error, ImageFileError) or str(photo) in str(error)
        return str(error) if named else f"{photo}: {error}"
    if is_out_of_memory(error):
        return f"{photo}: {NO_MEMORY}"
    return f"{photo}: {type(error).__name__}: {error} (restore it alone for the whole traceback)"
