"""A benchmark's table says what was run, on what, scored how; and no method can spoil another's figures."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from helpers import CountingProgress, Scene, blurred_scene, hook_psf
from unblur import benchmark, datasets, image_io, methods
from unblur.benchmark.batching import batches
from unblur.contract import Card, Method, Settings
from unblur.datasets.base import Dataset, Sample, Scores, scores_after_shift
from unblur.imaging.psf import gaussian_psf, pad_psf
from unblur.metrics import kernel_similarity
from unblur.types import Cancelled, Observation, Progress, Restoration, UnblurError

REAL_GET = methods.get
SMALL_PSF, LARGE_PSF = gaussian_psf(1.0, 7), gaussian_psf(1.5, 11)


class Tiny(Dataset):
    """Three small scenes that need no files; `changes` to all of them, or one for each."""

    name = "tiny"
    title = "three scenes"
    layout = "nothing"
    protocol: ClassVar[Mapping[str, Any]] = {"dataset": "tiny", "crop": 6, "clip": [0.0, 1.0]}

    def __init__(self, *each: dict[str, Any], **changes: Any) -> None:
        self.changes = [change | changes for change in each or [{}] * 3]

    def count(self, root: Path) -> int:
        return 3

    def samples(self, root: Path, limit: int | None = None) -> Iterator[Sample]:
        for seed in range(3 if limit is None else limit):
            scene = self.scene(seed)
            sample = Sample(f"group/{seed}", scene.blurry, scene.sharp, scene.psf, sigma=0.01)
            yield replace(sample, **self.changes[seed])

    def score(self, restored: Tensor, sample: Sample, *, reference: Tensor | None = None) -> Scores:
        return scores_after_shift(restored, sample, reference, crop=6, search=2, step=0.5)

    @staticmethod
    def scene(seed: int) -> Scene:
        return blurred_scene(48, 56, seed=seed)


class Cast:
    """Real non-blind methods, and stand-ins that estimate, fail or look at what they should not."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Observation]] = {}

    def get(self, name: str) -> Method:
        if name in methods.names() and name != "l0_psf":
            real = REAL_GET(name)
            return replace(real, restore=self._watched(name, real.restore))
        stand_ins = {
            "l0_psf": ("psf", lambda o: Restoration(psf=self._for_each(hook_psf(), o), notes=["a hook"])),
            "flipped": ("psf", lambda o: Restoration(psf=self._for_each(hook_psf().flip(0, 1), o))),
            "fitting": ("psf", self._estimate_of_its_own_size),
            "perfect": ("image", self._truth),
            "nan": ("image", lambda o: Restoration(image=o.blurry * torch.nan)),
            "broken": ("image", self._break_on_the_second),
            "picky": ("image", self._break_on_scene_1),
            "double": ("image", lambda o: Restoration(image=torch.cat([o.blurry, o.blurry]))),
            "single": ("image", lambda o: Restoration(image=o.blurry[:1])),
        }
        gives, work = stand_ins[name]
        card = Card(name, name, "", frozenset({"blurry"}), frozenset({gives}))
        return Method(card, Settings, self._watched(name, lambda o, settings, progress: work(o)))

    def _watched(self, name, restore):
        def watched(observation: Observation, settings: Settings, progress: Progress) -> Restoration:
            self.seen.setdefault(name, []).append(observation)
            return restore(observation, settings, progress)

        return watched

    def _truth(self, observation: Observation) -> Restoration:
        return Restoration(image=Tiny.scene(len(self.seen["perfect"]) - 1).sharp)

    @staticmethod
    def _for_each(psf: Tensor, observation: Observation) -> Tensor:
        return psf.expand(len(observation.blurry), 1, -1, -1).to(observation.blurry)

    def _estimate_of_its_own_size(self, observation: Observation) -> Restoration:
        """A large psf for scene 0, a small one for the others; padded to the largest as `l0_psf` does."""
        psfs = [LARGE_PSF if _shows(0, picture) else SMALL_PSF for picture in observation.blurry]
        size = max(len(psf) for psf in psfs)
        return Restoration(psf=torch.stack([pad_psf(psf, size)[None] for psf in psfs]).to(observation.blurry))

    def _break_on_scene_1(self, observation: Observation) -> Restoration:
        if any(_shows(1, picture) for picture in observation.blurry):
            raise RuntimeError("not this one")
        return Restoration(image=observation.blurry)

    def _break_on_the_second(self, observation: Observation) -> Restoration:
        if len(self.seen["broken"]) == 2:
            raise ZeroDivisionError("oh")
        return Restoration(image=observation.blurry)


def _shows(seed: int, picture: Tensor) -> bool:
    return torch.equal(picture.cpu(), Tiny.scene(seed).blurry[0])


@pytest.fixture
def cast(monkeypatch: pytest.MonkeyPatch) -> Cast:
    cast = Cast()
    monkeypatch.setattr(methods, "get", cast.get)
    monkeypatch.setattr(datasets, "get", lambda name: Tiny())
    return cast


def run(*names: str, limit: int | None = 1, **options: Any) -> dict[str, Any]:
    return benchmark.run("tiny", Path("nowhere"), names, limit=limit, **options)


