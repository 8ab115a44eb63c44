"""What is sharp, badly restored or blurred in several ways is left alone; what is shaken and well restored is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from helpers import blurred_scene, hook_psf, observe, structured_picture
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise
from unblur.imaging.psf import delta_psf, gaussian_psf, linear_motion_psf
from unblur.methods import get
from unblur.pipeline import judge as judge_module
from unblur.pipeline.judge import judge, why_not_local, why_not_other_tones
from unblur.pipeline.sharpness import sharpness, slope_energy
from unblur.solvers.gain import Prediction
from unblur.solvers.psf_evidence import Evidence, share_explained_no_better
from unblur.types import Observation, Progress, Restoration

SIGMA = 0.005
DEBLURS, DENOISES = frozenset({"blur"}), frozenset({"noise"})


def noisy(picture: Tensor, sigma: float = SIGMA) -> Tensor:
    return add_gaussian_noise(picture, sigma, torch.Generator().manual_seed(5), clip=True)


def reason(photo: Tensor, image=None, psf=None, undoes=DEBLURS, given=None, estimated=False) -> str:
    """What the judge says of a photo, of what a method made of it, and of the PSF that the method was handed."""
    psf, given = (k if k is None else k[None, None] for k in (psf, given))
    observation = Observation(blurry=photo, psf=given, psf_estimated=estimated)
    return judge(observation, Restoration(image=image, psf=psf), undoes, SIGMA, Progress()) or ""


def deconvolved(blurry: Tensor, psf: Tensor) -> Tensor:
    image = get("hyper_laplacian")(Observation(blurry=blurry, psf=psf[None, None], sigma=SIGMA)).image
    assert image is not None
    return image


@pytest.fixture(scope="module")
def scene():
    return observe(structured_picture(300, 340, channels=3), hook_psf(), sigma=SIGMA)


@pytest.fixture(scope="module")
def restored(scene):
    return deconvolved(scene.blurry, hook_psf())


def test_a_sharp_photo_is_recognised_with_and_without_noise(scene):
    for picture in (scene.sharp, noisy(scene.sharp)):
        assert "does not look blurred" in reason(picture)
        assert "does not look blurred" in reason(picture, undoes=frozenset())  # before a PSF is looked for
        assert reason(picture, undoes=DENOISES) == ""
        assert reason(picture, given=hook_psf()) == ""  # who gives a PSF knows that the photo is blurred


@pytest.mark.parametrize("psf", [hook_psf(), gaussian_psf(2.0), linear_motion_psf(9, 0), linear_motion_psf(9, 45)])
def test_a_blurred_photo_is_not_taken_for_sharp_whatever_the_direction(scene, psf):
    assert reason(noisy(convolve(scene.sharp, psf))) == ""


def test_sharpness_does_not_mistake_noise_for_detail():
    blurry = convolve(structured_picture(200, 200), gaussian_psf(2.0))
    grainy = noisy(blurry, 0.02)
    assert sharpness(grainy, 0.02) == pytest.approx(sharpness(blurry, 0.0), abs=0.15)
    assert slope_energy(grainy, 0.02) == pytest.approx(slope_energy(blurry, 0.0), rel=0.15)


@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.9, 0.1, 0.4)])
@pytest.mark.parametrize("size", [(32, 32), (37, 53)])
@pytest.mark.parametrize("undoes", [DEBLURS, DENOISES])
def test_a_flat_photo_is_left_as_it_is(colour, size, undoes):
    flat = torch.tensor(colour)[None, :, None, None].expand(1, 3, *size)
    assert "it is flat" in reason(flat, undoes=undoes)


def test_a_psf_that_is_a_point_means_that_nothing_is_blurred(scene):
    assert "single point" in reason(scene.blurry, psf=delta_psf(9))


def test_a_psf_larger_than_the_photo_is_not_believed():
    assert "larger than the photo" in reason(structured_picture(24, 28), psf=gaussian_psf(4.0, 25))


def test_the_right_psf_and_its_restoration_are_believed_by_whichever_way_they_come(scene, restored):
    assert reason(scene.blurry, psf=hook_psf()) == ""
    assert reason(scene.blurry, restored, given=hook_psf(), estimated=True) == ""
    assert reason(scene.blurry, restored, given=hook_psf()) == ""
    assert reason(scene.blurry, restored, psf=hook_psf()) == ""
    assert reason(scene.blurry, restored) == ""


@pytest.mark.parametrize("wrong", [hook_psf().flip(0, 1), linear_motion_psf(15, 70), gaussian_psf(4.0)])
def test_a_wrong_psf_is_not_believed(scene, wrong):
    assert "No credible PSF" in reason(scene.blurry, psf=wrong)
    image = deconvolved(scene.blurry, wrong)
    assert reason(scene.blurry, image, psf=wrong) != "", "also when it comes together with its picture"


def test_a_psf_given_by_a_person_is_not_questioned(scene):
    wrong = linear_motion_psf(5, 0)
    image = deconvolved(scene.blurry, wrong)
    assert "No credible PSF" in reason(scene.blurry, image, psf=wrong)
    assert reason(scene.blurry, image, given=wrong) == ""


def moving_scene() -> tuple[Tensor, Tensor, Tensor]:
    """A photo in which two objects move before a background at rest, and the PSFs of the objects."""
    background, one, other = (structured_picture(400, 480, seed=seed) for seed in (1, 2, 3))
    y, x = torch.arange(400)[:, None], torch.arange(480)
    covers = [((y - a).abs() < 70) & ((x - b).abs() < 80) for a, b in ((120, 130), (280, 330))]
    psfs = [linear_motion_psf(17, 0, 19), linear_motion_psf(13, 60, 19)]
    photo = background
    for picture, cover, psf in zip((one, other), covers, psfs, strict=True):
        share = convolve(cover.float()[None, None], psf)  # of the exposure during which the object is at a place
        photo = photo * (1 - share) + convolve(picture * cover, psf)
    return noisy(photo), psfs[0], psfs[1]


def test_a_scene_that_moves_is_recognised_with_the_psf_of_any_of_its_parts():
    photo, one, other = moving_scene()
    for psf in (one, other, (one + other) / 2):
        assert share_explained_no_better(photo, psf) > 0.5
        assert "wrong PSFs explain the blur equally well" in reason(photo, psf=psf)
        assert "wrong PSFs explain the blur equally well" in reason(photo, deconvolved(photo, psf), psf=psf)


def test_a_shaken_scene_is_explained_by_its_psf_everywhere():
    psf = linear_motion_psf(13, 30)
    shaken = noisy(convolve(structured_picture(400, 480, seed=1), psf))
    assert share_explained_no_better(shaken, psf) < 0.1


def test_of_a_large_photo_some_areas_tell(monkeypatch):
    monkeypatch.setattr("unblur.solvers.psf_evidence._WHOLE_UP_TO", 400 * 480 - 1)
    monkeypatch.setattr("unblur.solvers.psf_evidence._AREA", 120)
    psf = hook_psf()
    shaken = noisy(convolve(structured_picture(400, 480, seed=1), psf))
    assert share_explained_no_better(shaken, psf) < 0.1
    assert share_explained_no_better(shaken, psf.flip(0, 1)) > 0.5


def test_a_photo_too_small_for_a_tile_says_nothing_about_its_psf():
    assert share_explained_no_better(structured_picture(40, 40), hook_psf()) == 0


def test_blur_that_differs_from_place_to_place_is_recognised():
    sharp = structured_picture(640, 640, seed=3)
    left = torch.arange(640) < 320
    blurry = torch.where(left, convolve(sharp, linear_motion_psf(15, 0)), convolve(sharp, linear_motion_psf(15, 90)))
    compromise = (linear_motion_psf(15, 0, 17) + linear_motion_psf(15, 90, 17)) / 2
    assert "differs from place to place" in (why_not_local(noisy(blurry), compromise, Progress()) or "")
    assert reason(noisy(blurry), psf=compromise) != ""
    uniform = noisy(convolve(sharp, linear_motion_psf(15, 0)))
    assert reason(uniform, psf=linear_motion_psf(15, 0)) == ""


def test_a_restoration_that_does_not_reblur_to_the_photo_is_not_believed(scene, restored):
    moved = restored.roll((3, 3), (-2, -1))
    assert "does not give the photo back" in reason(scene.blurry, moved, given=hook_psf(), estimated=True)


def test_sharpening_with_an_estimated_psf_must_make_edges_clearer(scene):
    wrong = gaussian_psf(0.6, 5)
    assert "no clearer" in reason(scene.blurry, deconvolved(scene.blurry, wrong), given=wrong, estimated=True)


@pytest.mark.parametrize("given", [None, hook_psf()])
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda image: image + 0.08, "another brightness or colour"),
        (lambda image: image * torch.tensor([1.0, 1.0, 0.8])[:, None, None], "another brightness or colour"),
        (lambda image: image * 4 - 1.5, "leaves the photo's range"),
        (lambda image: image * float("inf"), "not finite"),
        (lambda image: convolve(image, gaussian_psf(3.0)), "no sharper"),
    ],
    ids=["brighter", "yellow", "exploded", "infinite", "blurry"],
)
def test_a_spoilt_restoration_is_recognised_without_a_psf_and_with_one(scene, restored, spoil, sentence, given):
    assert sentence in reason(scene.blurry, spoil(restored), given=given)


def test_a_denoised_picture_need_not_be_sharper_but_must_not_be_noisier(scene):
    photo = noisy(scene.sharp, 0.03)
    assert reason(photo, scene.sharp, undoes=DENOISES) == ""
    assert reason(photo, convolve(photo, gaussian_psf(0.7)), undoes=DENOISES) == ""
    assert "noisier" in reason(photo, noisy(photo, 0.03), undoes=DENOISES)


@pytest.mark.parametrize(("sigma", "reason"), [(0.005, "no sharper"), (0.05, None)])
def test_what_undoes_blur_and_noise_is_sharper_than_the_photo_or_removes_much_noise(sigma, reason):
    scene = observe(structured_picture(200, 220), hook_psf())
    observation = Observation(blurry=noisy(scene.blurry, sigma))
    opinions = [
        judge(observation, Restoration(image=image), DEBLURS | DENOISES, sigma, Progress())
        for image in (scene.sharp, convolve(scene.blurry, gaussian_psf(1.0)))
    ]
    assert opinions[0] is None
    assert opinions[1] is None if reason is None else reason in str(opinions[1])


def test_in_a_noisy_photo_it_is_not_asked_whether_it_is_sharp():
    sharp = structured_picture(200, 220)
    reasons = [
        judge(Observation(blurry=noisy(sharp, sigma)), Restoration(), DEBLURS | DENOISES, sigma, Progress())
        for sigma in (0.005, 0.05)
    ]
    assert "does not look blurred" in str(reasons[0])
    assert reasons[1] is None


def test_the_noisy_picture_and_the_first_frame_are_photos_too(scene):
    for observation in (
        Observation(noisy=scene.sharp),
        Observation(frames=torch.stack([scene.sharp, scene.blurry, scene.blurry], 1)),
    ):
        said = judge(observation, Restoration(), DEBLURS, SIGMA, Progress())
        assert said is not None and "does not look blurred" in said


def test_in_a_pair_a_cell_may_be_as_bright_as_either_shot():
    long = structured_picture(128, 128, 3)
    restored = long.clone()
    restored[..., :64, :64] *= 0.8  # where the long shot is clipped and the short one is not
    assert why_not_other_tones(restored, long) is not None
    assert why_not_other_tones(restored, long, restored) is None
    assert why_not_other_tones(0.8 * restored, long, restored) is not None


def test_in_a_pair_the_psf_need_not_explain_the_long_shot(scene):
    """The short shot is the picture; a wrong PSF adds a little to it. What it makes of the picture is still judged."""
    pair = Observation(blurry=scene.blurry, noisy=noisy(scene.sharp, 0.05))
    point = delta_psf(5)[None, None]
    both = DEBLURS | DENOISES
    assert judge(pair, Restoration(image=scene.sharp, psf=point), both, SIGMA, Progress()) is None
    assert "single point" in reason(scene.blurry, image=scene.sharp, psf=delta_psf(5), undoes=both)
    darker = judge(pair, Restoration(image=0.7 * scene.sharp, psf=point), both, SIGMA, Progress())
    assert darker is not None and "another brightness" in darker


def test_a_result_without_a_psf_is_refused_if_a_loss_is_predicted(monkeypatch):
    """The learned judge says by how much; of a photo too noisy to tell, and of a pair, it is not asked."""
    scene = blurred_scene(120, 120, channels=3, sigma=0.003)
    photo = Observation(blurry=scene.blurry)

    def verdict(gain, observation=photo, sigma=0.003):
        monkeypatch.setattr(judge_module, "predict", lambda *_: Prediction(gain, 0.0))
        return judge(observation, Restoration(image=scene.sharp), frozenset({"blur", "noise"}), sigma, Progress()) or ""

    assert "not expected to be clearer" in verdict(-1.1)
    assert verdict(-0.9) == "" and verdict(-9.0, sigma=0.05) == ""
    assert verdict(-9.0, replace(photo, noisy=scene.sharp)) == ""


def test_a_predicted_loss_does_not_count_for_a_psf_that_is_clear_and_larger_than_those_it_learned_from(
    monkeypatch, scene, restored
):
    monkeypatch.setattr(judge_module, "can_predict", lambda grey, psf: True)
    monkeypatch.setattr(judge_module, "predict", lambda grey, restored, psf: Prediction(-5.0, 0.0))
    asymmetric, symmetric = scene.psf[0, 0], gaussian_psf(1.5)

    def reason(psf: Tensor, least: float = judge_module.LEAST_GAIN) -> str | None:
        return judge_module.why_not_gaining(scene.blurry, restored, psf, least)

    assert "not expected to become clearer" in str(reason(asymmetric)), "it learned from PSFs of this size"
    monkeypatch.setattr(judge_module, "LARGEST_PSF", 3)
    assert reason(asymmetric) is None
    assert "not expected to become clearer" in str(reason(symmetric)), "it is like its turned copy"
    assert reason(asymmetric, judge_module.LEAST_GAIN_IN_DOUBT) is not None, "it was refused before"


def test_of_few_tiles_the_share_that_wrong_psfs_explain_is_uncertain(monkeypatch, scene):
    monkeypatch.setattr(judge_module, "share_explained_no_better", lambda grey, psf: 1.0)

    def believed(tiles: int) -> bool:
        monkeypatch.setattr(judge_module, "evidence_for", lambda *_: Evidence(0.24, 0.1, 0.2, tiles))
        return judge_module.why_not_explained_by(scene.blurry, scene.psf[0, 0]) is None

    assert believed(200) and not believed(25)
