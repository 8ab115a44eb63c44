"""The small copies of two shots that `imaging.registration` compares, and the coordinates of their pixels.

Two shots may differ in blur, noise, brightness and colour. So not their values are compared but their features: the
luminance, minus its local mean and divided by its local standard deviation.

Coordinates are (x, y) with the origin in the middle of a picture, and half of its longer side as unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.colour import luminance
from unblur.imaging.convolution import convolve
from unblur.imaging.equal_blur import GAMMA, NEIGHBOURHOOD, deviation, psf_between, smoothed

# Chosen by hand; benchmarks/registration.py measures the errors and the agreement of right and wrong pairs.
_SMOOTHING = 1.5  # pixels of a copy, standard deviation of the Gaussian that removes noise
_FLATTEST = 0.15  # added to the local standard deviation, relative to that of the whole picture
_CLIPPED = 0.97  # value of a channel from which a pixel is not compared


# --- coordinates ------------------------------------------------------------------------------------


def unit_of(height: int, width: int) -> float:
    """Half of the longer side in pixels."""
    return max(height, width) / 2


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """The coordinates of the pixels of a picture: `(height, width, 2)` float64."""
    y, x = (
        (torch.arange(side, dtype=torch.float64, device=device) + 0.5 - side / 2) / unit_of(height, width)
        for side in (height, width)
    )
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def normalised(places: Tensor, height: int, width: int) -> Tensor:
    """Coordinates as `F.grid_sample` wants them: from -1 to 1 along each side."""
    return places * (2 * unit_of(height, width) / places.new_tensor([width, height]))


def transformed(homography: Tensor, points: Tensor) -> Tensor:
    """Points `(..., 2)` under a homography."""
    mapped = points @ homography[:, :2].T + homography[:, 2]
    return mapped[..., :2] / mapped[..., 2:].clamp_min(1e-3)


def places_of(homography: Tensor, field: Tensor | None, height: int, width: int) -> Tensor:
    """Where the pixels of a fixed picture of this size lie in the moving one: `(height, width, 2)`.

    Args:
        homography: `(3, 3)`, from coordinates of the fixed to those of the moving picture.
        field: `(1, 2, h, w)`, displacement that is added after it, on a grid over the fixed picture; None: none.
        height, width: of the fixed picture.
    """
    places = transformed(homography, pixel_grid(height, width, homography.device))
    if field is not None:
        places = places + F.interpolate(field, (height, width), mode="bicubic", align_corners=True)[0].movedim(0, -1)
    return places


# --- the pictures that are compared ----------------------------------------------------------------


@dataclass(frozen=True)
class Copy:
    """A small copy of a picture.

    Attributes:
        grey: its luminance without noise, `(1, 1, h, w)`.
        features: `(1, 1, h, w)`.
        counts: which pixels count, `(1, 1, h, w)` of 0 or 1.
    """

    grey: Tensor
    features: Tensor
    counts: Tensor

    @classmethod
    def of(cls, picture: Tensor, side: int) -> Copy:
        """Make a copy of a picture `(1, C, H, W)` whose longer side has `side` pixels."""
        height, width = picture.shape[-2:]
        factor = side / max(height, width)
        size = max(8, round(factor * height)), max(8, round(factor * width))
        clipped = (picture.amax(1, keepdim=True) >= _CLIPPED).float()
        grey = F.interpolate(luminance(picture), size, mode="bilinear", antialias=factor < 1)
        grey = smoothed(grey, _SMOOTHING)
        clipped = F.interpolate(clipped, size, mode="bilinear", antialias=factor < 1)
        counts = (smoothed(clipped, _SMOOTHING) < 0.1).float()
        return cls(grey, _features(grey), counts if counts.mean() > 0.05 else torch.ones_like(counts))

    def at(self, homography: Tensor, field: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Features and counts at the places of a fixed copy of the size of `like`."""
        height, width = like.shape[-2:]
        places = places_of(homography, field, height, width)
        places = normalised(places, *self.features.shape[-2:])
        both = torch.cat((self.features, self.counts), 1)
        seen = F.grid_sample(both, places[None].float(), mode="bilinear", align_corners=False)  # zeros outside
        inside = (places.abs() <= 1).all(-1)[None, None]
        return seen[:, :1], (seen[:, 1:] > 0.9) & inside


def equally_blurred(moving: Copy, fixed: Copy, homography: Tensor, *, linear: bool) -> Copy:
    """The moving copy, blurred by the PSF that leads from it to the fixed one; in linear light, or in sRGB values."""
    height, width = fixed.grey.shape[-2:]
    places = normalised(places_of(homography, None, height, width), *moving.grey.shape[-2:])[None].float()
    exponent = GAMMA if linear else 1.0
    light, fixed_light = (copy.grey.clamp_min(0) ** exponent for copy in (moving, fixed))
    seen = F.grid_sample(light, places, mode="bilinear", padding_mode="border", align_corners=False)
    psf = psf_between(seen, fixed_light, (places.abs() <= 1).all(-1) * fixed.counts)
    # The moving copy may be rotated and scaled: there the PSF is too.
    turned = torch.linalg.inv(homography[:2, :2] / homography[2, 2]) * (
        unit_of(height, width) / unit_of(*moving.grey.shape[-2:])
    )
    grid = F.affine_grid(F.pad(turned, (0, 1))[None].to(psf), list(psf.shape), align_corners=True)
    psf = F.grid_sample(psf, grid, align_corners=True)
    grey = convolve(light, psf / psf.sum()).clamp_min(0) ** (1 / exponent)
    return replace(moving, grey=grey, features=_features(grey))


def _features(grey: Tensor) -> Tensor:
    """Deviation from the local mean in local standard deviations: another brightness or contrast changes it little."""
    detail = deviation(grey)
    contrast = smoothed(detail.square(), NEIGHBOURHOOD * max(grey.shape[-2:])).sqrt()
    return detail / (contrast + _FLATTEST * detail.std() + 1e-6)
