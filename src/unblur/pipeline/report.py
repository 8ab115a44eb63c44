"""A report as one picture: the photo before and after, an enlarged detail of both, the intermediate pictures of the
methods, the PSF, and the figures. A photo that was restored in tiles has no intermediate pictures.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unblur.image_io.write import put_in_place
from unblur.imaging.psf import describe_psf

if TYPE_CHECKING:
    from torch import Tensor

    from unblur.pipeline.restore import FileResult

MARGIN, GAP = 48, 24  # px, around everything and between panels
PANEL = 720  # px, longest side of a picture and side of a detail
PSF_SIDE = 300  # px, side of the enlarged PSF
BACKGROUND, FRAME, TEXT, QUIET = (30, 31, 34), (58, 60, 66), (236, 237, 240), (158, 162, 170)
BODY, SMALL, TITLE = 22, 19, 32  # px, text sizes
LINE = 32  # px, from one line of text to the next
LABELS = 150  # px, the column of the figures' names


def write_report(before: np.ndarray, after: Tensor, result: FileResult, path: Path, *, overwrite: bool = False) -> None:
    """Draw the report and write it to `path`; its suffix names the format.

    Args:
        before: the photo, `(H, W, C)` in [0, 1].
        after: the restored photo, `(1, C, H, W)`.
        result: the figures.
        path: where the report goes.
        overwrite: whether it may replace a file.

    Raises:
        ImageFileError: when the place will not do.
    """
    sheet = draw_report(before, after[0].permute(1, 2, 0).cpu().numpy(), result)
    buffer = io.BytesIO()
    # Image.registered_extensions knows which format a suffix stands for, once its plugins are loaded.
    sheet.save(buffer, Image.registered_extensions()[path.suffix.lower()], quality=92)
    put_in_place(buffer.getvalue(), path, overwrite=overwrite)


def draw_report(before: np.ndarray, after: np.ndarray, result: FileResult) -> Image.Image:
    """The report as a picture, from two `(H, W, C)` arrays in [0, 1] and the figures."""
    old, new = eight_bit(before), eight_bit(after)
    rows = [("before", "after", _shrunk(old), _shrunk(new))]
    longest = max(old.size)
    if longest > PANEL // 2:  # a smaller photo is already shown whole, pixel by pixel
        # At 100 %, the detail of a photo less than twice as large as the panel would look like the whole.
        zoom = 1 if longest >= 2 * PANEL else 2
        caption, box = f"detail at {100 * zoom} %", most_detailed(after, PANEL // zoom)
        rows.append((f"before, {caption}", f"after, {caption}", _detail(old, box, zoom), _detail(new, box, zoom)))
    rows += _stage_rows(result.stages)
    column = max(480, *(row[2].width for row in rows))
    height = MARGIN + LINE * 2 + sum(LINE + row[2].height + GAP for row in rows)
    facts = _facts(result, wrap_at=2 * column + GAP - PSF_SIDE - 3 * GAP - LABELS)
    height += max(LINE * sum(len(lines) for _, lines in facts), LINE + PSF_SIDE + LINE) + MARGIN
    sheet = Image.new("RGB", (2 * MARGIN + 2 * column + GAP, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 10), result.input.name, TEXT, _font(TITLE))
    y = MARGIN + LINE * 2 - 12
    for left_caption, right_caption, left, right in rows:
        for x, caption, picture in (
            (MARGIN, left_caption, left),
            (MARGIN + column + GAP, right_caption, right),
        ):
            if caption:
                draw.text((x, y), caption, QUIET, _font(SMALL))
                _framed(sheet, picture, (x, y + LINE))
        y += LINE + left.height + GAP
    _draw_psf(sheet, result.psf, (MARGIN, y))
    _draw_facts(draw, facts, (MARGIN + PSF_SIDE + 3 * GAP, y))
    return sheet


def _stage_rows(stages: Mapping[str, Tensor]) -> list[tuple[str, str, Image.Image, Image.Image]]:
    """Rows with the intermediate pictures, two in each; the last may have one and an empty place."""
    pictures = [(name, _shrunk(eight_bit(stage[0].permute(1, 2, 0).cpu().numpy()))) for name, stage in stages.items()]
    if len(pictures) % 2:
        pictures.append(("", Image.new("RGB", pictures[-1][1].size, BACKGROUND)))
    return [
        (left_name, right_name, left, right)
        for (left_name, left), (right_name, right) in zip(pictures[::2], pictures[1::2], strict=True)
    ]


def most_detailed(picture: np.ndarray, side: int = PANEL) -> tuple[int, int, int, int]:
    """The square with the strongest gradients: (left, top, right, bottom) in pixels, at most `side` wide and high.

    Args:
        picture: `(H, W, C)`.
        side: of the square, in pixels; cut down to the picture's own size.
    """
    grey = picture.mean(2)
    height, width = grey.shape
    box_height, box_width = min(side, height), min(side, width)
    detail = np.zeros((height + 1, width + 1))  # a summed-area table
    detail[1:height, 1:width] = np.abs(np.diff(grey, axis=0))[:, 1:] + np.abs(np.diff(grey, axis=1))[1:]
    detail = detail.cumsum(0).cumsum(1)
    tops = np.unique(np.linspace(0, height - box_height, 24).astype(int))
    lefts = np.unique(np.linspace(0, width - box_width, 24).astype(int))
    bottoms, rights = tops + box_height, lefts + box_width
    inside = detail[np.ix_(bottoms, rights)] - detail[np.ix_(tops, rights)]
    inside += detail[np.ix_(tops, lefts)] - detail[np.ix_(bottoms, lefts)]
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    return int(lefts[column]), int(tops[row]), int(rights[column]), int(bottoms[row])


def _facts(result: FileResult, wrap_at: int) -> list[tuple[str, list[str]]]:
    """Name and lines of every figure."""
    facts = [("method", result.method)]
    if result.psf is not None:
        facts.append(("PSF", describe_psf(result.psf).words))
    if result.noise_sigma is not None:
        facts.append(("noise", f"{result.noise_sigma:.4f} (of 1), {255 * result.noise_sigma:.1f} of 255 levels"))
    facts.append(("time", f"{result.seconds:.1f} s"))
    facts.append(("result", "restored" if result.changed else "left as it was"))
    facts += [("" if i else "notes", note) for i, note in enumerate(result.notes)]
    letters = max(20, int(wrap_at / (0.52 * BODY)))  # a letter of the font is about half as wide as it is high
    return [(name, textwrap.wrap(text, letters)) for name, text in facts]


def _draw_facts(draw: ImageDraw.ImageDraw, facts: list[tuple[str, list[str]]], place: tuple[int, int]) -> None:
    x, y = place
    for name, lines in facts:
        draw.text((x, y), name, QUIET, _font(BODY))
        for line in lines:
            draw.text((x + LABELS, y), line, TEXT, _font(BODY))
            y += LINE


def _draw_psf(sheet: Image.Image, psf: Tensor | None, place: tuple[int, int]) -> None:
    draw = ImageDraw.Draw(sheet)
    if psf is None:
        draw.text(place, "no PSF", QUIET, _font(SMALL))
        return
    height, width = psf.shape
    draw.text(place, f"PSF, {width} x {height} px", QUIET, _font(SMALL))
    _framed(sheet, psf_square(psf.cpu().numpy(), PSF_SIDE), (place[0], place[1] + LINE))


def psf_square(psf: np.ndarray, side: int) -> Image.Image:
    """A PSF `(h, w)` in a square of `side` px, enlarged by a whole factor, brightened so that its faint parts show."""
    height, width = psf.shape
    factor = max(1, side // max(height, width))
    shown = eight_bit(np.sqrt(psf / psf.max())[..., None])
    picture = shown.resize((factor * width, factor * height), Image.Resampling.NEAREST)
    picture.thumbnail((side, side))
    square = Image.new("RGB", (side, side), (0, 0, 0))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def _framed(sheet: Image.Image, picture: Image.Image, place: tuple[int, int]) -> None:
    x, y = place
    ImageDraw.Draw(sheet).rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=FRAME)
    sheet.paste(picture, place)


def _shrunk(picture: Image.Image) -> Image.Image:
    copy = picture.copy()
    copy.thumbnail((PANEL, PANEL), Image.Resampling.LANCZOS)
    return copy


def _detail(picture: Image.Image, box: tuple[int, int, int, int], zoom: int) -> Image.Image:
    part = picture.crop(box)
    return part.resize((zoom * part.width, zoom * part.height), Image.Resampling.BICUBIC) if zoom > 1 else part


def eight_bit(pixels: np.ndarray) -> Image.Image:
    """`(H, W, C)` in [0, 1], C = 1 or 3, as an 8-bit RGB picture."""
    levels = np.floor(np.clip(pixels, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return Image.fromarray(np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
