"""The ONNX files that `unblur export` writes compute what the methods' networks compute."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from test_cli import refused, run
from unblur import methods
from unblur.contract import Card, Method, Settings
from unblur.pipeline import export
from unblur.pipeline.export import export_onnx
from unblur.trained import Trained, network
from unblur.training.checkpoint import save
from unblur.types import UnblurError

TRAINED = {name: methods.get(name).trained for name in methods.names()}
EXPORTED = [name for name, trained in TRAINED.items() if trained and trained.picture and trained.method == name]


@pytest.fixture
def onnxruntime():
    pytest.importorskip("onnxscript", reason="pip install 'unblur[onnx]'")
    return pytest.importorskip("onnxruntime", reason="pip install 'unblur[onnx]'")


@pytest.fixture
def half(tmp_path):
    """A method whose network is one convolution; its weights halve every channel."""
    trained = Trained("half", tmp_path, lambda _: nn.Conv2d(3, 3, 1, bias=False), "net", picture=lambda net, x: net(x))
    (tmp_path / "weights").mkdir()
    weights = {"net.weight": torch.eye(3)[..., None, None] / 2}
    save(tmp_path / "weights/compact.safetensors", weights, {"method": "half", "network": {}})
    card = Card("half", "", "", frozenset({"blurry"}), frozenset({"image"}), frozenset({"blur"}), multiple_of=4)
    return Method(card, Settings, lambda *_: pytest.fail("not called"), trained=trained)


def test_the_methods_that_are_one_network_can_be_exported():
    assert EXPORTED == ["deblur_merger", "deblur_rnn", "nidf", "two_way"]


def test_a_file_takes_pictures_of_any_size_that_is_a_multiple(onnxruntime, half, tmp_path):
    made = export_onnx(half, tmp_path / "half.onnx")
    assert (made.inputs, made.multiple) == (("blurry",), 4)
    assert made.difference < 1e-6
    session = onnxruntime.InferenceSession(made.path)
    assert session.get_modelmeta().custom_metadata_map == {"method": "half", "multiple_of": "4"}
    for height, width in ((4, 4), (20, 12)):
        picture = np.random.default_rng(0).random((1, 3, height, width), np.float32)
        np.testing.assert_allclose(session.run(["image"], {"blurry": picture})[0], picture / 2, atol=1e-6)


def test_a_file_that_computes_something_else_is_not_written(onnxruntime, half, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_difference", lambda *_: 0.01)
    with pytest.raises(UnblurError, match=r"not written, as onnxruntime differs from torch by 0\.01"):
        export_onnx(half, tmp_path / "half.onnx")
    assert not (tmp_path / "half.onnx").exists()


def test_mistakes_are_explained(half, tmp_path, monkeypatch):
    (tmp_path / "there.onnx").touch()
    assert "cannot be exported" in refused("export", "wiener", "-o", tmp_path / "a.onnx")
    assert "cannot be exported" in refused("export", "wiener_stack", "-o", tmp_path / "a.onnx")
    assert "ends in .onnx" in refused("export", "nidf", "-o", tmp_path / "a.pt")
    assert "exists already" in refused("export", "nidf", "-o", tmp_path / "there.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'unblur[onnx]'" in refused("export", "nidf", "-o", tmp_path / "a.onnx")


_QUICKEST = "deblur_merger"


@pytest.mark.parametrize(
    "name",
    # about 15 s a method on an idle machine
    [name if name == _QUICKEST else pytest.param(name, marks=pytest.mark.slow) for name in EXPORTED],
)
def test_every_network_gives_the_same_picture(onnxruntime, name, tmp_path):
    method = methods.get(name)
    options = []
    if method.trained.preset not in method.trained.presets():  # no weights ship yet
        torch.manual_seed(0)
        fresh = method.trained.build({})
        prefix = f"{method.trained.module}." if method.trained.module else ""
        weights = {f"{prefix}{key}": tensor for key, tensor in fresh.state_dict().items()}
        save(tmp_path / "w.safetensors", weights, {"method": name, "network": {}})
        options = ["--weights", tmp_path / "w.safetensors"]
    result = run("export", name, "-o", tmp_path / "a.onnx", *options)
    assert result.exit_code == 0, result.output
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    module = network(method, options[1] if options else None)
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(1, 3, 128, 192, generator=generator) for _ in session.get_inputs()]
    with torch.no_grad():
        wanted = method.trained.picture(module, *pictures)
    feed = {one.name: picture.numpy() for one, picture in zip(session.get_inputs(), pictures, strict=True)}
    np.testing.assert_allclose(session.run(["image"], feed)[0], wanted.numpy(), atol=1e-3)
