"""Write a DNG, the open format of camera RAW, for tests."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import tifffile

BLACK, WHITE = 500, 15_500
NEUTRAL = (0.5, 1.0, 0.7)  # what the camera's red, green and blue record of white light
_XYZ_TO_SRGB = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
_SHORT, _BYTE, _TEXT = "H", "B", "s"


def dng(light: np.ndarray, orientation: int = 1) -> bytes:
    """The file of a camera with a Bayer sensor (RGGB).

    Args:
        light: `(H, W, 3)`, linear sRGB in [0, 1], even sides.
        orientation: of the EXIF.
    """
    seen = light * NEUTRAL
    sensor = seen[..., 1].copy()
    sensor[0::2, 0::2] = seen[0::2, 0::2, 0]
    sensor[1::2, 1::2] = seen[1::2, 1::2, 2]
    levels = (sensor * (WHITE - BLACK) + BLACK).round().astype(np.uint16)
    matrix = np.diag(NEUTRAL) @ _XYZ_TO_SRGB  # from XYZ to the camera's colours
    tags = [
        (33421, _SHORT, 2, (2, 2)),  # CFARepeatPatternDim
        (33422, _BYTE, 4, bytes([0, 1, 1, 2])),  # CFAPattern
        (50706, _BYTE, 4, bytes([1, 4, 0, 0])),  # DNGVersion
        (50708, _TEXT, 0, "Handmade"),  # UniqueCameraModel
        (50714, _SHORT, 1, BLACK),
        (50717, _SHORT, 1, WHITE),
        (
            50721,
            "2i",
            9,
            [part for value in matrix.ravel() for part in (round(value * 10_000), 10_000)],
        ),  # ColorMatrix1
        (50728, "2I", 3, [part for value in NEUTRAL for part in (round(value * 1000), 1000)]),  # AsShotNeutral
        (50778, _SHORT, 1, 21),  # CalibrationIlluminant1: D65
        (271, _TEXT, 0, "Camera"),
        (272, _TEXT, 0, "Handmade"),
        (274, _SHORT, 1, orientation),
    ]
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        levels,
        photometric="cfa",
        extratags=[(*tag, False) for tag in tags],
        metadata=None,
        subfiletype=0,
        software=False,
    )
    return buffer.getvalue()


def _fractions(values: Iterable[float]) -> list[int]:
    """Numerators and denominators in turn."""
    return [part for value in values for part in (round(value * 10_000), 10_000)]
