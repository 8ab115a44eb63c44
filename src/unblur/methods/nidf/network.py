"""Miao & Zhu, "Handling Noise in Image Deblurring via Joint Learning" (NIDF): the two networks.

A denoising network does not remove all noise, and a deblurring network amplifies the rest. So the two networks are
applied one after the other and trained together. Each adapts to the other.

The paper publishes neither the widths of its two U-shaped networks nor their layers. There are two architectures here:

- `UNet` is our reading of the paper: the U-Net of Ronneberger et al. 2015, which it cites, with a global skip
  connection as in DeblurGAN, which it also cites. The widths are chosen for about 0.3 M multiply-adds a pixel.
- `ResidualUShape` is the compact one of this package, without normalisation and biases. Its input is the picture minus
  the mean of each pixel's surroundings.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from unblur.contract import checked
from unblur.layers.u_shape import COMPACT_BLOCKS, COMPACT_WIDTHS, UShape, surroundings


class PublishedPlan(BaseModel):
    """The sizes of both U-Nets, which have the same architecture and different weights.

    Attributes:
        widths: channels per scale, finest first (at full, half, ... of the picture's size).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (48, 96, 192, 384)


class NidfPlan(BaseModel):
    """The sizes of both compact networks, which have the same architecture and different weights.

    Attributes:
        widths: channels per scale, finest first (at half, quarter, ... of the picture's size).
        blocks: residual blocks per scale on the way down, and again on the way up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[PositiveInt, ...] = COMPACT_WIDTHS
    blocks: tuple[PositiveInt, ...] = COMPACT_BLOCKS


class Nidf(nn.Module):
    """Noisy blurry pictures `(B, 3, H, W)` -> denoised pictures and sharp pictures, both `(B, 3, H, W)`.

    Compact: 2 x 1.09 M parameters, 2 x 1.9 G multiply-adds for 256 x 256 pixels. As published (our reading):
    2 x 4.33 M parameters, 2 x 20.7 G multiply-adds.
    """

    def __init__(self, plan: NidfPlan | PublishedPlan) -> None:
        super().__init__()
        self.net1 = _network(plan)  # denoises
        self.net2 = _network(plan)  # deblurs

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


class UNet(nn.Module):
    """`x + U(x)`: `(B, 3, H, W)` -> same shape, for any H and W. Two convolutions per scale, skips are concatenated."""

    def __init__(self, plan: PublishedPlan) -> None:
        super().__init__()
        widths = plan.widths
        self.multiple = 2 ** (len(widths) - 1)
        self.down = nn.ModuleList(_two(inputs, width) for inputs, width in pairwise((3, *widths)))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, 2) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(_two(2 * fine, fine) for fine in widths[:-1])
        self.last = nn.Conv2d(widths[0], 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network: `(B, 3, H, W)` -> same shape."""
        height, width = x.shape[-2:]
        y = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), "replicate")
        kept: list[Tensor] = []
        for scale, down in enumerate(self.down):
            y = down(F.max_pool2d(y, 2) if scale else y)  # (B, widths[scale], H / 2^scale, W / 2^scale)
            kept.append(y)
        for scale in reversed(range(len(self.up))):
            y = torch.cat((kept[scale], self.grow[scale](y)), 1)  # (B, 2 widths[scale], ...)
            y = self.up[scale](y)  # (B, widths[scale], ...)
        return x + self.last(y)[..., :height, :width].to(x)


def _two(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions of 3 x 3 pixels, each followed by a ReLU."""
    first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))


def _network(plan: NidfPlan | PublishedPlan) -> UNet | ResidualUShape:
    return UNet(plan) if isinstance(plan, PublishedPlan) else ResidualUShape(plan)


def network_of(measures: Mapping[str, Any]) -> Nidf:
    """Create the network that a recipe's table `network` describes.

    It is the published one if the table has a table `published`, else the compact one.

    Raises:
        UnblurError: an unknown key, or a value that is not allowed.
    """
    if "published" in measures:
        tables = {"published": PublishedPlan}
        return Nidf(checked(_Published, measures, "nidf, network", tables).published)
    return Nidf(checked(NidfPlan, measures, "nidf, network"))


class _Published(BaseModel):
    """A table `network` that contains only the table `published`."""

    model_config = ConfigDict(extra="forbid")

    published: PublishedPlan
