"""The networks of `wiener_stack`: of a recipe's table, and of a file of weights."""

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


TRAINED = Trained("wiener_stack", Path(__file__).parent, network_of, module="stack")


def load_network(path: Path | None, device: torch.device | str = "cpu") -> CompactStack | PublishedStack:
    """The network of a weights file, ready to restore; None: with the weights that ship.

    Raises:
        UnblurError: no such file, or one that is not of this method.
    """
    network = TRAINED.load(path, device)
    assert isinstance(network, (CompactStack, PublishedStack))
    return network
