"""Restore each photo of a folder as `unblur restore` does, and draw contact sheets to look at.

Real blurred photos have no sharp picture, so nothing is scored. What was done to each photo is written at once, so that
a run that was stopped can be continued.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unblur.image_io import read_photo, read_psf, write_psf
from unblur.image_io.write import put_in_place
from unblur.pipeline.options import Options
from unblur.pipeline.report import eight_bit, psf_square
from unblur.pipeline.restore import restore_file
from unblur.types import Progress, UnblurError

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
ROWS = 3  # photos on one sheet
_CELL = (640, 480)  # pixels: most width and height of a picture on a sheet
_PSF, _GAP, _TEXT = 200, 12, 20  # pixels: side of the PSF, space between pictures, height of the line of text


@dataclass(frozen=True)
class Done:
    """What was done to one photo.

    Attributes:
        photo: the photo.
        picture: the result, or a copy of the photo if nothing was changed.
        psf: the PSF, an 8-bit picture; None if none was found.
        figures: as `FileResult.as_json`.
    """

    photo: Path
    picture: Path
    psf: Path | None
    figures: dict[str, Any]

    @property
    def line(self) -> str:
        """One line: the photo, what was done, the size of the PSF, the seconds, and the reason."""
        made = self.figures
        done = f"restored with {made['method']}" if made["changed"] else "left alone"
        size = "no PSF" if made["psf_size"] is None else f"PSF {made['psf_size']} px"
        why = made["reason"] if made["changed"] else (made["notes"] or [""])[0]
        return f"{self.photo.name}: {done}, {size}, {made['seconds']:.1f} s: {why}"


def run_real(
    folder: Path,
    out: Path,
    options: Options,
    *,
    limit: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    report: Callable[[Done], None] = lambda done: None,
) -> list[Done]:
    """Restore the photos of a folder, and write results and contact sheets.

    Args:
        folder: holds JPEG, PNG or TIFF photos.
        out: gets, for each photo, the result `NAME.png`, the PSF `NAME.psf.png` if one was found, and the figures
            `NAME.json`; and for each three photos a contact sheet `sheet-01.png`, ... A photo whose `NAME.json` is
            there is not restored again.
        options: what to do to each photo.
        limit: number of photos, from the first; None: all.
        overwrite: whether the results of photos may be replaced that an earlier run has not finished.
        progress: told of the stages of each photo; may cancel.
        report: called after each photo.

    Raises:
        UnblurError: when there are no photos, or a file cannot be read or written.
    """
    photos = photos_in(folder)[:limit]
    out.mkdir(parents=True, exist_ok=True)
    done: list[Done] = []
    for number, photo in enumerate(photos):
        done.append(_stored(photo, out) or _restored(photo, out, options, progress, overwrite))
        report(done[-1])
        first = number // ROWS * ROWS
        if number - first == ROWS - 1 or number == len(photos) - 1:
            sheet_of(done[first:]).save(out / f"sheet-{number // ROWS + 1:02}.png")
    return done


def photos_in(folder: Path) -> list[Path]:
    """The photos of a folder, in alphabetical order.

    Raises:
        UnblurError: when it holds none, or two that differ only in their suffixes.
    """
    if not folder.is_dir():
        raise UnblurError(f"{folder} is no folder. Name one that holds photos with --data.")
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not photos:
        raise UnblurError(f"{folder} holds no photo. Expected: files that end in {', '.join(SUFFIXES)}.")
    for one, other in pairwise(photos):
        if one.stem == other.stem:
            raise UnblurError(f"{folder} holds both {one.name} and {other.name}. Rename one of them.")
    return photos


def sheet_of(done: Sequence[Done]) -> Image.Image:
    """A contact sheet: a row for each photo, with the photo, the result and the PSF."""
    width = 2 * _CELL[0] + _PSF + 4 * _GAP
    rows = [_row(one, width) for one in done]
    sheet = Image.new("RGB", (width, sum(row.height for row in rows)))
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _row(done: Done, width: int) -> Image.Image:
    before, after = (_small(path) for path in (done.photo, done.picture))
    row = Image.new("RGB", (width, max(before.height, _PSF) + _TEXT + 2 * _GAP))
    ImageDraw.Draw(row).text((_GAP, _GAP // 2), done.line, (255, 255, 255), ImageFont.load_default(_TEXT - 6))
    for number, picture in enumerate((before, after)):
        row.paste(picture, (_GAP + number * (_CELL[0] + _GAP), _TEXT + _GAP))
    if done.psf is not None:
        row.paste(psf_square(read_psf(done.psf), _PSF), (2 * _CELL[0] + 3 * _GAP, _TEXT + _GAP))
    return row


def _small(path: Path) -> Image.Image:
    picture = eight_bit(read_photo(path).pixels)
    picture.thumbnail(_CELL, Image.Resampling.LANCZOS)
    return picture


def _stored(photo: Path, out: Path) -> Done | None:
    """What an earlier run did to a photo; None if it has not been restored yet."""
    figures = out / f"{photo.stem}.json"
    if not figures.is_file():
        return None
    psf = out / f"{photo.stem}.psf.png"
    return Done(photo, out / f"{photo.stem}.png", psf if psf.is_file() else None, json.loads(figures.read_text()))


def _restored(photo: Path, out: Path, options: Options, progress: Progress | None, overwrite: bool) -> Done:
    picture, psf = out / f"{photo.stem}.png", None
    result = restore_file(photo, picture, options, progress, overwrite=overwrite)
    if result.psf is not None:
        psf = out / f"{photo.stem}.psf.png"
        write_psf(np.asarray(result.psf.cpu()), psf, overwrite=overwrite)
    done = Done(photo, picture, psf, result.as_json())
    text = json.dumps(done.figures, indent=1).encode() + b"\n"
    put_in_place(text, out / f"{photo.stem}.json", overwrite=False)
    return done
