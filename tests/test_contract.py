"""A method checks what it is given and explains what is wrong, in one line that names the remedy."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

import unblur
from unblur import methods
from unblur.contract import Card, Method, Settings, nearest, setting
from unblur.types import Cancelled, Observation, Progress, Restoration, UnblurError


class BrightenSettings(Settings):
    amount: float = setting(0.1, "how much brighter", probe=(0.1, 0.2), ge=0, le=1)
    rounds: int = setting(1, "how often", probe=(1, 2), ge=1)


def brighten(observation: Observation, settings: BrightenSettings, progress: Progress) -> Restoration:
    assert observation.blurry is not None
    progress.stage("brightening")
    return Restoration(image=observation.blurry + settings.amount * settings.rounds)


CARD = Card(
    name="brighten",
    title="Brighter",
    paper="",
    needs=frozenset({"blurry"}),
    gives=frozenset({"image"}),
    undoes=frozenset({"blur"}),
    presets={"much": {"amount": 0.5, "rounds": 2}},
)
METHOD = Method(CARD, BrightenSettings, brighten)
PICTURE = torch.zeros(1, 1, 4, 5)


def level(restoration: Restoration) -> float:
    """The one value all pixels of the result have."""
    assert restoration.image is not None
    return restoration.image.unique().item()


def test_settings_reach_the_method():
    assert level(METHOD(Observation(blurry=PICTURE), {"amount": 0.25, "rounds": 2})) == 0.5


def test_without_settings_the_defaults_hold():
    assert level(METHOD(Observation(blurry=PICTURE))) == pytest.approx(0.1)


def test_settings_made_before_are_taken_as_they_are():
    assert level(METHOD(Observation(blurry=PICTURE), BrightenSettings(amount=0.75))) == 0.75


def test_text_from_a_command_line_becomes_a_number():
    assert METHOD.configure({"amount": "0.3", "rounds": "2"}) == BrightenSettings(amount=0.3, rounds=2)


def test_a_preset_is_a_start_that_settings_may_change():
    assert METHOD.configure({"preset": "much"}) == BrightenSettings(amount=0.5, rounds=2)
    assert METHOD.configure({"preset": "much", "amount": 0.6}) == BrightenSettings(amount=0.6, rounds=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"amuont": 1}, r"'brighten' has no setting 'amuont'\. Did you mean 'amount'\?"),
        ({"zzz": 1}, "'brighten' has no setting 'zzz'. There is: amount, rounds."),
        ({"amount": 2}, "setting 'amount' of 'brighten': .*less than or equal to 1 .got 2"),
        ({"amount": "much"}, "setting 'amount' of 'brighten': .*valid number.* .got 'much'"),
        ({"rounds": 1.5}, "setting 'rounds' of 'brighten': .*integer"),
        ({"preset": "mucch"}, r"'brighten' has no preset 'mucch'\. Did you mean 'much'\?"),
    ],
)
def test_a_wrong_setting_is_explained(values, message):
    with pytest.raises(UnblurError, match=message):
        METHOD.configure(values)


def test_with_some_settings_a_method_undoes_less():
    card = replace(
        CARD,
        undoes=frozenset({"blur", "noise"}),
        undoes_when={"rounds": {2: frozenset({"noise"}), 3: frozenset({"blur"})}},
    )
    for rounds, undone in ((1, {"blur", "noise"}), (2, {"noise"}), (3, {"blur"})):
        under = card.under(BrightenSettings(rounds=rounds))
        assert under.undoes == undone and replace(under, undoes=card.undoes, undoes_when=card.undoes_when) == card


@pytest.mark.parametrize(
    "wrong", [frozenset(), frozenset({"noise"}), frozenset({"blur", "noise"})], ids=["nothing", "the same", "more"]
)
def test_what_a_method_undoes_with_a_setting_is_a_part_of_what_it_undoes(wrong):
    with pytest.raises(ValueError, match=r"the card of 'brighten': what it undoes with rounds=2 must be a part"):
        replace(CARD, undoes_when={"rounds": {2: wrong}})


def test_settings_cannot_be_changed_under_a_running_method():
    with pytest.raises(ValueError, match="frozen"):
        BrightenSettings().amount = 0.5


def test_what_is_missing_is_named():
    with pytest.raises(UnblurError, match="'brighten' needs a blurry"):
        METHOD(Observation(noisy=PICTURE))


def test_one_psf_serves_all_pictures_of_a_batch():
    seen = []
    needs = frozenset({"blurry", "psf"})
    method = Method(replace(CARD, needs=needs), BrightenSettings, lambda o, s, p: seen.append(o) or brighten(o, s, p))
    batch, psfs = PICTURE.expand(3, -1, -1, -1), torch.rand(3, 1, 5, 5)
    for given in (psfs[:1], psfs):
        method(Observation(blurry=batch, psf=given))
    assert torch.equal(seen[0].psf, psfs[:1].expand(3, -1, -1, -1))
    assert seen[1].psf is psfs


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"sigma": 5}, "0.5 at the most, not 5"),
        ({"sigma": -0.1}, "not -0.1"),
        ({"sigma": float("nan")}, "not nan"),
        ({"exposure_ratio": 0}, "long exposure divided by the short one, not 0"),
    ],
)
def test_an_observation_with_numbers_out_of_range_is_refused(known, message):
    with pytest.raises(UnblurError, match=message):
        Observation(blurry=PICTURE, **known)


def test_cancelling_reaches_the_method():
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        METHOD(Observation(blurry=PICTURE), progress=progress)


def test_nearest_is_silent_when_there_is_nothing_to_name():
    assert nearest("anything", []) == ""


def test_a_misspelt_method_is_an_error_that_names_the_right_one():
    with pytest.raises(UnblurError, match=r"no method 'weiner'\. Did you mean 'wiener'\?"):
        methods.get("weiner")


OUTSIDE = """
import torch
from unblur.contract import Card, Method, Settings
from unblur.types import Restoration

