"""The compact network: it combines a stack of Wiener reconstructions in each of several passes.

Gilbert et al. reconstruct a picture with many assumed SNRs, and their network combines the stack once. The compact
network is smaller and is applied several times. In each pass the Wiener filters correct the picture restored in the
pass before, with a higher weight of the data, and the network combines their results. This is half-quadratic splitting
with a learned denoiser (Zhang et al. 2017, "Learning deep CNN denoiser prior for image restoration", Eqs. 6-8).

In all passes the network removes noise from a picture. So it is trained to remove white noise first, and then in all
passes together.
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
from unblur.solvers.canvas import Canvas, gradient
from unblur.solvers.data_term import SIGMA_FLOOR
from unblur.solvers.non_blind import hyper_laplacian_weight, total_variation_weight
from unblur.types import Progress

PASSES = 4  # default number of passes (benchmarks/tune_wiener_stack.py)

# Expected errors of the PSF's transfer function, relative to its maximum 1 (benchmarks/tune_wiener_stack.py).
ERROR_MEASURED = 0.03
ERROR_ESTIMATED = 0.12
ERROR_CORRECTED = 0.08  # of an estimated PSF after its correction

# Found with benchmarks/tune_wiener_stack.py.
_FIRST = 0.47  # noise level of the first pass, divided by the square root of the picture's noise level
_LAST = 0.9  # noise level of the last pass, divided by the picture's noise level
_TRUST = 0.2  # factor of the inverse SNR that the Wiener filters assume; lower gives the data more weight

# Chosen by hand.
_EXPONENT = 0.8  # of the hyper-Laplacian prior of the first estimate
_LIGHT = 1.2  # value in the first estimate, on the [0, 1] scale, above which it contains a saturated light
_LIGHT_ITERATIONS, _LIGHT_STEPS = 20, 4  # ADMM iterations of total variation, and conjugate-gradient steps in each
_SNRS = (1.0, 0.1, 10.0)  # assumed SNRs of the stack, relative to the SNR of the pass
_LOCAL = 8.0  # pixels: wavelengths much longer than this have constant power in the assumed spectrum
_SURROUNDINGS = 15  # pixels: side of the square whose mean is subtracted from the network's input
_AROUND = 16  # pixels: width of the padding of the network's input, from the opposite side of the canvas


class CompactPlan(BaseModel):
    """The sizes of the network.

    Attributes:
        widths: channels per scale of the U-shaped network, finest first.
        blocks: residual blocks per scale of the encoder, and of the decoder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (40, 64, 96)
    blocks: Annotated[int, Field(ge=1)] = 2


MEMBERS = len(_SNRS) + 1
"""Number of pictures in a stack."""


class CompactStack(nn.Module):
    """The compact network: a stack `(B, N, H, W)` of `Reconstructor.stack` -> the restored picture `(B, 1, H, W)`.

    Its input is the difference between the first picture of the stack and the mean of the surroundings, and those
    between the other pictures and the first. So the result does not depend on brightness, and the rounding errors of
    bfloat16 are small.
    """

    def __init__(self, plan: CompactPlan) -> None:
        super().__init__()
        self.plan = plan
        self.network = UShape(MEMBERS + 2, 1, plan.widths, plan.blocks)

    def forward(self, stack: Tensor, sigma: Tensor, error: Tensor) -> Tensor:
        """Combine a stack.

        Args:
            stack: `(B, N, H, W)`.
            sigma: expected noise level of the first picture of the stack, `(B, 1, 1, 1)`.
            error: expected standard deviation of the artefacts due to errors of the PSF, `(B, 1, 1, 1)`.

        Returns:
            `(B, 1, H, W)`.
        """
        first = stack[:, :1]  # (B, 1, H, W)
        levels = torch.cat((sigma, error), 1).expand(len(first), -1, *first.shape[-2:])  # (B, 2, H, W)
        inputs = torch.cat((first - surroundings(first), stack[:, 1:] - first, levels), 1)  # (B, N + 2, H, W)
        around = min(_AROUND, *first.shape[-2:])
        change = self.network(F.pad(inputs, [around] * 4, "circular"))
        return first + change[..., around:-around, around:-around].to(first)


def surroundings(picture: Tensor) -> Tensor:
    """Compute the mean over a square around each pixel: same shape."""
    reach = _SURROUNDINGS // 2
    for side, margin in (((_SURROUNDINGS, 1), (reach, 0)), ((1, _SURROUNDINGS), (0, reach))):
        picture = F.avg_pool2d(picture, side, 1, margin, count_include_pad=False)
    return picture


@dataclass(frozen=True)
class Deconvolution:
    """Parameters of the deconvolution of planes (pictures of one channel).

    Attributes:
        sigma: their noise levels, `(B, 1, 1, 1)`.
        psf_error: expected error of the PSFs' transfer functions, relative to their maximum 1; `(B, 1, 1, 1)`.
        passes: number of passes.
        dtype: number format of the network, float32 or bfloat16.
    """

    sigma: Tensor
    psf_error: Tensor
    passes: int = PASSES
    dtype: torch.dtype = torch.float32


