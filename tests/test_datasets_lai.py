"""The Lai 2016 loader makes the same blurry pictures every time, by the rules it states; so at half size."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, signal

from helpers import structured_picture
from unblur import benchmark, datasets, metrics
from unblur.datasets.base import Dataset, Sample
from unblur.imaging.colour import luminance
from unblur.imaging.convolution import convolve
from unblur.types import UnblurError

LAI, HALF = datasets.get("lai"), datasets.get("lai_half")
CATEGORIES = ("manmade", "natural", "people", "saturated", "text")
PSF_SIDES = ((7, 9), (9, 9), (8, 6), (5, 7))  # of the test's kernels 1 to 4; the third has even sides


def _kernel(number: int) -> np.ndarray:
    """An asymmetric, off-centre shake that does not sum to 1, `(h, w)` uint8."""
    kernel = np.zeros(PSF_SIDES[number - 1], dtype=np.uint8)
    kernel[1, 1:5] = 250, 180, 120, 60
    kernel[2:4, 1] = 90, 40 + number
    return kernel


def _picture(category: str, number: int) -> np.ndarray:
    """`(H, W, 3)` uint8; a saturated one has a clipped square of 11 px on black, a natural one is smooth."""
    if category == "saturated":
        pixels = np.zeros((82, 91, 3), dtype=np.uint8)
        pixels[30:41, 40:51] = 255, 128, 255
        return pixels
    seed = 10 * CATEGORIES.index(category) + number
    picture = structured_picture(82, 91, channels=3, seed=seed)[0].movedim(0, -1)  # (H, W, 3)
    pixels = (picture * 255).round().byte().numpy()
    return ndimage.gaussian_filter(pixels, (3.5, 3.5, 0)) if category == "natural" else pixels


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lai2016")
    (root / "sharp").mkdir()
    (root / "kernels").mkdir()
    for category in CATEGORIES:
        for number in range(1, 6):
            Image.fromarray(_picture(category, number)).save(root / "sharp" / f"{category}_{number:02}.png")
    for number in range(1, 5):
        rgb = np.repeat(_kernel(number)[..., None], 3, axis=2)  # the authors' kernels are grey in three channels
        Image.fromarray(rgb).save(root / "kernels" / f"kernel_{number:02}.png")
    (root / "readme.txt").write_text("not a sample")
    return root


@pytest.fixture
def root(complete: Path, tmp_path: Path) -> Path:
    """A copy a test may spoil."""
    return Path(shutil.copytree(complete, tmp_path / "lai2016"))


@pytest.fixture
def sample(complete: Path) -> Sample:
    return _named(LAI, complete, "manmade_01_kernel_01")


def _named(dataset: Dataset, root: Path, name: str) -> Sample:
    return next(sample for sample in dataset.samples(root) if sample.name == name)


def _rms(difference: torch.Tensor | np.ndarray) -> float:
    return float((difference**2).mean() ** 0.5)


def test_the_100_pictures_come_in_order(complete):
    names = [sample.name for sample in LAI.samples(complete)]
    assert LAI.count(complete) == LAI.protocol["pictures"] == len(set(names)) == 100
    assert names[:2] == ["manmade_01_kernel_01", "manmade_01_kernel_02"]
    assert names[4] == "manmade_02_kernel_01"
    assert names[-1] == "text_05_kernel_04"


def test_half_size_has_five_pictures_a_kernel(complete):
    names = [sample.name for sample in HALF.samples(complete)]
    assert HALF.count(complete) == HALF.protocol["pictures"] == len(names) == 20
    assert names == [f"{category}_{n:02}_kernel_{n:02}" for category in CATEGORIES for n in range(1, 5)]


def test_a_limit_takes_the_first_ones(complete):
    assert [s.name for s in LAI.samples(complete, limit=2)] == ["manmade_01_kernel_01", "manmade_01_kernel_02"]


@pytest.mark.parametrize("dataset", [LAI, HALF], ids=["lai", "lai_half"])
def test_pictures_and_psf_keep_to_the_conventions(complete, dataset):
    for sample in dataset.samples(complete):
        assert sample.sharp is not None and sample.psf is not None
        assert sample.blurry.shape == sample.sharp.shape and sample.blurry.shape[:2] == (1, 3)
        assert {sample.blurry.dtype, sample.sharp.dtype, sample.psf.dtype} == {torch.float32}
        assert sample.blurry.min() >= 0 and sample.blurry.max() <= 1
        assert sample.psf.sum().item() == pytest.approx(1.0, abs=1e-6)
        assert all(side % 2 for side in sample.psf.shape[-2:])
        assert sample.sigma is None
        levels = sample.blurry * 255
        assert (levels - levels.round()).abs().max() < 1e-4


def test_the_sharp_picture_is_the_inside_of_the_file(sample):
    inside = _picture("manmade", 1)[3:-3, 4:-4] / 255  # the PSF is 7 high and 9 wide
    np.testing.assert_allclose(sample.sharp[0].movedim(0, -1), inside, atol=1e-6)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_blurry_is_the_convolution_with_one_percent_noise(complete, number):
    sample = _named(LAI, complete, f"text_02_kernel_{number:02}")
    # A row or column of zeros makes an even side odd and moves no centre: the valid part stays the file's own.
    kernel = np.pad(_kernel(number), [(0, 1 - side % 2) for side in PSF_SIDES[number - 1]]).astype(float)
    convolved = [signal.convolve2d(c, kernel / kernel.sum(), "valid") for c in _picture("text", 2).T.swapaxes(1, 2)]
    noise = sample.blurry[0].numpy() - np.stack(convolved) / 255
    assert _rms(noise) == pytest.approx(0.0101, rel=0.03)  # and the rounding to 8 bits
    assert abs(noise.mean()) < 3e-4


def test_the_pictures_are_the_same_every_time_and_the_noise_is_not_shared(complete):
    first, again = ([s.blurry for s in LAI.samples(complete)] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    names = ("natural_01_kernel_01", "natural_02_kernel_01", "people_01_kernel_01")
    noises = [_noise(_named(LAI, complete, name)).flatten() for name in names]
    correlation = torch.corrcoef(torch.stack(noises)) - torch.eye(3)
    assert correlation.abs().max() < 0.05


def _noise(sample: Sample) -> torch.Tensor:
    """What the blurry picture has beyond the convolution of the sharp one, where the border is not missing."""
    assert sample.sharp is not None and sample.psf is not None
    h, w = sample.psf.shape[-2:]
    inside = sample.blurry[..., h // 2 : sample.blurry.shape[-2] - h // 2, w // 2 : sample.blurry.shape[-1] - w // 2]
    return inside - convolve(sample.sharp, sample.psf, "valid")


def test_clipped_values_are_raised_before_the_blur_and_the_blurry_picture_is_clipped(complete):
    sample = _named(LAI, complete, "saturated_02_kernel_04")
    scene = _picture("saturated", 2) / 255
    for ring, value in enumerate((1.2, 1.4, 1.6, 1.8)):
        scene[30 + ring : 41 - ring, 40 + ring : 51 - ring, ::2] = value
    kernel = _kernel(4) / _kernel(4).sum(dtype=float)
    blurred = np.stack([signal.convolve2d(channel, kernel, "valid") for channel in scene.transpose(2, 0, 1)])
    assert blurred.max() > 1.3
    expected = blurred.clip(0, 1)
    middle = (expected > 0.05) & (expected < 0.95)  # there the noise is not clipped
    assert _rms((sample.blurry[0].numpy() - expected)[middle]) == pytest.approx(0.01, rel=0.15)
    assert np.abs(sample.blurry[0].numpy() - expected).max() < 0.06
    assert sample.sharp is not None and sample.sharp.max() == 1


def test_other_pictures_keep_their_highlights(root):
    Image.fromarray(_picture("saturated", 1)).save(root / "sharp" / "people_01.png")
    noise = _noise(_named(LAI, root, "people_01_kernel_04"))
    assert noise.abs().max() < 0.06


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_half_size_blurry_is_the_convolution_of_half_size_sharp(complete, number):
    sample = _named(HALF, complete, f"natural_{number:02}_kernel_{number:02}")
    assert sample.psf is not None
    # Half the noise of full size, and the rounding: where texture is fine, the resized PSF is off by a little more.
    assert _rms(_noise(sample)) == pytest.approx(0.0052, rel=0.1)
    for axis in (2, 3):
        for moved in (sample.psf.roll(1, axis), sample.psf.roll(-1, axis)):
            assert _rms(_noise(replace(sample, psf=moved))) > 0.01


def test_half_size_is_the_mean_of_2x2_pixels(complete):
    whole, half = (_named(dataset, complete, "people_02_kernel_02") for dataset in (LAI, HALF))
    for big, small, exactness in ((whole.sharp, half.sharp, 1e-6), (whole.blurry, half.blurry, 0.5 / 255 + 1e-6)):
        assert big is not None and small is not None
        height, width = (side // 2 for side in big.shape[-2:])
        mean = big[..., : 2 * height, : 2 * width].reshape(1, 3, height, 2, width, 2).mean((3, 5))
        assert small.shape == mean.shape
        assert (small - mean).abs().max() <= exactness


@pytest.mark.parametrize(("dataset", "crop", "search"), [(LAI, 15, 10), (HALF, 8, 5)], ids=["lai", "lai_half"])
def test_scores_are_those_of_luminance_by_the_stated_protocol(complete, dataset, crop, search):
    sample = _named(dataset, complete, "natural_03_kernel_03")
    assert sample.sharp is not None
    seen = luminance(sample.blurry), luminance(sample.sharp)
    assert dataset.score(sample.blurry, sample) == {
        "psnr": metrics.psnr_aligned(*seen, crop=crop, search=search, step=0.25).item(),
        "ssim": metrics.ssim_aligned(*seen, crop=crop, search=search, step=0.25).item(),
    }
    assert [dataset.protocol[key] for key in ("crop", "search", "step")] == [crop, search, 0.25]


@pytest.mark.parametrize(("dataset", "shift"), [(LAI, (9, -10)), (HALF, (-5, 4))], ids=["lai", "lai_half"])
def test_a_shifted_truth_is_perfect(complete, dataset, shift):
    sample = _named(dataset, complete, "natural_01_kernel_01")
    assert sample.sharp is not None
    scores = dataset.score(sample.sharp.roll(shift, (2, 3)), sample)
    assert scores["psnr"] == math.inf
    assert scores["ssim"] == pytest.approx(1.0, abs=1e-9)


def test_a_reference_adds_both_error_ratios(sample):
    noise = torch.randn(sample.sharp.shape, generator=torch.Generator().manual_seed(0))
    restored, reference = ((sample.sharp + strength * noise).clamp(0, 1) for strength in (0.06, 0.03))
    scores = LAI.score(restored, sample, reference=reference)
    seen = [luminance(picture) for picture in (restored, reference, sample.sharp)]
    protocol = {"crop": 15, "search": 10, "step": 0.25}
    assert scores["error_ratio_ssd"] == pytest.approx(metrics.error_ratio_ssd(*seen, **protocol).item(), rel=1e-9)
    assert scores["error_ratio_norm2"] == pytest.approx(metrics.error_ratio_norm2(*seen, **protocol).item(), rel=1e-9)
    assert scores["psnr"] == LAI.score(restored, sample)["psnr"]


def test_values_outside_the_range_are_clipped_before_the_luminance_is_taken(sample):
    restored = sample.blurry.clone()
    restored[:, 0, 30:35, 30:35] = 7.0
    clipped = restored.clamp(0, 1)
    assert LAI.score(restored, sample, reference=restored) == LAI.score(clipped, sample, reference=clipped)


def test_pictures_that_cannot_be_compared_are_refused(sample):
    with pytest.raises(ValueError, match="'street' has no sharp picture"):
        LAI.score(sample.blurry, Sample("street", sample.blurry))
    with pytest.raises(ValueError, match="shape"):
        LAI.score(sample.blurry[..., 1:], sample)
    with pytest.raises(ValueError, match="shape"):
        LAI.score(sample.blurry, sample, reference=sample.blurry[:, :1])


@pytest.mark.parametrize("name", ["lai", "lai_half"])
def test_the_benchmark_runs_on_it(complete, name):
    result = benchmark.run(name, complete, ["wiener"], limit=1)
    assert [row["error"] for row in result["rows"]] == [None]
    assert result["rows"][0]["psnr"] > 15


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UnblurError, match=r"no folder .*nowhere.*sharp/manmade_01\.png .* kernels/kernel_01\.png"):
        LAI.samples(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["sharp/people_03.png", "kernels/kernel_04.png"])
def test_a_missing_file_is_noticed_before_any_work(root, file):
    (root / file).unlink()
    with pytest.raises(UnblurError, match=rf"holds 28 of 29 files; .*{file} is missing.*Expected: 25 pictures"):
        LAI.samples(root, limit=1)
    with pytest.raises(UnblurError, match="28 of 29"):
        HALF.count(root)


@pytest.mark.parametrize("file", ["sharp/manmade_01.png", "kernels/kernel_01.png"])
@pytest.mark.parametrize("kept", [0, 20, 60], ids=lambda kept: f"first {kept} bytes")
def test_a_damaged_file_is_named(root, file, kept):
    path = root / file
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnblurError, match=rf"{file}: .*Expected: 25 pictures"):
        next(LAI.samples(root))


def test_a_black_kernel_is_named(root):
    Image.fromarray(np.zeros((7, 9), dtype=np.uint8)).save(root / "kernels" / "kernel_01.png")
    with pytest.raises(UnblurError, match=r"kernel_01\.png: it is zero everywhere.*Expected: 25 pictures"):
        next(LAI.samples(root))


def test_a_picture_too_small_for_its_kernel_is_named(root):
    Image.fromarray(_picture("text", 1)[:69]).save(root / "sharp" / "manmade_01.png")
    message = r"manmade_01\.png is 91 x 69, too small for the 9 x 7 px of kernel_01.*Expected: 25 pictures"
    with pytest.raises(UnblurError, match=message):
        next(LAI.samples(root))