METHOD = Method(
    Card("mine", "Mine", "", frozenset({"blurry"}), frozenset({"image"}), frozenset({"blur"})),
    Settings,
    lambda observation, settings, progress: Restoration(image=1 - observation.blurry),
)
"""


def test_a_method_may_live_in_a_file_outside_the_package(tmp_path):
    (tmp_path / "mine.py").write_text(OUTSIDE)
    mine = methods.get(str(tmp_path / "mine.py"))
    assert level(mine(Observation(blurry=PICTURE))) == 1


MODERN = """
from __future__ import annotations

import dataclasses
import sys
from typing import Literal

from unblur.contract import Card, Method, Settings, setting
from unblur.types import Restoration

sys.executions = getattr(sys, "executions", 0) + 1

@dataclasses.dataclass
class Parameters:
    sign: Literal["plus", "minus"]

class MineSettings(Settings):
    sign: Literal["plus", "minus"] = setting("plus", "which", probe=("plus", "minus"))

def restore(observation, settings, progress):
    factor = {"plus": 1, "minus": -1}[Parameters(settings.sign).sign]
    return Restoration(image=factor * (observation.blurry + AMOUNT))

METHOD = Method(
    Card("mine", "Mine", "", frozenset({"blurry"}), frozenset({"image"}), frozenset({"noise"})), MineSettings, restore
)
"""


@pytest.fixture
def modern(tmp_path, monkeypatch):
    """A file with annotations that are looked up later, in a folder where nothing else is; it counts its executions."""
    monkeypatch.setattr(sys, "executions", 0, raising=False)
    path = tmp_path / "mine.py"
    path.write_text(MODERN.replace("AMOUNT", "1.0"))
    return path


def test_a_file_may_have_literal_settings_and_dataclasses(modern):
    mine = methods.get(str(modern))
    assert level(mine(Observation(blurry=PICTURE), {"sign": "minus"})) == -1
    with pytest.raises(UnblurError, match="setting 'sign' of 'mine'"):
        mine.configure({"sign": "times"})
    assert [path.name for path in modern.parent.iterdir()] == ["mine.py"]


def test_a_file_is_executed_once_and_again_when_it_has_changed(modern, monkeypatch):
    for name in (str(modern), "mine.py", "./mine.py"):
        monkeypatch.chdir(modern.parent)
        assert level(methods.get(name)(Observation(blurry=PICTURE))) == 1
    assert sys.executions == 1
    modern.write_text(MODERN.replace("AMOUNT", "22.0"))
    assert level(methods.get(str(modern))(Observation(blurry=PICTURE))) == 22
    assert sys.executions == 2


def test_restoring_a_photo_executes_a_file_once(modern):
    unblur.restore(torch.rand(40, 50), method=str(modern))
    assert sys.executions == 1


def test_two_files_of_one_name_are_two_methods(modern, tmp_path):
    other = tmp_path / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text(MODERN.replace("AMOUNT", "3.0"))
    first, second = (methods.get(str(path)) for path in (modern, other))
    assert [level(method(Observation(blurry=PICTURE))) for method in (first, second)] == [1, 3]
    assert "mine" not in sys.modules


def test_a_file_that_fails_may_be_mended(modern):
    modern.write_text("import no_such_module")
    with pytest.raises(UnblurError, match="ModuleNotFoundError"):
        methods.get(str(modern))
    modern.write_text(MODERN.replace("AMOUNT", "1.0"))
    assert methods.get(str(modern)).card.name == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "mine.py: no such file"),
        ("METHOD = 3", "mine.py: defines no METHOD"),
        ("import no_such_module", "mine.py: importing it failed with ModuleNotFoundError"),
        ("def (", "mine.py: importing it failed with SyntaxError"),
    ],
)
def test_a_file_without_a_method_is_explained(tmp_path, content, message):
    if content is not None:
        (tmp_path / "mine.py").write_text(content)
    with pytest.raises(UnblurError, match=message):
        methods.get(str(tmp_path / "mine.py"))


@pytest.mark.parametrize(
    ("field", "shape", "axes"),
    [("psf", (5, 5), r"\(B, 1, h, w\)"), ("blurry", (3, 8, 8), r"\(B, C, H, W\)"), ("frames", (1, 3, 8, 8), "B, T, C")],
)
def test_an_observation_names_a_tensor_with_the_wrong_number_of_axes(field, shape, axes):
    with pytest.raises(UnblurError, match=rf"{field} of an Observation must be .*{axes}.*not \({shape[0]}, "):
        Observation(**{field: torch.zeros(shape)})
