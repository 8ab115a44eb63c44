"""Köhler's pictures are scored against the most similar of their sharp frames, as the authors' script does."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import structured_picture
from unblur import datasets, metrics
from unblur.datasets.kohler import KohlerSample
from unblur.types import UnblurError

KOHLER = datasets.get("kohler")
SIZE = 37, 44


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The published layout with small pictures; picture 1, shake 3 lacks its second frame, as in the archive."""
    root = tmp_path_factory.mktemp("kohler")
    scenes = [structured_picture(SIZE[0] + 8, SIZE[1] + 8, 3, seed) for seed in range(4)]
    for picture in range(1, 5):
        for shake in range(1, 13):
            place = root / f"Image{picture}/Kernel{shake}"
            place.mkdir(parents=True)
            views = [scenes[picture - 1][..., n : n + SIZE[0], 2 * n : 2 * n + SIZE[1]] for n in range(3)]
            save(sum(views) / 3, root / f"Blurry{picture}_{shake}.png")
            for number, view in zip((1, 2, 10), views, strict=True):
                if (picture, shake, number) != (1, 3, 2):
                    save(view, place / f"GroundTruth{picture}_{shake}_{number}.png")
    return root


def save(picture, path):
    Image.fromarray((picture[0].movedim(0, -1) * 255).round().byte().numpy()).save(path)


def by_the_script(restored, frame):
    """PSNR of `eval_image.m`, step by step; both (3, H, W) with values of 8 bits, 0 to 255, float64."""
    scaled = (frame * restored).sum() / (restored * restored).sum() * restored
    spectrum = np.fft.fft2(frame.mean(0)) * np.conj(np.fft.fft2(scaled.mean(0)))
    correlation = np.fft.ifft2(spectrum).real
    rows, columns = SIZE
    row, column = np.unravel_index(correlation.argmax(), SIZE)
    dy, dx = (int(p) - n if p + 1 > n // 2 else int(p) for p, n in ((row, rows), (column, columns)))
    moved, mask = np.zeros_like(scaled), np.zeros_like(scaled)
    for y in range(rows):
        for x in range(columns):
            if 0 <= y - dy < rows and 0 <= x - dx < columns:
                moved[:, y, x], mask[:, y, x] = scaled[:, y - dy, x - dx], 1
    weights = np.array([0.299, 0.587, 0.114])
    difference = np.einsum("c,chw->hw", weights, frame * mask - moved)
    return 10 * np.log10(255**2 / (difference**2).mean())


def test_there_are_48_pictures_each_with_its_frames_in_order(folder):
    assert KOHLER.count(folder) == 48
    samples = list(KOHLER.samples(folder, 13))
    assert [samples[n].name for n in (0, 1, 11, 12)] == ["1_1", "1_2", "1_12", "2_1"]
    numbers = [[path.stem.split("_")[-1] for path in sample.frame_files] for sample in samples[:3]]
    assert numbers == [["1", "2", "10"], ["1", "2", "10"], ["1", "10"]]
    with Image.open(folder / "Image1/Kernel1/GroundTruth1_1_2.png") as middle:
        np.testing.assert_allclose(samples[0].sharp[0].movedim(0, -1), np.asarray(middle) / 255, atol=1e-6)


def test_the_score_is_the_best_of_the_frames_by_the_script(folder):
    sample = next(KOHLER.samples(folder))
    generator = torch.Generator().manual_seed(0)
    blurry = sample.blurry
    candidates = [
        blurry,
        (1.3 * blurry).roll((2, -3), (-2, -1)),
        blurry + 0.1 * torch.randn(blurry.shape, generator=generator),
    ]
    for restored in candidates:
        rounded = (restored.clamp(0, 1) * 255).round()[0].double().numpy()
        frames = [np.asarray(Image.open(path), dtype=np.float64).transpose(2, 0, 1) for path in sample.frame_files]
        figures = [by_the_script(rounded, frame) for frame in frames]
        assert max(figures) - min(figures) > 0.1
        assert KOHLER.score(restored, sample)["psnr"] == pytest.approx(max(figures), abs=1e-3)


def test_a_gain_is_corrected_and_a_shift_is_found(folder):
    sample = next(KOHLER.samples(folder))
    with Image.open(sample.frame_files[2]) as picture:
        frame = torch.from_numpy(np.array(picture)).movedim(-1, 0)[None] / 255
    darker = KOHLER.score(0.8 * frame, sample)
    assert darker["psnr"] > 50 and darker["ssim"] > 0.999
    shifted = frame.roll((3, -2), (-2, -1))
    in_place = metrics.psnr(shifted, frame).item()
    assert KOHLER.score(shifted, sample)["psnr"] > in_place + 6
    blurry = KOHLER.score(sample.blurry, sample)
    assert blurry["psnr"] < 35 and blurry["ssim"] < 0.98


def test_a_black_picture_has_a_score_and_one_of_another_shape_none(folder):
    sample = next(KOHLER.samples(folder))
    black = KOHLER.score(torch.zeros_like(sample.blurry), sample)
    frames = [metrics.psnr(torch.zeros(1, 1, *SIZE), grey(path)).item() for path in sample.frame_files]
    assert black["psnr"] == pytest.approx(max(frames), abs=1e-4)
    with pytest.raises(ValueError, match=r"1_1 is of shape \(1, 3, 37, 44\), not \(1, 1, 37, 44\)"):
        KOHLER.score(sample.blurry[:, :1], sample)


def grey(path):
    with Image.open(path) as frame:
        values = np.asarray(frame, dtype=np.float64) @ [0.299, 0.587, 0.114] / 255
    return torch.from_numpy(values)[None, None].float()


def test_what_is_missing_or_does_not_fit_is_named(folder, tmp_path):
    with pytest.raises(UnblurError, match=r"lacks Blurry1_1\.png\. Expected: 48 pictures"):
        KOHLER.count(tmp_path)
    root = tmp_path / "kohler"
    shutil.copytree(folder, root)
    frames = root / "Image1/Kernel1"
    Image.new("RGB", (20, 20)).save(frames / "GroundTruth1_1_1.png")
    sample = next(KOHLER.samples(root))
    assert isinstance(sample, KohlerSample)
    with pytest.raises(UnblurError, match=r"GroundTruth1_1_1\.png is not of the size of 1_1"):
        KOHLER.score(sample.blurry, sample)
    shutil.rmtree(frames)
    with pytest.raises(UnblurError, match=r"lacks GroundTruth1_1_1\.png"):
        KOHLER.count(root)
