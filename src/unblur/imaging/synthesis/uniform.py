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
    """How a sharp picture is blurred by one PSF, and what is known of that PSF afterwards.

    Attributes:
        psfs: "mixed": shakes of `psf_size` and, one in ten each, a defocus, a straight line and hardly any blur;
            "exposures": one of the four exposures of a shake of Gilbert et al. (65 px).
        psf_size: smallest and largest side of a mixed PSF in pixels, odd.
        sigma: the most Gaussian noise, on the [0, 1] scale; the least is a fiftieth, drawn evenly in the logarithm.
        photons: photons per pixel at white for Poisson noise, fewest and most, drawn evenly in the logarithm; None: no
            Poisson noise.
        softness: standard deviation in pixels of the Gaussian that stands for lens and demosaicking, at the most; it
            softens the sharp picture, too, and half of the times the noise as well.
        perturbed: share of the PSFs that are not known exactly.
        wrong: how wrong those are at the most: the `amount` of `perturb_psf`, drawn evenly.
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
        """Side in pixels of the PSFs as they are given: the largest one's, with room for a fraction of a pixel."""
        return 65 if self.psfs == "exposures" else self.psf_size[1] + 2

    def draw_sigma(self, generator: torch.Generator) -> float:
        """A noise level."""
        return self.sigma * 50 ** -_rand(generator)


@dataclass(frozen=True)
class Blurred:
    """What came of a picture.

    Attributes:
        blurry: `(C, H - s + 1, W - s + 1)` of a picture `(C, H, W)`, `s` the recipe's support; [0, 1], 8 bits.
        sharp: the same part of the picture, as the camera would have taken it without blur or noise.
        psf: as it is known, `(s, s)`.
        true_psf: as it was, `(s, s)`.
        sigma: of the Gaussian noise.
        wrong: how wrong `psf` is: the `amount` of `perturb_psf`, 0 if not at all.
    """

    blurry: Tensor
    sharp: Tensor
    psf: Tensor
    true_psf: Tensor
    sigma: float
    wrong: float


def blur(picture: Tensor, recipe: BlurRecipe, generator: torch.Generator) -> Blurred:
    """Blur a sharp picture `(C, H, W)` in [0, 1]; all chance comes from `generator`."""
    reach = recipe.support // 2
    soften = recipe.softness > 0 and _rand(generator) < 0.75  # a quarter is as sharp as pixels can be
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
    """A PSF off its middle by up to half a pixel each way, on a square of side `support`."""
    return _placed(psf, torch.rand(2, generator=generator).double() - 0.5, support)


def _placed(psf: Tensor, centroid: Tensor, support: int, bend: Tensor | None = None) -> Tensor:
    """A PSF with its centre of mass at `centroid` `(y, x)`, from the middle of a square; what falls outside is lost.

    `bend`, `(2, 2)`, times the offset from the centre of mass is by how much each point is moved.
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
    """A PSF `(s, s)` as a blind estimate has it: bent, and some parts too bright, too dark, lost, blurred or invented.

    With an `amount` of 1 it is about as wrong as estimates that just work, with 0 not at all. Its centre of mass stays:
    a PSF that has moved is as right as one that has not, and only moves the picture.
    """
    uneven = convolve(torch.randn(1, 1, *psf.shape, generator=generator), gaussian_psf(1.5), "replicate")[0, 0]
    estimate = psf * (1.2 * amount * uneven / uneven.std()).exp()  # along the path
    ghost = _placed(estimate, _from_middle(psf) + 6 * torch.rand(2, generator=generator) - 3, psf.shape[0])
    bend = 0.05 * amount * torch.randn(2, 2, generator=generator).double()  # what roll does to the corners of a photo
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
