"""What may be asked for, which method is chosen, and what does not fit together: said before any work."""

from __future__ import annotations

import pytest

from fakes import fake_method, pair_method
from unblur import methods
from unblur.pipeline import auto
from unblur.pipeline.auto import NOISY, Choice, choose, choose_estimator
from unblur.pipeline.options import Options
from unblur.types import UnblurError

# --- which method, and why ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name", "reason"),
    [
        ({"blurry", "psf"}, "wiener_stack", "the PSF was given"),
        ({"blurry"}, "l0_psf+wiener_stack", "only the photo was given, so one PSF is estimated from its edges"),
    ],
)
def test_auto_goes_by_what_was_given(given, name, reason):
    choice = choose("auto", given)[0]
    assert (choice.name, choice.reason) == (name, reason)
    chain, same = Options().plan(given)
    assert (chain.name, same) == (name, choice)


def test_a_method_that_was_named_is_that_method():
    assert choose("wiener", {"blurry", "psf"}, sigma=0.1) == [Choice("wiener", "it was asked for")]
    assert choose_estimator("selfdeblur").name == "selfdeblur"
    assert choose_estimator("auto").name == "l0_psf"


@pytest.mark.parametrize("picture", ["noisy", "frames"])
def test_auto_finds_a_method_for_pairs_or_frames_by_its_card(monkeypatch, tmp_path, picture):
    fitting = fake_method(tmp_path, "fitting", "pass", needs=("blurry", picture))
    more = fake_method(tmp_path, "another", "pass", needs=("blurry", picture, "psf"))
    monkeypatch.setattr(methods, "names", lambda: [more, "wiener", fitting])
    (choice,) = choose("auto", {"blurry", picture})
    assert choice.name == fitting, "not the one that needs what was not given"
    assert choice.reason in ("a short, noisy shot was given", "several frames were given")


def test_without_a_method_for_pairs_auto_says_what_to_do(monkeypatch):
    monkeypatch.setattr(methods, "names", lambda: ["nlm", "wiener"])
    with pytest.raises(UnblurError, match=r"no method for a blurry and a noisy shot yet.*--method \./mine\.py"):
        Options().plan({"blurry", "noisy"})


def test_a_pair_gets_the_default_method_for_pairs_even_if_the_name_of_another_one_comes_first(monkeypatch, tmp_path):
    other = fake_method(tmp_path, "another", "pass", needs=("blurry", "noisy"))
    monkeypatch.setattr(methods, "names", lambda: [other, auto.PAIR])
    assert [choice.name for choice in choose("auto", {"blurry", "noisy"})] == [auto.PAIR]


def test_the_default_methods_do_what_they_are_named_for():
    assert methods.get(auto.PAIR).card.needs == {"blurry", "noisy"}
    for name in (auto.NON_BLIND, auto.QUICK_NON_BLIND):
        assert methods.get(name).card.needs == {"blurry", "psf"}
    assert "psf" in methods.get(auto.ESTIMATOR).card.gives


# --- what does not fit together -------------------------------------------------------------------

PHOTO, KNOWN, PAIR = {"blurry"}, {"blurry", "psf"}, {"blurry", "noisy"}


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (KNOWN, {"strength": 1.5}, "strength goes from 0"),
        (PHOTO, {"method": "hyper_laplacan"}, "Did you mean 'hyper_laplacian'"),
        (PHOTO, {"method": "wiener"}, "needs a psf: give --psf FILE"),
        (KNOWN, {"settings": {"pases": 2}}, "Did you mean 'passes'"),
        (KNOWN, {"method": "l0_psf"}, "estimates a PSF and takes none; leave out --psf or use --method wiener_stack"),
        (KNOWN, {"method": "nlm"}, "'nlm' makes no use of a PSF"),
        (PAIR, {"method": "nlm"}, "'nlm' makes no use of a short, noisy shot; leave out --noisy"),
        ({"blurry", "frames"}, {"method": "nlm"}, "'nlm' makes no use of several frames"),
        (KNOWN, {"psf_size": 9}, "a PSF size is of no use to 'wiener_stack'"),
    ],
)
def test_options_that_will_not_do_are_explained(given, options, message):
    with pytest.raises(UnblurError, match=message):
        Options(**options).plan(given)


def test_a_method_for_pairs_says_what_is_missing(tmp_path):
    with pytest.raises(UnblurError, match="'mine' needs the short, noisy shot of the pair as well: give --noisy FILE"):
        Options(method=pair_method(tmp_path)).plan(PHOTO)


def test_a_picture_that_some_step_takes_may_be_given_or_not(tmp_path):
    method = fake_method(tmp_path, "either", "pass", card="takes=frozenset({'noisy', 'psf'})")
    for given in (PHOTO, PAIR, KNOWN):
        assert Options(method=method).plan(given)[0].name == "either"


# --- what comes from a web page -------------------------------------------------------------------


def test_from_elsewhere_no_method_is_a_file(tmp_path):
    method = tmp_path / "mine.py"
    method.write_text("raise SystemExit('it was run')")
    for name in (str(method), f"nlm+{method}", f"{method}+nlm"):
        with pytest.raises(UnblurError, match="there is no method"):
            Options(method=name, allow_files=False).plan(PHOTO)


