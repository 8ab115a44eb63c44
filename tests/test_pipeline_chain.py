"""`a+b` runs methods one after the other, each on what the ones before it found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unblur import methods
from unblur.contract import Card, Method, Settings, setting
from unblur.pipeline.chain import Chain, complete, setting_keys
from unblur.types import Cancelled, Observation, Progress, Restoration, UnblurError

GIVEN_PSF = torch.ones(1, 1, 1, 1)
FOUND_PSF = torch.full((1, 1, 3, 3), 1 / 9)
BLURRY = torch.zeros(1, 1, 4, 5)


class Strength(Settings):
    strength: float = setting(1.0, "how much", probe=(1.0, 2.0), ge=0, le=10)


class Output(Settings):
    output: str = setting("sharp", "what is wanted", probe=("sharp", "denoised"))


DENOISED: Any = {"output": {"denoised": frozenset({"noise"})}}


class StrengthAndSize(Strength):
    size: int = setting(3, "psf side", probe=(3, 5), ge=1)


class Cast:
    """Stand-ins for methods that write down what they were given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Observation, Settings]] = []
        self.by_name = {
            method.card.name: method
            for method in (
                self._method("l0_psf", "blurry", "psf", StrengthAndSize),
                self._method("hyper_laplacian", "blurry psf", "image", Strength),
                self._method("wiener", "blurry psf", "image", Strength),
                self._method("nlm", "blurry", "image", Strength, undoes="noise", presets={"strong": {"strength": 5}}),
                self._method("selfdeblur", "blurry", "image psf", Settings),
                self._method("merger", "blurry noisy", "image", Settings),
                self._method("network", "blurry", "image", Settings),
                self._method("joint", "blurry", "image psf", Settings, undoes="blur noise", takes="psf noisy"),
                self._method("lucky", "frames", "image", Settings),
                self._method("pair", "blurry", "image", Output, undoes="blur noise", undoes_when=DENOISED),
            )
        }

    def _method(
        self, name: str, needs: str, gives: str, settings: type[Settings], undoes: str = "blur", takes="", **more: Any
    ) -> Method:
        undoes = undoes if "image" in gives else ""
        fields: Any = (frozenset(words.split()) for words in (needs, gives, undoes, takes))
        card = Card(name, name, "", *fields, **more)

        def restore(observation: Observation, settings: Settings, progress: Progress) -> Restoration:
            progress.stage(name)
            self.calls.append((name, observation, settings))
            return Restoration(
                image=torch.full_like(BLURRY, len(self.calls)) if "image" in card.gives else None,
                psf=FOUND_PSF if "psf" in card.gives else observation.psf,
                stages={"first": BLURRY},
                changed=name != "wiener",
                notes=[f"{name} ran"],
            )

        return Method(card, settings, restore)

    def saw(self, name: str) -> Observation:
        return next(observation for called, observation, _ in self.calls if called == name)


@pytest.fixture
def cast(monkeypatch: pytest.MonkeyPatch) -> Cast:
    cast = Cast()
    monkeypatch.setattr(methods, "get", cast.by_name.__getitem__)
    return cast


def level(picture: Tensor | None) -> float:
    """The one value all pixels have: the number of the call that made the picture, 0 for the photo."""
    assert picture is not None
    return picture.unique().item()


def run(name: str, settings=None, **observation) -> Restoration:
    return Chain.parse(name, settings)(Observation(**{"blurry": BLURRY, "sigma": 0.1, **observation}))


# --- what each step gets --------------------------------------------------------------------------


def test_an_estimated_psf_goes_to_the_next_step_with_the_photo_as_it_was(cast):
    result = run("l0_psf+hyper_laplacian")
    seen = cast.saw("hyper_laplacian")
    assert seen.psf is FOUND_PSF
    assert seen.blurry is BLURRY
    assert seen.sigma == 0.1
    assert level(result.image) == 2
    assert result.psf is FOUND_PSF


def test_an_estimate_replaces_a_psf_that_was_given(cast):
    run("l0_psf+hyper_laplacian", psf=GIVEN_PSF)
    assert cast.saw("hyper_laplacian").psf is FOUND_PSF


