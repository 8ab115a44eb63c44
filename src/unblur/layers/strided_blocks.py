"""Blocks of Zhang, Zhen, Stevenson (sec. III-A): convolutions of 5 x 5 pixels and stride 2, spectral and batch norm.

The networks of `deblur_rnn` and `deblur_merger` are built of them, and the discriminator of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_SLOPE = 0.2  # of LeakyReLU; that of Isola et al. 2017, not in the paper
_STD = 0.02  # of the initial weights, sec. IV-A


class StridedEncoder(nn.Module):
    """Blocks that each halve the size: a list of the features of all blocks, finest first."""

    def __init__(self, inputs: int, widths: Sequence[int], *, spectral: bool) -> None:
        """Build the encoder.

        Args:
            inputs: channels of the input.
            widths: channels after each block.
            spectral: whether the weights have spectral norm.
        """
        super().__init__()
        self.blocks = nn.ModuleList(
            _block(nn.Conv2d(fine, coarse, 5, stride=2, padding=2), spectral=spectral, batch=level > 0)
            for level, (fine, coarse) in enumerate(pairwise((inputs, *widths)))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Apply the encoder to `(B, inputs, H, W)`; H and W are multiples of `2^n` for n blocks."""
        kept = []
        for block in self.blocks:
            x = block(x)  # (B, widths[level], H / 2^(level + 1), ...)
            kept.append(x)
        return kept


class StridedDecoder(nn.Module):
    """Blocks that each double the size; after each, the encoder's features of this size are concatenated."""

    def __init__(self, bottom: int, skips: Sequence[int], widths: Sequence[int], *, spectral: bool, dropout: float):
        """Build the decoder.

        Args:
            bottom: channels of the coarsest features.
            skips: channels of the features to be concatenated, finest first; one fewer than `widths`.
            widths: channels after each block, finest first; those of the first are the channels of the output.
            spectral: whether the weights have spectral norm.
            dropout: share of the values that are set to 0 after the coarsest block, during training.
        """
        super().__init__()
        inputs = [width + skip for width, skip in zip(widths[1:], skips, strict=True)] + [bottom]
        last = nn.ConvTranspose2d(inputs[0], widths[0], 5, stride=2, padding=2, output_padding=1)
        blocks: list[nn.Module] = [initialised(last, spectral=spectral)]
        for before, width in zip(inputs[1:], widths[1:], strict=True):
            grow = nn.ConvTranspose2d(before, width, 5, stride=2, padding=2, output_padding=1)
            blocks.append(_block(grow, spectral=spectral, batch=True))
        self.blocks = nn.ModuleList(blocks)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Apply the decoder to the coarsest features and the finer ones, finest first."""
        for level in reversed(range(len(self.blocks))):
            x = self.blocks[level](x)
            if level == len(self.blocks) - 1:
                x = self.dropout(x)
            if level > 0:
                x = torch.cat((x, kept[level - 1]), 1)
        return x


class Discriminator(nn.Module):
    """Judges sharp and restored pictures, each beside the blurry shot: logits of "this is a sharp picture".

    A sigmoid of a logit is D of Eq. 4; the losses apply it, which is more exact than a sigmoid here. The last features
    are averaged over the picture before the scalar is computed, so that pictures of any size are accepted. Sharp and
    restored pictures are one batch, since batch norm would remove a difference between the means of two batches.
    """

    def __init__(self, widths: Sequence[int], *, spectral: bool = True) -> None:
        """Build the discriminator; the arguments are those of `StridedEncoder`."""
        super().__init__()
        self.multiple = 2 ** len(widths)
        self.encoder = StridedEncoder(6, widths, spectral=spectral)
        self.last = initialised(nn.Linear(widths[-1], 1), spectral=spectral)

    def forward(self, sharp: Tensor, made: Tensor, blurry: Tensor) -> tuple[Tensor, Tensor]:
        """Judge pictures `(B, 3, H, W)`: the logits of the sharp and of the restored ones, `(B,)` each."""
        x = torch.cat((torch.cat((sharp, made)), torch.cat((blurry, blurry))), 1)  # (2 B, 6, H, W)
        features = self.encoder(padded(x, self.multiple))[-1].mean((-2, -1))  # (2 B, widths[-1])
        real, fake = self.last(features).flatten().chunk(2)
        return real, fake


def padded(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of `multiple`."""
    return F.pad(x, (0, -x.shape[-1] % multiple, 0, -x.shape[-2] % multiple), "replicate")


def initialised(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, *, spectral: bool) -> nn.Module:
    """The layer with normally distributed weights of standard deviation .02, without bias; then with spectral norm."""
    nn.init.normal_(layer.weight, std=_STD)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return spectral_norm(layer) if spectral else layer


def _block(change: nn.Conv2d | nn.ConvTranspose2d, *, spectral: bool, batch: bool) -> nn.Sequential:
    """A convolution with spectral norm, then batch norm, then LeakyReLU."""
    normalise = [nn.BatchNorm2d(change.out_channels)] if batch else []
    return nn.Sequential(initialised(change, spectral=spectral), *normalise, nn.LeakyReLU(_SLOPE, inplace=True))
