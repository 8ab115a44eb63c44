"""The running average of the weights, which restores better than the weights of a single step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def running_average(networks: nn.Module, decay: float) -> AveragedModel:
    """A copy of the networks with the exponential moving average of their weights (Polyak & Juditsky 1992).

    Each `update_parameters(networks)` computes `average += (1 - decay) (weights - average)`. At step t the decay is at
    most `t / (9 + t)`, so that the initial weights lose their influence soon. Buffers are copied.
    """

    @torch.no_grad()
    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], done: Tensor | int) -> None:
        step = int(done) + 1
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, 1 - min(decay, step / (9 + step)))

    average = AveragedModel(networks, multi_avg_fn=update)
    average.requires_grad_(False).eval()
    return average
