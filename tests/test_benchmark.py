"""A benchmark's table says what was run, on what, scored how; and no method can spoil another's figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmark_cast import REAL_GET, CancelsAtAMethodsReport, Tiny, only_row, run
from fakes import fake_method
from helpers import CountingProgress, hook_psf
from unblur import benchmark, datasets
from unblur.metrics import kernel_similarity
from unblur.types import Cancelled, Observation, UnblurError

# --- who gets what --------------------------------------------------------------------------------


def test_a_non_blind_method_by_itself_is_given_the_true_psf_and_noise(cast):
    row = only_row("wiener")
    (seen,) = cast.seen["wiener"]
    assert torch.equal(seen.psf, hook_psf()[None, None])
    assert seen.sigma == 0.01
    assert (row["reference"], row["error_ratio_ssd"], row["error_ratio_norm2"]) == ("wiener", 1.0, 1.0)
    assert row["kernel_similarity"] is None, "nothing was estimated"
    assert row["psf_size"] == [9, 11]


def test_a_blind_method_never_sees_the_true_psf(cast):
    run("l0_psf+wiener")
    assert [seen.psf for seen in cast.seen["l0_psf"]] == [None]


@pytest.mark.parametrize("together", [1, 3])
def test_each_method_is_given_of_a_sample_what_its_card_needs_or_takes(cast, monkeypatch, together):
    """Not the true psf, if it only takes one: it would be blind no longer."""
    short, frames = (torch.full((1, *shape), 0.25) for shape in ((1, 48, 56), (4, 1, 48, 56)))
    pair = {"noisy": short, "frames": frames, "exposure_ratio": 8.0}
    monkeypatch.setattr(datasets, "get", lambda name: Tiny(**pair))
    result = run("mean", "wiener", limit=3, together=together)
    assert [row["error"] for row in result["rows"]] == [None] * 6
    seen = cast.seen["mean"][0]
    assert (seen.noisy.shape, seen.frames.shape) == ((together, 1, 48, 56), (together, 4, 1, 48, 56))
    assert (seen.exposure_ratio, seen.psf, seen.sigma) == (8.0, None, 0.01)
    for other in cast.seen["wiener"]:
        assert (other.noisy, other.frames, other.exposure_ratio) == (None, None, None)


def test_a_method_for_pairs_fails_on_a_data_set_without_any(cast):
    assert "needs several frames" in only_row("mean")["error"]


def test_an_estimator_by_itself_is_followed_by_the_default_non_blind_step(cast):
    row = only_row("l0_psf")
    assert row["method"] == "l0_psf"
    assert row["steps"] == ["l0_psf", "hyper_laplacian"]
    assert row["reference"] == "hyper_laplacian"
    assert row["notes"] == ["a hook"]


def test_a_true_estimate_has_an_error_ratio_of_one_and_a_flipped_one_more(cast):
    true, flipped = run("l0_psf+wiener", "flipped+wiener")["rows"]
    assert true["error_ratio_ssd"] == pytest.approx(1.0, rel=1e-6)
    assert true["kernel_similarity"] == pytest.approx(1.0)
    assert flipped["error_ratio_ssd"] > 5
    expected = kernel_similarity(hook_psf().flip(0, 1), hook_psf()).item()
    assert flipped["kernel_similarity"] == pytest.approx(expected)


def test_the_reference_is_computed_once_a_picture_for_methods_that_share_it(cast):
    run("hyper_laplacian", "l0_psf", "flipped+hyper_laplacian", limit=2)
    assert len(cast.seen["hyper_laplacian"]) == 2 * 3  # its own run serves as the reference


def test_a_reference_has_the_settings_of_the_step_it_stands_for(cast):
    result = run("l0_psf+wiener", settings={"strength": 50.0})
    assert result["rows"][0]["error_ratio_ssd"] == pytest.approx(1.0, rel=1e-6)


def test_the_references_time_is_not_the_methods(cast, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(benchmark.batching.time, "perf_counter", lambda: next(clock))
    assert [row["seconds"] for row in run("flipped+wiener", "l0_psf+sparse")["rows"]] == [1, 1]


# --- the result -----------------------------------------------------------------------------------


def test_the_result_is_strict_json_in_the_published_layout(cast):
    result = run("wiener", "perfect", limit=2)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert list(result) == ["dataset", "protocol", "versions", "rows", "summary"]
    assert result["dataset"] == "tiny"
    assert result["protocol"]["crop"] == 6
    assert (result["protocol"]["limit"], result["protocol"]["together"]) == (2, 1)
    assert {"python", "torch", "numpy", "unblur", "platform", "threads", "device"} == set(result["versions"])
    scores = ["psnr", "ssim", "error_ratio_ssd", "error_ratio_norm2"]
    assert list(result["rows"][0])[:7] == ["method", "image", *scores, "seconds"]
    assert list(result["summary"][0]) == ["method", *scores, "worst_psnr", "seconds", "count", "failed"]


def test_the_summary_is_the_mean_and_the_worst_of_the_rows(cast):
    result = run("wiener", limit=None)
    figures = [row["psnr"] for row in result["rows"]]
    (line,) = result["summary"]
    assert len(set(figures)) == line["count"] == 3
    assert line["psnr"] == pytest.approx(sum(figures) / 3)
    assert line["worst_psnr"] == min(figures)
    assert line["seconds"] == pytest.approx(sum(row["seconds"] for row in result["rows"]) / 3)


def test_the_figures_are_the_protocols_own(cast):
    scene = Tiny.scene(0)
    image = REAL_GET("wiener")(Observation(blurry=scene.blurry, psf=scene.psf, sigma=0.01)).image
    assert image is not None
    row = only_row("wiener")
    for name, figure in Tiny().score(image, next(Tiny().samples(Path()))).items():
        assert row[name] == pytest.approx(figure, rel=1e-9)


def test_an_infinite_figure_is_null(cast):
    row = only_row("perfect")
    assert row["psnr"] is None
    assert row["ssim"] == pytest.approx(1.0)
    assert row["error"] is None


def test_settings_are_applied_and_stated(cast):
    plain = only_row("wiener")
    result = run("wiener", settings={"strength": "30"})
    assert result["rows"][0]["psnr"] < plain["psnr"] - 1
    assert result["protocol"]["settings"] == {"strength": "30"}


def test_a_setting_goes_to_every_method_of_the_run_that_has_it(cast):
    plain = run("richardson_lucy", "wiener")["rows"]
    fewer = run("richardson_lucy", "wiener", settings={"iterations": 2})["rows"]
    assert [a["psnr"] == b["psnr"] for a, b in zip(plain, fewer, strict=True)] == [False, True]


def test_a_setting_that_no_method_has_is_an_error(cast):
    with pytest.raises(UnblurError, match=r"none of wiener, sparse has a setting 'strenght'.*'strength'"):
        run("wiener", "sparse", settings={"strenght": 1})


# --- what can go wrong ----------------------------------------------------------------------------


def test_a_method_that_fails_on_one_picture_leaves_all_other_figures_alone(cast):
    result = run("broken", "wiener", limit=None)
    errors = {(row["method"], row["image"]): row["error"] for row in result["rows"] if row["error"]}
    assert errors == {("broken", "group/1"): "ZeroDivisionError: oh"}
    broken, wiener = result["summary"]
    assert (broken["count"], broken["failed"]) == (2, 1)
    assert (wiener["count"], wiener["failed"]) == (3, 0)
    assert broken["psnr"] is not None


def test_a_picture_that_is_not_finite_is_a_failure(cast):
    result = run("nan")
    assert "finite" in result["rows"][0]["error"]
    assert result["summary"][0] | {"method": ""} == {
        **dict.fromkeys(["psnr", "ssim", "error_ratio_ssd", "error_ratio_norm2", "worst_psnr", "seconds"]),
        **{"method": "", "count": 0, "failed": 1},
    }


def test_a_picture_without_truth_is_timed_but_not_scored(cast, monkeypatch):
    monkeypatch.setattr(datasets, "get", lambda name: Tiny(sharp=None))
    row = only_row("wiener")
    assert row["psnr"] is None and row["error"] is None and row["seconds"] > 0


def test_without_a_true_psf_there_is_no_error_ratio(cast, monkeypatch):
    monkeypatch.setattr(datasets, "get", lambda name: Tiny(psf=None))
    blind, non_blind = run("l0_psf", "wiener")["rows"]
    assert blind["psnr"] > 0
    assert (blind["reference"], blind["error_ratio_ssd"], blind["kernel_similarity"]) == (None, None, None)
    assert "needs a psf" in non_blind["error"]


@pytest.mark.parametrize(("names", "limit"), [((), None), (("wiener",), 0)])
def test_nothing_to_score_is_an_error(cast, names, limit):
    with pytest.raises(UnblurError, match="nothing to score"):
        run(*names, limit=limit)


def test_progress_counts_rows_and_not_a_methods_own_steps(cast):
    progress = CountingProgress()
    run("wiener", "l0_psf", limit=2, progress=progress)
    assert (progress.promised, progress.done) == ([4], [4])


def test_cancelling_stops_inside_a_method(cast):
    progress = CancelsAtAMethodsReport()
    with pytest.raises(Cancelled):
        run("sparse", "wiener", progress=progress)
    assert set(cast.seen) == {"sparse"}
    assert progress.rows == 0


@pytest.mark.parametrize("together", [1, 3])
def test_a_method_for_colour_alone_is_scored_on_grey_pictures(tmp_path, monkeypatch, together):
    """It is given the grey picture three times, as a photo is."""
    monkeypatch.setattr(datasets, "get", lambda name: Tiny())
    body = "assert observation.blurry.shape[1] == 3; return Restoration(image=observation.blurry)"
    method = fake_method(tmp_path, "colours", body, card="channels=(3,), multiple_of=16")
    rows = benchmark.run("tiny", tmp_path, [method], together=together)["rows"]
    assert [row["error"] for row in rows] == [None] * 3
    assert all(row["psnr"] > 10 for row in rows)
