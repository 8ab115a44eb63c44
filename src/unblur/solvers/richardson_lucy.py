"""The multiplicative update of Richardson-Lucy deconvolution (Richardson 1972; Lucy 1974), with borders.

It is the expectation-maximisation algorithm for Poisson noise. With a mask, the weight of each pixel is divided by its
sensitivity, the share of its light that fell on observed pixels. Pixels of which no light was observed are not changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.solvers.canvas import Canvas

DARK = 1e-3
"""Smaller values, on the [0, 1] scale, and smaller sensitivities count as 0; chosen by hand."""

# Chosen by hand.
_TINY = 1e-6  # on the [0, 1] scale: smaller reblurred values are rounding errors of the FFTs
# Largest correction factor. Larger ones occur at borders that received light from outside; after an FFT their rounding
# errors would affect all pixels.
_STEEP = 1e3


@dataclass(frozen=True)
class RichardsonLucy:
    """The update for one observed picture.

    Attributes:
        canvas: the blur, and which pixels were observed.
        data: the observed picture, non-negative, times the mask, `(B, C, H', W')`.
        gain: 1 divided by the sensitivity, 0 for pixels that are not seen; same shape.
        unseen: 1 for pixels that keep their values, else 0; same shape.
    """

    canvas: Canvas
    data: Tensor
    gain: Tensor
    unseen: Tensor

    @classmethod
    def of(cls, canvas: Canvas, observed: Tensor, *, dark_outside: bool = False) -> RichardsonLucy:
        """The update for a picture on a canvas.

        Args:
            canvas: the blur, and which pixels were observed.
            observed: the picture to be explained, `(B, C, H', W')`; negative values count as 0.
            dark_outside: True: the scene is black outside the observed pixels.
        """
        if dark_outside:
            seen, gain = canvas.mask > 0, canvas.mask
        else:
            sensitivity = canvas.correlate(canvas.mask)
            seen = sensitivity > DARK
            gain = seen / sensitivity.clamp_min(DARK)
        return cls(canvas, canvas.mask * observed.clamp_min(0), gain, (~seen).to(observed))

    def __call__(self, image: Tensor) -> Tensor:
        """One update of a non-negative picture: `image * K^T(data / K image) / K^T mask`."""
        reblurred = self.canvas.blur(image).clamp_min_(_TINY)
        ratio = torch.div(self.data, reblurred, out=reblurred).clamp_max_(_STEEP)
        return image * torch.addcmul(self.unseen, self.gain, self.canvas.correlate(ratio).clamp_min_(0))
