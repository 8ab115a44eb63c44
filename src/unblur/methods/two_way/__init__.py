"""Cheng et al. 2021, "Multi-scale Two-Way Deblurring Network": one photo of a moving scene, or by a rotating camera.

`network` defines the compact network, `published` that of the paper, and `training` their samples and losses. No PSF is
needed, and the blur may vary over the photo. Difference from the paper: the result is the mean over several
orientations of the photo.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from unblur.contract import Card, Method, setting
from unblur.layers.orientations import mean_over_orientations
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
SEVERAL, FEW = 2, 1  # orientations; one takes 1 s per megapixel on two cores


class TwoWaySettings(TrainedSettings):
    """Settings of `two_way`."""

    orientations: int | None = setting(
        None,
        "number of rotated and mirrored copies of the picture that are restored and averaged; higher is better and "
        f"slower; None: {SEVERAL}, or {FEW} for a photo that is restored in tiles",
        probe=(1, 4),
        ge=1,
        le=8,
    )
    precision: Precision = setting(
        "auto",
        "number format of the network; auto: bfloat16 if the processor is faster with it, else float32",
        probe=("float32", "bfloat16"),
    )


def prepare(
    observation: Observation, settings: TwoWaySettings, progress: Progress
) -> tuple[Observation, TwoWaySettings]:
    """Choose the number of orientations for a photo that is restored in tiles."""
    return observation, settings.model_copy(update={"orientations": settings.orientations or FEW})


@torch.no_grad()
def restore(observation: Observation, settings: TwoWaySettings, progress: Progress) -> Restoration:
    """Run the network from the coarsest scale to the finest; the stages are what its decoders added at the finest."""
    blurry = observation.blurry
    assert blurry is not None
    network = TRAINED.load(settings.weights, blurry.device)
    assert isinstance(network, (TwoWay, PublishedTwoWay))
    orientations = settings.orientations or SEVERAL
    progress.stage("deblurring, scale", network.plan.scales * orientations)

    def apply(B: Tensor) -> list[Tensor]:
        scales = []
        with autocast(B.device, dtype_for(settings.precision, B.device)):
            for scale in network.scales(B):
                scales.append(scale)
                progress.advance()
        return [part for part in scales[-1] if part is not None]

    image, *parts = mean_over_orientations(apply, [blurry], orientations)
    return Restoration(image=image, stages=dict(zip(("up", "down"), parts, strict=False)))  # "down": only with that way


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
    prepare,
    quick={"orientations": 1},
    trained=TRAINED,
)
