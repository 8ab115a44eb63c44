"""GoPro's test set is read as it is published; noise is added only when it is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import structured_picture
from unblur import datasets, metrics
from unblur.types import UnblurError

GOPRO = datasets.get("gopro")
FRAMES = {"GOPR0384_11_00": (1, 2), "GOPR0385_11_01": (3011,)}


@pytest.fixture
def folder(tmp_path):
    for scene, numbers in FRAMES.items():
        for number in numbers:
            for kind in ("sharp", "blur", "blur_gamma"):
                seed = {"sharp": 0, "blur": 100, "blur_gamma": 200}[kind] + number % 100
                path = tmp_path / f"test/{scene}/{kind}/{number:06}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture = structured_picture(40, 48, 3, seed)[0].movedim(0, -1)
                Image.fromarray((picture * 255).byte().numpy()).save(path)
    (tmp_path / "train/GOPR0372_07_00/blur").mkdir(parents=True)
    return tmp_path


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture, dtype=np.float64).transpose(2, 0, 1) / 255  # (3, H, W)


def test_the_pairs_are_blur_and_sharp_in_order_below_test_or_beside_it(folder):
    for root in (folder, folder / "test"):
        assert GOPRO.count(root) == 3
        samples = list(GOPRO.samples(root))
        assert [s.name for s in samples] == ["GOPR0384_11_00/000001", "GOPR0384_11_00/000002", "GOPR0385_11_01/003011"]
    for sample in samples:
        scene, number = sample.name.split("/")
        for kind, picture in (("blur", sample.blurry), ("sharp", sample.sharp)):
            np.testing.assert_allclose(picture[0], pixels(folder / f"test/{scene}/{kind}/{number}.png"), atol=1e-7)
        assert (sample.sigma, sample.noise_free, sample.psf) == (None, None, None)
    assert [s.name for s in GOPRO.samples(folder, 1)] == ["GOPR0384_11_00/000001"]


def test_noise_is_added_to_the_blurry_frame_unclipped_and_is_stated(folder):
    plain = list(GOPRO.samples(folder))
    noisy = list(GOPRO.with_options({"noise": 80.0}).samples(folder))
    for before, after in zip(plain, noisy, strict=True):
        assert torch.equal(after.noise_free, before.blurry) and torch.equal(after.sharp, before.sharp)
        assert after.sigma == pytest.approx(80 / 255)
        assert float((after.blurry - before.blurry).std()) == pytest.approx(80 / 255, rel=0.03)
        assert float(after.blurry.min()) < 0
    assert not torch.equal(noisy[0].blurry - noisy[0].noise_free, noisy[1].blurry - noisy[1].noise_free)
    again, other = (next(GOPRO.with_options({"noise": 80.0, "seed": s}).samples(folder)) for s in (0, 1))
    assert torch.equal(again.blurry, noisy[0].blurry) and not torch.equal(other.blurry, noisy[0].blurry)


def test_scores_are_those_of_the_8_bit_rgb_file(folder):
    sample = next(GOPRO.samples(folder))
    restored = sample.sharp + 0.3 / 255  # rounds to the sharp picture
    restored[..., 0] = 2.0  # is clipped
    written = sample.sharp.double().clone()
    written[..., 0] = 1.0
    scores = GOPRO.score(restored, sample)
    mse = (written - sample.sharp.double()).square().mean()
    assert scores["psnr"] == pytest.approx(float(-10 * mse.log10()), abs=1e-4)
    assert scores["ssim"] == pytest.approx(metrics.ssim(written.float(), sample.sharp).item(), abs=1e-6)
    assert GOPRO.score(sample.sharp.roll(1, -1), sample)["psnr"] < 30, "no shift is searched for"


def test_what_is_missing_or_does_not_fit_is_named(folder, tmp_path):
    with pytest.raises(UnblurError, match="there is no folder"):
        GOPRO.count(tmp_path / "none")
    with pytest.raises(UnblurError, match=r"holds no blurry frame. Expected: test/SCENE/blur"):
        GOPRO.count(folder / "train")
    sharp = folder / "test/GOPR0384_11_00/sharp/000002.png"
    Image.new("RGB", (40, 40)).save(sharp)
    with pytest.raises(UnblurError, match=r"blur/000002\.png and .*sharp/000002\.png differ in size"):
        list(GOPRO.samples(folder))
    sharp.unlink()
    with pytest.raises(UnblurError, match=r"1 of 3 sharp frames are missing, first .*sharp/000002\.png"):
        GOPRO.count(folder)
