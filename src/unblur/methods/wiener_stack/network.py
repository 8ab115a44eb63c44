"""The compact network: stacks of Wiener reconstructions, each around what the network made of the one before.

Gilbert et al. reconstruct a picture under many assumed SNRs, and a network combines the stack, once. Here a smaller
network does so several times: each stack corrects the picture that it drew from the last one, and trusts the data more
than the last one did. What it is asked is much the same every time, to take what is left of the noise off a picture;
so it learns that first, of pictures with white noise, and then all passes together. (Half-quadratic splitting with a
learned denoiser: Zhang et al. 2017, "Learning deep CNN denoiser prior for image restoration", Eqs. 6-8.)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from unblur.layers.u_shape import UShape
from unblur.solvers import deconvolution
from unblur.solvers.canvas import Canvas, doubled, gradient
from unblur.solvers.non_blind import hyper_laplacian_weight, total_variation_weight
from unblur.solvers.observed import SIGMA_FLOOR
from unblur.types import Progress

PASSES = 4
DOUBT_GIVEN, DOUBT_ESTIMATED = 0.03, 0.12  # of a PSF from the user, and of one from an estimator
DOUBT_REFINED = 0.08  # of the latter, once it is corrected
_EXPONENT = 0.8  # of the first estimate
_COARSE_STEPS, _FINE_STEPS = 8, 1  # of conjugate gradients in it, at half the size and at full size
_LIGHT = 1.2  # a first estimate that is brighter holds lights that were clipped
_LIGHT_ITERATIONS, _LIGHT_STEPS = 20, 4  # of total variation, and of conjugate gradients in each, to find how bright
_FIRST, _LAST = 0.47, 0.9  # noise levels of the passes: times the root of the noise, times the noise
_TRUST = 0.2  # in the data: by how much the network's error counts less than the noise it was told of
_SNRS = (1.0, 0.1, 10.0)  # of the stack, times the one that suits the pass
_LOCAL = 8.0  # pixels: structures much larger than this all count alike
_SURROUNDINGS = 15  # pixels whose mean the network is not shown
_AROUND = 16  # pixels that it is shown again on the other side: a canvas has no border


class CompactPlan(BaseModel):
    """The network's measures.

    Attributes:
        widths: channels per scale of the U.
        blocks: residual blocks per scale and direction.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (40, 64, 96)
    blocks: Annotated[int, Field(ge=1)] = 2


MEMBERS = len(_SNRS) + 1
"""How many pictures a stack holds."""


class CompactStack(nn.Module):
    """A stack of reconstructions `(B, N, H, W)`, as `Reconstructor.stack` makes them, to the picture `(B, 1, H, W)`.

    It is shown how the first member departs from its surroundings, and how the others depart from the first: so
    brightness changes nothing, and the rounding of bfloat16 falls on small numbers.
    """

    def __init__(self, plan: CompactPlan) -> None:
        super().__init__()
        self.plan = plan
        self.network = UShape(MEMBERS + 2, 1, plan.widths, plan.blocks)

    def forward(self, stack: Tensor, sigma: Tensor, error: Tensor) -> Tensor:
        """`sigma`, `(B, 1, 1, 1)`: how much noise to expect in the first member; `error`: what a wrong PSF may add."""
        first = stack[:, :1]  # (B, 1, H, W)
        told = torch.cat((sigma, error), 1).expand(len(first), -1, *first.shape[-2:])  # (B, 2, H, W)
        seen = torch.cat((first - surroundings(first), stack[:, 1:] - first, told), 1)
        around = min(_AROUND, *first.shape[-2:])
        drawn = self.network(F.pad(seen, [around] * 4, "circular"))
        return first + drawn[..., around:-around, around:-around].to(first)


def surroundings(picture: Tensor) -> Tensor:
    """The mean over a square around each pixel: same shape."""
    reach = _SURROUNDINGS // 2
    for side, margin in (((_SURROUNDINGS, 1), (reach, 0)), ((1, _SURROUNDINGS), (0, reach))):
        picture = F.avg_pool2d(picture, side, 1, margin, count_include_pad=False)
    return picture


class Reconstructor:
    """Wiener reconstructions of blurry pictures around what is drawn of them so far.

    Attributes:
        first: the first estimate, `(B, 1, H', W')` on the canvas.
        error: the standard deviation of what the PSF's own error may have put into the blurry pictures, `(B, 1, 1, 1)`.
    """

    def __init__(self, canvas: Canvas, sigma: Tensor, doubt: Tensor) -> None:
        """`canvas` holds `(B, 1, H, W)`; `sigma` and `doubt` are `(B, 1, 1, 1)`, see `deconvolve`."""
        self._canvas = canvas
        self.first = first_estimate(canvas, sigma)
        errors = doubt.square() * spectrum_of(canvas, self.first)  # (B, 1, H', W'//2 + 1)
        self.error = errors.mean((-2, -1), keepdim=True).sqrt()
        self._misfit = sigma.square() + errors
        self._power = canvas.otf.abs().square()  # (B, 1, H', W'//2 + 1)

    def stack(self, drawn: Tensor, level: Tensor) -> Tensor:
        """Corrections of `drawn`, `(B, 1, H', W')`, under SNRs that suit the pass, and itself: `(B, MEMBERS, H', W')`.

        Each adds conj(K) / (|K|^2 + 1 / SNR) of what `drawn` does not explain of the observed pixels.
        """
        canvas = self._canvas
        unexplained = canvas.mask * (canvas.blurry - canvas.blur(drawn))  # (B, 1, H', W')
        correlated = canvas.otf_conj * canvas.forward(unexplained)
        inverse_snr = _TRUST * self._misfit / level.square()
        members = [drawn + canvas.inverse(correlated / (self._power + inverse_snr / share)) for share in _SNRS]
        return torch.cat((*members, drawn), 1)


