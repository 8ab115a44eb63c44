"""Deconvolution by FFTs of a photo that does not repeat periodically.

FFTs invert a *circular* blur, but pixels near the border of a photo received light from beyond it. A `Canvas` is the
photo plus the PSF's reach on every side, and a few pixels more for a fast FFT. On the canvas the blur is circular, no
pixel of the photo is reached by the wrap-around, and `mask` says which pixels of the blurry picture were observed.
Solvers fit only those, so no border has to be invented, and none rings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.convolution import as_psf_batch, fast_shape, pad, psf_to_otf


@dataclass(frozen=True)
class Canvas:
    """A photo on a periodic canvas.

    Attributes:
        blurry: the photo, extended beyond its borders by its nearest pixels, `(B, C, H', W')`.
        mask: 1 where a blurry pixel was observed and may be trusted, else 0; `(B, C, H', W')`.
        otf: the PSF's transfer function, `(B, 1, H', W'//2 + 1)`.
        gradient_power: `sum_i |D_i|^2` of the forward differences, `(1, 1, H', W'//2 + 1)`.
    """

    blurry: Tensor
    mask: Tensor
    otf: Tensor
    gradient_power: Tensor
    _margin: tuple[int, int]
    _size: tuple[int, int]

    @classmethod
    def around(cls, blurry: Tensor, psf: Tensor, trusted: Tensor | None = None) -> Canvas:
        """Put a photo on a canvas.

        Args:
            blurry: `(B, C, H, W)`.
            psf: `(h, w)` or `(B, 1, h, w)`.
            trusted: True where a pixel obeys the blur model (not clipped), `(B, C, H, W)`; None: all.
        """
        psf = as_psf_batch(psf).to(blurry)
        height, width = blurry.shape[-2:]
        reach_y, reach_x = psf.shape[-2] // 2, psf.shape[-1] // 2
        shape = fast_shape(height + 2 * reach_y, width + 2 * reach_x)
        margin = (shape[0] - height + 1) // 2, (shape[1] - width + 1) // 2
        extended = pad(blurry, *margin, "replicate")[..., : shape[0], : shape[1]]
        mask = torch.zeros_like(extended)
        inside = mask[..., margin[0] : margin[0] + height, margin[1] : margin[1] + width]
        inside.copy_(torch.ones_like(blurry) if trusted is None else trusted)
        return cls(
            extended.contiguous(),
            mask,
            psf_to_otf(psf, shape),
            gradient_power(shape, blurry),
            margin,
            (height, width),
        )

    @classmethod
    def circular(cls, blurry: Tensor, psf: Tensor) -> Canvas:
        """A photo with a circular blur (synthetic data): nothing lies beyond it, and all of it is observed."""
        shape = (blurry.shape[-2], blurry.shape[-1])
        otf = psf_to_otf(as_psf_batch(psf).to(blurry), shape)
        return cls(blurry, torch.ones_like(blurry), otf, gradient_power(shape, blurry), (0, 0), shape)

    def some(self, which: Tensor) -> Canvas:
        """Those photos of the batch that `which`, `(B,)` of True and False, names."""
        otf = self.otf if len(self.otf) < len(which) else self.otf[which]  # one PSF may serve all
        return replace(self, blurry=self.blurry[which], mask=self.mask[which], otf=otf)

    def halved(self) -> Canvas:
        """All of this canvas at half the size, from means of 2 x 2 pixels, observed where all four are.

        A picture's low frequencies are blurred by the transfer function's low frequencies, whatever its pixels. Both
        sides must be even, as those of `around` are. `doubled` brings a picture back.
        """
        height, width = self.shape[0] // 2, self.shape[1] // 2
        rows = torch.cat((self.otf[..., : (height + 1) // 2, :], self.otf[..., -(height // 2) :, :]), -2)
        return Canvas(
            F.avg_pool2d(self.blurry, 2),
            (F.avg_pool2d(self.mask, 2) == 1).to(self.mask),
            rows[..., : width // 2 + 1].contiguous(),
            gradient_power((height, width), self.blurry),
            (0, 0),
            (height, width),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """`(H', W')`."""
        return self.blurry.shape[-2], self.blurry.shape[-1]

    @cached_property
    def otf_conj(self) -> Tensor:
        """The conjugate of `otf`, worked out once: torch's lazy one makes a product three times as slow."""
        return self.otf.conj().resolve_conj()

    def crop(self, image: Tensor) -> Tensor:
        """The photo's part of a picture of the canvas' size."""
        (top, left), (height, width) = self._margin, self._size
        return image[..., top : top + height, left : left + width]

    def forward(self, image: Tensor) -> Tensor:
        """`rfft2` of a picture of the canvas' size."""
        return torch.fft.rfft2(image)

    def blur(self, image: Tensor) -> Tensor:
        """`k * image`."""
        return self.inverse(self.forward(image).mul_(self.otf))

    def correlate(self, image: Tensor) -> Tensor:
        """The adjoint of `blur`."""
        return self.inverse(self.forward(image).mul_(self.otf_conj))

    def adjoint_of_data(self) -> Tensor:
        """`K^T mask y` as a spectrum: the right side of the normal equations."""
        return self.otf_conj * self.forward(self.mask * self.blurry)

    def masked_normal(self, spectrum: Tensor) -> Tensor:
        """`K^T mask K` applied to a spectrum."""
        return self.otf_conj * self.forward(self.mask * self.inverse(self.otf * spectrum))

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """The inner product of two pictures, from their half spectra and up to a constant: `(B, C, 1, 1)`."""
        product = torch.view_as_real(a) * torch.view_as_real(b)  # (B, C, H', W'//2 + 1, 2)
        both_halves = 2 * product.sum((-3, -2, -1))
        once = product[..., 0, :].sum((-2, -1))
        if self.shape[1] % 2 == 0:
            once = once + product[..., -1, :].sum((-2, -1))
        return (both_halves - once)[..., None, None]

    def inverse(self, spectrum: Tensor) -> Tensor:
        """`irfft2` to a picture of the canvas' size."""
        if spectrum.device.type != "cuda" and len(spectrum) > 1:
            # MKL rounds a batch differently from a single picture. One by one takes as long, and gives the same bits.
            return torch.cat([torch.fft.irfft2(picture, s=self.shape) for picture in spectrum.split(1)])
        return torch.fft.irfft2(spectrum, s=self.shape)


