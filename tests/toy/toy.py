"""A denoiser with a trained network, complete: card, settings, network, training. Tests take it down the whole road.

Learned shrinkage: a picture is filtered, what is small in each channel is taken for noise, and is subtracted. (One
step of the diffusion of Chen & Pock 2017, "Trainable nonlinear reaction diffusion".)
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from unblur.contract import Card, Method, Trainable, checked, setting
from unblur.solvers.data_term import noise_sigma
from unblur.trained import Trained, TrainedSettings
from unblur.types import Observation, Progress, Restoration


class Plan(BaseModel):
    """The recipe's table `network`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filters: Annotated[int, Field(ge=1)] = 24
    size: Annotated[int, Field(ge=3)] = 5


class Shrinkage(nn.Module):
    """`(B, 1, H, W)` pictures with noise of standard deviation sigma, `(B, 1, 1, 1)` -> `(B, 1, H, W)`."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.filters = nn.Parameter(torch.randn(plan.filters, 1, plan.size, plan.size) / plan.size**2)
        self.limits = nn.Parameter(torch.full((1, plan.filters, 1, 1), 0.5))

    def forward(self, picture: Tensor, sigma: Tensor) -> Tensor:
        filters = self.filters - self.filters.mean((-2, -1), keepdim=True)  # a constant picture passes
        reach = filters.shape[-1] // 2
        seen = F.conv2d(F.pad(picture, [2 * reach] * 4, "replicate"), filters)  # (B, N, H + 2 reach, W + 2 reach)
        limits = self.limits.abs() * sigma
        noise = F.conv_transpose2d(seen.clamp(-limits, limits), filters, padding=2 * reach)  # (B, 1, H, W)
        return picture - noise


def build(measures: Mapping[str, Any]) -> Shrinkage:
    """The network of a recipe's table `network`."""
    return Shrinkage(checked(Plan, measures, "toy, network"))


class ToyTraining(Trainable):
    """Learns to take white noise off."""

    stages: Mapping[str, set[str]] = {"denoise": {"all"}}
    area = 32

    def __init__(self, network: Mapping[str, Any], observations: Mapping[str, Any]) -> None:
        self.modules: dict[str, nn.Module] = {"shrinkage": build(network)}
        self.sigma = float(observations["sigma"])

    def observe(self, sample: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        sharp = sample["sharp"].mean(0, keepdim=True)  # (1, H, W)
        noise = self.sigma * torch.randn(sharp.shape, generator=generator)
        return {"blurry": sharp + noise, "sharp": sharp, "sigma": torch.full((1, 1, 1), self.sigma)}

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        yield "all", {"square": (self.restore(batch) - batch["sharp"]).square().mean()}

    def restore(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self.modules["shrinkage"](batch["blurry"], batch["sigma"])


class ToySettings(TrainedSettings):
    """Settings of `toy`."""

    strength: float = setting(1.0, "what the noise level is multiplied by; more is smoother", probe=(0.5, 1.5), ge=0)


TRAINED = Trained("toy", Path(__file__).parent, build, module="shrinkage")


def prepare(observation: Observation, settings: ToySettings, progress: Progress) -> tuple[Observation, ToySettings]:
    """Measures the noise of the whole photo, for all its tiles."""
    return replace(observation, sigma=float(noise_sigma(observation, blurred=False).mean())), settings


@torch.no_grad()
def restore(observation: Observation, settings: ToySettings, progress: Progress) -> Restoration:
    """Through the network, channel by channel."""
    blurry = observation.blurry
    assert blurry is not None
    network = TRAINED.load(settings.weights, blurry.device)
    progress.stage("denoising", 1)
    channels = blurry.shape[1]
    sigma = noise_sigma(observation, blurred=False).repeat_interleave(channels, 0)  # (B C, 1, 1, 1)
    image = network(blurry.flatten(0, 1)[:, None], settings.strength * sigma).view_as(blurry)
    progress.advance()
    return Restoration(image=image)


METHOD = Method(
    Card(
        name="toy",
        title="Learned shrinkage",
        paper="",
        needs=frozenset({"blurry"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"noise"}),
        tiling=True,
        reach=4,
    ),
    ToySettings,
    restore,
    ToyTraining,
    prepare,
    trained=TRAINED,
)
