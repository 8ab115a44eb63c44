"""Yuan, Sun, Quan, Shum, "Image Deblurring with Blurred/Noisy Image Pairs", SIGGRAPH 2007: a pair with one PSF.

The short shot is denoised: `N_D`. The PSF `K` of the long shot `B` follows by regularised least squares from both
(section 4.1). What the denoising has removed is deconvolved from the residual `B - N_D * K`, which has less contrast
than `B`, so that it rings less (section 4.2). A map of gains, smaller where `N_D` is smooth, reduces ringing further
(section 4.3, Eq. 8), and a detail layer of the deconvolution without gains may be added (section 4.4, Eq. 9 and 10).

Differences from the paper: `N_D` is the result of non-local means instead of wavelets. The PSF is fitted at full
resolution, twice (`solvers.psf_between`), instead of in scale space with hysteresis thresholds. `K` and the picture are
estimated once: when `K` is estimated again from the result, it becomes worse if the long shot is noisy. For the same
reason there are 5 iterations instead of 20, the gains are smaller, and no detail layer is added unless `detail` is set;
the preset `paper` has the published values. Gains are at most 1, because the iteration diverges with larger ones.
Borders and saturated pixels are masked.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.contract import Card, Method, Settings, setting
from unblur.imaging.colour import luminance
from unblur.imaging.exposure import brightened
from unblur.imaging.noise import estimate_noise_of_short_shot
from unblur.imaging.psf import pad_psf
from unblur.layers.bilateral import bilateral_filter
from unblur.solvers.canvas import Canvas
from unblur.solvers.data_term import SIGMA_FLOOR, unclipped
from unblur.solvers.non_local_means import non_local_means
from unblur.solvers.psf_between import psf_between
from unblur.solvers.richardson_lucy import RichardsonLucy
from unblur.types import Observation, Progress, Restoration

SIZE = 65  # pixels, side of the PSF; the middle of the long shot may lie beside the short one
_SIZES_PER_PHOTO = 3  # smallest ratio of the photo's shorter side and the PSF's; chosen by hand
_LEVELS = 4  # of the pyramid of gains; the paper does not state a number
_SPACE, _COLOUR, _WINDOW = 1.6, 0.08, 9  # sigma in pixels and on the [0, 1] scale of Eq. 10, from the paper; window


class PairPsfSettings(Settings):
    """Settings of `pair_psf`; benchmarks/tune_pair_psf.py compares values on validation photos."""

    size: int = setting(
        SIZE,
        "side of the PSF in pixels, odd (even is rounded up), at most a third of the photo's shorter side; it must "
        "hold the shake and the shift between the shots",
        probe=(5, 25),
        ge=3,
        le=301,
    )
    smoothness: float = setting(
        0.1, "quadratic penalty on the PSF; higher is smoother and wider", probe=(0.01, 3.0), ge=1e-4, le=100
    )
    denoising: float = setting(
        1.0, "multiplies the measured noise of the short shot; higher is smoother", probe=(0.5, 2.0), ge=0.01, le=10
    )
    iterations: int = setting(
        5, "of the deconvolution of the residual; higher is sharper and noisier", probe=(2, 20), ge=1, le=1000
    )
    damping: float = setting(
        0.4,
        "alpha in Eq. 8: how much smaller the gain is where the denoised shot is smooth; higher rings less",
        probe=(0.0, 0.8),
        ge=0,
        le=1,
    )
    detail: float = setting(
        0.0,
        "weight of the detail layer, which is deconvolved without damping; higher is sharper and noisier",
        probe=(0.0, 1.0),
        ge=0,
        le=1,
    )


def restore(observation: Observation, settings: PairPsfSettings, progress: Progress) -> Restoration:
    """Restore the sharp picture at the time of the short shot; see `PairPsfSettings`. The PSF is not centred."""
    B, N = observation.blurry, observation.noisy
    assert B is not None and N is not None
    if observation.exposure_ratio is not None:
        N = brightened(N, observation.exposure_ratio)
    # The noise of a camera's picture is correlated, above all after an alignment, so it is measured with both shots.
    sigma = settings.denoising * estimate_noise_of_short_shot(N, B).clamp_min(SIGMA_FLOOR)
    N_D = non_local_means(N, sigma, progress)
    progress.stage("estimating the PSF", len(B))
    psfs = []
    largest = (min(B.shape[-2:]) // _SIZES_PER_PHOTO - 1) | 1
    for sharp, blurry in zip(luminance(N_D).split(1), luminance(B).split(1), strict=True):
        psfs.append(psf_between(sharp, blurry, max(min(settings.size | 1, largest), 1), settings.smoothness))
        progress.advance()
    sides = max(psf.shape[0] for psf in psfs), max(psf.shape[1] for psf in psfs)
    K = torch.stack([pad_psf(psf, sides)[None] for psf in psfs])  # (B, 1, h, w)
    gains = gain_map(N_D, settings.damping)
    progress.stage("deconvolving", B.shape[1] * settings.iterations)
    # One channel after the other, since the canvas and its spectra need several times the memory of a picture.
    channels = zip(B.split(1, 1), N_D.split(1, 1), strict=True)
    controlled, plain = zip(*(_deconvolved(b, n, K, gains, settings, progress) for b, n in channels), strict=True)
    image = torch.cat(controlled, 1)
    if settings.detail > 0:
        image = image + settings.detail * detail_layer(torch.cat(plain, 1), image)
    return Restoration(image=image, psf=K, stages={"denoised": N_D})


def gain_map(N_D: Tensor, alpha: float) -> Tensor:
    """Compute the gains `(1 - alpha) + alpha * sum_l |grad N_D^l|` over the levels of a pyramid (Eq. 8), at most 1.

    Args:
        N_D: the denoised shot, `(B, C, H, W)`, [0, 1].
        alpha: 0 (all gains are 1) to 1.

    Returns:
        `(B, 1, H, W)`; gradients are the means over the channels, on the [0, 1] scale per pixel of their level.
    """
    size, level, total = N_D.shape[-2:], N_D, torch.zeros_like(N_D[:, :1])
    for _ in range(_LEVELS):
        padded = F.pad(level, (0, 1, 0, 1), "replicate")
        dx, dy = padded[..., :-1, 1:] - level, padded[..., 1:, :-1] - level
        magnitude = (dx.square() + dy.square()).sqrt().mean(1, keepdim=True)
        total = total + F.interpolate(magnitude, size, mode="bilinear")
        level = F.interpolate(level, [-(-side // 2) for side in level.shape[-2:]], mode="bilinear", antialias=True)
    return (1 - alpha + alpha * total).clamp_max(1)


def _deconvolved(
    B: Tensor, N_D: Tensor, K: Tensor, gains: Tensor, settings: PairPsfSettings, progress: Progress
) -> tuple[Tensor, Tensor]:
    """One channel `(B, 1, H, W)` of the picture, with gains and without; the latter is `N_D` if it is not needed."""
    canvas = Canvas.around(B, K, unclipped(B, True))
    wider, gains = (Canvas.around(picture, K).blurry for picture in (N_D, gains))  # both repeat the border's pixels
    # Richardson-Lucy needs non-negative values, so 1 is added to the residual and to what is deconvolved from it.
    update = RichardsonLucy.of(canvas, 1 + canvas.blurry - canvas.blur(wider))  # dB + 1
    controlled = plain = torch.ones_like(wider)  # dI + 1
    for _ in range(settings.iterations):
        controlled = 1 + gains * (update(controlled) - 1)  # Eq. 7
        if settings.detail > 0:
            plain = update(plain)  # Eq. 6
        progress.advance()
    return canvas.crop(wider + controlled - 1), canvas.crop(wider + plain - 1)


def detail_layer(I: Tensor, I_g: Tensor) -> Tensor:  # noqa: E741  the paper's symbols
    """The details of a picture beyond those of a smoother one: `I` minus its joint bilateral filter (Eq. 9 and 10).

    Args:
        I: deconvolved without gains, `(B, C, H, W)`.
        I_g: deconvolved with gains, same shape.
    """
    return I - bilateral_filter(I_g, guide=I, window=_WINDOW, sigma_colour=_COLOUR, sigma_space=_SPACE)


METHOD = Method(
    Card(
        name="pair_psf",
        title="One PSF from a short, noisy and a long, blurry shot; residual deconvolution",
        paper="Yuan, Sun, Quan, Shum 2007",
        needs=frozenset({"blurry", "noisy"}),
        takes=frozenset({"exposure_ratio"}),
        gives=frozenset({"image", "psf"}),
        undoes=frozenset({"blur", "noise"}),
        presets={"paper": {"iterations": 20, "damping": 0.2, "detail": 1.0}},
    ),
    PairPsfSettings,
    restore,
)
