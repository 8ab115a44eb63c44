"""A small U-shaped network: residual blocks at half, quarter, ... resolution, without norms or biases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

COMPACT_WIDTHS = (32, 48, 64, 96)
COMPACT_BLOCKS = (1, 2, 2, 3)
"""Channels and residual blocks per scale of every compact preset, so that weights of one can start another."""

_CELL = 8  # pixels: `surroundings` is worked out on means of squares of this side ...
_CELLS = 9  # ... over a square of so many of them


class UShape(nn.Module):
    """`(B, inputs, H, W)` -> `(B, outputs, H, W)`, H and W any size.

    First 2 x 2 pixels become channels (PixelUnshuffle), so that the finest scale works on a quarter of the pixels.
    Without biases the network is homogeneous: twice the input gives twice the output (Mohan et al. 2020, "Robust and
    interpretable blind image denoising via bias-free CNNs"). So it works at noise levels that it was not trained for.
    The weights of the last layer are zero at first.
    """

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int], blocks: int | Sequence[int]) -> None:
        """Build the network.

        Args:
            inputs: channels in.
            outputs: channels out.
            widths: channels per scale, finest first.
            blocks: residual blocks per scale on the way down, and again on the way up; one number for all scales, or
                one each.
        """
        super().__init__()
        counts = [blocks] * len(widths) if isinstance(blocks, int) else list(blocks)
        self.multiple = 2 ** len(widths)
        self.head = nn.Sequential(nn.PixelUnshuffle(2), _conv(4 * inputs, widths[0]))
        self.down = nn.ModuleList(map(_blocks, widths[:-1], counts[:-1]))
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2, bias=False) for fine, coarse in pairwise(widths))
        self.bottom = _blocks(widths[-1], counts[-1])
        self.grow, self.up, self.tail = _decoder(outputs, widths, counts)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        height, width = x.shape[-2:]
        bottom, kept = self.encode(x)
        return self.decode(bottom, kept)[..., :height, :width]

    def decode(self, bottom: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """The way up from what `encode` gives, padded as that is."""
        return _decode(self, bottom, kept)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What the way down makes of `(B, inputs, H, W)`: the coarsest scale, and the finer ones, finest first."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), "replicate")
        x = self.head(x)  # (B, widths[0], H/2, W/2)
        kept = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            kept.append(blocks(x))
            x = shrink(kept[-1])
        return self.bottom(x), kept  # (B, widths[-1], H/2^n, W/2^n)


class Decoder(nn.Module):
    """A second way up: from the coarsest scale of a `UShape` to a picture, with or without the finer scales."""

    def __init__(self, outputs: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        """As for `UShape`."""
        super().__init__()
        self.grow, self.up, self.tail = _decoder(outputs, widths, blocks)

    def forward(self, bottom: Tensor, kept: Sequence[Tensor] | None = None) -> Tensor:
        """`(B, widths[-1], h, w)` -> `(B, outputs, 2^n h, 2^n w)`; without `kept` from the coarsest scale alone."""
        return _decode(self, bottom, kept)


def _decode(way: UShape | Decoder, bottom: Tensor, kept: Sequence[Tensor] | None) -> Tensor:
    """The way up: from the coarsest scale, with the finer scales added where they are given."""
    x = bottom
    for scale in reversed(range(len(way.grow))):
        x = way.grow[scale](x)
        x = way.up[scale](x if kept is None else x + kept[scale])
    return way.tail(x)


def surroundings(picture: Tensor) -> Tensor:
    """The mean around each pixel, over about 72 x 72 pixels: `(B, C, H, W)` -> the same.

    A network that sees a picture minus this sees nothing of a flat picture, so that it leaves any colour as it is.
    """
    height, width = picture.shape[-2:]
    padded = F.pad(picture, (0, -width % _CELL, 0, -height % _CELL), "replicate")
    cells = F.avg_pool2d(padded, _CELL)  # (B, C, H/8, W/8)
    means = F.avg_pool2d(cells, _CELLS, 1, _CELLS // 2, count_include_pad=False)
    return F.interpolate(means, scale_factor=_CELL, mode="bilinear")[..., :height, :width]


class ResidualBlock(nn.Module):
    """`x + conv(relu(conv(x)))`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), nn.ReLU(inplace=True), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, width, H, W)` -> the same."""
        return x + self.body(x)


def _decoder(
    outputs: int, widths: Sequence[int], counts: Sequence[int]
) -> tuple[nn.ModuleList, nn.ModuleList, nn.Sequential]:
    """The layers of a way up: between two scales, at each scale but the coarsest, and to the picture."""
    grow = nn.ModuleList(
        nn.Sequential(nn.Conv2d(coarse, 4 * fine, 1, bias=False), nn.PixelShuffle(2))
        for fine, coarse in pairwise(widths)
    )
    up = nn.ModuleList(map(_blocks, widths[:-1], counts[:-1]))
    last = _conv(widths[0], 4 * outputs)
    nn.init.zeros_(last.weight)
    return grow, up, nn.Sequential(last, nn.PixelShuffle(2))


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