def test_from_elsewhere_no_setting_names_a_file(tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.touch()
    for key in ("weights", "wiener_stack.weights"):
        options = {"settings": {key: str(weights)}}
        with pytest.raises(UnblurError, match="setting 'weights' of 'wiener_stack' names a file, which is not allowed"):
            Options(**options, allow_files=False).plan(PHOTO)
        assert Options(**options).plan(PHOTO)


def test_from_elsewhere_everything_else_may_be_set():
    chain, _ = Options(settings={"passes": 2}, psf_size=9, allow_files=False).plan(PHOTO)
    assert chain.steps[1].settings.passes == 2


@pytest.mark.parametrize("key", ["size", "l0_psf.size"])
def test_a_psf_size_is_given_once(key):
    with pytest.raises(UnblurError, match=f"given twice, as psf_size and as the setting {key}"):
        Options("l0_psf+wiener_stack", psf_size=31, settings={key: 15}).plan({"blurry"})


def test_a_method_that_only_denoises_with_its_settings_may_be_followed_by_one_that_deblurs():
    settings = {"nidf.output": "denoised", "l0_psf.size": 9}
    chain, _ = Options("nidf+l0_psf+wiener", settings=settings).plan({"blurry"})
    assert [step.method.card.undoes for step in chain.steps] == [{"noise"}, set(), {"blur"}]
    chain, _ = Options("nidf+l0_psf", settings={"nidf.output": "denoised"}, psf_size=9).plan({"blurry"})
    assert chain.steps[1].settings.size == 9
    assert Options("nidf+two_way", settings={"output": "denoised"}).plan({"blurry"})[0].undoes == {"blur", "noise"}
    with pytest.raises(UnblurError, match="'two_way' cannot deblur what 'nidf' has deblurred already"):
        Options("nidf+two_way").plan({"blurry"})
    with pytest.raises(UnblurError, match=r"no setting 'ouput'.*'output'"):
        Options("nidf", settings={"ouput": "denoised"}).plan({"blurry"})


def test_an_exposure_ratio_that_nobody_uses_is_refused():
    with pytest.raises(UnblurError, match="'nlm' makes no use of an exposure ratio"):
        Options("nlm").plan({"blurry", "exposure_ratio"})


def test_a_setting_that_may_name_a_file_and_names_none_is_allowed_everywhere():
    Options("wiener_stack", settings={"weights": None}, allow_files=False).plan({"blurry", "psf"})


def test_a_noisy_photo_is_denoised_and_deblurred_and_the_reason_names_the_noise():
    choices = choose("auto", {"blurry"}, sigma=NOISY)
    assert [choice.name for choice in choices] == ["nidf", "nidf", "exemplar_psf+wiener_stack"]
    assert "noisy, sigma 5 of 255" in choices[0].reason
    plans = Options().plans({"blurry"}, NOISY)
    assert [chain.undoes for chain, _ in plans] == [{"blur", "noise"}, {"noise"}, {"blur"}]
    assert plans[0][0].steps[0].settings.final


def test_where_no_psf_explains_the_blur_a_turning_camera_comes_next_and_then_a_network_for_moving_scenes():
    names = [choice.name for choice in choose("auto", {"blurry"})]
    assert names == ["l0_psf+wiener_stack", "camera_path", "l0_psf+wiener_stack", "two_way"]


def test_of_the_choices_of_auto_only_those_remain_that_have_the_settings_of_the_person():
    def names(options: Options, sigma: float) -> list[str]:
        return [chain.name for chain, _ in options.plans({"blurry"}, sigma)]

    assert names(Options(settings={"passes": 2}), 0.0) == ["l0_psf+wiener_stack"] * 2
    assert names(Options(settings={"passes": 2}), 0.1) == ["exemplar_psf+wiener_stack"]
    assert names(Options(psf_size=15), 0.0) == ["l0_psf+wiener_stack"] * 2
    assert names(Options(psf_size=15), 0.1) == ["exemplar_psf+wiener_stack"]
    assert names(Options(settings={"output": "sharp"}), 0.1) == ["nidf", "nidf"]


def test_noise_that_is_the_same_in_all_channels_is_left_to_a_classical_denoiser():
    assert [choice.name for choice in choose("auto", {"blurry"}, sigma=0.1, grain=True)] == [
        "l0_psf+wiener_stack",
        "nlm",
    ]


def test_with_auto_a_setting_of_any_of_its_methods_may_be_given():
    chain, choice = Options(settings={"output": "denoised"}).plan({"blurry"})
    assert (chain.name, chain.undoes) == ("nidf", {"noise"})
    assert choice.reason == "it has the settings that were given"
    (chain, choice), *_ = Options(settings={"check": False}).plans({"blurry"}, 0.0)
    assert (chain.name, choice.reason) == ("camera_path", "it has the settings that were given")
    (chain, _), *_ = Options(settings={"final": False}).plans({"blurry"}, 0.1)
    assert not chain.steps[0].settings.final
    with pytest.raises(UnblurError, match="nonsense"):
        Options(settings={"nonsense": 1}).plan({"blurry"})
