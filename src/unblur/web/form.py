"""The methods and their settings, as the page makes a form of them: generated from the cards and the settings."""

from __future__ import annotations

from typing import Any

from unblur import methods
from unblur.cli.methods import describe
from unblur.contract import Method
from unblur.pipeline.auto import AUTO, ESTIMATOR
from unblur.pipeline.chain import names_a_file


def form() -> dict[str, Any]:
    """The methods that restore as they are installed, each with its card and its settings, and the defaults.

    Settings that name a file are left out, since a page may name none.
    """
    installed = [method for method in map(methods.get, methods.names()) if _is_installed(method)]
    return {"auto": AUTO, "estimator": ESTIMATOR, "methods": [_described(method) for method in installed]}


def _is_installed(method: Method) -> bool:
    """Whether it has no network, or its weights are in the package."""
    return method.trained is None or method.trained.preset in method.trained.presets()


def _described(method: Method) -> dict[str, Any]:
    described = describe(method)
    fields = method.settings.model_fields
    described["settings"] = [
        setting for setting in described["settings"] if not names_a_file(fields[setting["name"]].annotation)
    ]
    return described
