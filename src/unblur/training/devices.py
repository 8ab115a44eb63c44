"""Training on several devices: each processes its own part of a batch, and the gradients are averaged.

Lightning's "ddp" wraps each network in `DistributedDataParallel`, which expects one backward pass after each forward
pass. This does not hold for a step with two optimisers or several forward passes of one network (pytorch issue 105723).
So the networks are not wrapped here, and the gradients are averaged in one message before an optimiser's step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from unblur.types import UnblurError


class _Replicas(DDPStrategy):
    """The processes and messages of `DDPStrategy`, without its wrapper."""

    def setup_module(self, module: nn.Module) -> nn.Module:  # pyright: ignore[reportIncompatibleMethodOverride]
        return module


def make_fabric(accelerator: str, devices: int, nodes: int, precision: str) -> Fabric:
    """Lightning's Fabric for these devices; `precision` is "32" or "bf16".

    Raises:
        UnblurError: when these devices do not exist.
    """
    try:
        return Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=_Replicas() if devices * nodes > 1 else "auto",
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
    except (ValueError, RuntimeError) as error:
        raise UnblurError(f"--accelerator {accelerator}, --devices {devices}: {error}") from None


def averaged(fabric: Fabric, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The mean of each tensor over all processes, in one message."""
    if fabric.world_size == 1:
        return list(tensors)
    message = fabric.all_reduce(torch.cat([tensor.detach().flatten().float() for tensor in tensors]))
    assert isinstance(message, Tensor)
    parts = message.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def average_gradients(fabric: Fabric, weights: Sequence[Tensor], losses: Tensor) -> Tensor:
    """Replace the gradients of weights by their means over all processes; return the means of the losses.

    A missing gradient counts as 0, unless it is missing in all processes.
    """
    if fabric.world_size == 1:
        return losses.detach()
    given = losses.new_tensor([float(weight.grad is not None) for weight in weights])
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    *gradients, given, losses = averaged(fabric, [*gradients, given, losses])
    for weight, gradient, share in zip(weights, gradients, given.tolist(), strict=True):
        if share:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad.copy_(gradient)
    return losses


def any_process(fabric: Fabric, wish: bool) -> bool:
    """Whether `wish` is true in at least one process. All processes must call this, and get the same answer."""
    if fabric.world_size == 1:
        return wish
    (share,) = averaged(fabric, [torch.tensor(float(wish), device=fabric.device)])
    return bool(share > 0)
