"""The compact network: stacks of Wiener reconstructions, each around what the network made of the one before.

Gilbert et al. reconstruct a picture under many assumed SNRs, and a network combines the stack, once. Here a smaller
network does so several times: each stack corrects the picture restored from the last one, and relies more on the data.
The network's task is much the same in every pass, to remove the remaining noise from a picture; so it learns first to
remove white noise, and then all passes together. (Half-quadratic splitting with a learned denoiser: Zhang et al. 2017,
"Learning deep CNN denoiser prior for image restoration", Eqs. 6-8.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from unblur.layers.precision import autocast
from unblur.layers.u_shape import UShape
from unblur.solvers import deconvolution
from unblur.solvers.canvas import Canvas, doubled, gradient
from unblur.solvers.data_term import SIGMA_FLOOR
from unblur.solvers.non_blind import hyper_laplacian_weight, total_variation_weight
from unblur.types import Progress

PASSES = 4

# Errors of a PSF at a frequency, as shares of a point's transfer function, 1 (benchmarks/tune_wiener_stack.py).
ERROR_MEASURED = 0.03
ERROR_ESTIMATED = 0.12
ERROR_CORRECTED = 0.08  # of an estimate after its correction

# Found with benchmarks/tune_wiener_stack.py.
_FIRST, _LAST = 0.47, 0.9  # noise levels of the first and last pass: times the noise's square root, times the noise
_TRUST = 0.2  # by how much the network's remaining error counts less than the noise level of its pass

# Chosen by hand.
_EXPONENT = 0.8  # of the hyper-Laplacian prior of the first estimate
_COARSE_STEPS, _FINE_STEPS = 8, 1  # conjugate-gradient steps of the first estimate, at half size and at full size
_LIGHT = 1.2  # value in the first estimate, where white is 1, above which it shows a saturated light
_LIGHT_ITERATIONS, _LIGHT_STEPS = 20, 4  # of total variation, and conjugate-gradient steps in each
_SNRS = (1.0, 0.1, 10.0)  # of the stack, relative to the one that suits the pass
_LOCAL = 8.0  # pixels: structures much larger than this have the same power in the assumed spectrum
_SURROUNDINGS = 15  # pixels: side of the square whose mean is subtracted from what the network sees
_AROUND = 16  # pixels that are repeated from the opposite side of the canvas, which has no border


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

    The network sees the difference of the first member from its surroundings, and of the others from the first: the
    result does not depend on brightness, and bfloat16 rounds small numbers only.
    """

    def __init__(self, plan: CompactPlan) -> None:
        super().__init__()
        self.plan = plan
        self.network = UShape(MEMBERS + 2, 1, plan.widths, plan.blocks)

    def forward(self, stack: Tensor, sigma: Tensor, error: Tensor) -> Tensor:
        """Combine a stack.

        Args:
            stack: `(B, N, H, W)`.
            sigma: noise level to expect in the first member, `(B, 1, 1, 1)`.
            error: standard deviation of the artefacts to expect from errors of the PSF, `(B, 1, 1, 1)`.
        """
        first = stack[:, :1]  # (B, 1, H, W)
        levels = torch.cat((sigma, error), 1).expand(len(first), -1, *first.shape[-2:])  # (B, 2, H, W)
        inputs = torch.cat((first - surroundings(first), stack[:, 1:] - first, levels), 1)  # (B, N + 2, H, W)
        around = min(_AROUND, *first.shape[-2:])
        change = self.network(F.pad(inputs, [around] * 4, "circular"))
        return first + change[..., around:-around, around:-around].to(first)


def surroundings(picture: Tensor) -> Tensor:
    """The mean over a square around each pixel: same shape."""
    reach = _SURROUNDINGS // 2
    for side, margin in (((_SURROUNDINGS, 1), (reach, 0)), ((1, _SURROUNDINGS), (0, reach))):
        picture = F.avg_pool2d(picture, side, 1, margin, count_include_pad=False)
    return picture


@dataclass(frozen=True)
class Deconvolution:
    """What to assume of planes that are deconvolved, and how.

    Attributes:
        sigma: their noise levels, `(B, 1, 1, 1)`.
        psf_error: error of their PSFs at each frequency, as a share of a point's transfer function, 1;
            `(B, 1, 1, 1)`.
        passes: number of reconstructions that the network combines, one after the other.
        lights: whether a plane belongs to a photo with saturated lights, `(B,)`; None: each plane shows it itself.
        dtype: arithmetic of the network, float32 or bfloat16.
    """

    sigma: Tensor
    psf_error: Tensor
    passes: int = PASSES
    lights: Tensor | None = None
    dtype: torch.dtype = torch.float32