def test_denoising_first_hands_on_the_denoised_photo_with_unknown_noise(cast):
    run("nlm+hyper_laplacian", psf=GIVEN_PSF)
    seen = cast.saw("hyper_laplacian")
    assert level(seen.blurry) == 1
    assert seen.psf is GIVEN_PSF
    assert seen.sigma is None


def test_denoising_between_keeps_the_psf(cast):
    run("l0_psf+nlm+hyper_laplacian")
    assert cast.saw("hyper_laplacian").psf is FOUND_PSF
    assert level(cast.saw("hyper_laplacian").blurry) == 2


def test_denoising_last_gets_the_deblurred_picture_and_no_psf(cast):
    result = run("hyper_laplacian+nlm", psf=GIVEN_PSF)
    seen = cast.saw("nlm")
    assert (level(seen.blurry), seen.psf, seen.sigma) == (1, None, None)
    assert level(result.image) == 2


def test_a_non_blind_step_after_a_blind_method_deblurs_the_photo_itself(cast):
    result = run("selfdeblur+hyper_laplacian")
    seen = cast.saw("hyper_laplacian")
    assert seen.blurry is BLURRY
    assert seen.psf is FOUND_PSF
    assert level(result.image) == 2


def test_any_other_step_after_a_blind_method_works_on_its_picture(cast):
    run("selfdeblur+nlm")
    assert level(cast.saw("nlm").blurry) == 1


def test_a_method_that_needs_no_photo_hands_its_picture_on(cast):
    chain = Chain.parse("lucky+nlm")
    assert chain.needs == {"frames"}
    chain(Observation(frames=BLURRY[:, None]))
    assert level(cast.saw("nlm").blurry) == 1


@pytest.mark.parametrize("name", ["hyper_laplacian+wiener", "selfdeblur+nlm+wiener", "l0_psf+wiener+nlm+wiener"])
def test_deblurring_twice_with_one_psf_is_refused(cast, name):
    with pytest.raises(UnblurError, match=r"'wiener' cannot deblur what '.*' has deblurred already"):
        Chain.parse(name)


def test_deblurring_twice_with_a_psf_of_its_own_is_allowed(cast):
    run("hyper_laplacian+l0_psf+wiener", psf=GIVEN_PSF)
    assert level(cast.saw("wiener").blurry) == 1
    assert cast.saw("wiener").psf is FOUND_PSF


def test_a_network_without_a_psf_deblurs_and_leaves_no_psf_to_deblur_with(cast):
    with pytest.raises(UnblurError, match=r"'hyper_laplacian' cannot deblur what 'network' has deblurred already"):
        Chain.parse("network+hyper_laplacian")
    run("nlm+network+nlm")
    assert level(cast.saw("network").blurry) == 1
    assert [level(seen.blurry) for name, seen, _ in cast.calls if name == "nlm"] == [0, 2]


@pytest.mark.parametrize("before", ["hyper_laplacian", "network", "joint", "l0_psf+wiener", "selfdeblur+nlm"])
@pytest.mark.parametrize("name", ["network", "selfdeblur"])
def test_what_has_been_deblurred_is_not_deblurred_by_a_network_again(cast, before, name):
    with pytest.raises(
        UnblurError, match=rf"'{name}' cannot deblur what '.*' has deblurred already\. Leave one out\.$"
    ):
        Chain.parse(f"{before}+{name}")


@pytest.mark.parametrize("chain", ["network+joint", "network+nlm+joint", "hyper_laplacian+joint"])
def test_a_method_against_blur_and_noise_cannot_follow_one_against_blur(cast, chain):
    with pytest.raises(UnblurError, match="'joint' cannot deblur"):
        Chain.parse(chain)


def test_a_method_that_undoes_less_with_a_setting_may_be_followed_by_more(cast):
    settings = {"pair.output": "denoised"}
    run("pair+l0_psf+wiener", settings, psf=GIVEN_PSF)
    for step, psf, estimated in (("l0_psf", None, False), ("wiener", FOUND_PSF, True)):
        seen = cast.saw(step)
        assert level(seen.blurry) == 1 and seen.sigma is None, "the denoised picture"
        assert (seen.psf is None) if psf is None else torch.equal(seen.psf, psf)
        assert seen.psf_estimated == estimated
    run("pair+wiener", settings, psf=GIVEN_PSF)  # it is as blurred as the photo, by the same PSF
    assert Chain.parse("pair+network", settings).undoes == {"blur", "noise"}
    assert Chain.parse("pair", settings).undoes == {"noise"}
    for name in ("pair+network", "pair+wiener", "pair+pair"):
        with pytest.raises(UnblurError, match="cannot deblur what 'pair' has deblurred already"):
            Chain.parse(name)


