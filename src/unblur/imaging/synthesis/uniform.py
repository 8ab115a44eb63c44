"""Synthetic observations of a static scene, blurred with one PSF, for training and tests."""

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
    """The random distribution of PSFs, noise, and errors of the known PSF.

    Attributes:
        psfs: "mixed": 70 % camera shake of `psf_size`, 10 % disks (defocus), 10 % straight lines, and 10 % Gaussians
            with a standard deviation below one pixel. "exposures": one of the four exposures of a trajectory, as in
            Gilbert et al. (65 px).
        psf_size: smallest and largest side of a mixed PSF in pixels, odd.
        sigma: largest standard deviation of the Gaussian noise, on the [0, 1] scale. The smallest is 1/50 of it; the
            logarithm is uniformly distributed.
        photons: smallest and largest number of photons per pixel at white, for Poisson noise; the logarithm is
            uniformly distributed. None: no Poisson noise.
        softness: largest standard deviation in pixels of a Gaussian blur that models lens and demosaicking. It is
            also applied to the sharp picture, and to the noise in half of the cases.
        perturbed: share of the pictures whose PSF is not known exactly.
        wrong: largest `amount` of `perturb_psf` for these pictures; uniformly distributed from 0.
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
        """Side in pixels of all PSF arrays: the largest PSF and one pixel on each side."""
        return 65 if self.psfs == "exposures" else self.psf_size[1] + 2

    def draw_sigma(self, generator: torch.Generator) -> float:
        """Choose the standard deviation of the noise of one picture at random."""
        return self.sigma * 50 ** -_rand(generator)


@dataclass(frozen=True)
class Blurred:
    """A synthetic observation and its ground truth.

    Attributes:
        blurry: `(C, H - s + 1, W - s + 1)` for a picture `(C, H, W)` and the recipe's support `s`; [0, 1], 8 bits.
        sharp: the same part of the picture without motion blur and noise, but with `softness`.
        psf: the PSF that a method is given, `(s, s)`.
        true_psf: the PSF that blurred the picture, `(s, s)`.
        sigma: standard deviation of the Gaussian noise.
        wrong: the `amount` that `perturb_psf` was given to make `psf` from `true_psf`; 0: they are equal.
    """

    blurry: Tensor
    sharp: Tensor
    psf: Tensor
    true_psf: Tensor
    sigma: float
    wrong: float


def blur(picture: Tensor, recipe: BlurRecipe, generator: torch.Generator) -> Blurred:
    """Blur a sharp picture `(C, H, W)` in [0, 1], with random parameters from `generator`."""
    reach = recipe.support // 2
    soften = recipe.softness > 0 and _rand(generator) < 0.75  # a quarter of the pictures is not softened
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
    """A random PSF `(s, s)`, with its centre of mass within half a pixel of the middle."""
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
    """Move a PSF at random by up to half a pixel along each axis: `(support, support)`."""
    return _placed(psf, torch.rand(2, generator=generator).double() - 0.5, support)


def _placed(psf: Tensor, centroid: Tensor, support: int, bend: Tensor | None = None) -> Tensor:
    """Move a PSF so that its centre of mass is at `centroid`, `(y, x)` from the middle: `(support, support)`.

    If `bend` `(2, 2)` is given, each point is also moved by `bend` times its offset from the centre of mass. Points
    outside the array are left out.
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
    """The centre of mass `(y, x)` of a square PSF, relative to its middle: `(2,)`."""
    return torch.tensor(psf_centroid(psf), dtype=torch.float64) - psf.shape[0] // 2


def perturb_psf(psf: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Add to a PSF the errors of a blind estimate.

    The PSF is distorted; parts of it become brighter, darker or blurred, are removed, or are copied to another place.

    Args:
        psf: `(s, s)`.
        amount: size of the errors, from 0 (none) to 1 (those of the worst estimates that still restore a picture).
        generator: random generator.

    Returns:
        `(s, s)`; sums to 1, with the same centre of mass.
    """
    uneven = convolve(torch.randn(1, 1, *psf.shape, generator=generator), gaussian_psf(1.5), "replicate")[0, 0]
    estimate = psf * (1.2 * amount * uneven / uneven.std()).exp()  # brightness along the trajectory
    ghost = _placed(estimate, _from_middle(psf) + 6 * torch.rand(2, generator=generator) - 3, psf.shape[0])
    # The bend models a roll of the camera, as it appears in a corner of the picture.
    bend = 0.05 * amount * torch.randn(2, 2, generator=generator).double()
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
