"""The blurred and noisy photos are made by the recipe they state, whatever else the folder holds."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import signal

from helpers import save_photo
from unblur import datasets, metrics
from unblur.datasets.nidf import Nidf
from unblur.types import UnblurError

NIDF = datasets.get("nidf")
PHOTOS = {"b.png": (304, 330, 3), "a/c.jpg": (321, 307, 3), "grey.tif": (305, 306, 1)}  # height, width, channels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for seed, (name, size) in enumerate(PHOTOS.items()):
        save_photo(root / name, *size, seed=seed)
    save_photo(root / ".hidden/d.png", 400, 400)
    (root / "readme.txt").write_text("no photo")
    return root


def test_each_photo_is_observed_at_four_noise_levels_in_the_order_of_the_paths(folder):
    assert NIDF.count(folder) == 12
    samples = list(NIDF.samples(folder))
    assert [sample.name for sample in samples[:5]] == ["a/c_10", "a/c_20", "a/c_30", "a/c_40", "b_10"]
    assert [sample.group for sample in samples[4:8]] == ["sigma 10", "sigma 20", "sigma 30", "sigma 40"]
    assert [sample.sigma for sample in samples[8:]] == [10 / 255, 20 / 255, 30 / 255, 40 / 255]
    assert [sample.blurry.shape for sample in samples[::4]] == [(1, c, 256, 256) for c in (3, 3, 1)]


def test_the_observation_is_the_blurred_centre_with_noise_that_is_not_clipped(folder):
    samples = list(islice(NIDF.samples(folder), 4, 8))  # of b.png
    photo = np.asarray(Image.open(folder / "b.png"), dtype=np.float64) / 255  # (304, 330, 3)
    psf = samples[0].psf[0, 0].double().numpy()
    half = psf.shape[0] // 2
    top, left = (304 - 256) // 2, (330 - 256) // 2
    area = photo[top - half : top + 256 + half, left - half : left + 256 + half]
    blurry = np.stack([signal.fftconvolve(area[..., c], psf, "valid") for c in range(3)])  # (3, 256, 256)
    for sample in samples:
        np.testing.assert_allclose(
            sample.sharp[0].numpy(), photo[top : top + 256, left : left + 256].transpose(2, 0, 1)
        )
        np.testing.assert_allclose(sample.noise_free[0].numpy(), blurry, atol=1e-5)
        noise = sample.blurry - sample.noise_free
        assert float(noise.std()) == pytest.approx(sample.sigma, rel=0.01)
        assert abs(float(noise.mean())) < sample.sigma / 100
    assert float(samples[3].blurry.min()) < 0 and float(samples[3].blurry.max()) > 1
    assert all(torch.equal(sample.psf, samples[0].psf) for sample in samples)
    noises = torch.stack([(s.blurry - s.noise_free).flatten() / s.sigma for s in samples])
    assert float((torch.corrcoef(noises) - torch.eye(4)).abs().max()) < 0.02, "each level has noise of its own"


def test_a_photo_is_the_same_with_any_limit_and_beside_any_other_photos(folder, tmp_path):
    save_photo(tmp_path / "b.png", *PHOTOS["b.png"], seed=0)
    alone = list(NIDF.samples(tmp_path, 3))
    beside = [sample for sample in NIDF.samples(folder, 7) if sample.name.startswith("b_")]
    assert [sample.name for sample in alone] == [sample.name for sample in beside] == ["b_10", "b_20", "b_30"]
    for one, same in zip(alone, beside, strict=True):
        assert torch.equal(one.blurry, same.blurry) and torch.equal(one.psf, same.psf)


def test_another_seed_makes_other_psfs_and_noise(folder):
    first, second = (next(NIDF.with_options({"seed": seed}).samples(folder)) for seed in (0, 1))
    assert first.psf.shape != second.psf.shape or not torch.equal(first.psf, second.psf)
    assert not torch.equal(first.blurry - first.noise_free, second.blurry - second.noise_free)
    assert torch.equal(first.blurry, next(NIDF.samples(folder)).blurry), "the data set itself keeps its seed"


def test_the_sides_of_the_psfs_are_uniform_from_7_to_49(folder, monkeypatch):
    nothing = torch.zeros(1, 1, 8, 8)
    monkeypatch.setattr(Nidf, "_blur", lambda self, path, psf: (nothing, nothing))
    psfs = [next(NIDF.with_options({"seed": seed}).samples(folder)).psf[0, 0] for seed in range(150)]
    sides = torch.tensor([len(psf) for psf in psfs])
    assert (sides % 2 == 1).all() and int(sides.min()) == 7 and int(sides.max()) == 49
    assert float(sides.double().mean()) == pytest.approx(28, abs=2)
    for psf in psfs[:10]:
        rows, columns = ((psf.sum(axis) > 0).nonzero().flatten() for axis in (1, 0))
        assert max(rows[-1] - rows[0], columns[-1] - columns[0]) >= len(psf) // 2 - 1, "it fills its square"


def test_pictures_are_clipped_and_scored_in_place(folder):
    sample = next(NIDF.samples(folder))
    noisy = sample.blurry.double()
    expected = -10 * torch.log10((noisy.clamp(0, 1) - sample.sharp.double()).square().mean())
    scores = NIDF.score(sample.blurry, sample)
    assert scores["psnr"] == pytest.approx(float(expected), abs=1e-9)
    assert scores["ssim"] == pytest.approx(metrics.ssim(sample.blurry.clamp(0, 1), sample.sharp).item())
    moved = NIDF.score(sample.sharp.roll(1, -1), sample)["psnr"]
    assert moved < NIDF.score(sample.sharp * 0.999, sample)["psnr"] - 10, "no shift is searched for"


def test_photos_that_are_too_small_are_named_before_any_work(tmp_path):
    save_photo(tmp_path / "large.png", 304, 304)
    save_photo(tmp_path / "small.png", 500, 303)
    with pytest.raises(UnblurError, match=r"1 of 2 photos are too small, first .*small\.png\. Remove .* 304 x 304 px"):
        NIDF.count(tmp_path)


def test_two_photos_of_one_name_are_refused(tmp_path):
    save_photo(tmp_path / "x.png", 304, 304)
    save_photo(tmp_path / "x.jpg", 304, 304)
    with pytest.raises(UnblurError, match=r"x\.png and .*x\.jpg have the same name"):
        NIDF.count(tmp_path)


def test_a_folder_without_photos_and_a_damaged_photo_are_refused(tmp_path):
    with pytest.raises(UnblurError, match="there is no folder"):
        NIDF.count(tmp_path / "none")
    with pytest.raises(UnblurError, match=r"holds no photo. Expected: sharp photos"):
        NIDF.count(tmp_path)
    (tmp_path / "torn.png").write_bytes(b"not a picture")
    with pytest.raises(UnblurError, match=r"torn\.png.*Expected: sharp photos"):
        next(NIDF.samples(tmp_path))