def doubled(image: Tensor) -> Tensor:
    """A picture of `Canvas.halved` at twice the size: `(B, C, H, W)` -> `(B, C, 2 H, 2 W)`."""
    return F.interpolate(image, scale_factor=2, mode="bicubic", antialias=True)  # straight slopes stay straight


def gradient(image: Tensor) -> Tensor:
    """Circular forward differences along x and y: `(B, C, H, W)` -> `(2, B, C, H, W)`."""
    return torch.stack((image.roll(-1, -1) - image, image.roll(-1, -2) - image))


def gradient_adjoint(field: Tensor) -> Tensor:
    """The adjoint of `gradient` (minus the divergence): `(2, B, C, H, W)` -> `(B, C, H, W)`."""
    dx, dy = field
    return (dx.roll(1, -1) - dx) + (dy.roll(1, -2) - dy)


def curvature(image: Tensor) -> Tensor:
    """Circular second differences xx, yy, xy: `(B, C, H, W)` -> `(3, B, C, H, W)`."""
    xx = 2 * image - image.roll(1, -1) - image.roll(-1, -1)
    yy = 2 * image - image.roll(1, -2) - image.roll(-1, -2)
    dx = image.roll(-1, -1) - image
    return torch.stack((xx, yy, dx.roll(-1, -2) - dx))


def curvature_adjoint(field: Tensor) -> Tensor:
    """The adjoint of `curvature`: `(3, B, C, H, W)` -> `(B, C, H, W)`."""
    xx, yy, xy = field
    from_xx = 2 * xx - xx.roll(1, -1) - xx.roll(-1, -1)
    from_yy = 2 * yy - yy.roll(1, -2) - yy.roll(-1, -2)
    dx = xy.roll(1, -2) - xy
    return from_xx + from_yy + dx.roll(1, -1) - dx


def gradient_power(shape: tuple[int, int], like: Tensor) -> Tensor:
    """The Fourier symbol of `gradient_adjoint(gradient(.))`, i.e. of minus the Laplacian: `(1, 1, H, W//2+1)`."""
    fy = torch.fft.fftfreq(shape[0], dtype=like.dtype, device=like.device)[:, None]
    fx = torch.fft.rfftfreq(shape[1], dtype=like.dtype, device=like.device)
    return (4 - 2 * torch.cos(2 * torch.pi * fy) - 2 * torch.cos(2 * torch.pi * fx))[None, None]
