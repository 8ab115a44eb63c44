"""CelebA's aligned faces, blurred and noisy, by the recipe of Miao & Zhu (NIDF), sec. 2.3.

The faces: Liu, Luo, Wang, Tang 2015, "Deep Learning Face Attributes in the Wild", 202 599 pictures of 178 x 218 px. The
PSFs and the noise are those of `nidf`. The paper leaves three things open; our reading is:

- "We first resize I to 256 x 256": the whole picture, with Lanczos's filter, rounded to 8 bits. So faces become wider.
- A blurry picture of 256 x 256 px also depends on pixels outside I: these have the value of the nearest pixel.
- "113831 training samples and 100 test samples": the test samples are the last 100 of the test partition in CelebA's
  `list_eval_partition.txt`, or the last 100 pictures if this file is not there. Training samples are taken from the
  training partition only, its first 113 831.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unblur.datasets.base import read_picture
from unblur.datasets.nidf import SIDE, Nidf
from unblur.imaging.convolution import convolve
from unblur.types import UnblurError

TEST = 100
PARTITIONS = "list_eval_partition.txt"  # lines "000001.jpg 0": 0 training, 1 validation, 2 test


class CelebA(Nidf):
    """Four observations of each of the 100 test faces, scored as `nidf`."""

    name = "celeba"
    title = "CelebA: 100 aligned faces, blurred by a camera shake of 7 to 49 px, with noise of sigma 10 to 40 of 255"
    layout = f"img_align_celeba/000001.jpg ... 202599.jpg, at least {TEST} of them, and {PARTITIONS} if it is there"
    protocol: ClassVar[Mapping[str, Any]] = {
        **Nidf.protocol,
        "dataset": "celeba",
        "paper": "Miao & Zhu, sec. 2.3; which faces, the filter and the boundary are our reading",
        "sharp": f"the whole picture of 178 x 218 px resized to {SIDE} x {SIDE} px by Lanczos, 8 bits",
        "pictures": f"the last {TEST} of the test partition, or of all pictures without {PARTITIONS}",
        "blurry": "made here: the nearest pixels outside, white Gaussian noise, neither clipped nor rounded",
    }

    def _photos(self, root: Path) -> dict[str, Path]:
        faces = root / "img_align_celeba" if (root / "img_align_celeba").is_dir() else root
        names = sorted(path.name for path in faces.glob("[0-9][0-9][0-9][0-9][0-9][0-9].jpg"))
        partitions = _partitions(root, self.layout)
        if partitions:
            names = [name for name in names if partitions.get(name) == "2"]
        if len(names) < TEST:
            test = " of the test partition" if partitions else ""
            raise UnblurError(f"{root} holds {len(names)} faces{test}. Expected: {self.layout}.")
        return {Path(name).stem: faces / name for name in names[-TEST:]}

    def _blur(self, path: Path, psf: Tensor) -> tuple[Tensor, Tensor]:
        face = read_picture(path, self.layout).expand(-1, 3, -1, -1)[0].movedim(0, -1)  # (218, 178, 3)
        photo = Image.fromarray(np.asarray(face * 255).round().astype(np.uint8))
        resized = np.array(photo.resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.float32)
        sharp = torch.from_numpy(resized / 255).movedim(-1, 0)[None].contiguous()  # (1, 3, 256, 256)
        return sharp, convolve(sharp, psf, "replicate")


def _partitions(root: Path, layout: str) -> dict[str, str]:
    """The partition of each file by its name; empty when CelebA's list is not there."""
    places = (place / PARTITIONS for place in (root, root / "Eval", root.parent, root.parent / "Eval"))
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        return {}
    rows = [line.split() for line in found.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if not rows or any(len(row) != 2 for row in rows):
        raise UnblurError(f"{found} has lines that are not 'NAME PARTITION'. Expected: {layout}.")
    return dict(rows)


DATASET = CelebA()
