"""The canvas: a photo on a periodic array, so that FFTs can be used in its deconvolution.

FFTs compute a *circular* blur. In a photo, the pixels near the border received light from outside it. A `Canvas` is an
array that is larger than the photo by half the PSF's size on every side, and by a few pixels more for a fast FFT. The
blur of the canvas is circular, but no pixel of the photo depends on the opposite side. `mask` says which pixels of the
blurry picture were observed. Solvers fit only these, so no values outside the photo are assumed, and the restored
picture does not ring at its border.
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
    """A photo on a larger, periodic array; see the module.

    Attributes:
        blurry: the photo, extended by the nearest pixels, `(B, C, H', W')`.
        mask: 1 where a blurry pixel was observed and is trusted, else 0; `(B, C, H', W')`.
        otf: the PSF's optical transfer function K, `(B, 1, H', W'//2 + 1)`.
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
        """Create the canvas of a photo.

        Args:
            blurry: `(B, C, H, W)`.
            psf: `(h, w)` or `(B, 1, h, w)`.
            trusted: True where a pixel obeys the blur model (is not saturated), `(B, C, H, W)`; None: everywhere.
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
        """Create the canvas of a picture with circular blur (synthetic data): all of it is observed."""
        shape = (blurry.shape[-2], blurry.shape[-1])
        otf = psf_to_otf(as_psf_batch(psf).to(blurry), shape)
        return cls(blurry, torch.ones_like(blurry), otf, gradient_power(shape, blurry), (0, 0), shape)

    def some(self, which: Tensor) -> Canvas:
        """The canvas of those photos of the batch for which `which`, `(B,)`, is True."""
        otf = self.otf if len(self.otf) < len(which) else self.otf[which]  # all photos may share one PSF
        return replace(self, blurry=self.blurry[which], mask=self.mask[which], otf=otf)

    def halved(self) -> Canvas:
        """The canvas at half the size, from the means of 2 x 2 pixels; one is observed where all four are.

        Both sides must be even, as those of `around` are. `doubled` is the opposite, for a picture.
        """
        # The low frequencies of the otf describe the blur of a picture's low frequencies, at any size of the pixels.
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
        """Size of the canvas in pixels, `(H', W')`."""
        return self.blurry.shape[-2], self.blurry.shape[-1]

    @cached_property
    def otf_conj(self) -> Tensor:
        """The conjugate of `otf`, stored: a product with torch's lazy conjugate takes three times as long."""
        return self.otf.conj().resolve_conj()

    def crop(self, image: Tensor) -> Tensor:
        """Crop a picture of the canvas' size to the photo: `(B, C, H, W)`."""
        (top, left), (height, width) = self._margin, self._size
        return image[..., top : top + height, left : left + width]

    def forward(self, image: Tensor) -> Tensor:
        """Compute `rfft2` of a picture of the canvas' size."""
        return torch.fft.rfft2(image)

    def blur(self, image: Tensor) -> Tensor:
        """Blur a picture of the canvas' size with the PSF (circular): `k * image`."""
        return self.inverse(self.forward(image).mul_(self.otf))

    def correlate(self, image: Tensor) -> Tensor:
        """Apply the adjoint of `blur`: correlate with the PSF."""
        return self.inverse(self.forward(image).mul_(self.otf_conj))

    def adjoint_of_data(self) -> Tensor:
        """Compute `K^T mask y`, the right side of the normal equations, as a spectrum."""
        return self.otf_conj * self.forward(self.mask * self.blurry)

    def masked_normal(self, spectrum: Tensor) -> Tensor:
        """Apply `K^T mask K` to a spectrum."""
        return self.otf_conj * self.forward(self.mask * self.inverse(self.otf * spectrum))

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """Compute the inner product of two pictures, up to a constant, from their half spectra: `(B, C, 1, 1)`."""
        product = torch.view_as_real(a) * torch.view_as_real(b)  # (B, C, H', W'//2 + 1, 2)
        both_halves = 2 * product.sum((-3, -2, -1))
        once = product[..., 0, :].sum((-2, -1))
        if self.shape[1] % 2 == 0:
            once = once + product[..., -1, :].sum((-2, -1))
        return (both_halves - once)[..., None, None]

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Compute `irfft2`: a picture of the canvas' size from its spectrum."""
        if spectrum.device.type != "cuda" and len(spectrum) > 1:
            # MKL rounds a batch differently from a single picture. One by one, the result does not depend on the batch,
            # and the time is the same.
            return torch.cat([torch.fft.irfft2(picture, s=self.shape) for picture in spectrum.split(1)])
        return torch.fft.irfft2(spectrum, s=self.shape)


def doubled(image: Tensor) -> Tensor:
    """Resize a picture of `Canvas.halved` to twice the size: `(B, C, H, W)` -> `(B, C, 2 H, 2 W)`."""
    return F.interpolate(image, scale_factor=2, mode="bicubic", antialias=True)  # keeps linear gradients linear


def gradient(image: Tensor) -> Tensor:
    """Compute circular forward differences along x and y: `(B, C, H, W)` -> `(2, B, C, H, W)`."""
    return torch.stack((image.roll(-1, -1) - image, image.roll(-1, -2) - image))


def gradient_adjoint(field: Tensor) -> Tensor:
    """Compute the adjoint of `gradient`, minus the divergence: `(2, B, C, H, W)` -> `(B, C, H, W)`."""
    dx, dy = field
    return (dx.roll(1, -1) - dx) + (dy.roll(1, -2) - dy)


def curvature(image: Tensor) -> Tensor:
    """Compute circular second differences xx, yy, xy: `(B, C, H, W)` -> `(3, B, C, H, W)`."""
    xx = 2 * image - image.roll(1, -1) - image.roll(-1, -1)
    yy = 2 * image - image.roll(1, -2) - image.roll(-1, -2)
    dx = image.roll(-1, -1) - image
    return torch.stack((xx, yy, dx.roll(-1, -2) - dx))


def curvature_adjoint(field: Tensor) -> Tensor:
    """Compute the adjoint of `curvature`: `(3, B, C, H, W)` -> `(B, C, H, W)`."""
    xx, yy, xy = field
    from_xx = 2 * xx - xx.roll(1, -1) - xx.roll(-1, -1)
    from_yy = 2 * yy - yy.roll(1, -2) - yy.roll(-1, -2)
    dx = xy.roll(1, -2) - xy
    return from_xx + from_yy + dx.roll(1, -1) - dx


def gradient_power(shape: tuple[int, int], like: Tensor) -> Tensor:
    """Compute the Fourier symbol of `gradient_adjoint(gradient(.))`, minus the Laplacian: `(1, 1, H, W//2+1)`."""
    fy = torch.fft.fftfreq(shape[0], dtype=like.dtype, device=like.device)[:, None]
    fx = torch.fft.rfftfreq(shape[1], dtype=like.dtype, device=like.device)
    return (4 - 2 * torch.cos(2 * torch.pi * fy) - 2 * torch.cos(2 * torch.pi * fx))[None, None]
