"""The report shows what it should, for photos of all shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unblur.imaging.psf import linear_motion_psf
from unblur.pipeline.report import PANEL, PSF_SIDE, draw_report, most_detailed
from unblur.pipeline.restore import FileResult


def result(psf=None, notes=()) -> FileResult:
    return FileResult(Path("a.jpg"), Path("b.jpg"), "l0_psf+hyper_laplacian", psf, 0.01, 1.5, True, list(notes))


@pytest.mark.parametrize("shape", [(1, 1, 1), (40, 60, 3), (900, 300, 3), (200, 1500, 1)])
@pytest.mark.parametrize("psf", [None, torch.ones(1, 1), linear_motion_psf(12, 30), linear_motion_psf(400, 30)])
def test_photos_and_psfs_of_any_size_fit(shape, psf):
    after = np.full(shape, 0.75, np.float32)
    sheet = np.asarray(draw_report(np.zeros(shape, np.float32), after, result(psf, ["A note. " * 40])))
    shown = (sheet == 191).all(2).sum()
    width, height = min(shape[1], PANEL), min(shape[0], PANEL)
    assert shown >= 0.9 * min(1, PANEL / max(shape[:2])) ** 2 * shape[0] * shape[1]
    assert sheet.shape[0] > height + PSF_SIDE
    assert sheet.shape[1] > 2 * width


def test_before_is_left_of_after():
    sheet = np.asarray(draw_report(np.zeros((50, 80, 3)), np.ones((50, 80, 3)), result()))
    white = np.argwhere((sheet[100:180] == 255).all(2))
    black = np.argwhere((sheet[100:180] == 0).all(2))
    assert len(white) >= 50 * 80 * 0.9
    assert len(black) >= 50 * 80 * 0.9
    assert black[:, 1].max() < white[:, 1].min()


def test_long_notes_make_the_report_longer_and_not_wider():
    few, many = (
        draw_report(np.zeros((50, 80, 3)), np.ones((50, 80, 3)), result(notes=["word " * n])) for n in (1, 900)
    )
    assert many.width == few.width
    assert many.height > few.height


def test_the_detail_is_taken_where_the_picture_has_some():
    picture = np.zeros((1000, 1600, 3))
    picture[700:900, 1200:1500] = np.random.default_rng(0).random((200, 300, 3))
    left, top, right, bottom = most_detailed(picture, side=400)
    assert (right - left, bottom - top) == (400, 400)
    assert left <= 1200
    assert right >= 1500
    assert top <= 700
    assert bottom >= 900
