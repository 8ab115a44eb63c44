"""Cheng et al. 2021, "Multi-scale Two-Way Deblurring Network": one photo of a moving scene, or by a rotating camera.

`network` defines the compact network, `published` that of the paper, and `training` their samples and losses. No PSF is
needed, and the blur may vary over the photo.
"""

from __future__ import annotations

from pathlib import Path

import torch

from unblur.contract import Card, Method, setting
from unblur.layers.precision import Precision, autocast, dtype_for
from unblur.methods.two_way.network import TwoWay, network_of
from unblur.methods.two_way.published import PublishedTwoWay
from unblur.methods.two_way.training import TwoWayTraining
from unblur.trained import Trained, TrainedSettings
from unblur.types import Observation, Progress, Restoration

TRAINED = Trained(
    "two_way",
    Path(__file__).parent,
    network_of,
    module="network",
    picture=lambda network, blurry: network(blurry)[-1].I,
)


class TwoWaySettings(TrainedSettings):
    """Settings of `two_way`."""

    precision: Precision = setting(
        "auto",
        "number format of the network; auto: bfloat16 if the processor has instructions for it, else float32",
        probe=("float32", "bfloat16"),
    )


@torch.no_grad()
def restore(observation: Observation, settings: TwoWaySettings, progress: Progress) -> Restoration:
    """Run the network from the coarsest scale to the finest; the stages are what its decoders added at the finest."""
    blurry = observation.blurry
    assert blurry is not None
    network = TRAINED.load(settings.weights, blurry.device)
    assert isinstance(network, (TwoWay, PublishedTwoWay))
    progress.stage("deblurring, scale", network.plan.scales)
    with autocast(blurry.device, dtype_for(settings.precision, blurry.device)):
        scales = []
        for scale in network.scales(blurry):
            scales.append(scale)
            progress.advance()
    finest = scales[-1]
    stages = {"up": finest.up} if finest.down is None else {"up": finest.up, "down": finest.down}
    return Restoration(image=finest.I, stages=stages)


METHOD = Method(
    Card(
        name="two_way",
        title="Network of three scales with two decoders, for moving scenes",
        paper="Cheng et al. 2021",
        needs=frozenset({"blurry"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"blur"}),
        channels=(3,),
        multiple_of=64,  # 16 of the U-shape, at a quarter of the size
        tiling=True,
        reach=256,  # pixels; nearer than the theoretical 1400, where a tile agrees with the whole to 55 dB
    ),
    TwoWaySettings,
    restore,
    TwoWayTraining,
    trained=TRAINED,
)
