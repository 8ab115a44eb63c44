"""What all methods with trained networks share: how a file of weights becomes a network.

A weights file is in the safetensors format. Its tensors are called `MODULE.WEIGHT`; its metadata is JSON: `method`, the
name on the card; `preset`; `network`, the recipe's table of that name, of which the method builds the network; `step`
and `steps` of the training; `score`, the PSNR in dB on the validation observations.

The weights that ship with a method lie in its folder, as `weights/PRESET.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from pydantic import FilePath
from safetensors import safe_open
from torch import Tensor, nn

from unblur.contract import Method, Settings, nearest, setting
from unblur.types import UnblurError


class TrainedSettings(Settings):
    """Base of the settings of a method with trained networks."""

    weights: FilePath | None = setting(None, "file of weights from `unblur train`; None: those that ship", probe=None)


@dataclass(frozen=True)
class Trained:
    """The networks of a method, in its folder.

    Attributes:
        method: the name on the method's card.
        folder: where `recipe.toml` and `weights/PRESET.safetensors` lie.
        build: builds the network from a recipe's table `network`; raises `UnblurError` for a table that is wrong.
        module: what training calls the network; None: each child of the network is trained under its own name.
        preset: whose weights are used unless others are asked for.
        picture: computes the restored picture with the network, from the pictures that the card needs, blurry before
            noisy, `(B, 3, H, W)` each. It is what `unblur export` writes. None: the network alone makes no picture.
    """

    method: str
    folder: Path
    build: Callable[[Mapping[str, Any]], nn.Module]
    module: str | None = None
    preset: str = "compact"
    picture: Callable[..., Tensor] | None = None

    def presets(self) -> list[str]:
        """Names of the presets whose weights ship, sorted."""
        return sorted(path.stem for path in (self.folder / "weights").glob("*.safetensors"))

    def shipped(self, preset: str | None = None) -> Path:
        """The file of the weights that ship for a preset.

        Raises:
            UnblurError: when none ship.
        """
        preset = preset or self.preset
        if preset not in self.presets():
            raise UnblurError(
                f"no weights '{preset}' of '{self.method}' are installed.{nearest(preset, self.presets())} Name a file "
                f"of weights with --weights; `unblur train {self.method}` makes one."
            )
        return self.folder / "weights" / f"{preset}.safetensors"

    def load(self, weights: Path | None = None, device: torch.device | str = "cpu") -> nn.Module:
        """The network with the weights of a file, or with those that ship, ready to restore.

        The same file gives the same network, which is kept in memory: do not change it.

        Raises:
            UnblurError: no such file, or one that holds no weights of this method.
        """
        path = weights or self.shipped()
        state = path.stat() if path.exists() else None
        changed = None if state is None else (state.st_mtime_ns, state.st_size)
        return _cached(self, path, changed, str(device))

    def read(self, path: Path, device: torch.device | str = "cpu") -> nn.Module:
        """As `load`, but a new network, which may be changed."""
        tensors, facts = read_tensors(path)
        if facts.get("method") != self.method:
            raise UnblurError(f"{path}: not weights of '{self.method}'. `unblur train {self.method}` makes them.")
        if "network" not in facts:
            raise UnblurError(
                f"{path}: it does not say what network its weights are of. Use the weights.safetensors of a training "
                "run; a checkpoint.safetensors is for going on with the training."
            )
        measures = facts["network"]
        try:
            # older files hold the measures encoded twice
            network = self.build(json.loads(measures) if isinstance(measures, str) else measures)
        except UnblurError as error:
            raise UnblurError(f"{path}: {error}") from None
        prefix = "" if self.module is None else f"{self.module}."
        try:
            network.load_state_dict({name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items()})
        except RuntimeError:
            raise UnblurError(f"{path}: the weights do not fit the network that the file describes.") from None
        return channels_last(network.eval().requires_grad_(False).to(device))


def network(method: Method, which: str | Path | None = None, device: torch.device | str = "cpu") -> nn.Module:
    """A new copy of a method's network, to export it or to change it.

    Args:
        method: a method with trained networks.
        which: a file of weights, or the name of a preset whose weights ship; None: the usual preset.
        device: where the network is to be.

    Raises:
        UnblurError: when the method has no network, or the weights are not there or not its own.
    """
    trained = method.trained
    if trained is None:
        raise UnblurError(f"'{method.card.name}' has no trained network.")
    return trained.read(which if isinstance(which, Path) else trained.shipped(which), device)


@lru_cache(maxsize=4)
def _cached(trained: Trained, path: Path, changed: tuple[int, int] | None, device: str) -> nn.Module:
    return trained.read(path, device)


def channels_last(module: nn.Module) -> nn.Module:
    """The module with its convolutions' weights in channels-last order, which is up to twice as fast on CPUs."""
    return module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name and metadata by key of a file that `unblur.training.checkpoint.save` wrote.

    Raises:
        UnblurError: no such file, or not one of these.
    """
    if not path.is_file():
        raise UnblurError(f"{path}: no such file.")
    try:
        with safe_open(path, "pt") as file:
            facts = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in list(file.keys())}, facts
    except Exception as error:  # whatever safetensors and json raise
        raise UnblurError(f"{path}: not a file of weights ({error}).") from None
