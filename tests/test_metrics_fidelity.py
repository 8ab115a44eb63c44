"""PSNR and SSIM agree with other people's implementations, and with values known by hand."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as torchmetrics_ssim

from unblur.metrics import psnr, ssd, ssim


def _ramp(height: int, width: int) -> Tensor:
    return torch.linspace(0, 1, width).expand(height, width)


def _step(height: int, width: int) -> Tensor:
    return (torch.arange(width) >= width // 2).float().expand(height, width)


def _picture_pairs() -> dict[str, tuple[Tensor, Tensor]]:
    """(restored, sharp), each (1, C, H, W)."""
    generator = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    noisy_ramp = _ramp(40, 33) + 0.1 * noise(40, 33)
    return {
        "random grey": (noise(1, 1, 37, 53), noise(1, 1, 37, 53)),
        "random colour": (noise(1, 3, 24, 31), noise(1, 3, 24, 31)),
        "two constants": (torch.full((1, 1, 20, 20), 0.4), torch.full((1, 1, 20, 20), 0.7)),
        "moved step": (_step(25, 30).roll(1, 1)[None, None], _step(25, 30)[None, None]),
        "noisy gradient": (noisy_ramp[None, None], _ramp(40, 33)[None, None]),
        "gradient upside down": (_ramp(30, 30).T[None, None], _ramp(30, 30)[None, None]),
        "smallest picture": (noise(1, 1, 11, 11), noise(1, 1, 11, 11)),
    }


PAIRS = _picture_pairs()


@pytest.fixture(params=PAIRS.values(), ids=list(PAIRS))
def pair(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    return request.param


@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_psnr_agrees_with_torchmetrics_and_skimage(pair, data_range):
    restored, sharp = (picture.double() for picture in pair)
    ours = psnr(restored, sharp, data_range=data_range).item()
    assert ours == pytest.approx(torchmetrics_psnr(restored, sharp, data_range=data_range).item(), abs=1e-4)
    theirs = peak_signal_noise_ratio(sharp.numpy(), restored.numpy(), data_range=data_range)
    assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("data_range", [1.0, 2.5])
def test_ssim_agrees_with_skimage(pair, data_range):
    restored, sharp = (picture[0].double().numpy() for picture in pair)
    theirs = structural_similarity(
        sharp,
        restored,
        data_range=data_range,
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(*pair, data_range=data_range).item() == pytest.approx(theirs, abs=1e-9)


def test_ssim_agrees_with_torchmetrics_inside_its_padding(pair):
    restored, sharp = (picture.double() for picture in pair)
    _, similarity_map = torchmetrics_ssim(restored, sharp, data_range=1.0, sigma=1.5, return_full_image=True)
    valid = similarity_map[..., 5:-5, 5:-5]  # torchmetrics reflects the border outwards; we stay inside
    assert ssim(restored, sharp).item() == pytest.approx(valid.mean().item(), abs=1e-9)


def test_an_error_of_a_tenth_everywhere_is_20_db():
    sharp = torch.rand(1, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert psnr(sharp + 0.1, sharp).item() == pytest.approx(20.0, abs=1e-9)
    assert psnr(255 * sharp + 25.5, 255 * sharp, data_range=255).item() == pytest.approx(20.0, abs=1e-9)


def test_ssd_adds_up_over_channels_and_pixels():
    sharp = torch.zeros(2, 3, 4, 5)
    restored = torch.stack([sharp[0] + 0.5, sharp[1] + 2])
    assert ssd(restored, sharp).tolist() == [15.0, 240.0]


def test_identical_pictures_score_perfectly():
    sharp = torch.rand(2, 3, 20, 21, generator=torch.Generator().manual_seed(0))
    assert psnr(sharp, sharp.clone()).tolist() == [math.inf, math.inf]
    assert ssim(sharp, sharp.clone()).tolist() == pytest.approx([1.0, 1.0], abs=1e-12)


def test_ssim_of_two_constants_is_the_luminance_term():
    dark, light = torch.full((1, 1, 12, 12), 0.25), torch.full((1, 1, 12, 12), 0.5)
    expected = (2 * 0.25 * 0.5 + 1e-4) / (0.25**2 + 0.5**2 + 1e-4)
    assert ssim(dark, light).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", [psnr, ssim, ssd])
def test_a_batch_scores_as_its_pictures_do(metric):
    restored, sharp = torch.rand(2, 4, 3, 19, 23, generator=torch.Generator().manual_seed(1))
    one_by_one = torch.cat([metric(restored[i : i + 1], sharp[i : i + 1]) for i in range(4)])
    assert metric(restored, sharp).shape == (4,)
    torch.testing.assert_close(metric(restored, sharp), one_by_one, rtol=1e-12, atol=0)


@pytest.mark.parametrize("metric", [psnr, ssim, ssd])
@pytest.mark.parametrize(
    ("restored", "sharp", "message"),
    [
        (torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 21), "shapes must be equal"),
        (torch.zeros(1, 3, 20, 20), torch.zeros(1, 1, 20, 20), "shapes must be equal"),
        (torch.zeros(20, 20), torch.zeros(20, 20), r"\(B, C, H, W\)"),
        (torch.full((1, 1, 20, 20), torch.nan), torch.zeros(1, 1, 20, 20), "restored holds NaN"),
        (torch.zeros(1, 1, 20, 20), torch.full((1, 1, 20, 20), torch.inf), "sharp holds NaN or infinite"),
        (torch.zeros(1, 1, 20, 20).byte(), torch.zeros(1, 1, 20, 20).byte(), "floating point"),
    ],
)
def test_pictures_that_cannot_be_compared_are_refused(metric, restored, sharp, message):
    with pytest.raises(ValueError, match=message):
        metric(restored, sharp)


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize("data_range", [0.0, -1.0, math.nan])
def test_a_data_range_that_is_not_positive_is_refused(metric, data_range):
    with pytest.raises(ValueError, match="data_range must be above 0"):
        metric(torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 12), data_range=data_range)


def test_ssim_refuses_a_picture_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11 px, got 10x30"):
        ssim(torch.zeros(1, 1, 10, 30), torch.zeros(1, 1, 10, 30))
