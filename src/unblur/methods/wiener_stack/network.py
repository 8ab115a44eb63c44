"""The compact network: two passes of a stack of Wiener reconstructions through a small U-shaped network each.

Gilbert et al. stack reconstructions under assumed SNRs and let a network combine them. Three things are different
here, made for real photos and estimated PSFs:

- The SNR is assumed for the picture's gradients, which makes each reconstruction the Laplacian-regularised filter
  (Hunt 1973) and leaves the mean as it is, and the stack starts from a picture continued beyond its borders and
  clipped pixels.
- A second stack corrects what the first pass came to: `x + conj(K) (Y - K X) / (|K|^2 + N)`, the Wiener filter for a
  picture whose mean is not 0 but `x`. That puts back the data which the network has smoothed away, as unrolled
  methods do.
- What a network sees are differences within the stack, so that a constant stays a constant.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from unblur.layers.u_shape import UShape
from unblur.solvers import deconvolution
from unblur.solvers.canvas import Canvas

_GRADIENT_SHARE = (0.2 / 0.08) ** 2  # variance of a photo's pixels, over that of differences of neighbouring ones
_FILL_SNR, _FILL_STEPS = 25.0, 6  # of the reconstruction that continues the picture beyond its borders
_LOCAL = 8.0  # pixels: standard deviation of the Gaussian that tells a picture's details from its large areas


class CompactPlan(BaseModel):
    """The network's measures.

    Attributes:
        first_snrs: dB assumed in the first stack.
        second_snrs: dB assumed for what the first pass has missed.
        widths: channels per scale of each U.
        blocks: residual blocks per scale and direction.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_snrs: tuple[float, ...] = (13, 21, 29, 37, 45, 53)
    second_snrs: tuple[float, ...] = (21, 33, 45)
    widths: tuple[int, ...] = (40, 64, 96)
    blocks: int = 2


class CompactStack(nn.Module):
    """`(B, 1, H, W)` blurry pictures and `(B, 1, h, w)` PSFs -> `(B, 1, H, W)` sharp ones."""

    def __init__(self, plan: CompactPlan) -> None:
        super().__init__()
        self.plan = plan
        self.first = UShape(len(plan.first_snrs) + 1, 1, plan.widths, plan.blocks)
        self.second = UShape(len(plan.second_snrs) + 2, 1, plan.widths, plan.blocks)

    def forward(
        self,
        blurry: Tensor,
        psf: Tensor,
        trusted: Tensor | None = None,
        shifts: Sequence[tuple[int, int]] | None = None,
    ) -> Tensor:
        """See the class.

        Args:
            blurry: pictures.
            psf: their PSFs, centres of mass near the middle.
            trusted: False where a pixel is clipped, `(B, 1, H, W)`.
            shifts: pixels down and to the right by which each result is moved.
        """
        canvas = Canvas.around(blurry, psf, trusted)
        noise = 10 ** (-_FILL_SNR / 10) * _GRADIENT_SHARE * canvas.gradient_power
        guess = deconvolution.wiener(canvas, noise, steps=_FILL_STEPS)  # (B, 1, H', W')
        first = self._pass(canvas, guess, None)
        second = self._pass(canvas, first, first)
        if shifts is not None:
            moved = [picture.roll(shift, (-2, -1)) for picture, shift in zip(second, shifts, strict=True)]
            second = torch.stack(moved)
        return canvas.crop(second)

    def _pass(self, canvas: Canvas, guess: Tensor, mean: Tensor | None) -> Tensor:
        """Reconstructions around `mean` (None: around 0), combined: `(B, 1, H', W')`.

        What was not observed is taken from `guess`.
        """
        observed = canvas.mask * canvas.blurry + (1 - canvas.mask) * canvas.blur(guess)
        snrs, network = (self.plan.first_snrs, self.first) if mean is None else (self.plan.second_snrs, self.second)
        stack = canvas.inverse(wiener_stack(canvas, observed, mean, snrs))  # (B, S, H', W')
        smoothest, rest = stack[:, :1], stack[:, 1:]
        base = rest[:, :1] if mean is None else mean
        details = _without_large_areas(canvas, base)
        seen = (
            [rest - smoothest, observed - smoothest, details]
            if mean is None
            else [stack - mean, observed - mean, details]
        )
        return base + network(torch.cat(seen, 1)).float()


def wiener_stack(canvas: Canvas, observed: Tensor, mean: Tensor | None, snrs: Sequence[float]) -> Tensor:
    """Spectra of `mean + conj(K) (Y - K mean) / (|K|^2 + N)` for each SNR: `(B, S, H', W' // 2 + 1)`.

    Args:
        canvas: size and PSF.
        observed: the blurry picture on it, without gaps, `(B, 1, H', W')`.
        mean: `(B, 1, H', W')`, or None for 0.
        snrs: in dB; N is their inverse, growing with the frequency squared as photos' spectra fall.
    """
    noise = torch.tensor([10 ** (-snr / 10) * _GRADIENT_SHARE for snr in snrs], device=observed.device)
    power = canvas.otf.abs().square() + noise[:, None, None] * canvas.gradient_power  # (B, S, H', W'//2 + 1)
    if mean is None:
        return canvas.otf_conj * canvas.forward(observed) / power
    spectrum = canvas.forward(mean)
    return spectrum + canvas.otf_conj * (canvas.forward(observed) - canvas.otf * spectrum) / power


def _without_large_areas(canvas: Canvas, picture: Tensor) -> Tensor:
    """`picture` less its Gaussian mean around each pixel: `(B, 1, H', W')`."""
    gaussian = torch.exp(-canvas.gradient_power * _LOCAL**2 / 2)  # to second order, that of standard deviation _LOCAL
    return canvas.inverse(canvas.forward(picture) * (1 - gaussian))
