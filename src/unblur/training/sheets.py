"""Samples as files, for people who want to look at them or use them elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from torch import Tensor


def write_sample(folder: Path, name: str, sample: Mapping[str, Tensor]) -> None:
    """Write a sample's tensors: `NAME_blurry.png` and so on; a PSF as `NAME_psf.tif`, and as PNG to look at.

    Args:
        folder: where to.
        name: what the files' names begin with.
        sample: pictures `(C, H, W)` in [0, 1]; what is called a PSF `(1, h, w)`; single numbers go to `NAME.json`. Of
            what is neither grey nor RGB there is no picture.
    """
    numbers = {part: tensor.item() for part, tensor in sample.items() if tensor.numel() == 1}
    if numbers:
        (folder / f"{name}.json").write_text(json.dumps(numbers) + "\n")
    for part, tensor in sample.items():
        if part in numbers or tensor.shape[0] not in (1, 3):
            continue
        pixels = tensor.detach().cpu().permute(1, 2, 0).numpy()  # (H, W, C)
        if part.endswith("psf"):
            tifffile.imwrite(folder / f"{name}_{part}.tif", pixels[..., 0].astype(np.float32))
            pixels = pixels / max(float(pixels.max()), 1e-12)
        levels = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        Image.fromarray(levels.squeeze(-1) if levels.shape[-1] == 1 else levels).save(folder / f"{name}_{part}.png")
