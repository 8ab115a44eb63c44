"""What a page asks for is what the command line would do, and names no file."""

from __future__ import annotations

import json

import pytest
import torch

from unblur.pipeline.options import Options
from unblur.types import UnblurError
from unblur.web.orders import Order


def order(**fields: object) -> Order:
    return Order.read(json.dumps({"photo": "1", **fields}).encode())


def test_an_order_gives_the_options_of_the_command_line():
    made = order(
        method="l0_psf+wiener", settings={"wiener.strength": 2, "l0_psf.iterations": 3}, psf_size=9, force=True
    )
    expected = Options(
        "l0_psf+wiener", 9, {"wiener.strength": 2, "l0_psf.iterations": 3}, force=True, device="cpu", allow_files=False
    )
    assert made.options("cpu") == expected
    assert order(align=False).options() == Options(allow_files=False, align=False)


def test_an_order_gives_what_is_known():
    psf = torch.ones(1, 1, 3, 3) / 9
    known = order(sigma="5/255", exposure_ratio=8).known(psf)
    assert (known.psf is psf, known.sigma, known.exposure_ratio) == (True, 5 / 255, 8)
    assert order().known(None).given() == frozenset()


REFUSED = {
    "no photo": ({"photo": None}, "photo: "),
    "an unknown field": ({"weights": "a"}, "weights: "),
    "a path for a method": ({"method": "./mine.py"}, "there is no method './mine.py'"),
    "a file for a method": ({"method": "wiener+/tmp/mine.py"}, "there is no method '/tmp/mine.py'"),
    "a method that is a module": ({"method": "os.path"}, "there is no method"),
    "a file of weights": (
        {"method": "nidf", "settings": {"weights": "/etc/passwd"}},
        "names a file, which is not allowed",
    ),
    "weights of a step": ({"method": "nidf", "settings": {"nidf.weights": "a"}}, "names a file, which is not allowed"),
    "a setting out of range": ({"method": "nlm", "settings": {"strength": 1000}}, "setting 'strength' of 'nlm'"),
    "a setting of another type": ({"method": "nlm", "settings": {"strength": [1]}}, "settings.strength"),
    "an unknown setting": ({"method": "nlm", "settings": {"strengt": 1}}, "Did you mean 'strength'"),
    "an even size": ({"psf_size": 8}, "takes an odd number"),
    "noise that is no number": ({"sigma": "much"}, "takes a noise level"),
    "too much noise": ({"sigma": "200/255"}, "0.5 at the most"),
    "a negative ratio": ({"exposure_ratio": -1}, "exposure ratio"),
    "a long method": ({"method": "nlm+" * 100}, "method: "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_order_that_makes_no_sense_is_refused_in_one_line(name):
    fields, words = REFUSED[name]
    with pytest.raises(UnblurError) as caught:
        made = order(**fields)
        made.options().plan(made.known(None).given() | {"blurry"})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'"photo"'])
def test_what_is_no_order_is_refused(body):
    with pytest.raises(UnblurError):
        Order.read(body)
