"""A scene that does not move, blurred by one PSF: observations to train and test with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise, add_poisson_noise, quantise
from unblur.imaging.psf import delta_psf, disk_psf, gaussian_psf, linear_motion_psf, psf_centroid, splat_points
from unblur.imaging.trajectory import shake_psf, shake_psfs


@dataclass(frozen=True)
class BlurRecipe:
    """How a sharp picture is blurred by one PSF, and how well that PSF is known.

    Attributes:
        psfs: "mixed": seven in ten are camera shakes of `psf_size`, one in ten each a defocused disk, a straight line,
            and a Gaussian of less than a pixel; "exposures": one of the four exposures of a shake of Gilbert et al.
            (65 px).
        psf_size: smallest and largest side of a mixed PSF in pixels, odd.
        sigma: the largest standard deviation of the Gaussian noise, on the [0, 1] scale. The smallest is a fiftieth of
            it; the logarithm is uniform between them.
        photons: the fewest and the most photons per pixel at white, for Poisson noise; the logarithm is uniform between
            them. None: no Poisson noise.
        softness: the largest standard deviation in pixels of the Gaussian that stands for lens and demosaicking. It
            blurs the sharp picture too, and the noise in half of the cases.
        perturbed: share of the PSFs that are not known exactly.
        wrong: the largest `amount` that `perturb_psf` is given for those; it is uniform from 0.
    """

    psfs: str = "mixed"
    psf_size: tuple[int, int] = (3, 41)
    sigma: float = 0.05
    photons: tuple[float, float] | None = None
    softness: float = 0.0
    perturbed: float = 0.0
    wrong: float = 1.0

    @property
    def support(self) -> int:
        """Side in pixels of the arrays that PSFs are given in: the largest PSF, and a pixel around it."""
        return 65 if self.psfs == "exposures" else self.psf_size[1] + 2

    def draw_sigma(self, generator: torch.Generator) -> float:
        """The standard deviation of the noise of one picture."""
        return self.sigma * 50 ** -_rand(generator)


@dataclass(frozen=True)
class Blurred:
    """A blurred picture, and what is known about it.

    Attributes:
        blurry: `(C, H - s + 1, W - s + 1)` of a picture `(C, H, W)`, `s` the recipe's support; [0, 1], 8 bits.
        sharp: the same part of the picture, as the camera would have taken it without blur or noise.
        psf: the PSF that a method is told, `(s, s)`.
        true_psf: the PSF that blurred the picture, `(s, s)`.
        sigma: standard deviation of the Gaussian noise.
        wrong: the `amount` of `perturb_psf` by which `psf` differs from `true_psf`; 0: they are equal.
    """

    blurry: Tensor
    sharp: Tensor
    psf: Tensor
    true_psf: Tensor
    sigma: float
    wrong: float


def blur(picture: Tensor, recipe: BlurRecipe, generator: torch.Generator) -> Blurred:
    """Blur a sharp picture `(C, H, W)` in [0, 1]; all randomness comes from `generator`."""
    reach = recipe.support // 2
    soften = recipe.softness > 0 and _rand(generator) < 0.75  # a quarter of the pictures stays sharp to the pixel
    soft = gaussian_psf(max(recipe.softness * _rand(generator), 0.05), 7) if soften else delta_psf()
    picture = convolve(picture[None], soft)[0]
    true_psf = _draw_psf(recipe, generator)
    sigma = recipe.draw_sigma(generator)
    light = convolve(picture[None], true_psf, "valid")  # (1, C, H - s + 1, W - s + 1)
    if recipe.photons is not None:
        fewest, most = map(math.log, recipe.photons)
        light = add_poisson_noise(light, math.exp(fewest + (most - fewest) * _rand(generator)), generator)
    noise = add_gaussian_noise(torch.zeros_like(light), sigma, generator)
    if soften and _rand(generator) < 0.5:
        smooth = convolve(noise, soft)
        noise = smooth * (noise.std() / smooth.std().clamp_min(1e-9))
    blurry = quantise(light + noise, clip=True)[0]
    wrong = recipe.wrong * _rand(generator) if _rand(generator) < recipe.perturbed else 0.0
    psf = perturb_psf(true_psf, wrong, generator) if wrong else true_psf
    sharp = picture[:, reach : picture.shape[1] - reach, reach : picture.shape[2] - reach]
    return Blurred(blurry, sharp, psf, true_psf, sigma, wrong)


def _draw_psf(recipe: BlurRecipe, generator: torch.Generator) -> Tensor:
    """`(s, s)`, its centre of mass within half a pixel of the middle."""
    if recipe.psfs == "exposures":
        psfs = shake_psfs(generator, "wiener_stack")
        return psfs[_randint(len(psfs), generator)]
    smallest, largest = recipe.psf_size
    size = smallest + 2 * _randint((largest - smallest) // 2 + 1, generator)
    kind, angle = _rand(generator), 180 * _rand(generator)
    if kind < 0.1:
        psf = disk_psf(size / 4 * _rand(generator) + 0.5)
    elif kind < 0.2:
        psf = linear_motion_psf(size * 0.7 * _rand(generator) + 0.5, angle)
    elif kind < 0.3:
        psf = gaussian_psf(0.2 + 0.6 * _rand(generator))
    else:
        psf = shake_psf(generator, size, anxiety=math.exp(math.log(0.003) + math.log(4) * _rand(generator)))
    return _moved(psf, recipe.support, generator)


def _moved(psf: Tensor, support: int, generator: torch.Generator) -> Tensor:
    """A PSF moved by up to half a pixel in each direction, on a square of side `support`."""
    return _placed(psf, torch.rand(2, generator=generator).double() - 0.5, support)


def _placed(psf: Tensor, centroid: Tensor, support: int, bend: Tensor | None = None) -> Tensor:
    """A PSF on a square of side `support`, with its centre of mass at `centroid` `(y, x)` from the middle.

    Each point is moved by `bend`, `(2, 2)`, times its offset from the centre of mass. Points outside the square are
    left out.
    """
    points = psf.nonzero().double()  # (N, 2)
    offsets = points - points.new_tensor(psf_centroid(psf))
    if bend is not None:
        offsets = offsets + offsets @ bend.T
    points = offsets + centroid
    held = points.abs().amax(1) <= support // 2
    if not held.any():
        return torch.zeros(support, support)
    y, x = points[held].unbind(1)
    return splat_points(x, y, psf[psf != 0].double()[held], support)


def _from_middle(psf: Tensor) -> Tensor:
    """The centre of mass `(y, x)` of a square PSF, from its middle."""
    return torch.tensor(psf_centroid(psf), dtype=torch.float64) - psf.shape[0] // 2


def perturb_psf(psf: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """A PSF with the errors of a blind estimate.

    It is bent; parts of it are too bright, too dark, missing, blurred or added. The centre of mass stays where it is,
    since a PSF that is moved as a whole only moves the picture.

    Args:
        psf: `(s, s)`.
        amount: 0 changes nothing; with 1 the PSF is about as wrong as the worst estimates that still restore a picture.
        generator: where all randomness comes from.

    Returns:
        `(s, s)`, sums to 1.
    """
    uneven = convolve(torch.randn(1, 1, *psf.shape, generator=generator), gaussian_psf(1.5), "replicate")[0, 0]
    estimate = psf * (1.2 * amount * uneven / uneven.std()).exp()  # along the path
    ghost = _placed(estimate, _from_middle(psf) + 6 * torch.rand(2, generator=generator) - 3, psf.shape[0])
    bend = 0.05 * amount * torch.randn(2, 2, generator=generator).double()  # the camera's roll, at a corner
    estimate = _placed(estimate, _from_middle(psf), psf.shape[0], bend)
    ghost = convolve(ghost[None, None], gaussian_psf(1.0), "zero")[0, 0]
    ghost = ghost / ghost.sum().clamp_min(1e-9)
    estimate = estimate / estimate.sum() + 0.3 * amount * _rand(generator) * ghost
    estimate = convolve(estimate[None, None], gaussian_psf(0.15 + 0.6 * amount * _rand(generator), 5), "zero")[0, 0]
    estimate = torch.where(estimate > 0.05 * amount * estimate.max(), estimate, 0)
    return _placed(estimate, _from_middle(psf), psf.shape[0])


def _rand(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _randint(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
