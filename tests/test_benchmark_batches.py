"""Several pictures at a time, and another device, give the rows that one at a time on the CPU gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from benchmark_cast import SMALL_PSF, CancelsAtAMethodsReport, Cast, Tiny, only_row, run
from helpers import CountingProgress, blurred_scene, hook_psf
from unblur import benchmark, datasets, image_io, methods
from unblur.benchmark.batching import batches
from unblur.contract import Settings
from unblur.datasets.base import Sample
from unblur.imaging.psf import pad_psf
from unblur.types import Cancelled, Observation, Progress, Restoration, UnblurError

# --- several at a time ----------------------------------------------------------------------------


def sizes_seen(cast: Cast, name: str) -> list[int]:
    """How many pictures a method was given at a time."""
    return [len(seen.blurry) for seen in cast.seen[name]]


def without_times(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in result["rows"]]


def about(row: dict[str, Any], **tolerance: float) -> dict[str, Any]:
    return {key: pytest.approx(value, **tolerance) if isinstance(value, float) else value for key, value in row.items()}


@pytest.mark.parametrize(("together", "sizes"), [(2, [2, 1]), (3, [3]), (8, [3])])
def test_several_at_a_time_give_the_rows_of_one_at_a_time(cast, together, sizes):
    names = ("wiener", "flipped+wiener", "l0_psf")
    alone = run(*names, limit=None)
    cast.seen.clear()
    result = run(*names, limit=None, together=together)
    assert without_times(result) == [about(row, rel=1e-4) for row in without_times(alone)]
    assert sizes_seen(cast, "wiener") == [size for size in sizes for _ in range(2)]  # given the truth, and the flip
    assert sizes_seen(cast, "flipped") == sizes_seen(cast, "l0_psf") == sizes
    assert sizes_seen(cast, "hyper_laplacian") == [size for size in sizes for _ in range(2)]  # l0_psf, its reference
    assert all(row["seconds"] > 0 for row in result["rows"])
    assert result["protocol"]["together"] == together


def test_the_notes_of_a_batch_are_said_of_each_picture(cast):
    assert [row["notes"] for row in run("l0_psf", limit=None, together=3)["rows"]] == [["a hook"]] * 3


def test_a_batchs_time_is_shared(cast, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(benchmark.batching.time, "perf_counter", lambda: next(clock))
    assert [row["seconds"] for row in run("wiener", limit=None, together=2)["rows"]] == [0.5, 0.5, 1]


def test_psfs_of_several_sizes_are_padded_and_told_in_their_own(cast, monkeypatch):
    small = blurred_scene(48, 56, seed=1, psf=SMALL_PSF)
    scene = {"sharp": small.sharp, "blurry": small.blurry, "psf": small.psf}
    monkeypatch.setattr(datasets, "get", lambda name: Tiny({}, scene))
    alone = run("wiener", limit=2)
    result = run("wiener", limit=2, together=2)
    together = cast.seen["wiener"][-1].psf
    assert together.shape == (2, 1, 9, 11)
    assert torch.equal(together[0, 0], hook_psf())
    assert torch.equal(together[1, 0], pad_psf(SMALL_PSF, (9, 11)))
    assert [row["psf_size"] for row in result["rows"]] == [[9, 11], [7, 7]]
    for row, expected in zip(result["rows"], alone["rows"], strict=True):
        assert row["psnr"] == pytest.approx(expected["psnr"], abs=0.02), "a wider margin changes hardly anything"


def test_estimated_psfs_lose_the_margin_that_a_batch_gave_them(cast, tmp_path):
    alone = run("fitting+wiener", limit=2, out=tmp_path / "alone")
    result = run("fitting+wiener", limit=2, together=2, out=tmp_path / "together")
    assert [row["psf_size"] for row in alone["rows"]] == [[11, 11], [7, 7]]
    for row, expected in zip(result["rows"], alone["rows"], strict=True):
        assert row["psf_size"] == expected["psf_size"]
        assert row["kernel_similarity"] == pytest.approx(expected["kernel_similarity"], rel=1e-6)
    for n in "01":
        written = [tmp_path / where / f"fitting+wiener/group/{n}.psf.png" for where in ("alone", "together")]
        np.testing.assert_array_equal(image_io.read_psf(written[0]), image_io.read_psf(written[1]))


def test_only_pictures_that_are_alike_are_restored_together(cast):
    grey, wide = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 20)
    colour, psf = torch.zeros(1, 3, 16, 16), hook_psf()[None, None]
    kinds: list[dict[str, Any]] = [
        *({"blurry": grey, "sigma": 0.01}, {"blurry": grey, "sigma": 0.01}, {"blurry": grey, "sigma": 0.02}),
        *({"blurry": grey}, {"blurry": wide}, {"blurry": wide}, {"blurry": colour}),
        *({"blurry": grey, "psf": psf}, {"blurry": grey, "psf": SMALL_PSF[None, None]}, {"blurry": grey}),
        *({"blurry": grey, "noisy": grey}, {"blurry": grey, "noisy": grey, "exposure_ratio": 4.0}),
        *({"blurry": grey, "frames": grey[:, None]}, {"blurry": grey, "frames": torch.zeros(1, 2, 1, 16, 16)}),
    ]
    samples = [Sample(str(n), **kind) for n, kind in enumerate(kinds)]
    names = [[sample.name for sample in batch] for batch in batches(samples, 3)]
    assert names == [["0", "1"], ["2"], ["3"], ["4", "5"], ["6"], ["7", "8"], ["9"], ["10"], ["11"], ["12"], ["13"]]
    assert [len(batch) for batch in batches([samples[0]] * 7, 3)] == [3, 3, 1]


def test_pictures_are_read_as_they_are_needed():
    read: list[int] = []

    def samples() -> Iterator[Sample]:
        for n in range(9):
            read.append(n)
            yield Sample(str(n), torch.zeros(1, 1, 16, 16))

    waiting = batches(samples(), 2)
    assert [sample.name for sample in next(waiting)] == ["0", "1"]
    assert read == [0, 1]


def test_one_bad_picture_costs_a_batch_nothing_but_itself(cast, tmp_path):
    result = run("picky", "wiener", limit=None, together=3, out=tmp_path)
    assert sizes_seen(cast, "picky") == [3, 1, 1, 1]
    assert {(row["method"], row["image"]): row["error"] for row in result["rows"] if row["error"]} == {
        ("picky", "group/1"): "RuntimeError: not this one"
    }
    assert [line["count"] for line in result["summary"]] == [2, 3]
    assert sizes_seen(cast, "wiener") == [3]
    assert sorted(path.name for path in (tmp_path / "picky/group").iterdir()) == ["0.png", "2.png"]


def test_a_bad_reference_costs_its_picture_only(cast, monkeypatch):
    """`flipped` brings a psf of its own; its reference is given one that picture 1 cannot hold."""
    large = torch.full((1, 1, 3, 999), 1 / 2997)
    broken_for_1: list[dict[str, Any]] = [{}, {"psf": large}, {}]
    monkeypatch.setattr(datasets, "get", lambda name: Tiny(*broken_for_1))
    real = methods.get("hyper_laplacian").restore

    def refusing(observation: Observation, settings: Settings, progress: Progress) -> Restoration:
        if observation.psf.shape[-1] > observation.blurry.shape[-1]:
            raise UnblurError("the psf is wider than the picture")
        return real(observation, settings, progress)

    get = methods.get
    monkeypatch.setattr(
        methods, "get", lambda name: replace(get(name), restore=refusing) if name == "hyper_laplacian" else get(name)
    )
    for together in (1, 3):
        result = run("flipped", limit=None, together=together)
        errors = [row["error"] for row in result["rows"]]
        assert errors == [None, "the psf is wider than the picture", None]


def test_a_method_that_makes_too_few_pictures_of_a_batch_is_asked_one_by_one(cast):
    result = run("single", limit=None, together=3)
    assert sizes_seen(cast, "single") == [3, 1, 1, 1]
    assert [row["error"] for row in result["rows"]] == [None] * 3
    assert result["rows"][0]["psnr"] != result["rows"][1]["psnr"]
    assert "for 1 pictures the method returned 2 pictures" in only_row("double")["error"]


def test_cancelling_a_batch_does_not_begin_it_anew(cast):
    with pytest.raises(Cancelled):
        run("sparse", limit=None, together=3, progress=CancelsAtAMethodsReport())
    assert sizes_seen(cast, "sparse") == [3]


def test_the_rows_of_a_batch_are_counted_one_by_one(cast):
    progress = CountingProgress()
    run("wiener", "l0_psf", limit=None, together=2, progress=progress)
    assert (progress.promised, progress.done) == ([6], [6])


def test_fewer_than_one_at_a_time_is_an_error(cast):
    with pytest.raises(UnblurError, match="restored together must be 1 or more, not 0"):
        run("wiener", together=0)


# --- on another device ----------------------------------------------------------------------------


@pytest.mark.parametrize("together", [1, 2])
def test_methods_run_on_another_device_and_their_results_come_back(cast, stand_in, tmp_path, together):
    names = ("wiener", "l0_psf+wiener", "fitting")
    here = run(*names, limit=2, together=together, out=tmp_path / "here")
    assert here["versions"]["device"] == "cpu"
    cast.seen.clear()
    there = run(*names, limit=2, together=together, out=tmp_path / "there", device=stand_in)
    assert there["versions"]["device"] == stand_in
    assert {seen.blurry.device.type for all_seen in cast.seen.values() for seen in all_seen} == {stand_in}
    assert {seen.psf.device.type for seen in cast.seen["wiener"]} == {stand_in}
    assert without_times(there) == without_times(here)
    for path in (tmp_path / "here").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "there" / path.relative_to(tmp_path / "here")).read_bytes()


def test_a_device_that_is_not_there_is_an_error_before_any_work(cast, tmp_path):
    with pytest.raises(UnblurError, match=r"no device 'cuda:77'\. There is: cpu"):
        run("wiener", device="cuda:77", out=tmp_path / "new")
    assert not cast.seen and not (tmp_path / "new").exists()
