"""A method with a generator and a critic, for tests of training: it has two optimisers, and uses each network twice."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from trainables import Adversaries
from unblur.contract import Card, Method
from unblur.trained import Trained, TrainedSettings
from unblur.types import Observation, Progress, Restoration


def build(measures) -> nn.Module:
    return Adversaries().modules["denoiser"]


TRAINED = Trained("two_networks", Path(__file__).parent, build, module="denoiser")


def restore(observation: Observation, settings: TrainedSettings, progress: Progress) -> Restoration:
    network = TRAINED.load(settings.weights, observation.blurry.device)
    return Restoration(image=network(observation.blurry))


METHOD = Method(
    Card("two_networks", "A test", "", frozenset({"blurry"}), frozenset({"image"}), frozenset({"noise"})),
    TrainedSettings,
    restore,
    Adversaries,
    trained=TRAINED,
)
