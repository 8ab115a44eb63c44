"""The public names are these, and asking for them costs nothing before they are used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import unblur

NAMES = {
    "Cancelled",
    "Observation",
    "Progress",
    "Restoration",
    "Result",
    "UnblurError",
    "__version__",
    "deconvolve",
    "estimate_psf",
    "methods",
    "restore",
    "restore_bytes",
}


def test_the_public_names_are_exactly_these():
    assert set(unblur.__all__) == NAMES
    assert set(dir(unblur)) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_is_there(name):
    assert getattr(unblur, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'sharpen'"):
        _ = unblur.sharpen  # type: ignore[attr-defined]


def test_the_functions_say_what_they_take_and_give():
    for name in ("restore", "deconvolve", "estimate_psf"):
        document = getattr(unblur, name).__doc__
        assert "Args:" in document or "as for `restore`" in document


def test_methods_are_listed_by_their_cards():
    importlib.import_module("unblur.methods")  # the package of that name must not hide the function
    cards = unblur.methods()  # type: ignore[operator]  # pyright knows no callable modules
    assert [card.name for card in cards] == unblur.methods.names()
    assert "hyper_laplacian" in unblur.methods.names()


def test_the_version_is_the_installed_one():
    from importlib.metadata import version

    assert unblur.__version__ == version("unblur")


def test_importing_unblur_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'scipy', 'PIL', 'imagecodecs', 'pydantic', 'rich'}"
    code = f"import sys, unblur, unblur.cli; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"rich"}
