"""Miao & Zhu, "Handling Noise in Image Deblurring via Joint Learning" (NIDF): one photo that is blurred and noisy.

`network` defines the network, and `training` its samples and losses. The noise level and the PSF are
not needed.
"""

from __future__ import annotations

from pathlib import Path

import torch

from unblur.contract import Card, Method, setting
from unblur.layers.precision import Precision, autocast, dtype_for
from unblur.methods.nidf.network import Nidf, network_of
from unblur.methods.nidf.training import NidfTraining
from unblur.trained import Trained, TrainedSettings
from unblur.types import Observation, Progress, Restoration

TRAINED = Trained("nidf", Path(__file__).parent, network_of)


class NidfSettings(TrainedSettings):
    """Settings of `nidf`."""

    precision: Precision = setting(
        "auto",
        "number format of the network; auto: bfloat16 if the processor has instructions for it, else float32",
        probe=("float32", "bfloat16"),
    )


@torch.no_grad()
def restore(observation: Observation, settings: NidfSettings, progress: Progress) -> Restoration:
    """Compute `B1, I1 = NIDF(N)` (Eq. 2): `I1` is the image, `B1` the stage `denoised`."""
    noisy = observation.blurry
    assert noisy is not None
    network = TRAINED.load(settings.weights, noisy.device)
    assert isinstance(network, Nidf)
    progress.stage("denoising and deblurring", 2)
    with autocast(noisy.device, dtype_for(settings.precision, noisy.device)):
        denoised = network.net1(noisy)  # (B, 3, H, W)
        progress.advance()
        sharp = network.net2(denoised)  # (B, 3, H, W)
        progress.advance()
    return Restoration(image=sharp, stages={"denoised": denoised})


METHOD = Method(
    Card(
        name="nidf",
        title="Two networks trained together: one denoises, one deblurs",
        paper="Miao & Zhu",
        needs=frozenset({"blurry"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"blur", "noise"}),
        channels=(3,),
        multiple_of=16,
        tiling=True,
        reach=128,  # pixels; a tile then agrees with the whole to 59 dB
    ),
    NidfSettings,
    restore,
    NidfTraining,
    trained=TRAINED,
)
