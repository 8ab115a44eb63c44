"""Miao & Zhu, "Handling Noise in Image Deblurring via Joint Learning" (NIDF): the two networks, compact.

A denoiser never removes all noise, and a deblurring network amplifies what is left. So the two are chained and trained
together: the deblurring network learns what the denoiser leaves, and the denoiser what the deblurring network needs.

What differs from the paper: the widths of its two U-shapes are not published. These are the compact U-shape of this
package. It sees the picture minus the mean of its surroundings, has no normalisation and no biases, and its output is
added to its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor, nn

from unblur.contract import checked
from unblur.layers.u_shape import COMPACT_BLOCKS, COMPACT_WIDTHS, UShape, surroundings


class NidfPlan(BaseModel):
    """The measures of both networks, which have one architecture and separate weights.

    Attributes:
        widths: channels per scale, finest first (at half, quarter, ... of the picture's size).
        blocks: residual blocks per scale on the way down, and again on the way up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[PositiveInt, ...] = COMPACT_WIDTHS
    blocks: tuple[PositiveInt, ...] = COMPACT_BLOCKS


class Nidf(nn.Module):
    """`(B, 3, H, W)` noisy blurry pictures -> the denoised ones and the sharp ones, both `(B, 3, H, W)`.

    Compact: 2 x 1.09 M parameters, 2 x 1.9 G multiply-adds for 256 x 256 pixels.
    """

    def __init__(self, plan: NidfPlan) -> None:
        super().__init__()
        self.net1 = ResidualUShape(plan)  # denoises
        self.net2 = ResidualUShape(plan)  # deblurs

    def forward(self, N: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 2."""
        B1 = self.net1(N)  # (B, 3, H, W)
        I1 = self.net2(B1)  # (B, 3, H, W)
        return B1, I1


class ResidualUShape(nn.Module):
    """`x + U(x - surroundings(x))`: `(B, 3, H, W)` -> the same. A flat picture comes back as it is."""

    def __init__(self, plan: NidfPlan) -> None:
        super().__init__()
        self.network = UShape(3, 3, plan.widths, plan.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x + self.network(x - surroundings(x)).to(x)


def network_of(measures: Mapping[str, Any]) -> Nidf:
    """The network of a recipe's table `network`.

    Raises:
        UnblurError: for a key that there is not, or a value that cannot be.
    """
    return Nidf(checked(NidfPlan, measures, "nidf, network"))
