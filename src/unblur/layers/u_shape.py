"""A small U-shaped network: residual blocks at 1/2, 1/4, ... of the size, without normalisation and biases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

COMPACT_WIDTHS = (32, 48, 64, 96)
COMPACT_BLOCKS = (1, 2, 2, 3)
"""Channels and residual blocks per scale of all compact presets.

They are the same, so that one network can be initialised with the weights of another.
"""

_CELL = 8  # pixels: side of the squares whose means `surroundings` averages; chosen by hand
_CELLS = 9  # number of such squares per side of the area of the mean; chosen by hand


class Encoder(nn.Module):
    """The encoder of a `UShape`, with the same names and shapes of weights."""

    def __init__(self, inputs: int, widths: Sequence[int], blocks: int | Sequence[int]) -> None:
        """Build the encoder. The arguments are those of `UShape`."""
        super().__init__()
        counts = _counts(widths, blocks)
        self.multiple = 2 ** len(widths)
        self.head = nn.Sequential(nn.PixelUnshuffle(2), _conv(4 * inputs, widths[0]))
        self.down = nn.ModuleList(map(_blocks, widths[:-1], counts[:-1]))
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2, bias=False) for fine, coarse in pairwise(widths))
        self.bottom = _blocks(widths[-1], counts[-1])

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Apply the encoder to `(B, inputs, H, W)`: the coarsest scale, and a list of the finer ones, finest first.

        H and W are padded to multiples of `self.multiple`.
        """
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), "replicate")
        x = self.head(x)  # (B, widths[0], H/2, W/2)
        kept = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            kept.append(blocks(x))
            x = shrink(kept[-1])
        return self.bottom(x), kept  # (B, widths[-1], H/2^n, W/2^n)


class UShape(Encoder):
    """A U-shaped network: `(B, inputs, H, W)` -> `(B, outputs, H, W)`, for any H and W.

    First 2 x 2 pixels become channels (PixelUnshuffle), so that the finest scale has a quarter of the pixels. Without
    biases the network is homogeneous: twice the input gives twice the output (Mohan et al. 2020, "Robust and
    interpretable blind image denoising via bias-free CNNs"). So it also works at noise levels outside those of the
    training. The initial weights of the last layer are zero.
    """

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int], blocks: int | Sequence[int]) -> None:
        """Build the network.

        Args:
            inputs: channels of the input.
            outputs: channels of the output.
            widths: channels per scale, finest first.
            blocks: residual blocks per scale of the encoder, and of the decoder; one number for all scales, or one for
                each.
        """
        super().__init__(inputs, widths, blocks)
        self.grow, self.up, self.tail = _decoder(outputs, widths, _counts(widths, blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network: `(B, inputs, H, W)` -> `(B, outputs, H, W)`."""
        height, width = x.shape[-2:]
        bottom, kept = self.encode(x)
        return self.decode(bottom, kept)[..., :height, :width]

    def decode(self, bottom: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Apply the decoder to the results of `encode`. The output has the padded size."""
        return _decode(self, bottom, kept)


class Decoder(nn.Module):
    """A second decoder for a `UShape`, with or without skip connections."""

    def __init__(self, outputs: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        """Build the decoder. The arguments are those of `UShape`."""
        super().__init__()
        self.grow, self.up, self.tail = _decoder(outputs, widths, blocks)

    def forward(self, bottom: Tensor, kept: Sequence[Tensor] | None = None) -> Tensor:
        """Apply the decoder: `(B, widths[-1], h, w)` -> `(B, outputs, 2^n h, 2^n w)`; None: no skip connections."""
        return _decode(self, bottom, kept)


def _decode(way: UShape | Decoder, bottom: Tensor, kept: Sequence[Tensor] | None) -> Tensor:
    """Apply a decoder to the coarsest scale, and add the finer scales `kept` if they are given."""
    x = bottom
    for scale in reversed(range(len(way.grow))):
        x = way.grow[scale](x)
        x = way.up[scale](x if kept is None else x + kept[scale])
    return way.tail(x)


def surroundings(picture: Tensor) -> Tensor:
    """Compute the mean around each pixel, over about 72 x 72 pixels: `(B, C, H, W)` -> same shape.

    A constant picture minus this mean is 0, so a network with this input does not change a constant colour.
    """
    height, width = picture.shape[-2:]
    padded = F.pad(picture, (0, -width % _CELL, 0, -height % _CELL), "replicate")
    cells = F.avg_pool2d(padded, _CELL)  # (B, C, H/8, W/8)
    means = F.avg_pool2d(cells, _CELLS, 1, _CELLS // 2, count_include_pad=False)
    return F.interpolate(means, scale_factor=_CELL, mode="bilinear")[..., :height, :width]


class ResidualBlock(nn.Module):
    """`x + conv(relu(conv(x)))`."""

    def __init__(self, width: int, *, bias: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width, bias), nn.ReLU(inplace=True), _conv(width, width, bias))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block: `(B, width, H, W)` -> same shape."""
        return x + self.body(x)


def _decoder(
    outputs: int, widths: Sequence[int], counts: Sequence[int]
) -> tuple[nn.ModuleList, nn.ModuleList, nn.Sequential]:
    """The layers of a decoder: between scales, at each scale except the coarsest, and to the picture."""
    grow = nn.ModuleList(
        nn.Sequential(nn.Conv2d(coarse, 4 * fine, 1, bias=False), nn.PixelShuffle(2))
        for fine, coarse in pairwise(widths)
    )
    up = nn.ModuleList(map(_blocks, widths[:-1], counts[:-1]))
    last = _conv(widths[0], 4 * outputs)
    nn.init.zeros_(last.weight)
    return grow, up, nn.Sequential(last, nn.PixelShuffle(2))


def _counts(widths: Sequence[int], blocks: int | Sequence[int]) -> list[int]:
    return [blocks] * len(widths) if isinstance(blocks, int) else list(blocks)


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


def _conv(inputs: int, outputs: int, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
