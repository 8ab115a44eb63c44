"""The compact network: Wiener reconstructions under rising SNRs, each around what the network made of the one before.

Gilbert et al. reconstruct a picture under many assumed SNRs at once, and a network combines the stack. It must learn
what noise looks like after every PSF and SNR. Here the reconstructions come one after the other: each expects the
picture that the network drew from the last one, and trusts the data more than it did. What the network is then asked is
always the same, to take noise of a known strength off a picture, which needs no PSF to be learned: so a small network
learns it in an hour on a laptop. (Half-quadratic splitting with a learned denoiser; Zhang et al. 2017, "Learning deep
CNN denoiser prior for image restoration", Eqs. 6-8.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from unblur.layers.orientation import ORIENTATIONS, turned, turned_back
from unblur.layers.u_shape import UShape
from unblur.solvers import deconvolution
from unblur.solvers.canvas import Canvas, gradient
from unblur.solvers.non_blind import hyper_laplacian_weight
from unblur.types import Progress

_EXPONENT, _STEPS = 0.8, 1  # of the first estimate
_FIRST, _LAST, _LEAST = 0.47, 0.9, 0.003  # noise levels of the passes: times its root, times the noise, at least
_TRUST = 0.2  # in the data: by how much the network's error counts less than the noise it was told of
_BORDER_STEPS = 2  # conjugate-gradient steps that carry the border inwards, each pass
_LOCAL = 8.0  # pixels: structures much larger than this all count alike


class CompactPlan(BaseModel):
    """The network's measures.

    Attributes:
        widths: channels per scale of the U.
        blocks: residual blocks per scale and direction.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[int, ...] = (40, 64, 96)
    blocks: int = 2


class CompactStack(nn.Module):
    """Pictures `(B, 1, H, W)` with white noise of `sigma`, `(B, 1, 1, 1)`, to pictures without."""

    def __init__(self, plan: CompactPlan) -> None:
        super().__init__()
        self.plan = plan
        self.network = UShape(2, 1, plan.widths, plan.blocks)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """See the class."""
        seen = torch.cat((noisy, sigma.expand_as(noisy)), 1)  # (B, 2, H, W)
        return noisy + self.network(seen).to(noisy)


@torch.no_grad()
def deconvolve(
    network: CompactStack,
    blurry: Tensor,
    psf: Tensor,
    sigma: Tensor,
    *,
    doubt: float = 0.0,
    trusted: Tensor | None = None,
    passes: int = 4,
    quick: bool = False,
    shifts: Sequence[tuple[int, int]] | None = None,
) -> Tensor:
    """`(B, 1, H, W)` blurry pictures -> `(B, 1, H, W)` sharp ones.

    Args:
        network: takes noise off.
        blurry: pictures.
        psf: their PSFs, centres of mass near the middle, `(B, 1, h, w)`.
        sigma: their noise levels, `(B, 1, 1, 1)`.
        doubt: how wrong the PSFs may be: their error at each frequency, as a share of a point's transfer function, 1.
        trusted: False where a pixel is clipped, `(B, 1, H, W)`; None: none is.
        passes: times that the picture is reconstructed and shown to the network.
        quick: whether the network calculates in bfloat16; 0.02 dB worse, and not quite true to flat areas.
        shifts: pixels down and to the right by which each result is moved; None: by none.
    """
    canvas = Canvas.around(blurry, psf, trusted)
    weight = hyper_laplacian_weight(sigma)
    estimate = deconvolution.hyper_laplacian(
        canvas, weight, _EXPONENT, steps=_STEPS, progress=Progress()
    )  # (B, 1, H', W')
    data = canvas.adjoint_of_data()
    misfit = sigma.square() + doubt**2 * spectrum_of(canvas, estimate)  # (B, 1, H', W'//2 + 1)
    drawn, spectrum = estimate, canvas.forward(estimate)
    for number, level in enumerate(noise_levels(sigma, passes)):
        # Eq. 7: conj(K) / (|K|^2 + 1 / SNR) of what the drawn picture does not explain, on observed pixels only.
        inverse_snr = _TRUST * misfit / level.square()
        right = data + inverse_snr * canvas.forward(drawn)
        spectrum = deconvolution.solve_masked(canvas, spectrum, right, inverse_snr, _BORDER_STEPS)
        way = number % ORIENTATIONS
        with torch.autocast(blurry.device.type, torch.bfloat16, enabled=quick):
            drawn = turned_back(network(turned(canvas.inverse(spectrum), way), level), way)  # Eq. 8
    if shifts is not None:
        drawn = torch.stack([picture.roll(shift, (-2, -1)) for picture, shift in zip(drawn, shifts, strict=True)])
    return canvas.crop(drawn)


def noise_levels(noise: Tensor, passes: int) -> list[Tensor]:
    """What the network is told to take off at each pass, falling to the picture's own `noise`: `(B, 1, 1, 1)`."""
    last = (_LAST * noise).clamp_min(_LEAST)
    first = torch.maximum(_FIRST * noise.sqrt(), last)
    shares = torch.linspace(0, 1, passes) if passes > 1 else torch.ones(1)
    return [first ** (1 - float(share)) * last ** float(share) for share in shares]


def spectrum_of(canvas: Canvas, picture: Tensor) -> Tensor:
    """The power spectrum of photos with as much contrast as `picture`, which falls as 1 / frequency^2.

    White noise of standard deviation s has the spectrum s^2. `(B, 1, H', W'//2 + 1)`
    """
    contrast = canvas.crop(gradient(picture)).square().mean((-2, -1), keepdim=True).sum(0)  # (B, 1, 1, 1)
    return contrast / (canvas.gradient_power + 1 / _LOCAL**2)
