"""Miao & Zhu, "Handling Noise in Image Deblurring via Joint Learning" (NIDF): the two networks, compact.

A denoising network does not remove all noise, and a deblurring network amplifies the rest. So the two networks are
applied one after the other and trained together. Each adapts to the other.

Differences from the paper: the widths of its two U-shaped networks are not published, so these are the compact ones of
this package, without normalisation and biases. The input is the picture minus the mean of each pixel's surroundings,
and the output is added to the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor, nn

from unblur.contract import checked
from unblur.layers.u_shape import COMPACT_BLOCKS, COMPACT_WIDTHS, UShape, surroundings


class NidfPlan(BaseModel):
    """The sizes of both networks, which have the same architecture and different weights.

    Attributes:
        widths: channels per scale, finest first (at half, quarter, ... of the picture's size).
        blocks: residual blocks per scale on the way down, and again on the way up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[PositiveInt, ...] = COMPACT_WIDTHS
    blocks: tuple[PositiveInt, ...] = COMPACT_BLOCKS


class Nidf(nn.Module):
    """Noisy blurry pictures `(B, 3, H, W)` -> denoised pictures and sharp pictures, both `(B, 3, H, W)`.

    Compact: 2 x 1.09 M parameters, 2 x 1.9 G multiply-adds for 256 x 256 pixels.
    """

    def __init__(self, plan: NidfPlan) -> None:
        super().__init__()
        self.net1 = ResidualUShape(plan)  # denoises
        self.net2 = ResidualUShape(plan)  # deblurs

    def forward(self, N: Tensor) -> tuple[Tensor, Tensor]:
        """Apply both networks (Eq. 2): `(B1, I1)`."""
        B1 = self.net1(N)  # (B, 3, H, W)
        I1 = self.net2(B1)  # (B, 3, H, W)
        return B1, I1


class ResidualUShape(nn.Module):
    """`x + U(x - surroundings(x))`: `(B, 3, H, W)` -> same shape. A constant picture is not changed."""

    def __init__(self, plan: NidfPlan) -> None:
        super().__init__()
        self.network = UShape(3, 3, plan.widths, plan.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network: `(B, 3, H, W)` -> same shape."""
        return x + self.network(x - surroundings(x)).to(x)


def network_of(measures: Mapping[str, Any]) -> Nidf:
    """Create the network that a recipe's table `network` describes.

    Raises:
        UnblurError: an unknown key, or a value that is not allowed.
    """
    return Nidf(checked(NidfPlan, measures, "nidf, network"))