class Reconstructor:
    """Wiener reconstructions of blurry planes.

    Attributes:
        first: the first estimate, `(B, 1, H', W')` on the canvas.
        error: standard deviation of the error of the blurry planes due to the error of the PSF, `(B, 1, 1, 1)`.
    """

    def __init__(self, canvas: Canvas, how: Deconvolution) -> None:
        """Compute the first estimate for a canvas of planes `(B, 1, H, W)`."""
        self._canvas = canvas
        self.first = first_estimate(canvas, how.sigma)
        errors = how.psf_error.square() * spectrum_of(canvas, self.first)  # (B, 1, H', W'//2 + 1)
        self.error = errors.mean((-2, -1), keepdim=True).sqrt()
        self._misfit = how.sigma.square() + errors
        self._power = canvas.otf.abs().square()  # (B, 1, H', W'//2 + 1)

    def stack(self, estimate: Tensor, level: Tensor) -> Tensor:
        """Correct an estimate with several assumed SNRs.

        Each correction adds `conj(K) / (|K|^2 + 1 / SNR)` times the spectrum of the residual `mask (y - k * estimate)`.

        Args:
            estimate: sharp planes, `(B, 1, H', W')`.
            level: noise level of the pass, `(B, 1, 1, 1)`.

        Returns:
            The corrected estimates, and `estimate` itself: `(B, MEMBERS, H', W')`.
        """
        canvas = self._canvas
        unexplained = canvas.mask * (canvas.blurry - canvas.blur(estimate))  # (B, 1, H', W')
        correlated = canvas.otf_conj * canvas.forward(unexplained)
        inverse_snr = _TRUST * self._misfit / level.square()
        members = [estimate + canvas.inverse(correlated / (self._power + inverse_snr / share)) for share in _SNRS]
        return torch.cat((*members, estimate), 1)


def first_estimate(canvas: Canvas, sigma: Tensor) -> Tensor:
    """Restore planes with classical priors, including the pixels that were not observed.

    The hyper-Laplacian prior is used, and for planes with saturated lights total variation with many more steps.

    Args:
        canvas: the blurry planes.
        sigma: their noise levels, `(B, 1, 1, 1)`.

    Returns:
        `(B, 1, H', W')`.
    """
    # The passes hardly change the brightness of a saturated light, and they leave rings around a light that is too
    # dark. So its brightness must be right in the first estimate.
    first = quick_estimate(canvas, sigma)
    lights = shows_lights(canvas, first)
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
    """Restore planes with the hyper-Laplacian prior: `(B, 1, H', W')`."""
    weight = hyper_laplacian_weight(sigma)
    return deconvolution.quick_hyper_laplacian(canvas, weight, _EXPONENT, progress=Progress())


def shows_lights(canvas: Canvas, estimate: Tensor) -> Tensor:
    """Whether each plane has saturated pixels and its estimate exceeds `_LIGHT` somewhere: `(B,)`."""
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
    """Restore blurry planes.

    Args:
        network: a `CompactStack`.
        blurry: planes, `(B, 1, H, W)`.
        psf: their PSFs, with centres of mass near the middle, `(B, 1, h, w)`.
        how: parameters.
        trusted: False where a pixel is saturated, `(B, 1, H, W)`; None: True everywhere.
        shifts: pixels `(down, right)` by which each result is moved; None: (0, 0).
        progress: advanced once per pass.

    Returns:
        `(B, 1, H, W)`.
    """
    canvas = Canvas.around(blurry, psf, trusted)
    restored = restore_canvas(network, canvas, how, progress)
    if shifts is not None:
        restored = torch.stack([plane.roll(shift, (-2, -1)) for plane, shift in zip(restored, shifts, strict=True)])
    return canvas.crop(restored)


def restore_canvas(network: nn.Module, canvas: Canvas, how: Deconvolution, progress: Progress | None = None) -> Tensor:
    """Restore the whole canvas: `(B, 1, H', W')`. See `deconvolve`."""
    # The network does not restore all directions alike. So it is applied to the stack rotated by another multiple of 90
    # degrees in each pass.
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
    """The noise level that the network removes in each pass, falling to about `noise`: `(B, 1, 1, 1)` each."""
    last = (_LAST * noise).clamp_min(SIGMA_FLOOR)
    first = torch.maximum(_FIRST * noise.sqrt(), last)
    shares = torch.linspace(0, 1, passes) if passes > 1 else torch.ones(1)
    return [first ** (1 - float(share)) * last ** float(share) for share in shares]


def spectrum_of(canvas: Canvas, picture: Tensor) -> Tensor:
    """Compute the assumed power spectrum of photos with the contrast of `picture`: `(B, 1, H', W'//2 + 1)`.

    It falls as 1 / frequency^2. In the same units, white noise of standard deviation s has the spectrum s^2.
    """
    contrast = canvas.crop(gradient(picture)).square().mean((-2, -1), keepdim=True).sum(0)  # (B, 1, 1, 1)
    return contrast / (canvas.gradient_power + 1 / _LOCAL**2)
