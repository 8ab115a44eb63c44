"""Pictures drawn at random: dead leaves, and lines of text. They have edges of every contrast and direction."""

from __future__ import annotations

import math
import random
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

DrawnKind = Literal["leaves", "text"]
KINDS: tuple[DrawnKind, ...] = get_args(DrawnKind)

_LETTERS = "etaoinshrdlucmfwypvbgkETAOINSHR0123456789.,"
_SIZES = (11, 14, 18, 26, 40)  # pixels; of the text


def draw(kind: DrawnKind, side: int, generator: torch.Generator) -> Tensor:
    """Draw a picture at twice its size, and reduce it.

    Args:
        kind: "leaves": ellipses and polygons of 2 to 120 pixels that hide each other (Lee, Mumford & Huang 2001).
            "text": lines of random words on a plain ground.
        side: side of the picture in pixels.
        generator: random generator.

    Returns:
        `(3, side, side)` in [0, 1], with values of 8 bits.
    """
    chance = random.Random(int(torch.randint(2**62, (), generator=generator)))
    picture = Image.new("RGB", (2 * side, 2 * side), _colour(chance))
    (_draw_leaves if kind == "leaves" else _draw_text)(picture, chance)
    reduced = np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))
    return torch.from_numpy(reduced.transpose(2, 0, 1).astype(np.float32) / 255)


def _draw_leaves(picture: Image.Image, chance: random.Random) -> None:
    pen, side = ImageDraw.Draw(picture), picture.width
    many = (side / 768) ** 2  # so that their number per area does not depend on the size
    for _ in range(round(chance.randrange(40, 400) * many)):
        radius = 4 * 60 ** chance.random()
        x, y = chance.randrange(side), chance.randrange(side)
        if chance.random() < 0.5:
            flat = chance.uniform(0.3, 1)
            pen.ellipse((x - radius, y - flat * radius, x + radius, y + flat * radius), fill=_colour(chance))
        else:
            angles = sorted(chance.uniform(0, 2 * math.pi) for _ in range(chance.randrange(3, 7)))
            corners = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
            pen.polygon(corners, fill=_colour(chance))


def _draw_text(picture: Image.Image, chance: random.Random) -> None:
    pen, ink, y = ImageDraw.Draw(picture), _colour(chance), -10
    while y < picture.height:
        size = 2 * chance.choice(_SIZES)
        words = ("".join(chance.choices(_LETTERS, k=chance.randrange(1, 9))) for _ in range(14))
        fill = ink if chance.random() < 0.8 else _colour(chance)
        pen.text((chance.randrange(-60, 40), y), " ".join(words), fill=fill, font=ImageFont.load_default(size))
        y += int(size * 1.25)


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)
