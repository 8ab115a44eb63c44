"""The compact network: a stack of Wiener reconstructions around a first estimate, and a small U-shaped network.

Gilbert et al. stack Wiener reconstructions under assumed SNRs and let a network combine them. Their filters suppose
that the picture's mean is 0; ours, that it is the hyper-Laplacian deconvolution `x`, which makes each of them a
correction, `conj(K) (Y - K X) / (|K|^2 + N)`, that says what the data still want changed if the noise is so and so
much. The network decides pixel by pixel how much of it is detail. That is much easier to learn than the picture from
the beginning, so that a network can be small, and trained in hours on a laptop.

What was not observed, beyond the borders and where pixels are clipped, is filled with the first estimate blurred
again; so no border rings. What the network sees are differences, so that a constant stays a constant.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from unblur.layers.u_shape import UShape
from unblur.solvers import deconvolution
from unblur.solvers.canvas import Canvas
from unblur.types import Progress

_GRADIENT_SHARE = (0.2 / 0.08) ** 2  # variance of a photo's pixels, over that of differences of neighbouring ones
_EXPONENT, _STEPS = 0.8, 1  # of the first estimate
_LOCAL = 8.0  # pixels: standard deviation of the Gaussian that tells a picture's details from its large areas


class CompactPlan(BaseModel):
    """The network's measures.

    Attributes:
        snrs: dB assumed in the stack.
        widths: channels per scale of the U.
        blocks: residual blocks per scale and direction.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    snrs: tuple[float, ...] = (21, 33, 45)
    widths: tuple[int, ...] = (40, 64, 96)
    blocks: int = 2


class CompactStack(nn.Module):
    """`(B, 1, H, W)` blurry pictures and `(B, 1, h, w)` PSFs -> `(B, 1, H, W)` sharp ones."""

    def __init__(self, plan: CompactPlan) -> None:
        super().__init__()
        self.plan = plan
        self.network = UShape(len(plan.snrs) + 2, 1, plan.widths, plan.blocks)

    def forward(
        self,
        blurry: Tensor,
        psf: Tensor,
        weight: Tensor,
        trusted: Tensor | None = None,
        shifts: Sequence[tuple[int, int]] | None = None,
    ) -> Tensor:
        """See the class.

        Args:
            blurry: pictures.
            psf: their PSFs, centres of mass near the middle.
            weight: of the first estimate's prior, `(B, 1, 1, 1)`.
            trusted: False where a pixel is clipped, `(B, 1, H, W)`.
            shifts: pixels down and to the right by which each result is moved.
        """
        canvas = Canvas.around(blurry, psf, trusted)
        with torch.no_grad():
            mean = deconvolution.hyper_laplacian(canvas, weight, _EXPONENT, steps=_STEPS, progress=Progress())
            observed = canvas.mask * canvas.blurry + (1 - canvas.mask) * canvas.blur(mean)  # (B, 1, H', W')
            corrections = wiener_corrections(canvas, observed, mean, self.plan.snrs)  # (B, S, H', W')
            seen = torch.cat((corrections, observed - mean, _without_large_areas(canvas, mean)), 1)
        sharp = mean + self.network(seen).to(mean)
        if shifts is not None:
            moved = [picture.roll(shift, (-2, -1)) for picture, shift in zip(sharp, shifts, strict=True)]
            sharp = torch.stack(moved)
        return canvas.crop(sharp)


def wiener_corrections(canvas: Canvas, observed: Tensor, mean: Tensor, snrs: Sequence[float]) -> Tensor:
    """`conj(K) (Y - K mean) / (|K|^2 + N)` for each SNR: `(B, S, H', W')`.

    Args:
        canvas: size and PSF.
        observed: the blurry picture on it, without gaps, `(B, 1, H', W')`.
        mean: what the picture is expected to be, `(B, 1, H', W')`.
        snrs: in dB; N is their inverse, growing with the frequency squared as photos' spectra fall.
    """
    noise = torch.tensor([10 ** (-snr / 10) * _GRADIENT_SHARE for snr in snrs], device=observed.device)
    power = canvas.otf.abs().square() + noise[:, None, None] * canvas.gradient_power  # (B, S, H', W'//2 + 1)
    misfit = canvas.forward(observed) - canvas.otf * canvas.forward(mean)
    return canvas.inverse(canvas.otf_conj * misfit / power)


def _without_large_areas(canvas: Canvas, picture: Tensor) -> Tensor:
    """`picture` less its Gaussian mean around each pixel: `(B, 1, H', W')`."""
    gaussian = torch.exp(-canvas.gradient_power * _LOCAL**2 / 2)  # to second order, that of standard deviation _LOCAL
    return canvas.inverse(canvas.forward(picture) * (1 - gaussian))
