"""Zhang, Zhen, Stevenson, "Deep Motion Blur Removal Using Noisy/Blurry Image Pairs": DeblurMerger.

A short, noisy and a long, blurry shot of one scene are merged. `network` defines the network, and `training` its
samples and losses. The result is the sharp picture at the time of the short shot, as bright as the long one.
Difference from the paper: it is the mean over several orientations of the pair.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from unblur.contract import Card, Method, setting
from unblur.imaging.exposure import brightened
from unblur.layers.orientations import mean_over_orientations
from unblur.layers.precision import Precision, autocast, dtype_for
from unblur.methods.deblur_merger.network import network_of
from unblur.methods.deblur_merger.training import MergerTraining
from unblur.trained import Trained, TrainedSettings
from unblur.types import Observation, Progress, Restoration

TRAINED = Trained("deblur_merger", Path(__file__).parent, network_of, picture=lambda network, *shots: network(*shots))


class MergerSettings(TrainedSettings):
    """Settings of `deblur_merger`."""

    orientations: int = setting(
        2,
        "number of rotated and mirrored copies of the pair that are restored and averaged; higher is better and slower",
        probe=(1, 4),
        ge=1,
        le=8,
    )
    precision: Precision = setting(
        "auto",
        "number format of the network; auto: bfloat16 if the processor is faster with it, else float32",
        probe=("float32", "bfloat16"),
    )


@torch.no_grad()
def restore(observation: Observation, settings: MergerSettings, progress: Progress) -> Restoration:
    """Merge both shots. Without an exposure ratio they are equally bright."""
    I_B, I_N = observation.blurry, observation.noisy
    assert I_B is not None and I_N is not None
    network = TRAINED.load(settings.weights, I_B.device)
    if observation.exposure_ratio is not None:
        I_N = brightened(I_N, observation.exposure_ratio)
    progress.stage("merging both shots", settings.orientations)

    def apply(B: Tensor, N: Tensor) -> list[Tensor]:
        with autocast(B.device, dtype_for(settings.precision, B.device)):
            made = [network(B, N)]
        progress.advance()
        return made

    (image,) = mean_over_orientations(apply, [I_B, I_N], settings.orientations)
    return Restoration(image=image)


METHOD = Method(
    Card(
        name="deblur_merger",
        title="Network with an encoder for each of a short, noisy and a long, blurry shot",
        paper="Zhang, Zhen, Stevenson",
        needs=frozenset({"blurry", "noisy"}),
        takes=frozenset({"exposure_ratio"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"blur", "noise"}),
        channels=(3,),
        multiple_of=16,
        tiling=True,
        reach=128,
    ),
    MergerSettings,
    restore,
    MergerTraining,
    quick={"orientations": 1},
    trained=TRAINED,
)