def first_estimate(canvas: Canvas, sigma: Tensor) -> Tensor:
    """Sharp pictures by a classical prior, which say what was not observed: `(B, 1, H', W')`.

    What lies beyond the border spreads inwards slowly, so it is worked out at half the size first. How bright a clipped
    light is the passes hardly find out any more, and what they take it for too dark stands around it as rings. So
    pictures with lights get many more steps, and a convex prior.
    """

    def sharp(canvas: Canvas, sigma: Tensor, steps: int, start: Tensor | None) -> Tensor:
        weight = hyper_laplacian_weight(sigma)
        return deconvolution.hyper_laplacian(canvas, weight, _EXPONENT, steps=steps, progress=Progress(), start=start)

    coarse = sharp(canvas.halved(), sigma / 2, _COARSE_STEPS, None)  # (B, 1, H'/2, W'/2)
    first = sharp(canvas, sigma, _FINE_STEPS, doubled(coarse))
    clipped = (canvas.crop(canvas.mask) == 0).flatten(1).any(1)  # (B,)
    lit = clipped & (first.abs().flatten(1).amax(1) > _LIGHT)
    if lit.any():
        first[lit] = deconvolution.total_variation(
            canvas.some(lit),
            total_variation_weight(sigma[lit]),
            iterations=_LIGHT_ITERATIONS,
            steps=_LIGHT_STEPS,
            progress=Progress(),
        )
    return first


def deconvolve(
    network: nn.Module,
    blurry: Tensor,
    psf: Tensor,
    sigma: Tensor,
    doubt: Tensor,
    *,
    trusted: Tensor | None = None,
    passes: int = PASSES,
    quick: bool = False,
    shifts: Sequence[tuple[int, int]] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """`(B, 1, H, W)` blurry pictures -> `(B, 1, H, W)` sharp ones.

    Args:
        network: a `CompactStack`, combines a stack.
        blurry: pictures.
        psf: their PSFs, centres of mass near the middle, `(B, 1, h, w)`.
        sigma: their noise levels, `(B, 1, 1, 1)`.
        doubt: how wrong the PSFs may be: their error at each frequency, as a share of a point's transfer function, 1;
            `(B, 1, 1, 1)`.
        trusted: False where a pixel is clipped, `(B, 1, H, W)`; None: none is.
        passes: times that the picture is reconstructed and shown to the network.
        quick: whether the network calculates in bfloat16.
        shifts: pixels down and to the right by which each result is moved; None: by none.
        progress: hears of each pass.
    """
    canvas = Canvas.around(blurry, psf, trusted)
    drawn = draw(network, canvas, sigma, doubt, passes=passes, quick=quick, progress=progress)
    if shifts is not None:
        drawn = torch.stack([picture.roll(shift, (-2, -1)) for picture, shift in zip(drawn, shifts, strict=True)])
    return canvas.crop(drawn)


def draw(
    network: nn.Module,
    canvas: Canvas,
    sigma: Tensor,
    doubt: Tensor,
    *,
    passes: int = PASSES,
    quick: bool = False,
    progress: Progress | None = None,
) -> Tensor:
    """All of a canvas, sharp: `(B, 1, H', W')`. See `deconvolve`.

    Each pass shows it to the network turned by a quarter more, so that what the network does not do alike in all
    directions evens out.
    """
    reconstructor = Reconstructor(canvas, sigma, doubt)
    drawn = reconstructor.first
    for turns, level in enumerate(noise_levels(sigma, passes)):
        stack = reconstructor.stack(drawn, level).rot90(turns, (-2, -1))  # (B, MEMBERS, H', W') or its sides swapped
        with torch.autocast(canvas.blurry.device.type, torch.bfloat16) if quick else nullcontext():
            drawn = network(stack, level, reconstructor.error).rot90(-turns, (-2, -1))  # (B, 1, H', W')
        if progress is not None:
            progress.advance()
    return drawn


def noise_levels(noise: Tensor, passes: int) -> list[Tensor]:
    """What the network is told to take off at each pass, falling to the picture's own `noise`: `(B, 1, 1, 1)`."""
    last = (_LAST * noise).clamp_min(SIGMA_FLOOR)
    first = torch.maximum(_FIRST * noise.sqrt(), last)
    shares = torch.linspace(0, 1, passes) if passes > 1 else torch.ones(1)
    return [first ** (1 - float(share)) * last ** float(share) for share in shares]


def spectrum_of(canvas: Canvas, picture: Tensor) -> Tensor:
    """The power spectrum of photos with as much contrast as `picture`, which falls as 1 / frequency^2.

    White noise of standard deviation s has the spectrum s^2. `(B, 1, H', W'//2 + 1)`
    """
    contrast = canvas.crop(gradient(picture)).square().mean((-2, -1), keepdim=True).sum(0)  # (B, 1, 1, 1)
    return contrast / (canvas.gradient_power + 1 / _LOCAL**2)
