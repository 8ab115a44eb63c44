"""A photo's bytes in, the restored photo's bytes out. No file is read or written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from unblur.image_io import MAX_BYTES, MAX_PIXELS, Photo, decode_photo
from unblur.image_io.write import FORMATS, Format
from unblur.pipeline.options import Options
from unblur.pipeline.restore import FileResult, content_of, file_result, observed, restored
from unblur.types import Observation, Progress, Result, UnblurError

_SUFFIXES: dict[Format, str] = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp"}


@dataclass(frozen=True)
class RestoredPhoto:
    """A restored photo in memory, which can be encoded at any strength without restoring it again.

    Attributes:
        data: the bytes of the photo's file.
        photo: the same, decoded.
        outcome: what became of it at strength 1; its image is `(1, C, H, W)`, not clipped.
        result: what is to be said about it at strength 1.
        content: the bytes of the restored photo's file at strength 1.
    """

    data: bytes
    photo: Photo
    outcome: Result[Tensor]
    result: FileResult
    content: bytes

    def at(self, strength: float) -> bytes:
        """The bytes that `restore_bytes` returns for the same photo and options with this strength.

        Args:
            strength: 0 (the photo as it was) to 1 (fully restored).

        Raises:
            UnblurError: a strength out of range.
        """
        Options(strength=strength)  # checks the range
        outcome = self.outcome
        if strength == 1 or not outcome.changed:
            return self.content
        if strength == 0:
            outcome = replace(outcome, changed=False)
        else:
            before = torch.from_numpy(self.photo.pixels).permute(2, 0, 1)[None]
            outcome = replace(outcome, image=torch.lerp(before, outcome.image, strength))
        return content_of(outcome, self.photo, self.result.output, original=lambda: self.data)[0]


def restore_bytes(
    data: bytes,
    options: Options | None = None,
    progress: Progress | None = None,
    *,
    known: Observation | None = None,
    noisy: bytes | None = None,
    name: str = "photo",
    format: Format | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> tuple[bytes, FileResult]:
    """Restore a photo in memory: the bytes that `restore_file` writes. No file is read or written.

    Args:
        data: the bytes of a JPEG, PNG, TIFF, WebP, AVIF, GIF, BMP or HEIF file.
        options: what to do; None: what is best for the photo.
        progress: told of the stages; may cancel.
        known: what is known besides the pictures: psf, sigma, exposure ratio.
        noisy: the bytes of a short, noisy shot of the same scene, as for `restore_file`.
        name: what messages and the result call the photo; folders in it are left out.
        format: JPEG, PNG, TIFF or WEBP; None: that of `data`, or PNG for a format that is not written.
        max_pixels: a photo whose header declares more is refused before it is decoded.
        max_bytes: longer data are refused.

    Returns:
        The bytes of the restored photo, and what became of it. The suffix of `FileResult.output` names the format.

    Raises:
        UnblurError: one line saying what is wrong and the remedy.
        Cancelled: after `progress.cancel()`.
    """
    made = restore_to_keep(
        data,
        options,
        progress,
        known=known,
        noisy=noisy,
        name=name,
        format=format,
        max_pixels=max_pixels,
        max_bytes=max_bytes,
    )
    return made.content, made.result


def restore_to_keep(
    data: bytes,
    options: Options | None = None,
    progress: Progress | None = None,
    *,
    known: Observation | None = None,
    noisy: bytes | None = None,
    name: str = "photo",
    format: Format | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> RestoredPhoto:
    """As `restore_bytes`, with the pixels, so that the photo can be encoded again at other strengths.

    `RestoredPhoto.at` is for options with strength 1.
    """
    started = perf_counter()
    data = bytes(data)  # also of a memoryview
    options, progress, known = options or Options(), progress or Progress(), known or Observation()
    options.plan(known.given() | {"blurry", *([] if noisy is None else ["noisy"])})
    path = Path(Path(name).name or "photo")
    short_path = path.with_name(f"{path.stem} (short shot)")
    progress.stage("reading")
    photo = decode_photo(data, path, max_pixels=max_pixels, max_bytes=max_bytes)
    short = None if noisy is None else decode_photo(noisy, short_path, max_pixels=max_pixels, max_bytes=max_bytes)
    if format is None:
        format = "PNG" if photo.format not in _SUFFIXES else photo.format
    elif format not in _SUFFIXES:
        raise UnblurError(f"a photo is not written as '{format}'. Available: {', '.join(_SUFFIXES)}.")
    suffix = path.suffix if FORMATS.get(path.suffix.lower()) == format else _SUFFIXES[format]
    output = path.with_name(f"{path.stem}.restored{suffix}")
    observation, aligned = observed(photo, path, short, short_path, known, options, progress)
    outcome = restored(observation, aligned, options, progress, photo, path, output)
    content, notes = content_of(outcome, photo, output, original=lambda: data)
    return RestoredPhoto(data, photo, outcome, file_result(path, output, outcome, notes, started), content)