def only_row(*names: str, **options: Any) -> dict[str, Any]:
    (row,) = run(*names, **options)["rows"]
    return row


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
    with pytest.raises(Cancelled):
        run("sparse", "wiener", progress=CountingProgress(cancel_at=2))
    assert "wiener" not in cast.seen


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
    ]
    samples = [Sample(str(n), **kind) for n, kind in enumerate(kinds)]
    names = [[sample.name for sample in batch] for batch in batches(samples, 3)]
    assert names == [["0", "1"], ["2"], ["3"], ["4", "5"], ["6"], ["7", "8"], ["9"]]
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
    assert "of 1 pictures the method made 2 pictures" in only_row("double")["error"]


def test_cancelling_a_batch_does_not_begin_it_anew(cast):
    with pytest.raises(Cancelled):
        run("sparse", limit=None, together=3, progress=CountingProgress(cancel_at=2))
    assert sizes_seen(cast, "sparse") == [3]


def test_the_rows_of_a_batch_are_counted_one_by_one(cast):
    progress = CountingProgress()
    run("wiener", "l0_psf", limit=None, together=2, progress=progress)
    assert (progress.promised, progress.done) == ([6], [6])


def test_fewer_than_one_at_a_time_is_an_error(cast):
    with pytest.raises(UnblurError, match="together by 1 or more, not by 0"):
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


# --- the pictures ---------------------------------------------------------------------------------


def test_the_pictures_are_written_by_method_with_the_psfs_that_were_estimated(cast, tmp_path):
    run("l0_psf", "l0_psf+wiener", "wiener", limit=2, out=tmp_path / "new")
    written = {str(path.relative_to(tmp_path / "new")) for path in tmp_path.rglob("*.png")}
    estimated = {
        f"{method}/group/{n}.{end}"
        for method in ("l0_psf", "l0_psf+wiener")
        for n in "01"
        for end in ("png", "psf.png")
    }
    assert written == estimated | {"wiener/group/0.png", "wiener/group/1.png"}
    psf = image_io.read_psf(tmp_path / "new/l0_psf/group/0.psf.png")
    np.testing.assert_allclose(psf, hook_psf(), atol=1e-4)


def test_a_written_picture_is_the_restored_one_in_8_bits(cast, tmp_path):
    run("perfect", out=tmp_path)
    with Image.open(tmp_path / "perfect/group/0.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels / 255, Tiny.scene(0).sharp[0, 0], atol=0.51 / 255)


def test_pictures_are_never_overwritten_and_this_is_noticed_before_any_work(cast, tmp_path):
    (tmp_path / "wiener").mkdir()
    (tmp_path / "wiener" / "precious.png").write_text("mine")
    with pytest.raises(UnblurError, match=r"wiener holds files already\..*--out"):
        run("sparse", "wiener", out=tmp_path)
    assert not cast.seen


def test_a_folder_that_cannot_be_made_is_named(cast, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UnblurError, match=r"cannot write pictures to .*file"):
        run("wiener", out=tmp_path / "file")


# --- the table ------------------------------------------------------------------------------------


def test_the_table_shows_mean_worst_and_time_with_the_protocol_below(cast):
    result = run("wiener", "l0_psf+hyper_laplacian", "nan", limit=2)
    page = io.StringIO()
    Console(file=page, width=110).print(benchmark.table(result))
    text = page.getvalue()
    for line in result["summary"][:2]:
        assert line["method"] in text
        assert f"{line['psnr']:.2f}" in text
        assert f"{line['worst_psnr']:.2f}" in text
        assert f"{line['seconds']:.2f}" in text
    assert "crop: 6" in text and "clip: [0.0, 1.0]" in text


def long_result(*, failed: int) -> dict[str, Any]:
    """A result with every figure as wide as it gets, and a caption of many lines."""
    figures = dict.fromkeys(("psnr", "worst_psnr"), 28.123) | dict.fromkeys(("seconds", "error_ratio_norm2"), 123.456)
    figures |= {"ssim": 0.91234, "error_ratio_ssd": 1.5, "count": 32 - failed, "failed": failed}
    summary = [{"method": name, **figures} for name in ("wiener", "l0_psf+nlm+hyper_laplacian")]
    versions = {"unblur": "1", "torch": "2", "threads": 1, "device": "cpu"}
    protocol = {"words": " ".join(f"word{i}" for i in range(60)), "last": "the end"}
    return {"dataset": "levin", "protocol": protocol, "versions": versions, "summary": summary}


@pytest.mark.parametrize("failed", [0, 3])
@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_of_the_table_is_cut_at_80_columns(failed, terminal):
    page = io.StringIO()
    Console(file=page, width=80, force_terminal=terminal, no_color=True).print(
        benchmark.table(long_result(failed=failed))
    )
    text = re.sub("\x1b[^m]*m", "", page.getvalue())
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    words = text.split()
    assert {"PSNR", "worst", "SSIM", "SSD", "norm2", "s", "l0_psf+nlm+hyper_laplacian"} <= set(words)
    assert words.count("123.456") == 2
    assert {f"word{i}" for i in range(59)} < set(words)
    assert "the end" in text
    assert "levin, 32 pictures" in text
    assert ("failed" in words) == bool(failed)
