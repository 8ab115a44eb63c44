"""How `unblur train deblur_merger` trains: pairs of a short, noisy and a long, blurry shot, made from photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unblur.contract import Trainable, checked
from unblur.imaging.synthesis.pair_samples import PairObservations, observe_pair, shots
from unblur.losses import log_error
from unblur.methods.deblur_merger.network import network_of


class MergerTraining(Trainable):
    """Train in one stage, with pairs of shots made from photos, from frames, or from blurry and sharp pictures."""

    stages: Mapping[str, set[str]] = {"restore": {"generator"}}
    sources = frozenset({"photos", "pairs", "frames"})

    def __init__(self, network: Mapping[str, Any], observations: Mapping[str, Any]) -> None:
        self._observations = checked(PairObservations, observations, "deblur_merger, observations")
        self.area, self.frames = self._observations.recipe().area, self._observations.frames
        generator = network_of(network)
        self.modules: dict[str, nn.Module] = {"net1": generator.net1, "merger": generator.merger}

    def observe(self, sample: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Create `blurry`, `noisy`, `ratio` and `sharp` of a sample, see `observe_pair`."""
        return observe_pair(sample, self._observations, generator)

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """Compute the logarithm of each picture's error."""
        yield "generator", {"sharp": log_error(self.restore(batch), batch["sharp"]).mean()}

    def restore(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Restore the batch: `(B, 3, H, W)`."""
        I_B, I_N = shots(batch)
        return self.modules["net1"](I_N, I_B, self.modules["merger"])