def test_a_chain_is_completed_under_its_settings_and_without_those_of_the_step_that_is_added(cast):
    for settings in ({"pair.output": "denoised"}, {"output": "denoised", "strength": 3}):
        assert complete("pair+network", psf_known=False, settings=settings) == "pair+network"
    with pytest.raises(UnblurError, match="deblurred already"):
        complete("pair+network", psf_known=False)
    added = {"l0_psf.size": 5, "hyper_laplacian.strength": 3}
    assert complete("l0_psf", psf_known=False, settings=added) == "l0_psf+hyper_laplacian"


def test_each_step_is_given_what_its_card_names_and_sigma_and_nothing_else(cast):
    run("joint+nlm", psf=GIVEN_PSF, noisy=BLURRY, exposure_ratio=4.0)
    seen = cast.saw("joint")
    assert (seen.psf, seen.noisy, seen.exposure_ratio, seen.sigma) == (GIVEN_PSF, BLURRY, None, 0.1)
    after = cast.saw("nlm")
    assert (after.psf, after.noisy, after.sigma) == (None, None, None)


def test_a_step_that_may_use_a_psf_gets_the_one_that_was_estimated_before(cast):
    run("l0_psf+joint")
    assert cast.saw("joint").psf is FOUND_PSF
    assert cast.saw("joint").psf_estimated
    run("selfdeblur+joint")
    assert cast.calls[-1][1].blurry is BLURRY, "with the picture whose blur it describes"


# --- what comes out -------------------------------------------------------------------------------


def test_notes_and_stages_of_all_steps_are_kept(cast):
    result = run("nlm+hyper_laplacian", psf=GIVEN_PSF)
    assert result.notes == ["nlm ran", "hyper_laplacian ran"]
    assert set(result.stages) == {"nlm.first", "nlm", "hyper_laplacian.first"}
    assert level(result.stages["nlm"]) == 1


def test_a_method_by_itself_keeps_its_stage_names(cast):
    assert set(run("nlm").stages) == {"first"}


def test_it_changed_the_photo_when_any_step_did(cast):
    assert run("nlm+wiener", psf=GIVEN_PSF).changed
    assert not run("l0_psf+wiener").changed, "estimating a psf changes no picture"


@pytest.mark.parametrize(
    ("name", "needs", "gives"),
    [
        ("l0_psf", {"blurry"}, {"psf"}),
        ("hyper_laplacian", {"blurry", "psf"}, {"image"}),
        ("l0_psf+hyper_laplacian", {"blurry"}, {"psf", "image"}),
        ("nlm+hyper_laplacian", {"blurry", "psf"}, {"image"}),
        ("merger+l0_psf", {"blurry", "noisy"}, {"psf", "image"}),
        ("joint", {"blurry"}, {"psf", "image"}),
    ],
)
def test_a_chain_says_what_it_needs_and_gives(cast, name, needs, gives):
    chain = Chain.parse(name)
    assert chain.takes == ({"psf", "noisy"} if name == "joint" else set())
    assert (chain.name, chain.needs, chain.gives) == (name, needs, gives)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("hyper_laplacian", r"give --psf FILE or chain an estimator: --method l0_psf\+hyper_laplacian"),
        ("nlm+wiener", r"--method nlm\+l0_psf\+wiener"),
    ],
)
def test_a_missing_psf_is_an_error_that_says_how_to_get_one(cast, name, remedy):
    with pytest.raises(UnblurError, match=f"needs a psf.*{remedy}"):
        run(name)
    assert not cast.calls


@pytest.mark.parametrize(("name", "remedy"), [("merger", "noisy shot of the pair"), ("lucky", "frames of one scene")])
def test_what_else_is_missing_is_named(cast, name, remedy):
    with pytest.raises(UnblurError, match=f"'{name}' needs .*{remedy}"):
        run(name)


