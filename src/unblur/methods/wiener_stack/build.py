"""Networks from their measures and from weights files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from unblur.contract import checked
from unblur.layers.weights import channels_last, read_tensors
from unblur.methods.wiener_stack.network import CompactPlan, CompactStack
from unblur.methods.wiener_stack.published import PublishedPlan, PublishedStack
from unblur.types import UnblurError


def network_of(measures: Mapping[str, Any]) -> CompactStack | PublishedStack:
    """The network of a recipe's table `network`: the published one if it has a table `published`, else the compact one.

    Raises:
        UnblurError: for a key that there is not, or a value that cannot be.
    """
    source = "wiener_stack, network"
    if "published" in measures:
        return PublishedStack(checked(_Published, measures, source, {"published": PublishedPlan}).published)
    return CompactStack(checked(CompactPlan, measures, source))


class _Published(BaseModel):
    """A table `network` with nothing in it but the table `published`."""

    model_config = ConfigDict(extra="forbid")

    published: PublishedPlan


def load_network(path: Path, device: str = "cpu") -> CompactStack | PublishedStack:
    """The network of a weights file, ready to restore.

    Raises:
        UnblurError: no such file, or one that is not of this method.
    """
    return _load(path, path.stat().st_mtime_ns if path.exists() else 0, device)


@lru_cache(maxsize=4)
def _load(path: Path, changed: int, device: str) -> CompactStack | PublishedStack:
    tensors, facts = read_tensors(path)
    if facts.get("method") != "wiener_stack":
        raise UnblurError(f"{path}: not weights of wiener_stack. `unblur train wiener_stack` makes them.")
    if "network" not in facts:
        raise UnblurError(
            f"{path}: it does not say what network its weights are of. A run's weights.safetensors does; "
            "its checkpoint.safetensors is for going on with the training."
        )
    network = network_of(json.loads(facts["network"]))
    try:
        network.load_state_dict({name.removeprefix("stack."): tensor.float() for name, tensor in tensors.items()})
    except RuntimeError:
        raise UnblurError(f"{path}: the weights do not fit the network that the file describes.") from None
    channels_last(network.eval().requires_grad_(False).to(device))
    return network
