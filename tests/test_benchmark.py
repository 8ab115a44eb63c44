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
from unblur.contract import Card, Method, Settings
from unblur.datasets.base import Dataset, Sample, Scores, scores_after_shift
from unblur.metrics import kernel_similarity
from unblur.types import Cancelled, Observation, Progress, Restoration, UnblurError

REAL_GET = methods.get


class Tiny(Dataset):
    """Three small scenes that need no files."""

    name = "tiny"
    title = "three scenes"
    layout = "nothing"
    protocol: ClassVar[Mapping[str, Any]] = {"dataset": "tiny", "crop": 6, "clip": [0.0, 1.0]}

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def count(self, root: Path) -> int:
        return 3

    def samples(self, root: Path, limit: int | None = None) -> Iterator[Sample]:
        for seed in range(3 if limit is None else limit):
            scene = self.scene(seed)
            sample = Sample(f"group/{seed}", scene.blurry, scene.sharp, scene.psf, sigma=0.01)
            yield replace(sample, **self.changes)

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
            "l0_psf": ("psf", lambda o: Restoration(psf=hook_psf()[None, None], notes=["a hook"])),
            "flipped": ("psf", lambda o: Restoration(psf=hook_psf().flip(0, 1)[None, None])),
            "perfect": ("image", self._truth),
            "nan": ("image", lambda o: Restoration(image=o.blurry * torch.nan)),
            "broken": ("image", self._break_on_the_second),
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

    def _break_on_the_second(self, observation: Observation) -> Restoration:
        if len(self.seen["broken"]) == 2:
            raise ZeroDivisionError("oh")
        return Restoration(image=observation.blurry)


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
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))
    assert [row["seconds"] for row in run("flipped+wiener", "l0_psf+sparse")["rows"]] == [1, 1]


# --- the result -----------------------------------------------------------------------------------


def test_the_result_is_strict_json_in_the_published_layout(cast):
    result = run("wiener", "perfect", limit=2)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert list(result) == ["dataset", "protocol", "versions", "rows", "summary"]
    assert result["dataset"] == "tiny"
    assert result["protocol"]["crop"] == 6
    assert result["protocol"]["limit"] == 2
    assert {"python", "torch", "numpy", "unblur", "platform", "threads"} == set(result["versions"])
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
    versions = {"unblur": "1", "torch": "2", "threads": 1}
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
