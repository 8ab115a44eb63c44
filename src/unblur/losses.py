"""Losses for training. Each is a mean over pixels, so it does not depend on the size of the picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from unblur.metrics.fidelity import SSIM_K1, SSIM_K2, SSIM_SIGMA, SSIM_WINDOW


def ssim_loss(picture: Tensor, target: Tensor) -> Tensor:
    """Compute `1 - SSIM` of each picture (Wang et al. 2004, Eq. 13); differentiable.

    It differs from `unblur.metrics.ssim` at the border. As in published code that trains with SSIM, the pictures are
    padded with zeros, so that pixels near the border have the same weight as the others.

    Args:
        picture: `(B, C, H, W)` in [0, 1].
        target: same shape.

    Returns:
        `(B,)`, from 0 for identical pictures to 2.
    """
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    products = torch.stack((picture, target, picture * picture, target * target, picture * target))  # (5, B, C, H, W)
    mean_p, mean_t, mean_pp, mean_tt, mean_pt = _window_mean(products)
    var_p, var_t = mean_pp - mean_p.square(), mean_tt - mean_t.square()
    covariance = mean_pt - mean_p * mean_t
    luminance = (2 * mean_p * mean_t + c1) / (mean_p.square() + mean_t.square() + c1)
    structure = (2 * covariance + c2) / (var_p + var_t + c2)
    return 1 - (luminance * structure).mean((-3, -2, -1))


def _window_mean(pictures: Tensor) -> Tensor:
    """Compute the Gaussian-weighted mean over 11 x 11 pixels around each pixel, with zeros outside: same shape."""
    reach = SSIM_WINDOW // 2
    offsets = torch.arange(-reach, reach + 1, device=pictures.device, dtype=pictures.dtype)
    line = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    line = line / line.sum()
    flat = pictures.flatten(0, -3)[:, None]  # (n, 1, H, W)
    flat = F.conv2d(flat, line.view(1, 1, -1, 1), padding=(reach, 0))
    flat = F.conv2d(flat, line.view(1, 1, 1, -1), padding=(0, reach))
    return flat.view(pictures.shape)


def total_variation(picture: Tensor) -> Tensor:
    """Compute the isotropic total variation per pixel, the mean length of the gradient: `(B, C, H, W)` -> `(B,)`."""
    dx = F.pad(picture.diff(dim=-1), (0, 1))  # (B, C, H, W)
    dy = F.pad(picture.diff(dim=-2), (0, 0, 0, 1))
    return (dx.square() + dy.square() + 1e-12).sqrt().mean((-3, -2, -1))


def log_error(picture: Tensor, target: Tensor, floor: float = 3e-5) -> Tensor:
    """Logarithm of each picture's mean squared error: minus its PSNR, in units of 4.3 dB.

    Easy and hard pictures count alike in its mean, as they do in that of PSNR.

    Args:
        picture: `(B, C, H, W)`.
        target: same shape.
        floor: mean squared error that is added, so that pictures that are nearly right count little; 3e-5 is 45 dB.

    Returns:
        `(B,)`.
    """
    return ((picture - target).square().mean((-3, -2, -1)) + floor).log()


def sobel_error(picture: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the gradients, computed with the Sobel filter (Zhang, Zhen, Stevenson, Eq. 6).

    Args:
        picture: `(B, C, H, W)`, both sides at least 3.
        target: same shape.

    Returns:
        `(B,)`: the sum of that of the horizontal and of the vertical gradient.
    """
    difference = (picture - target).flatten(0, 1)[:, None]  # (B C, 1, H, W)
    horizontal = difference.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    gradients = F.conv2d(difference, torch.stack((horizontal, horizontal.T))[:, None])  # (B C, 2, H - 2, W - 2)
    return 2 * gradients.abs().unflatten(0, picture.shape[:2]).mean((1, 2, 3, 4))


def dark_channel(picture: Tensor, side: int = 15) -> Tensor:
    """Compute the smallest value of all channels in the square around each pixel (He et al. 2011).

    Args:
        picture: `(B, C, H, W)`.
        side: odd side of the square in pixels; it is cut off at the border.

    Returns:
        `(B, 1, H, W)`.
    """
    return -F.max_pool2d(-picture.amin(1, keepdim=True), side, 1, side // 2)


def dark_channel_error(picture: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of the dark channels of each picture (Zhang, Zhen, Stevenson, Eq. 2): `(B,)`.

    The paper states neither the side of the square (15, as in He et al. 2011) nor how the norm is averaged.
    """
    return (dark_channel(picture) - dark_channel(target)).square().mean((-3, -2, -1))


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Compute `-log D(real) - log(1 - D(made))` from the logits of D, the negative of Eq. 4: any shape -> `()`."""
    return F.softplus(-real).mean() + F.softplus(made).mean()


def generator_loss(made: Tensor) -> Tensor:
    """Compute `log(1 - D(made))` from the logits of D, the second term of Eq. 4: any shape -> `()`. It is negative."""
    return -F.softplus(made).mean()


class GeneratorLosses(BaseModel):
    """The weights of the losses of a deblurring generator (Zhang, Zhen, Stevenson, Eq. 3); 0 leaves a loss out.

    Attributes:
        content: weight of the mean absolute error (Eq. 5), `lambda_c`; also that of the denoised picture (Eq. 7).
        gradient: weight of `sobel_error` (Eq. 6), `lambda_grad`.
        dark_channel: weight of `dark_channel_error` (Eq. 2), `lambda_dc`.
        adversarial: weight of `generator_loss` (Eq. 4).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    content: Annotated[float, Field(ge=0)] = 50.0
    gradient: Annotated[float, Field(ge=0)] = 50.0
    dark_channel: Annotated[float, Field(ge=0)] = 250.0
    adversarial: Annotated[float, Field(ge=0)] = 1.0

    def of_denoised(self, denoised: Tensor, sharp: Tensor) -> Mapping[str, Tensor]:
        """Compute the loss of a denoised picture (Eq. 7) by name; pictures `(B, C, H, W)`."""
        return {"content": self.content * (denoised - sharp).abs().mean()}

    def of_pictures(self, restored: Tensor, sharp: Tensor, logits: Tensor | None = None) -> Mapping[str, Tensor]:
        """Compute the losses of the generator (Eq. 3) by name.

        Args:
            restored: the generator's pictures, `(B, C, H, W)`.
            sharp: same shape.
            logits: those of the discriminator for `restored`; None: no adversarial loss.
        """
        losses = {
            "content": (self.content, lambda: (restored - sharp).abs().mean()),  # Eq. 5
            "gradient": (self.gradient, lambda: sobel_error(restored, sharp).mean()),  # Eq. 6
            "dark_channel": (self.dark_channel, lambda: dark_channel_error(restored, sharp).mean()),  # Eq. 2
        }
        if logits is not None:
            losses["adversarial"] = (self.adversarial, lambda: generator_loss(logits))  # Eq. 4
        return {name: weight * loss() for name, (weight, loss) in losses.items() if weight}
