"""A small U-shaped network: residual blocks at half, quarter and eighth resolution, without norms or biases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class UShape(nn.Module):
    """`(B, inputs, H, W)` -> `(B, outputs, H, W)`, H and W any size.

    First 2 x 2 pixels become channels (PixelUnshuffle), so that the finest scale works on a quarter of the pixels.
    Without biases the network is homogeneous: twice the input gives twice the output (Mohan et al. 2020, "Robust and
    interpretable blind image denoising via bias-free CNNs"). So it works at noise levels that it was not trained for.
    The weights of the last layer are zero at first.
    """

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int], blocks: int) -> None:
        """`widths`: channels per scale, finest first. `blocks`: residual blocks per scale on the way down, and up."""
        super().__init__()
        self.multiple = 2 ** len(widths)
        self.head = nn.Sequential(nn.PixelUnshuffle(2), _conv(4 * inputs, widths[0]))
        scales = list(pairwise(widths))
        self.down = nn.ModuleList(_blocks(width, blocks) for width in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2, bias=False) for fine, coarse in scales)
        self.bottom = _blocks(widths[-1], blocks)
        self.grow = nn.ModuleList(
            nn.Sequential(nn.Conv2d(coarse, 4 * fine, 1, bias=False), nn.PixelShuffle(2)) for fine, coarse in scales
        )
        self.up = nn.ModuleList(_blocks(width, blocks) for width in widths[:-1])
        last = _conv(widths[0], 4 * outputs)
        nn.init.zeros_(last.weight)
        self.tail = nn.Sequential(last, nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), "replicate")
        x = self.head(x)  # (B, widths[0], H/2, W/2)
        kept = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            kept.append(blocks(x))
            x = shrink(kept[-1])
        x = self.bottom(x)  # (B, widths[-1], H/8, W/8)
        for blocks, grow, same in reversed(list(zip(self.up, self.grow, kept, strict=True))):
            x = blocks(grow(x) + same)
        return self.tail(x)[..., :height, :width]


class ResidualBlock(nn.Module):
    """`x + conv(relu(conv(x)))`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), nn.ReLU(inplace=True), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, width, H, W)` -> the same."""
        return x + self.body(x)


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
