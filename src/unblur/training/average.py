"""The running average of the weights, which restores better than the weights of any one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unblur.training.checkpoint import state_of


class Average:
    """Exponential moving average (Polyak & Juditsky 1992), `average += (1 - decay) (weights - average)`.

    At first the decay is less, `t / (9 + t)` after t steps, so that the beginning is forgotten sooner.

    Attributes:
        weights: by the names that `state_of` gives them.
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float) -> None:
        """Begin at the weights as they are."""
        self._live, self._decay = state_of(modules), decay
        self.weights = {name: tensor.detach().clone() for name, tensor in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as they are after `step` steps."""
        share = 1 - min(self._decay, step / (9 + step))
        for name, average in self.weights.items():
            if average.is_floating_point():
                average.lerp_(self._live[name], share)
            else:
                average.copy_(self._live[name])

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from these."""
        for name, average in self.weights.items():
            average.copy_(weights[name])

    @contextmanager
    def in_place_of(self, modules: Mapping[str, nn.Module]) -> Iterator[None]:
        """The modules have the average weights in here, and their own again afterwards."""
        live = state_of(modules)
        own = {name: tensor.detach().clone() for name, tensor in live.items()}
        self._copy(self.weights, live)
        try:
            yield
        finally:
            self._copy(own, live)

    @staticmethod
    @torch.no_grad()
    def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        for name, tensor in target.items():
            tensor.copy_(source[name])
