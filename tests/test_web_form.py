"""The form of the page is made from the methods' cards and settings."""

from __future__ import annotations

import re

import pytest

from helpers import ready
from unblur import methods
from unblur.pipeline.chain import names_a_file
from unblur.web.app import PAGE
from unblur.web.form import form


@pytest.fixture(scope="module")
def described():
    return {method["name"]: method for method in form()["methods"]}


def test_every_method_that_restores_as_installed_is_there(described):
    assert list(described) == sorted(ready())


@pytest.mark.parametrize("name", sorted(ready()))
def test_every_setting_that_names_no_file_is_there(described, name):
    fields = methods.get(name).settings.model_fields
    named = [setting["name"] for setting in described[name]["settings"]]
    assert named == [key for key in fields if not names_a_file(fields[key].annotation)]
    assert all(setting["help"] for setting in described[name]["settings"])
    assert "weights" not in named


def test_every_default_is_accepted_when_it_is_sent(described):
    for name, method in described.items():
        values = {setting["name"]: setting["default"] for setting in method["settings"]}
        assert methods.get(name).configure(values)


def test_the_estimator_that_is_chosen_at_first_estimates_a_psf(described):
    assert "psf" in described[form()["estimator"]]["gives"]


@pytest.mark.parametrize("file", sorted(PAGE.glob("*.js")) + sorted(PAGE.glob("*.html")), ids=lambda file: file.name)
def test_the_page_names_no_method(file):
    words = set(file.read_text().replace('"', " ").replace("'", " ").replace("`", " ").replace(".", " ").split())
    assert not words & set(methods.names())


@pytest.mark.parametrize("file", sorted(PAGE.iterdir()), ids=lambda file: file.name)
def test_the_page_needs_no_other_server(file):
    text = file.read_text().replace("http://www.w3.org/2000/svg", "")  # the name of a format
    assert "://" not in text
    assert not re.search(r"""["'(]//|@import""", text)
    assert len(text.splitlines()) <= 400
