"""Create the networks of `wiener_stack`, from a recipe or from a file of weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from unblur.contract import checked
from unblur.methods.wiener_stack.network import CompactPlan, CompactStack
from unblur.methods.wiener_stack.published import PublishedPlan, PublishedStack
from unblur.trained import Trained


def network_of(measures: Mapping[str, Any]) -> CompactStack | PublishedStack:
    """Create the network that a recipe's table `network` describes.

    It is the published one if the table has a table `published`, else the compact one.

    Raises:
        UnblurError: an unknown key, or a value that is not allowed.
    """
    source = "wiener_stack, network"
    if "published" in measures:
        return PublishedStack(checked(_Published, measures, source, {"published": PublishedPlan}).published)
    return CompactStack(checked(CompactPlan, measures, source))


class _Published(BaseModel):
    """A table `network` that contains only the table `published`."""

    model_config = ConfigDict(extra="forbid")

    published: PublishedPlan


TRAINED = Trained("wiener_stack", Path(__file__).parent, network_of, module="stack")


def load_network(path: Path | None, device: torch.device | str = "cpu") -> CompactStack | PublishedStack:
    """Load the network of a file of weights, ready to restore; None: the weights included in the package.

    Raises:
        UnblurError: no such file, or a file of another method.
    """
    network = TRAINED.load(path, device)
    assert isinstance(network, (CompactStack, PublishedStack))
    return network