class Reconstructor:
    """Wiener reconstructions of blurry planes around an estimate of the sharp ones.

    Attributes:
        first: the first estimate, `(B, 1, H', W')` on the canvas.
        error: the standard deviation of what the PSF's error may have put into the blurry planes, `(B, 1, 1, 1)`.
    """

    def __init__(self, canvas: Canvas, how: Deconvolution) -> None:
        """`canvas` holds `(B, 1, H, W)`."""
        self._canvas = canvas
        self.first = first_estimate(canvas, how.sigma, how.lights)
        errors = how.psf_error.square() * spectrum_of(canvas, self.first)  # (B, 1, H', W'//2 + 1)
        self.error = errors.mean((-2, -1), keepdim=True).sqrt()
        self._misfit = how.sigma.square() + errors
        self._power = canvas.otf.abs().square()  # (B, 1, H', W'//2 + 1)

    def stack(self, estimate: Tensor, level: Tensor) -> Tensor:
        """Corrections of `estimate`, `(B, 1, H', W')`, under several SNRs, and itself: `(B, MEMBERS, H', W')`.

        Each adds conj(K) / (|K|^2 + 1 / SNR) of what `estimate` does not explain of the observed pixels. `level` is
        the noise level of the pass, `(B, 1, 1, 1)`.
        """
        canvas = self._canvas
        unexplained = canvas.mask * (canvas.blurry - canvas.blur(estimate))  # (B, 1, H', W')
        correlated = canvas.otf_conj * canvas.forward(unexplained)
        inverse_snr = _TRUST * self._misfit / level.square()
        members = [estimate + canvas.inverse(correlated / (self._power + inverse_snr / share)) for share in _SNRS]
        return torch.cat((*members, estimate), 1)


def first_estimate(canvas: Canvas, sigma: Tensor, lights: Tensor | None = None) -> Tensor:
    """Sharp planes by classical priors, which also fill in what was not observed: `(B, 1, H', W')`.

    The passes barely change how bright a saturated light is, and leave rings around one that is too dark. So planes
    with `lights`, `(B,)`, get a convex prior and many more steps; None: those that `shows_lights` finds.
    """
    first = quick_estimate(canvas, sigma)
    lights = shows_lights(canvas, first) if lights is None else lights
    if lights.any():
        first[lights] = deconvolution.total_variation(
            canvas.some(lights),
            total_variation_weight(sigma[lights]),
            iterations=_LIGHT_ITERATIONS,
            steps=_LIGHT_STEPS,
            progress=Progress(),
        )
    return first


def quick_estimate(canvas: Canvas, sigma: Tensor) -> Tensor:
    """Sharp planes by the hyper-Laplacian prior, `(B, 1, H', W')`.

    Information from beyond the border spreads by a few pixels per step, so it is found at half the size first.
    """

    def sharp(canvas: Canvas, sigma: Tensor, steps: int, start: Tensor | None) -> Tensor:
        weight = hyper_laplacian_weight(sigma)
        return deconvolution.hyper_laplacian(canvas, weight, _EXPONENT, steps=steps, progress=Progress(), start=start)

    coarse = sharp(canvas.halved(), sigma / 2, _COARSE_STEPS, None)  # (B, 1, H'/2, W'/2)
    return sharp(canvas, sigma, _FINE_STEPS, doubled(coarse))


def shows_lights(canvas: Canvas, estimate: Tensor) -> Tensor:
    """Whether each plane has saturated pixels, and its estimate is far brighter than white anywhere: `(B,)`."""
    saturated = (canvas.crop(canvas.mask) == 0).flatten(1).any(1)  # (B,)
    return saturated & (estimate.abs().flatten(1).amax(1) > _LIGHT)


def deconvolve(
    network: nn.Module,
    blurry: Tensor,
    psf: Tensor,
    how: Deconvolution,
    *,
    trusted: Tensor | None = None,
    shifts: Sequence[tuple[int, int]] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """`(B, 1, H, W)` blurry planes -> `(B, 1, H, W)` sharp ones.

    Args:
        network: a `CompactStack`, combines a stack.
        blurry: planes.
        psf: their PSFs, centres of mass near the middle, `(B, 1, h, w)`.
        how: what to assume, and how many passes.
        trusted: False where a pixel is saturated, `(B, 1, H, W)`; None: none is.
        shifts: pixels down and to the right by which each result is moved; None: by none.
        progress: advanced once per pass.
    """
    canvas = Canvas.around(blurry, psf, trusted)
    restored = restore_canvas(network, canvas, how, progress)
    if shifts is not None:
        restored = torch.stack([plane.roll(shift, (-2, -1)) for plane, shift in zip(restored, shifts, strict=True)])
    return canvas.crop(restored)


def restore_canvas(network: nn.Module, canvas: Canvas, how: Deconvolution, progress: Progress | None = None) -> Tensor:
    """All of a canvas, sharp: `(B, 1, H', W')`. See `deconvolve`.

    Before each pass the canvas is turned by a quarter more, so that what the network does differently in different
    directions averages out.
    """
    reconstructor = Reconstructor(canvas, how)
    restored = reconstructor.first
    for turns, level in enumerate(noise_levels(how.sigma, how.passes)):
        stack = reconstructor.stack(restored, level).rot90(turns, (-2, -1))  # (B, MEMBERS, H', W') or sides swapped
        with autocast(canvas.blurry.device, how.dtype):
            restored = network(stack, level, reconstructor.error).rot90(-turns, (-2, -1))  # (B, 1, H', W')
        if progress is not None:
            progress.advance()
    return restored


def noise_levels(noise: Tensor, passes: int) -> list[Tensor]:
    """The noise level that the network removes in each pass, falling to the plane's own `noise`: `(B, 1, 1, 1)`."""
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
