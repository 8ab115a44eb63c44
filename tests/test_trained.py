"""What every method with trained networks owes a person. A new one is tested here by itself.

Beside the weights that ship, `weights/expected.toml` says what is expected of them:

    [floors]            # PSNR in dB that the weights of a preset reach on the scene below
    compact = 32.5
    [tiny]              # a tiny network, and its output at a few pixels with weights from a seed
    network = { ... }
    settings = { ... }
    pixels = [ ... ]

`python tests/test_trained.py METHOD` prints what to write there.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch

from helpers import blurred_scene, ready
from unblur import methods
from unblur.contract import Method
from unblur.imaging.psf import delta_psf, linear_motion_psf
from unblur.metrics import psnr
from unblur.trained import Trained, TrainedSettings, network
from unblur.training.checkpoint import save
from unblur.types import Observation, UnblurError

TRAINED = [name for name in methods.names() if (trained := methods.get(name).trained) and trained.method == name]
BORROWING = [name for name in methods.names() if (trained := methods.get(name).trained) and trained.method != name]
SHIPPED = [(name, preset) for name in TRAINED for preset in methods.get(name).trained.presets()]


def observation_for(method: Method, height: int, width: int) -> tuple[Observation, torch.Tensor]:
    """What the method uses of a scene with what it undoes, and the sharp picture."""
    card = method.card
    psf = delta_psf() if "blur" not in card.undoes else None
    if "blur" in card.undoes and "psf" not in card.needs:
        psf = linear_motion_psf(6, 30)  # without a PSF less blur can be undone
    sigma = 0.08 if "noise" in card.undoes else 0.01
    scene = blurred_scene(height, width, max(card.channels), sigma=sigma, psf=psf)
    noise = torch.randn(scene.sharp.shape, generator=torch.Generator().manual_seed(7))
    everything: dict[str, Any] = {
        "blurry": scene.blurry,
        "noisy": scene.sharp + 0.05 * noise,
        "psf": scene.psf,
        "frames": scene.blurry[:, None].expand(-1, 3, -1, -1, -1),
        "exposure_ratio": 1.0,
    }
    return Observation(**{name: everything[name] for name in card.needs | card.takes}), scene.sharp


def expected_of(trained: Trained) -> dict[str, Any]:
    return tomllib.loads((trained.folder / "weights" / "expected.toml").read_text())


def score_of(method: Method, preset: str) -> float:
    observation, sharp = observation_for(method, 96, 120)
    image = method(observation, {"weights": method.trained.shipped(preset)}).image
    return float(psnr(image.clamp(0, 1), sharp).mean())


def pixels_of(method: Method, expected: dict[str, Any], folder: Path) -> list[float]:
    """Of a tiny network, whose weights a seed gives: the last layers of a new one may be zero."""
    trained = method.trained
    tiny = trained.build(expected["network"])
    generator = torch.Generator().manual_seed(0)
    for parameter in tiny.parameters():
        torch.nn.init.normal_(parameter, std=0.05, generator=generator)
    named = torch.nn.ModuleDict({trained.module: tiny}) if trained.module else tiny
    save(folder / "tiny.safetensors", named.state_dict(), {"method": trained.method, "network": expected["network"]})
    observation, _ = observation_for(method, 40, 52)
    settings = {**expected.get("settings", {}), "weights": folder / "tiny.safetensors"}
    return method(observation, settings).image[0, 0, 3::11, 5::17].flatten().tolist()


@pytest.mark.parametrize("name", TRAINED)
def test_its_weights_setting_is_that_of_all(name):
    assert issubclass(methods.get(name).settings, TrainedSettings)
    assert methods.get(name).trained.method == methods.get(name).card.name


@pytest.mark.parametrize("name", TRAINED)
def test_every_preset_that_ships_has_a_floor(name):
    trained = methods.get(name).trained
    assert trained.presets() == sorted(expected_of(trained)["floors"])


@pytest.mark.parametrize("name", sorted({*TRAINED} - {name for name, _ in SHIPPED}))
def test_a_method_without_weights_in_the_package_says_how_to_make_some(name):
    method = methods.get(name)
    observation, _ = observation_for(method, 32, 32)
    with pytest.raises(UnblurError, match=f"no weights 'compact' of '{name}'.*--weights; `unblur train {name}` makes"):
        method(observation)


@pytest.mark.parametrize(("name", "preset"), SHIPPED)
def test_shipped_weights_reach_their_floor_and_those_a_decibel_worse_would_not(name, preset):
    method = methods.get(name)
    floor = expected_of(method.trained)["floors"][preset]
    assert floor <= score_of(method, preset) < floor + 1


@pytest.mark.parametrize(("name", "preset"), SHIPPED)
def test_shipped_weights_are_small_halves(name, preset):
    trained = methods.get(name).trained
    assert trained.shipped(preset).stat().st_size < 10e6
    loaded = network(methods.get(name), preset)
    assert all(torch.equal(weight, weight.half().float()) for weight in loaded.parameters())


@pytest.mark.parametrize("name", TRAINED)
def test_a_tiny_network_gives_what_it_always_gave(name, tmp_path):
    method = methods.get(name)
    expected = expected_of(method.trained)["tiny"]
    assert pixels_of(method, expected, tmp_path) == pytest.approx(expected["pixels"], abs=2e-4)


@pytest.mark.parametrize("name", [name for name in TRAINED if name in ready()])
def test_a_loaded_network_is_kept_and_one_for_export_is_its_own(name, tmp_path):
    trained = methods.get(name).trained
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(trained.shipped().read_bytes())
    first = trained.load(copy)
    assert trained.load(copy) is first and trained.load() is trained.load()
    assert not first.training and not any(weight.requires_grad for weight in first.parameters())
    exported = network(methods.get(name), copy)
    assert exported is not first
    pairs = zip(exported.parameters(), first.parameters(), strict=True)
    assert all(torch.equal(one, other) and one is not other for one, other in pairs)
    copy.write_bytes(trained.shipped().read_bytes() + b" ")  # another size, if not another time
    with pytest.raises(UnblurError, match="not a file of weights"):
        trained.load(copy)


@pytest.mark.parametrize("name", TRAINED)
def test_a_file_that_is_not_of_this_method_is_refused(name, tmp_path):
    trained = methods.get(name).trained
    measures = expected_of(trained)["tiny"]["network"]
    for number, (facts, said) in enumerate(
        (
            ({}, f"not weights of '{name}'"),
            ({"method": "another"}, f"not weights of '{name}'.*unblur train {name}"),
            ({"method": name, "recipe": {}}, "does not say what network.*checkpoint.safetensors is for going on"),
            ({"method": name, "network": measures}, "do not fit the network"),
            ({"method": name, "network": {**measures, "colour": "red"}}, ".*'colour'"),
        )
    ):
        path = tmp_path / f"{number}.safetensors"
        save(path, {"x.y": torch.zeros(1)}, facts)
        with pytest.raises(UnblurError, match=f"{path.name}.*{said}"):
            trained.load(path)
    with pytest.raises(UnblurError, match="no such file"):
        trained.load(tmp_path / "none.safetensors")
    hint = " Did you mean 'compact'" if trained.presets() else ""
    with pytest.raises(UnblurError, match=f"no weights 'compcat' of .*{hint}"):
        trained.shipped("compcat")


def test_a_method_without_a_network_has_none_to_export():
    (name, *_) = set(methods.names()) - set(TRAINED) - set(BORROWING)
    with pytest.raises(UnblurError, match=f"'{name}' has no trained network"):
        network(methods.get(name))


# --- networks of several modules ------------------------------------------------------------------


class Pair(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.denoiser, self.deblurrer = torch.nn.Conv2d(1, 1, 3), torch.nn.Conv2d(1, 1, 5)


def test_a_network_of_several_modules_is_stored_under_their_names(tmp_path):
    pair = Pair()
    modules = torch.nn.ModuleDict({"denoiser": pair.denoiser, "deblurrer": pair.deblurrer})  # as a training has them
    save(tmp_path / "a.safetensors", modules.state_dict(), {"method": "pair", "network": {}})
    loaded = Trained("pair", tmp_path, lambda measures: Pair()).load(tmp_path / "a.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), pair.parameters(), strict=True))


def test_a_method_whose_weights_are_not_there_yet_says_how_to_make_them(tmp_path):
    with pytest.raises(UnblurError, match=r"no weights 'compact' of 'pair' are installed.*unblur train pair"):
        Trained("pair", tmp_path, lambda measures: Pair()).load()


if __name__ == "__main__":
    asked = methods.get(sys.argv[1])
    for preset in asked.trained.presets():
        print(f"{preset}: reaches {score_of(asked, preset):.2f} dB")
    tiny = expected_of(asked.trained)["tiny"]
    print("pixels =", [round(pixel, 6) for pixel in pixels_of(asked, tiny, Path(mkdtemp()))])
