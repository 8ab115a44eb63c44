"""Non-local means denoising: average the pixels whose surroundings look alike, by OpenCV."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unblur.contract import Card, Method, Settings, setting
from unblur.solvers.data_term import noise_sigma
from unblur.types import Observation, Progress, Restoration


class NlmSettings(Settings):
    """Settings of `nlm`."""

    strength: float = setting(1.0, "multiplies the noise level; higher is smoother", probe=(0.6, 1.5), ge=0.01, le=10)
    patch: int = setting(3, "side in pixels of the surroundings compared; odd", probe=(3, 7), ge=1, le=9)
    search: int = setting(15, "side in pixels of the area searched; larger is slower", probe=(7, 21), ge=3, le=41)


def restore(observation: Observation, settings: NlmSettings, progress: Progress) -> Restoration:
    """Denoise `observation.blurry`, in 16 bits and on all channels together; see `NlmSettings`."""
    blurry = observation.blurry
    assert blurry is not None
    progress.stage("denoising", len(blurry))
    restored = []
    for picture, sigma in zip(blurry, noise_sigma(observation, blurred=False), strict=True):
        restored.append(_denoise(picture, settings, float(sigma)))
        progress.advance()
    return Restoration(image=torch.stack(restored))


def _denoise(picture: Tensor, settings: NlmSettings, sigma: float) -> Tensor:
    """One picture `(C, H, W)` in [0, 1]."""
    import cv2

    levels = (picture.clamp(0, 1) * _WHITE).round().permute(1, 2, 0).cpu().numpy().astype(np.uint16)  # (H, W, C)
    bandwidth = [_BANDWIDTH * settings.strength * sigma * _WHITE]
    clean = cv2.fastNlMeansDenoising(
        np.ascontiguousarray(levels), bandwidth, None, settings.patch, settings.search, cv2.NORM_L1
    )
    return (torch.from_numpy(np.atleast_3d(clean).astype(np.float32)) / _WHITE).permute(2, 0, 1).to(picture)


_WHITE = 65535
_BANDWIDTH = 1.5  # in noise levels: best of 0.5..1.5 on validation photos with sigma = 0.02, 0.06 and 0.12

METHOD = Method(
    Card(
        name="nlm",
        title="Non-local means: takes out noise, leaves blur",
        paper="Buades, Coll & Morel 2005",
        needs=frozenset({"blurry"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"noise"}),
        tiling=True,
    ),
    NlmSettings,
    restore,
    quick={"search": 9},
)
