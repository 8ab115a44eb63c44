"""JPEG compression of batches of pictures, on any device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def jpeg(pictures: Tensor, quality: Tensor) -> Tensor:
    """Compress pictures as JPEG, without chroma subsampling, and decompress them.

    Args:
        pictures: `(B, 3, H, W)` in [0, 1].
        quality: 1 to 99 for each picture, `(B,)`; higher is better.

    Returns:
        `(B, 3, H, W)` in [0, 1].
    """
    before, device = pictures.shape[-2:], pictures.device
    pictures = F.pad(pictures, (0, -before[1] % 8, 0, -before[0] % 8), "replicate")
    count, _, height, width = pictures.shape
    to_ycc = pictures.new_tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    dct = _dct(device)
    planes = torch.einsum("dc,bchw->bdhw", to_ycc, pictures * 255).round()
    planes = planes - pictures.new_tensor([128.0, 0, 0])[:, None, None]
    blocks = planes.unfold(2, 8, 8).unfold(3, 8, 8)  # (B, 3, H/8, W/8, 8, 8)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50).view(-1, 1, 1, 1, 1, 1)
    table = torch.stack([_table(name, device) for name in ("luma", "chroma", "chroma")])[None, :, None, None]
    steps = (table * scale).round().clamp_min(1)
    blocks = dct.T @ (((dct @ blocks @ dct.T) / steps).round() * steps) @ dct
    planes = blocks.permute(0, 1, 2, 4, 3, 5).reshape(count, 3, height, width)
    planes = planes.round() + pictures.new_tensor([128.0, 0, 0])[:, None, None]
    pictures = (torch.einsum("dc,bchw->bdhw", torch.linalg.inv(to_ycc), planes) / 255).clamp(0, 1)
    return pictures[..., : before[0], : before[1]]


def _dct(device: torch.device) -> Tensor:
    position = torch.arange(8, device=device)
    rows = torch.cos(math.pi / 8 * (position + 0.5) * position[:, None]) / 2
    rows[0] /= math.sqrt(2)
    return rows


# ITU-T T.81, tables K.1 and K.2.
_TABLES = {
    "luma": "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99",
    "chroma": "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99 "
    + "99 " * 32,
}


def _table(name: str, device: torch.device) -> Tensor:
    return torch.tensor([float(step) for step in _TABLES[name].split()], device=device).view(8, 8)
