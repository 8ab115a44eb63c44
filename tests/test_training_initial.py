"""Beginning with the weights of earlier runs: whole, or module by module from several files."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unblur.training.checkpoint import halved, save
from unblur.training.initial import put_initial_weights
from unblur.types import UnblurError


def filled(value: float) -> nn.Module:
    module = nn.Conv2d(1, 1, 3, bias=False)
    nn.init.constant_(module.weight, value)
    return module


def weights_file(path, **modules: nn.Module) -> str:
    save(path, halved(nn.ModuleDict(modules).state_dict()), {"method": "m", "network": {}})
    return str(path)


@pytest.fixture
def modules():
    return {"denoiser": filled(0), "deblurrer": filled(0)}


def values(modules) -> dict[str, float]:
    return {name: float(module.weight.detach().mean()) for name, module in modules.items()}


def test_networks_that_were_trained_apart_are_joined(tmp_path, modules):
    first = weights_file(tmp_path / "a.safetensors", denoiser=filled(1))
    second = weights_file(tmp_path / "b.safetensors", stack=filled(2))
    assert put_initial_weights(modules, [first, f"deblurrer={second}"]) == []
    assert values(modules) == {"denoiser": 1, "deblurrer": 2}


def test_of_a_plain_file_the_modules_of_the_same_names_are_taken_and_the_rest_is_said(tmp_path, modules):
    path = weights_file(tmp_path / "a.safetensors", denoiser=filled(1), critic=filled(2))
    notes = put_initial_weights(modules, [path])
    assert values(modules) == {"denoiser": 1, "deblurrer": 0}
    assert notes == [
        f"{path}: critic left out, since the recipe trains no such module",
        "deblurrer with random weights, since no file holds any for it",
    ]


def test_a_module_is_taken_under_its_own_name_from_a_file_of_several(tmp_path, modules):
    path = weights_file(tmp_path / "a.safetensors", denoiser=filled(1), deblurrer=filled(2))
    put_initial_weights(modules, [f"denoiser={path}"])
    assert values(modules) == {"denoiser": 1, "deblurrer": 0}


def test_a_later_file_goes_before_an_earlier_one(tmp_path, modules):
    both = weights_file(tmp_path / "a.safetensors", denoiser=filled(1), deblurrer=filled(1))
    one = weights_file(tmp_path / "b.safetensors", denoiser=filled(3))
    put_initial_weights(modules, [both, one])
    assert values(modules) == {"denoiser": 3, "deblurrer": 1}


def test_a_file_that_does_not_help_is_refused(tmp_path, modules):
    others = weights_file(tmp_path / "others.safetensors", stack=filled(1), critic=filled(1))
    large = weights_file(tmp_path / "large.safetensors", denoiser=nn.Conv2d(1, 1, 5, bias=False))
    save(tmp_path / "checkpoint.safetensors", {"weights/denoiser.weight": torch.zeros(1)}, {"method": "m"})
    for given, said in (
        (others, "others.safetensors: it holds critic, stack, and the recipe trains deblurrer, denoiser"),
        (f"denoiser={others}", "others.safetensors: it holds critic, stack, and not 'denoiser'"),
        (f"denoizer={others}", "no module 'denoizer'. Did you mean 'denoiser'"),
        (large, "large.safetensors: these are the weights of another network"),
        (str(tmp_path / "checkpoint.safetensors"), "not a file of weights. Name the weights.safetensors of a run"),
        (str(tmp_path / "none.safetensors"), "none.safetensors: no such file"),
    ):
        with pytest.raises(UnblurError, match=said):
            put_initial_weights(modules, [given])
    assert values(modules) == {"denoiser": 0, "deblurrer": 0}
