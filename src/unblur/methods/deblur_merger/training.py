"""How `unblur train deblur_merger` trains: pairs of a short, noisy and a long, blurry shot, made from photos.

A step of the stage `adversarial` is as published: the discriminator, then the generator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from unblur.contract import Trainable, checked
from unblur.imaging.synthesis.pair_samples import PairObservations, observe_pair, shots
from unblur.layers.strided_blocks import Discriminator
from unblur.losses import GeneratorLosses, discriminator_loss, log_error
from unblur.methods.deblur_merger.network import merge, network_of


class Observations(PairObservations):
    """The recipe's table `observations`.

    Attributes:
        losses: the weights of the losses as published, for the stages `content` and `adversarial`. None: the stage
            `restore`, whose loss is the logarithm of each picture's error.
        discriminator: channels after each block of the discriminator.
    """

    losses: GeneratorLosses | None = None
    discriminator: tuple[PositiveInt, ...] = (64, 128, 256, 512)


class MergerTraining(Trainable):
    """Train with pairs of shots made from photos, from frames, or from blurry and sharp pictures.

    The stage `content` is `adversarial` without the discriminator.
    """

    sources = frozenset({"photos", "pairs", "frames"})

    def __init__(self, network: Mapping[str, Any], observations: Mapping[str, Any]) -> None:
        tables = {"losses": GeneratorLosses}
        self._observations = checked(Observations, observations, "deblur_merger, observations", tables)
        self.area, self.frames = self._observations.recipe().area, self._observations.frames
        self.modules: dict[str, nn.Module] = dict(network_of(network).named_children())
        self.stages: Mapping[str, set[str]] = {"restore": {"generator"}}
        if self._observations.losses is not None:
            self.modules["discriminator"] = Discriminator(self._observations.discriminator)
            self.stages = {"content": {"generator"}, "adversarial": {"discriminator", "generator"}}

    def observe(self, sample: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Create `blurry`, `noisy`, `ratio` and `sharp` of a sample, see `observe_pair`."""
        return observe_pair(sample, self._observations, generator)

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """Compute the losses of each network, in the order of the paper (sec. III-B)."""
        I_S, losses = batch["sharp"], self._observations.losses
        I_B, I_N = shots(batch)
        made = merge(self.modules, I_B, I_N)
        if losses is None:
            yield "generator", {"sharp": log_error(made, I_S).mean()}
            return
        logits = None
        if stage == "adversarial":
            D = self.modules["discriminator"]
            yield "discriminator", {"adversarial": discriminator_loss(*D(I_S, made.detach(), I_B))}  # Eq. 4
            _, logits = D(I_S, made, I_B)
        yield "generator", losses.of_pictures(made, I_S, logits)  # Eq. 3

    def restore(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Restore the batch: `(B, 3, H, W)`."""
        return merge(self.modules, *shots(batch))
