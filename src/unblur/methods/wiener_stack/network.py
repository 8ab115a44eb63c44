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

from unblur.layers.orientation import turned, turned_back
from unblur.layers.u_shape import UShape
from unblur.solvers import deconvolution
from unblur.solvers.canvas import Canvas
from unblur.solvers.non_blind import hyper_laplacian_weight
from unblur.types import Progress

_GRADIENT_SHARE = (0.2 / 0.08) ** 2  # variance of a photo's pixels, over that of differences of neighbouring ones
_EXPONENT, _SPARSE_SHARE, _CURVATURE = 0.8, 0.7, 0.25  # the first estimate's penalty, and its weights' proportions
_STEPS, _POLISHING = 1, 8  # conjugate-gradient steps spent on it
_LOCAL = 8.0  # pixels: standard deviation of the Gaussian that tells a picture's details from its large areas
_RIM = 8  # pixels beyond the photo's borders that the network sees


class CompactPlan(BaseModel):
    """The network's measures.

    Attributes:
        snrs: dB assumed in the stack.
        widths: channels per scale of the U.
        blocks: residual blocks per scale and direction.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    snrs: tuple[float, ...] = (21, 33, 45, 57)
    widths: tuple[int, ...] = (40, 64, 96)
    blocks: int = 2


class CompactStack(nn.Module):
    """From what `prepare` makes of blurry pictures, `(B, S + 4, h, w)` and `(B, 1, h, w)`, to sharp ones."""

    def __init__(self, plan: CompactPlan) -> None:
        super().__init__()
        self.plan = plan
        self.network = UShape(len(plan.snrs) + 4, 1, plan.widths, plan.blocks)

    def forward(self, seen: Tensor, mean: Tensor) -> Tensor:
        """The first estimate `mean` with what the network makes of the stack `seen` added to it: `(B, 1, h, w)`."""
        return mean + self.network(seen).to(mean)

    def restore(
        self,
        blurry: Tensor,
        psf: Tensor,
        sigma: Tensor,
        doubt: Tensor,
        trusted: Tensor | None = None,
        shifts: Sequence[tuple[int, int]] | None = None,
        *,
        ways: int = 1,
    ) -> Tensor:
        """`(B, 1, H, W)` blurry pictures -> `(B, 1, H, W)` sharp ones.

        Arguments are `prepare`'s, and in how many ways pictures are laid before the network; the results' mean is kept.
        """
        seen, mean = prepare(blurry, psf, sigma, doubt, self.plan.snrs, trusted, shifts)
        sharp = [turned_back(self(turned(seen, way), turned(mean, way)), way) for way in range(ways)]
        return without_rim(torch.stack(sharp).mean(0), blurry)


@torch.no_grad()
def prepare(
    blurry: Tensor,
    psf: Tensor,
    sigma: Tensor,
    doubt: Tensor,
    snrs: Sequence[float],
    trusted: Tensor | None = None,
    shifts: Sequence[tuple[int, int]] | None = None,
) -> tuple[Tensor, Tensor]:
    """What the network sees, `(B, S + 4, h, w)`, and the first estimate `(B, 1, h, w)`, with a rim around the photo.

    The network sees the stack, what blur does to the first estimate, its details, and two constants: the noise level
    and how much of the detail may be the PSF's fault. All of them double when the picture's contrast does.

    Args:
        blurry: pictures, `(B, 1, H, W)`.
        psf: their PSFs, centres of mass near the middle, `(B, 1, h, w)`.
        sigma: noise level, `(B, 1, 1, 1)`.
        doubt: how wrong the PSF may be, from 0 to 1 (`imaging.synthesis.perturb_psf`'s amount), `(B, 1, 1, 1)`.
        snrs: dB assumed in the stack.
        trusted: False where a pixel is clipped, `(B, 1, H, W)`; None: none is.
        shifts: pixels down and to the right by which each result is moved; None: by none.
    """
    canvas = Canvas.around(blurry, psf, trusted)
    mean = first_estimate(canvas, hyper_laplacian_weight(sigma))
    observed = canvas.mask * canvas.blurry + (1 - canvas.mask) * canvas.blur(mean)  # (B, 1, H', W')
    corrections = wiener_corrections(canvas, observed, mean, snrs)  # (B, S, H', W')
    details = _without_large_areas(canvas, mean)  # (B, 1, H', W')
    doubtful = doubt * details.square().mean((-2, -1), keepdim=True).sqrt()  # (B, 1, 1, 1)
    constants = torch.cat((sigma, doubtful), 1).expand(-1, -1, *canvas.shape)  # (B, 2, H', W')
    seen = torch.cat((corrections, observed - mean, details, constants), 1)
    if shifts is not None:
        seen, mean = (
            torch.stack([picture.roll(shift, (-2, -1)) for picture, shift in zip(pictures, shifts, strict=True)])
            for pictures in (seen, mean)
        )
    return canvas.crop(seen, _RIM), canvas.crop(mean, _RIM)


def without_rim(sharp: Tensor, photo: Tensor) -> Tensor:
    """The part of the network's output that is the photo's; as large as `photo`."""
    height, width = photo.shape[-2:]
    top, left = (sharp.shape[-2] - height + 1) // 2, (sharp.shape[-1] - width + 1) // 2  # an odd pixel is at the top
    return sharp[..., top : top + height, left : left + width]


def first_estimate(canvas: Canvas, weight: Tensor) -> Tensor:
    """A hyper-Laplacian deconvolution, quick and rough, and one round of the sparse one from there: `(B, 1, H', W')`.

    On validation photos it is as good as the sparse one in all its rounds, in a twelfth of the steps.
    """
    rough = deconvolution.hyper_laplacian(canvas, weight, _EXPONENT, steps=_STEPS, progress=Progress())
    return deconvolution.sparse(
        canvas,
        _SPARSE_SHARE * weight,
        _EXPONENT,
        _CURVATURE,
        reweightings=0,
        steps=_POLISHING,
        progress=Progress(),
        start=rough,
    )


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
