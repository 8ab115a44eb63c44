"""Losses against the formulas written out, pixel by pixel."""

import math

import pytest
import torch

from helpers import structured_picture
from unblur import metrics
from unblur.losses import (
    GeneratorLosses,
    dark_channel,
    dark_channel_error,
    discriminator_loss,
    generator_loss,
    sobel_error,
    ssim_loss,
    total_variation,
)


def pair(height: int, width: int, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures that have something in common."""
    dice = torch.Generator().manual_seed(0)
    target = structured_picture(height, width, channels).double()
    return (target + 0.1 * torch.randn(target.shape, generator=dice, dtype=torch.float64)).clamp(0, 1), target


def ssim_written_out(a: torch.Tensor, b: torch.Tensor) -> float:
    """Wang et al. 2004, Eq. 13, of two pictures `(H, W)`: an 11x11 window at every pixel, black beyond the border."""
    line = [math.exp(-(offset**2) / (2 * 1.5**2)) for offset in range(-5, 6)]
    window = torch.tensor([[p * q for p in line] for q in line], dtype=torch.float64)
    window = window / window.sum()
    height, width = a.shape
    dark = torch.zeros(2, height + 10, width + 10, dtype=torch.float64)
    dark[:, 5:-5, 5:-5] = torch.stack((a, b))
    total = 0.0
    for y in range(height):
        for x in range(width):
            p, q = dark[:, y : y + 11, x : x + 11]
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            var_p = (window * (p - mean_p) ** 2).sum()
            var_q = (window * (q - mean_q) ** 2).sum()
            covariance = (window * (p - mean_p) * (q - mean_q)).sum()
            luminance = (2 * mean_p * mean_q + 0.01**2) / (mean_p**2 + mean_q**2 + 0.01**2)
            total += float(luminance * (2 * covariance + 0.03**2) / (var_p + var_q + 0.03**2))
    return total / (height * width)


@pytest.mark.parametrize("size", [(13, 17), (7, 12)], ids=str)
def test_ssim_loss_is_the_formula_written_out(size):
    a, b = pair(*size)
    assert float(ssim_loss(a, b)) == pytest.approx(1 - ssim_written_out(a[0, 0], b[0, 0]), rel=1e-9)


def test_ssim_loss_is_the_mean_over_channels_and_each_picture_has_its_own():
    a, b = pair(13, 12, channels=3)
    c, d = a.flip(-1), b.square()
    losses = ssim_loss(torch.cat((a, c)), torch.cat((b, d)))
    assert losses.shape == (2,)
    for loss, p, q in zip(losses, (a, c), (b, d), strict=True):
        channels = [1 - ssim_written_out(p[0, channel], q[0, channel]) for channel in range(3)]
        assert float(loss) == pytest.approx(sum(channels) / 3, rel=1e-9)


def test_where_only_the_inside_differs_ssim_loss_is_the_metric_over_more_pixels():
    """Windows that reach over the border then see two equal pictures, and their SSIM is 1."""
    noisy, b = pair(40, 47)
    a = b.clone()
    a[..., 10:-10, 10:-10] = noisy[..., 10:-10, 10:-10]
    inside = (40 - 10) * (47 - 10) / (40 * 47)  # of the pixels have a window wholly in the picture
    assert float(ssim_loss(a, b)) == pytest.approx(inside * (1 - float(metrics.ssim(a, b))), rel=1e-9)


def test_ssim_loss_of_identical_pictures_is_zero_and_so_is_its_gradient():
    _, b = pair(14, 15)
    a = b.clone().requires_grad_()
    loss = ssim_loss(a, b)
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)
    assert a.grad is not None and a.grad.abs().max() < 1e-9


def test_the_gradient_of_ssim_loss_is_that_of_finite_differences():
    a, b = pair(6, 7)
    assert torch.autograd.gradcheck(lambda a: ssim_loss(a, b), (a.requires_grad_(),))


def test_total_variation_is_the_mean_length_of_the_gradient_in_loops():
    a, b = pair(6, 9, channels=2)
    b = a.square()
    losses = total_variation(torch.cat((a, b)))
    for loss, picture in zip(losses, (a[0], b[0]), strict=True):
        lengths = []
        for channel in picture.tolist():
            for y in range(6):
                for x in range(9):
                    right = channel[y][x + 1] - channel[y][x] if x < 8 else 0.0
                    down = channel[y + 1][x] - channel[y][x] if y < 5 else 0.0
                    lengths.append(math.hypot(right, down))
        assert float(loss) == pytest.approx(sum(lengths) / len(lengths), abs=1e-6)


def test_total_variation_of_a_flat_picture_is_zero_with_a_finite_gradient():
    flat = torch.full((1, 1, 5, 6), 0.4, requires_grad=True)
    loss = total_variation(flat)
    loss.sum().backward()
    assert float(loss.detach()) < 1e-5
    assert flat.grad is not None and torch.isfinite(flat.grad).all()


def sobel_written_out(picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The horizontal and the vertical gradient of a picture `(H, W)`, at each pixel with 8 neighbours."""
    height, width = picture.shape
    along, down = (torch.zeros(height - 2, width - 2, dtype=torch.float64) for _ in range(2))
    for y in range(height - 2):
        for x in range(width - 2):
            for offset, weight in enumerate((1, 2, 1)):
                along[y, x] += weight * (picture[y + offset, x + 2] - picture[y + offset, x])
                down[y, x] += weight * (picture[y + 2, x + offset] - picture[y, x + offset])
    return along, down


def test_the_gradient_loss_is_the_l1_distance_of_both_sobel_gradients():
    picture, target = pair(9, 12, 3)
    expected = 0.0
    for a, b in zip(picture[0], target[0], strict=True):
        for one, other in zip(sobel_written_out(a), sobel_written_out(b), strict=True):
            expected += float((one - other).abs().mean()) / 3
    assert float(sobel_error(picture, target)) == pytest.approx(expected)


def test_the_dark_channel_is_the_smallest_value_of_a_square_and_of_all_channels():
    picture, _ = pair(20, 17, 3)
    expected = torch.stack(
        [
            torch.stack([picture[0, :, max(y - 7, 0) : y + 8, max(x - 7, 0) : x + 8].min() for x in range(17)])
            for y in range(20)
        ]
    )
    assert torch.equal(dark_channel(picture)[0, 0], expected)


def test_the_dark_channel_loss_is_the_mean_squared_difference_of_each_picture():
    picture, target = pair(20, 17, 3)
    both = torch.cat((picture, target))
    difference = dark_channel(picture) - dark_channel(target)
    expected = torch.tensor([float((difference**2).mean()), 0.0], dtype=torch.float64)
    torch.testing.assert_close(dark_channel_error(both, torch.cat((target, target))), expected)


def test_the_adversarial_losses_are_those_of_eq_4():
    real, made = torch.tensor([0.3, -1.0]), torch.tensor([2.0, -0.5])
    d_real, d_made = real.sigmoid(), made.sigmoid()
    expected = d_real.log().mean() + (1 - d_made).log().mean()
    torch.testing.assert_close(discriminator_loss(real, made), -expected)
    torch.testing.assert_close(generator_loss(made), (1 - d_made).log().mean())
    assert discriminator_loss(torch.tensor([1e4]), torch.tensor([-1e4])) == 0  # no infinite logarithm


def test_the_losses_of_the_generator_have_the_published_weights_and_a_weight_of_zero_leaves_one_out():
    picture, target = pair(20, 17, 3)
    logits = torch.tensor([0.4])
    losses = GeneratorLosses().of_pictures(picture, target, logits)
    assert float(losses["content"]) == pytest.approx(50 * float((picture - target).abs().mean()))
    assert float(losses["gradient"]) == pytest.approx(50 * float(sobel_error(picture, target)))
    assert float(losses["dark_channel"]) == pytest.approx(250 * float(dark_channel_error(picture, target)))
    assert float(losses["adversarial"]) == pytest.approx(float(generator_loss(logits)))
    names = set(losses)
    assert set(GeneratorLosses().of_pictures(picture, target)) == names - {"adversarial"}
    for name in names:
        assert set(GeneratorLosses(**{name: 0}).of_pictures(picture, target, logits)) == names - {name}
