"""The Levin 2009 loader reads its files the right way round and scores by the published protocol."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage, signal
from scipy.io import savemat

from unblur import datasets, metrics
from unblur.datasets.base import Sample
from unblur.types import UnblurError

LEVIN = datasets.get("levin")


def _mat_content(seed: int) -> dict[str, np.ndarray]:
    """A picture, an asymmetric off-centre kernel that does not sum to 1, and their correlation."""
    rng = np.random.default_rng(seed)
    sharp = np.clip(0.5 + ndimage.gaussian_filter(rng.standard_normal((46, 50)), 1.5), 0, 1)
    kernel = np.zeros((7, 7))
    kernel[1, 1:4] = 2.0, 1.0, 0.5
    kernel[2, 1] = rng.uniform(0.2, 0.8)
    return {"x": sharp, "y": ndimage.correlate(sharp, kernel / kernel.sum()), "f": kernel}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("levin")
    for picture in range(1, 5):
        for shake in range(1, 9):
            name = f"im{picture:02}_ker{shake:02}.mat"
            savemat(root / name, _mat_content(10 * picture + shake))
    (root / "readme.txt").write_text("not a sample")
    return root


@pytest.fixture
def root(complete: Path, tmp_path: Path) -> Path:
    """A copy a test may spoil."""
    return Path(shutil.copytree(complete, tmp_path / "levin"))


@pytest.fixture
def sample(complete: Path) -> Sample:
    return next(iter(LEVIN.samples(complete)))


def test_the_32_photos_come_in_order(complete):
    names = [sample.name for sample in LEVIN.samples(complete)]
    assert LEVIN.count(complete) == len(names) == 32
    assert names[:2] == ["im01_ker01", "im01_ker02"]
    assert names[-1] == "im04_ker08"
    assert len(set(names)) == 32


def test_a_limit_takes_the_first_ones(complete):
    assert [s.name for s in LEVIN.samples(complete, limit=3)] == ["im01_ker01", "im01_ker02", "im01_ker03"]


def test_the_original_archives_file_names_are_read_too(root):
    for path in list(root.glob("*.mat")):
        path.rename(root / path.name.replace("ker", "flit"))
    assert next(iter(LEVIN.samples(root))).name == "im01_flit01"


def test_pictures_and_psf_keep_to_the_conventions(sample):
    content = _mat_content(11)
    assert sample.sharp is not None and sample.psf is not None
    assert sample.blurry.shape == sample.sharp.shape == (1, 1, 46, 50)
    assert {sample.blurry.dtype, sample.sharp.dtype, sample.psf.dtype} == {torch.float32}
    np.testing.assert_allclose(sample.sharp[0, 0], content["x"], atol=1e-7)
    np.testing.assert_allclose(sample.blurry[0, 0], content["y"], atol=1e-7)
    assert sample.psf.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert sample.sigma is None


def test_convolving_the_sharp_picture_with_the_psf_gives_the_blurry_one(sample):
    convolved = signal.convolve2d(sample.sharp[0, 0], sample.psf[0, 0], mode="valid")
    np.testing.assert_allclose(sample.blurry[0, 0, 3:-3, 3:-3], convolved, atol=1e-6)


def test_scores_are_those_of_the_published_protocol(sample):
    scores = LEVIN.score(sample.blurry, sample)
    assert scores == {
        "psnr": metrics.psnr_aligned(sample.blurry, sample.sharp, crop=15, search=5, step=0.25).item(),
        "ssim": metrics.ssim_aligned(sample.blurry, sample.sharp, crop=15, search=5, step=0.25).item(),
    }


def test_a_shifted_truth_is_perfect(sample):
    scores = LEVIN.score(sample.sharp.roll((4, -3), (2, 3)), sample)
    assert scores["psnr"] == math.inf
    assert scores["ssim"] == pytest.approx(1.0, abs=1e-9)


def test_a_reference_adds_both_error_ratios(sample):
    noise = torch.randn(sample.sharp.shape, generator=torch.Generator().manual_seed(0))
    restored, reference = (sample.sharp + strength * noise for strength in (0.06, 0.03))
    restored, reference = restored.clamp(0, 1), reference.clamp(0, 1)
    scores = LEVIN.score(restored, sample, reference=reference)
    pictures = (restored, reference, sample.sharp)
    assert scores["error_ratio_ssd"] == pytest.approx(metrics.error_ratio_ssd(*pictures).item(), rel=1e-9)
    assert scores["error_ratio_norm2"] == pytest.approx(metrics.error_ratio_norm2(*pictures).item(), rel=1e-9)
    assert scores["error_ratio_ssd"] > 2
    assert scores["psnr"] == LEVIN.score(restored, sample)["psnr"]


def test_values_outside_the_range_are_clipped_before_scoring(sample):
    restored = sample.blurry.clone()
    restored[..., 20:25, 20:25] = 7.0
    clipped = restored.clamp(0, 1)
    assert LEVIN.score(restored, sample, reference=restored) == LEVIN.score(clipped, sample, reference=clipped)


def test_a_sample_without_truth_cannot_be_scored(sample):
    with pytest.raises(ValueError, match="'street' has no sharp picture"):
        LEVIN.score(sample.blurry, Sample("street", sample.blurry))


def test_the_protocol_says_what_the_scoring_does():
    protocol = LEVIN.protocol
    assert (protocol["crop"], protocol["search"], protocol["step"]) == (15, 5, 0.25)
    assert protocol["pictures"] == 32


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UnblurError, match=r"no folder .*nowhere.*im01_ker01\.mat"):
        LEVIN.samples(tmp_path / "nowhere")


def test_a_missing_file_is_noticed_before_any_work(root):
    (root / "im03_ker05.mat").unlink()
    with pytest.raises(UnblurError, match=r"levin holds 31 of 32 files.*im01_ker01\.mat"):
        LEVIN.samples(root, limit=1)
    with pytest.raises(UnblurError, match="31 of 32"):
        LEVIN.count(root)


def _without(key: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in _mat_content(0).items() if name != key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_without("f"), "no 'f' in it"),
        (_mat_content(0) | {"y": np.zeros((46, 51))}, r"y \(46, 51\)"),
        (_mat_content(0) | {"f": np.zeros((7, 7))}, "no picture and kernel"),
        (_mat_content(0) | {"x": np.full((46, 50), np.nan)}, "no picture and kernel"),
        (_mat_content(0) | {"x": np.zeros((20, 20)), "y": np.zeros((20, 20))}, r"x \(20, 20\)"),
        (_mat_content(0) | {"x": "a sentence"}, "could not convert"),
    ],
    ids=["no kernel", "sizes differ", "empty kernel", "NaN", "too small to crop", "text"],
)
def test_a_file_with_the_wrong_content_is_named(root, content, message):
    savemat(root / "im01_ker01.mat", content)
    with pytest.raises(UnblurError, match=rf"im01_ker01\.mat.*{message}.*Expected: 32 MATLAB files"):
        next(LEVIN.samples(root))


@pytest.mark.parametrize("kept", [0, 60, 1000, 5000], ids=lambda kept: f"first {kept} bytes")
def test_a_damaged_file_is_named(root, kept):
    path = root / "im01_ker01.mat"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnblurError, match=r"cannot read .*im01_ker01\.mat"):
        next(LEVIN.samples(root))


def test_every_data_set_is_found_by_its_name():
    assert "levin" in datasets.names()
    assert "base" not in datasets.names()
    for name in datasets.names():
        assert datasets.get(name).name == name


def test_a_typo_is_answered_with_the_nearest_name():
    with pytest.raises(UnblurError, match=r"no data set 'levn'\. Did you mean 'levin'\?"):
        datasets.get("levn")


def test_listing_the_names_imports_none_of_them():
    code = "import sys, unblur.datasets as d; d.names(); print('unblur.datasets.levin' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