def test_cancelling_stops_before_the_next_step(cast):
    class CancelAtOnce(Progress):
        def on_stage(self, name, total):
            self.cancel()

    with pytest.raises(Cancelled):
        Chain.parse("l0_psf+hyper_laplacian")(Observation(blurry=BLURRY), CancelAtOnce())
    assert [name for name, _, _ in cast.calls] == ["l0_psf"]


# --- settings -------------------------------------------------------------------------------------


def test_a_setting_goes_to_the_step_that_has_it(cast):
    run("l0_psf+hyper_laplacian", {"size": 7, "hyper_laplacian.strength": 2})
    first, second = (settings for _, _, settings in cast.calls)
    assert first == StrengthAndSize(size=7)
    assert second == Strength(strength=2)


def test_a_preset_goes_to_the_step_that_has_presets(cast):
    run("l0_psf+nlm", {"preset": "strong"})
    assert cast.calls[1][2] == Strength(strength=5)


def test_a_method_named_twice_gets_the_same_settings_twice(cast):
    run("nlm+hyper_laplacian+nlm", {"nlm.strength": 3}, psf=GIVEN_PSF)
    assert [settings.strength for _, _, settings in cast.calls] == [3, 1, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"strength": 2},
            r"'l0_psf' and 'hyper_laplacian' have one.*l0_psf\.strength or hyper_laplacian\.strength",
        ),
        ({"sise": 2}, r"'l0_psf\+hyper_laplacian' has no setting 'sise'\. Did you mean 'size'\?"),
        ({"l0_psf.sise": 2}, r"'l0_psf' has no setting 'sise'\. Did you mean 'size'\?"),
        ({"hyper.strength": 2}, r"no step is called 'hyper'\. Did you mean 'hyper_laplacian'\?"),
        ({"size": 2, "l0_psf.size": 3}, "'size' of 'l0_psf' is given twice"),
        ({"l0_psf.strength": 11}, "setting 'strength' of 'l0_psf'.*less than or equal to 10"),
        ({"preset": "strong"}, "no setting 'preset'"),
    ],
)
def test_a_wrong_setting_is_explained_before_anything_runs(cast, settings, message):
    with pytest.raises(UnblurError, match=message):
        Chain.parse("l0_psf+hyper_laplacian", settings)


def test_the_keys_a_chain_takes_are_known(cast):
    assert setting_keys("l0_psf+nlm") == {
        *("size", "strength", "preset"),
        *("l0_psf.size", "l0_psf.strength", "nlm.strength", "nlm.preset"),
    }


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "+", "l0_psf+", "l0_psf++nlm"])
def test_a_name_with_a_gap_is_no_chain(cast, name):
    with pytest.raises(UnblurError, match=r"no chain.*l0_psf\+hyper_laplacian"):
        Chain.parse(name)


def test_a_misspelt_method_is_explained():
    with pytest.raises(UnblurError, match=r"no method 'weiner'\. Did you mean 'wiener'\?"):
        Chain.parse("hyper_laplacian+weiner")


def test_a_file_outside_the_package_may_be_a_step_even_in_a_folder_with_a_plus(tmp_path):
    folder = tmp_path / "c++"
    folder.mkdir()
    (folder / "mine.py").write_text("from unblur.methods.wiener import METHOD")
    assert Chain.parse(str(folder / "mine.py")).name == "wiener"


@pytest.mark.parametrize(
    ("name", "completed"),
    [
        ("hyper_laplacian", "hyper_laplacian"),
        ("l0_psf", "l0_psf+hyper_laplacian"),
        ("nlm+l0_psf+wiener", "nlm+l0_psf+wiener"),
        ("selfdeblur", "selfdeblur"),
    ],
)
def test_a_psf_estimator_by_itself_is_followed_by_the_default_non_blind_step(cast, name, completed):
    assert complete(name, psf_known=True) == completed


def test_a_non_blind_method_is_not_complete_without_a_psf(cast):
    with pytest.raises(UnblurError, match=r"--method l0_psf\+wiener"):
        complete("wiener", psf_known=False)
