"""The initial weights of a run, from the files of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from unblur.contract import nearest
from unblur.trained import read_tensors
from unblur.training.checkpoint import put_weights
from unblur.types import UnblurError


def put_initial_weights(modules: Mapping[str, nn.Module], given: Sequence[str]) -> list[str]:
    """Load the initial weights of modules from files.

    Args:
        modules: the modules to train, by name.
        given: each `FILE`, for all modules of the same name in the file; or `MODULE=FILE`, for one module: the file's
            module of that name, or its only module. A later file overrides an earlier one.

    Returns:
        Sentences that say what was left out.

    Raises:
        UnblurError: when a file does not exist, or holds no weights for these modules or weights of another network.
    """
    notes, begun = [], set()
    for text in given:
        name, path = _parsed(text, modules)
        stored = _by_module(path)
        if name is None:
            taken = {key: stored[key] for key in stored if key in modules}
            if not taken:
                raise UnblurError(f"{path}: it holds {_listed(stored)}, and the recipe trains {_listed(modules)}.")
            if left_out := set(stored) - set(taken):
                notes.append(f"{path}: {_listed(left_out)} left out, since the recipe trains no such module")
        elif name in stored or len(stored) == 1:
            taken = {name: stored.get(name) or next(iter(stored.values()))}
        else:
            raise UnblurError(f"{path}: it holds {_listed(stored)}, and not '{name}'.")
        for key, weights in taken.items():
            put_weights({key: modules[key]}, {f"{key}.{rest}": tensor for rest, tensor in weights.items()}, str(path))
        begun |= set(taken)
    if given and (fresh := set(modules) - begun):
        notes.append(f"{_listed(fresh)} with random weights, since no file holds any for it")
    return notes


def _parsed(text: str, modules: Mapping[str, nn.Module]) -> tuple[str | None, Path]:
    name, equals, file = text.partition("=")
    if not equals or Path(text).exists():
        return None, Path(text)
    if name not in modules:
        raise UnblurError(f"--init {text}: there is no module '{name}'.{nearest(name, modules)}")
    return name, Path(file)


def _by_module(path: Path) -> dict[str, dict[str, Tensor]]:
    tensors, facts = read_tensors(path)
    if "network" not in facts:
        raise UnblurError(f"{path}: not a file of weights. Name the weights.safetensors of a run.")
    stored: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        module, _, rest = key.partition(".")
        stored.setdefault(module, {})[rest] = tensor
    return stored


def _listed(names: Mapping[str, object] | set[str]) -> str:
    return ", ".join(sorted(names))
