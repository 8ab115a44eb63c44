"""Zhang, Zhen, Stevenson, "Deep Motion Blur Removal Using Noisy/Blurry Image Pairs": DeblurRNN.

A short, noisy shot is denoised, and then a second network merges it with a long, blurry shot of the same scene.
`network` defines the compact network, `published` that of the paper, and `training` their samples and losses. The
result is the sharp picture at the time of the short shot, as bright as the long one. Difference from the paper: it is
the mean over several orientations of the pair.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from unblur.contract import Card, Method, setting
from unblur.imaging.exposure import brightened
from unblur.layers.orientations import mean_over_orientations
from unblur.layers.precision import Precision, autocast, dtype_for
from unblur.methods.deblur_rnn.network import network_of
from unblur.methods.deblur_rnn.training import RnnTraining
from unblur.trained import Trained, TrainedSettings
from unblur.types import Observation, Progress, Restoration

TRAINED = Trained("deblur_rnn", Path(__file__).parent, network_of, picture=lambda network, *shots: network(*shots)[1])


class RnnSettings(TrainedSettings):
    """Settings of `deblur_rnn`."""

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
def restore(observation: Observation, settings: RnnSettings, progress: Progress) -> Restoration:
    """Denoise the short shot, and restore the sharp picture from both. The stage `denoised` is the denoised short shot.

    Without an exposure ratio both shots are equally bright.
    """
    I_B, I_N = observation.blurry, observation.noisy
    assert I_B is not None and I_N is not None
    network = TRAINED.load(settings.weights, I_B.device)
    if observation.exposure_ratio is not None:
        I_N = brightened(I_N, observation.exposure_ratio)
    progress.stage("denoising and merging both shots", settings.orientations)

    def apply(B: Tensor, N: Tensor) -> list[Tensor]:
        with autocast(B.device, dtype_for(settings.precision, B.device)):
            made = list(network(B, N))
        progress.advance()
        return made

    I_C, I_S = mean_over_orientations(apply, [I_B, I_N], settings.orientations)
    return Restoration(image=I_S, stages={"denoised": I_C})


METHOD = Method(
    Card(
        name="deblur_rnn",
        title="Two networks: one denoises the short shot, one restores with the long, blurry shot",
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
    RnnSettings,
    restore,
    RnnTraining,
    quick={"orientations": 1},
    trained=TRAINED,
)
