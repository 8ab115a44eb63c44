"""`unblur doctor`: what is there, what is missing, and what to type."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from unblur.cli import app
from unblur.methods import get
from unblur.pipeline import installation

REQUIRED = [
    "torch>=2.6",
    "numpy>=2",
    'winreg-helper>=1; sys_platform == "win32" and python_version < "3"',
    "pillow>=1; extra == 'heif'",
    "no-such-package>=3; extra == 'raw'",
    "no-such-package>=3; extra == 'test'",
    "unblur[heif,raw]; extra == 'test'",
    "torch>=1000; extra == 'bench'",
]


@pytest.fixture
def require(monkeypatch):
    """Says what the installed unblur requires."""

    def set_to(lines: list[str]) -> None:
        monkeypatch.setattr(installation, "requires", lambda name: lines)

    set_to(REQUIRED)
    return set_to


def doctor(*arguments: str):
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_it_says_what_is_there_and_ends_with_0_if_only_extras_are_missing(require):
    result = doctor()
    assert result.exit_code == 0, result.output
    first, torch, devices, *_ = result.stdout.splitlines()
    assert first.startswith("unblur 0.")
    assert torch.startswith("torch 2.") and " threads on " in torch and "bfloat16" in torch
    assert devices.startswith("devices: cpu")
    assert "wiener_stack compact (1." in result.stdout
    assert result.stdout.endswith("unblur works\n")


def test_it_says_what_to_type_for_an_extra_that_is_missing(require):
    said = [line.strip() for line in doctor().stdout.splitlines()]
    assert "pip install 'unblur[raw]'" in said
    assert "pip install 'unblur[heif]'" not in said
    assert "no-such-package (missing)" in said


def test_json_has_every_figure(require):
    found = json.loads(doctor("--json").stdout)
    assert found["works"] is True and found["troubles"] == []
    assert found["trial_seconds"] < 30 and found["temporary_gb"] > 0
    assert found["torch"]["devices"][0] == "cpu" and found["torch"]["threads"] == 1
    extras = {extra["name"]: extra for extra in found["extras"]}
    assert list(extras) == ["bench", "heif", "raw", "test"]
    assert extras["heif"]["install"] is None
    assert {package["name"] for package in extras["test"]["packages"]} == {"pillow", "no-such-package"}
    assert not extras["bench"]["packages"][0]["fits"], "torch is older than 1000"
    assert [package["name"] for package in found["core"]] == ["torch", "numpy"], "winreg-helper is for another system"


def test_without_a_package_that_is_needed_it_ends_with_2_and_says_what_to_type(require):
    require(["numpy>=1000", "no-such-package"])
    result = doctor()
    assert result.exit_code == 2
    assert "unblur does not work:" in result.stdout
    assert "pip install 'numpy>=1000' 'no-such-package'" in result.stdout


def test_weights_that_cannot_be_read_are_named(require, monkeypatch, tmp_path):
    broken = tmp_path / "compact.safetensors"
    broken.write_bytes(b"cut short")
    monkeypatch.setattr(type(get("nidf").trained), "shipped", lambda self, preset=None: broken)
    result = doctor()
    assert result.exit_code == 2
    assert f"{broken}: not a file of weights" in result.stdout


def test_a_package_that_cannot_be_imported_is_reported_and_not_raised(require, monkeypatch):
    def broken() -> list[str]:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr("unblur.pipeline.device.device_names", broken)
    result = doctor("--json")
    assert result.exit_code == 2
    (trouble,) = json.loads(result.stdout)["troubles"]
    assert trouble == "torch cannot be used (OSError: libcudart.so.13: cannot open shared object file)."
