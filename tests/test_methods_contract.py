"""What holds for every method. A new file in `methods/` is tested here without being named, once it has its weights.

The cards decide which tests apply to which method: what it needs, takes, gives and undoes. All run with the settings
that the method calls `quick`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from helpers import CountingProgress, Scene, blurred_scene, copied, hook_psf, observe, ready, structured_picture
from unblur import methods
from unblur.contract import Card, Input, Method, probe_of
from unblur.imaging.psf import delta_psf
from unblur.metrics import best_shift, kernel_similarity, psnr
from unblur.types import Cancelled, Observation, Progress, Restoration, UnblurError

CARDS: dict[str, Card] = {name: methods.get(name).card for name in ready()}


def _named(condition: Any) -> list[str]:
    return [name for name, card in CARDS.items() if condition(card)]


ALL = _named(lambda card: True)
RESTORING = _named(lambda card: "image" in card.gives)
NON_BLIND = _named(lambda card: "psf" in card.needs and "blur" in card.undoes)
ESTIMATORS = _named(lambda card: "psf" not in card.needs and "psf" in card.gives)
ESTIMATORS_FROM_ANY_PHOTO = _named(  # the others need lights, say, and have tests of their own
    lambda card: card.name in ESTIMATORS and not card.has_evidence
)
DENOISERS = _named(lambda card: card.undoes == {"noise"})
WITH_CHANNELS = [
    (name, channels, takes)
    for name, card in CARDS.items()
    for channels in card.channels
    for takes in ([False, True] if card.takes else [False])
]
PROBED = [
    (name, key)
    for name in ALL
    for key, declared in methods.get(name).settings.model_fields.items()
    if probe_of(declared) is not None
]
SETTINGS = [(name, key) for name in ALL for key in methods.get(name).settings.model_fields]


def observation_for(name: str, scene: Scene, *, sigma: float | None = None, takes: bool = False) -> Observation:
    """Of everything about a scene, what the method needs, and what it takes as well if wanted."""
    card = CARDS[name]
    unused = frozenset(get_args(Input)) - card.needs - (card.takes if takes else frozenset())
    everything = Observation(
        blurry=scene.blurry,
        noisy=scene.sharp + 0.05 * _noise_like(scene.sharp),
        psf=scene.psf,
        frames=scene.frames,
        exposure_ratio=1.0,
        sigma=sigma,
    )
    return replace(everything, **dict.fromkeys(unused))


def scene_for(name: str, height: int, width: int, **more: Any) -> Scene:
    """A scene in the fewest channels that the method takes."""
    return blurred_scene(height, width, min(CARDS[name].channels), **more)


def restored(name: str, observation: Observation, progress: Progress | None = None, **settings: Any) -> Restoration:
    method = methods.get(name)
    return method(observation, {**method.quick, **settings}, progress)


def image_of(name: str, observation: Observation, **settings: Any) -> Tensor:
    image = restored(name, observation, **settings).image
    assert image is not None
    return image


def psf_of(name: str, observation: Observation, **settings: Any) -> Tensor:
    psf = restored(name, observation, **settings).psf
    assert psf is not None
    return psf


def outputs(name: str, result: Restoration) -> list[Tensor]:
    """The tensors that the card promises, all there."""
    given = [getattr(result, output) for output in sorted(CARDS[name].gives)]
    assert all(isinstance(tensor, Tensor) for tensor in given)
    return given


def _noise_like(picture: Tensor) -> Tensor:
    return torch.randn(picture.shape, generator=torch.Generator().manual_seed(7))


# --- shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(37, 53), (16, 61), (64, 64)], ids=str)
@pytest.mark.parametrize(("name", "channels", "takes"), WITH_CHANNELS)
def test_any_size_and_every_channel_count_comes_back_finite(name, channels, takes, size):
    multiple = CARDS[name].multiple_of
    height, width = (max(side // multiple, 1) * multiple for side in size)
    scene = blurred_scene(height, width, channels)
    result = restored(name, observation_for(name, scene, takes=takes))
    for tensor in outputs(name, result):
        assert tensor.dtype == torch.float32
        assert torch.isfinite(tensor).all()
    if "image" in CARDS[name].gives:
        assert result.image is not None and result.image.shape == scene.blurry.shape
    if "psf" in CARDS[name].gives:
        assert_is_psf(result.psf)


def assert_is_psf(psf: Tensor | None, batch: int = 1) -> None:
    assert psf is not None and psf.shape[:2] == (batch, 1)
    assert psf.shape[-2] % 2 == 1 and psf.shape[-1] % 2 == 1
    assert psf.min() >= 0
    torch.testing.assert_close(psf.sum((1, 2, 3)), torch.ones(batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_a_batch_gives_what_its_pictures_give_one_by_one(name):
    scenes = [scene_for(name, 64, 56, sigma=sigma, seed=seed) for seed, sigma in ((1, 0.005), (2, 0.03))]
    batch = Scene(*(torch.cat([getattr(s, part) for s in scenes]) for part in ("sharp", "psf", "blurry")))
    observation = observation_for(name, batch)
    together = outputs(name, restored(name, observation))
    for number, scene in enumerate(scenes):
        pictures = {key: picture[number : number + 1] for key, picture in observation.pictures().items()}
        alone = outputs(name, restored(name, replace(observation_for(name, scene), **pictures)))
        for both, one in zip(together, alone, strict=True):
            rim = [(b - o) // 2 for b, o in zip(both.shape[-2:], one.shape[-2:], strict=True)]  # PSFs of a batch
            one = torch.nn.functional.pad(one, (rim[1], rim[1], rim[0], rim[0]))  # share the largest one's size
            torch.testing.assert_close(both[number : number + 1], one, atol=1e-3, rtol=0)


# --- inputs, randomness, progress ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_what_went_in_is_not_changed(name):
    observation = observation_for(name, scene_for(name, 48, 40))
    before = copied(observation)
    restored(name, observation)
    for field in Observation.__slots__:
        value, kept = getattr(observation, field), getattr(before, field)
        assert torch.equal(value, kept) if isinstance(value, Tensor) else value == kept


@pytest.mark.parametrize("name", ALL)
def test_the_same_input_gives_the_same_output_and_leaves_torchs_random_generator_alone(name):
    observation = observation_for(name, scene_for(name, 48, 40))
    torch.manual_seed(1)
    first = outputs(name, restored(name, observation))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = outputs(name, restored(name, observation))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ALL)
def test_several_threads_give_what_one_gives(name):
    observation = observation_for(name, scene_for(name, 48, 40))
    alone = outputs(name, restored(name, observation))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = outputs(name, restored(name, observation))
    finally:
        torch.set_num_threads(before)
    for one, several in zip(alone, together, strict=True):
        # A hyper-Laplacian prior has a threshold, so a rounding error can change a pixel visibly: half a grey level.
        torch.testing.assert_close(several, one, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_every_stage_advances_as_often_as_it_promised(name):
    progress = CountingProgress()
    restored(name, observation_for(name, scene_for(name, 48, 40)), progress)
    assert progress.promised, "a method reports at least one stage"
    for promised, done in zip(progress.promised, progress.done, strict=True):
        assert promised is None or promised == done


@pytest.mark.parametrize("name", ALL)
def test_cancelling_stops_it_at_the_next_report(name):
    observation = observation_for(name, scene_for(name, 48, 40))
    total = CountingProgress()
    restored(name, observation, total)
    for report in {1, total.reports // 2, total.reports - 1} - {0, total.reports}:
        progress = CountingProgress(cancel_at=report)
        with pytest.raises(Cancelled):
            restored(name, observation, progress)
        assert progress.reports == report


@pytest.mark.parametrize("name", ALL)
def test_cancelled_work_is_not_begun(name):
    progress = CountingProgress()
    progress.cancel()
    with pytest.raises(Cancelled):
        restored(name, observation_for(name, scene_for(name, 48, 40)), progress)


# --- settings and card ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_card_describes_its_method(name):
    card = CARDS[name]
    assert card.name == name
    assert card.title and card.gives and card.needs and card.channels
    for key, undone in card.undoes_when.items():
        for value, defects in undone.items():
            settings = methods.get(name).configure({key: value})
            assert card.under(settings).undoes == defects != card.undoes
    assert card.under(methods.get(name).configure({})).undoes == card.undoes
    for values in (
        {},
        methods.get(name).quick,
        methods.get(name).weakest,
        *({"preset": preset} for preset in card.presets),
    ):
        methods.get(name).configure(values)


@pytest.mark.parametrize(("name", "key"), PROBED)
def test_every_setting_changes_the_output(name, key):
    method = methods.get(name)
    declared = method.settings.model_fields[key]
    assert declared.description
    probe = probe_of(declared)
    assert probe, "declare settings with unblur.contract.setting"
    observation = observation_for(name, _scene_with_everything(max(method.card.channels)))
    results = [restored(name, observation, **{**probe.given, key: value}) for value in probe.values]
    assert any(_differ(*pair) for pair in zip(*(outputs(name, r) for r in results), strict=True))


def _scene_with_everything(channels: int) -> Scene:
    """Colours, borders, noise, clipped highlights with their blurred skirts, slopes and edges."""
    sharp = structured_picture(88, 96, channels)
    sharp[..., 30:36, 40:46] = 3.0
    return observe(sharp, hook_psf(), sigma=0.02)


def _differ(a: Tensor, b: Tensor) -> bool:
    return a.shape != b.shape or float((a - b).abs().max()) > 1e-3 * float(a.abs().max())


@pytest.mark.parametrize(("name", "key"), SETTINGS)
def test_a_misspelt_setting_is_an_error_that_names_the_right_one(name, key):
    with pytest.raises(UnblurError, match=f"no setting '{key}x'.*'{key}'"):
        methods.get(name).configure({f"{key}x": 1})


@pytest.mark.parametrize(("name", "key"), SETTINGS)
def test_a_setting_out_of_range_is_an_error_that_names_it(name, key):
    method = methods.get(name)
    low, high = _bounds(method, key)
    beyond = [value for value in (low - 1, high + 1) if math.isfinite(value)]
    for wrong in ("no such value", *beyond):
        with pytest.raises(UnblurError, match=f"setting '{key}' of '{name}'"):
            method.configure({key: wrong})


def _bounds(method: Method, key: str) -> tuple[float, float]:
    """The least and the largest value a setting may have."""
    bounds = method.settings.model_fields[key].metadata
    low = [bound.ge for bound in bounds if hasattr(bound, "ge")]
    high = [bound.le for bound in bounds if hasattr(bound, "le")]
    return (low or [-math.inf])[0], (high or [math.inf])[0]


# --- restoring ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("name", NON_BLIND)
def test_a_psf_that_blurs_nothing_returns_the_input(name, size):
    """At the weakest regularisation its settings allow, where rounding errors are least held back."""
    scene = blurred_scene(64, 72, sigma=0.0, psf=delta_psf(size))
    image = image_of(name, observation_for(name, scene), **methods.get(name).weakest)
    assert psnr(image, scene.sharp) >= 40


@pytest.mark.parametrize("name", NON_BLIND)
def test_the_true_psf_restores_and_its_flip_does_not(name):
    scene = blurred_scene(96, 120)
    flipped = Scene(scene.sharp, scene.psf.flip(-2, -1), scene.blurry)
    before = psnr(scene.blurry, scene.sharp)
    assert psnr(image_of(name, observation_for(name, scene)), scene.sharp) > before + 6
    assert psnr(image_of(name, observation_for(name, flipped)), scene.sharp) < before


@pytest.mark.parametrize("name", NON_BLIND)
def test_a_psf_off_its_middle_brings_the_picture_back_to_its_place(name):
    """Even and odd sides, since a half-pixel error shows on one of them only."""
    for height, width in ((96, 121), (97, 120)):
        scene = blurred_scene(height, width, sigma=0.002)
        image = image_of(name, observation_for(name, scene))
        assert best_shift(image, scene.sharp, step=0.125).abs().max() <= 0.125


@pytest.mark.parametrize("name", NON_BLIND)
def test_borders_are_restored_too(name):
    """Where a wrap-around or a ringing frame would leave more error than the blur itself."""
    scene = blurred_scene(96, 120, sigma=0.002)
    error = (image_of(name, observation_for(name, scene)) - scene.sharp).square()
    frame = torch.ones_like(error, dtype=torch.bool)
    frame[..., 8:-8, 8:-8] = False
    blurred_error = (scene.blurry - scene.sharp).square()
    assert error[frame].mean() < 0.5 * blurred_error[frame].mean()


@pytest.mark.parametrize("name", _named(lambda card: card.tiling and "image" in card.gives))
def test_a_tile_with_a_halo_is_what_the_whole_picture_has_there(name):
    """Not bit by bit: where a prior is not convex, one pixel in a thousand falls to the other side."""
    multiple = max(CARDS[name].multiple_of, CARDS[name].grid)
    cut, halo, inside = (multiple * math.ceil(length / multiple) for length in (20, max(40, CARDS[name].reach), 56))
    side = 2 * halo + inside
    whole = scene_for(name, cut + side + 20, cut + side + 28)
    place = (..., slice(cut, cut + side), slice(cut, cut + side))
    observation = observation_for(name, whole, sigma=0.01)
    middle = (..., slice(halo, -halo), slice(halo, -halo))
    expected = image_of(name, observation)[place]
    actual = image_of(name, observation.with_pictures(lambda picture: picture[place]))
    assert psnr(actual[middle], expected[middle]) > 55


# --- estimating the psf ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS_FROM_ANY_PHOTO)
def test_the_estimated_psf_is_the_true_one_and_not_its_flip(name):
    easy = scene_for(name, 160, 176, sigma=0.003)
    psf = psf_of(name, observation_for(name, easy))
    assert_is_psf(psf)
    likeness = kernel_similarity(psf, easy.psf)
    assert likeness > 0.8
    assert likeness > kernel_similarity(psf, easy.psf.flip(-2, -1)) + 0.05


@pytest.mark.parametrize("name", ESTIMATORS_FROM_ANY_PHOTO)
def test_a_turned_picture_has_a_turned_psf(name):
    easy = scene_for(name, 160, 176, sigma=0.003)
    turned = Scene(*(part.transpose(-2, -1).flip(-1) for part in (easy.sharp, easy.psf, easy.blurry)))
    assert kernel_similarity(psf_of(name, observation_for(name, turned)), turned.psf) > 0.8


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_picture_with_nothing_in_it_still_gives_a_psf(name):
    picture = torch.full((1, min(CARDS[name].channels), 48, 56), 0.6)
    flat = Scene(picture, hook_psf()[None, None], picture)
    assert_is_psf(psf_of(name, observation_for(name, flat)))


# --- denoising ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DENOISERS)
def test_denoising_reduces_noise_and_moves_nothing(name):
    scene = blurred_scene(96, 120, 3, sigma=0.08, psf=delta_psf())
    image = image_of(name, observation_for(name, scene))
    assert psnr(image, scene.sharp) > psnr(scene.blurry, scene.sharp) + 4
    scene = blurred_scene(96, 120, 3, sigma=0.01, psf=delta_psf())  # strong noise would bias the search for a shift
    image = image_of(name, observation_for(name, scene))
    assert best_shift(image, scene.sharp, step=0.125).abs().max() <= 0.125


@pytest.mark.parametrize("name", DENOISERS)
def test_a_picture_without_noise_is_left_alone(name):
    scene = blurred_scene(96, 120, 3, sigma=0.0, psf=delta_psf())
    assert psnr(image_of(name, observation_for(name, scene, sigma=0.0)), scene.sharp) > 40
