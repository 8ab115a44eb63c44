"""Groups, gains and columns of a data set's own; its options; and settings for one entry of a run."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmark_cast import Tiny, run
from fakes import fake_method
from helpers import hook_psf, save_photo
from unblur import benchmark, datasets
from unblur.benchmark.entries import make_entries
from unblur.benchmark.pictures import folder_of
from unblur.imaging.convolution import convolve
from unblur.types import UnblurError

# --- groups and gains -----------------------------------------------------------------------------


class Grouped(Tiny):
    """Three scenes in two groups, with gains, and with an option."""

    columns = ("psnr", "gain", "worst_gain", "gain_noise_free", "ssim", "kernel_similarity", "seconds")
    options: Mapping[str, Any] = {"seed": 7}

    def __init__(self) -> None:
        groups = [{"group": "weak"}, {"group": "strong"}, {"group": "weak"}]
        clean = [convolve(self.scene(n).sharp, hook_psf()) for n in range(3)]
        super().__init__(*[own | {"noise_free": picture} for own, picture in zip(groups, clean, strict=True)])


@pytest.fixture
def grouped(cast, monkeypatch):
    monkeypatch.setattr(datasets, "get", lambda name: Grouped())
    return cast


def unchanged(folder: Path) -> str:
    """A method that returns the blurry picture."""
    return fake_method(folder, "unchanged", "return Restoration(image=observation.blurry.clone())")


def lines(result: dict[str, Any], method: str) -> dict[str, dict[str, Any]]:
    return {line["group"]: line for line in result["summary"] if line["method"] == method}


def test_a_result_equal_to_the_input_gains_exactly_nothing_over_it(grouped, monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setattr(datasets, "get", lambda name: Grouped())
    result = run(unchanged(tmp_path), limit=None)
    of = {name: [row for row in result["rows"] if row["method"] == name] for name in ("unchanged", "input")}
    assert [row["gain"] for rows in of.values() for row in rows] == [0.0] * 6
    for row, other in zip(*of.values(), strict=True):
        assert {key: row[key] for key in ("image", "psnr", "ssim", "gain_noise_free")} == {
            key: other[key] for key in ("image", "psnr", "ssim", "gain_noise_free")
        }


def test_gains_are_over_the_blurry_picture_and_over_it_without_noise(grouped):
    result = run("wiener", limit=None)
    rows = {(row["method"], row["image"]): row for row in result["rows"]}
    for n, sample in enumerate(Grouped().samples(Path())):
        row = rows["wiener", sample.name]
        score = Grouped().score
        assert row["gain"] == pytest.approx(row["psnr"] - score(sample.blurry, sample)["psnr"], abs=1e-9)
        noise_free = score(sample.noise_free, sample)["psnr"]
        assert row["gain_noise_free"] == pytest.approx(row["psnr"] - noise_free, abs=1e-9)
        assert rows["noise-free", sample.name]["psnr"] == pytest.approx(noise_free, abs=1e-9)
        assert rows["noise-free", sample.name]["gain_noise_free"] == 0.0
        assert row["group"] == ("weak", "strong", "weak")[n]


def test_the_summary_is_of_each_group_and_then_of_all(grouped):
    result = run("wiener", "l0_psf+wiener", limit=None)
    assert [line["method"] for line in result["summary"]][::3] == ["input", "noise-free", "wiener", "l0_psf+wiener"]
    for method in ("wiener", "l0_psf+wiener", "input"):
        found = lines(result, method)
        assert list(found) == ["weak", "strong", "all"]
        assert [line["count"] for line in found.values()] == [2, 1, 3]
        gains = [row["gain"] for row in result["rows"] if row["method"] == method]
        assert found["weak"]["gain"] == pytest.approx((gains[0] + gains[2]) / 2)
        assert found["strong"]["gain"] == pytest.approx(gains[1])
        assert found["all"]["worst_gain"] == min(gains)
    assert lines(result, "l0_psf+wiener")["all"]["kernel_similarity"] == pytest.approx(1.0)
    assert lines(result, "wiener")["all"]["kernel_similarity"] is None, "the true PSF was given"
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_where_the_protocol_has_no_error_ratio_no_reference_is_computed(grouped):
    result = run("flipped+wiener")
    assert len(grouped.seen["wiener"]) == 1
    assert result["rows"][-1]["reference"] is None
    assert "error_ratio" not in result["protocol"] and "error_ratio_ssd" not in result["rows"][0]


def test_several_at_a_time_give_the_same_gains(grouped):
    alone, together = (run("wiener", limit=None, together=n)["rows"] for n in (1, 3))
    assert [row["method"] for row in together] == [row["method"] for row in alone]
    for row, other in zip(together, alone, strict=True):
        assert row["gain"] == pytest.approx(other["gain"], abs=1e-3)


def test_a_failure_is_counted_in_its_group(grouped):
    found = lines(run("picky", limit=None), "picky")
    assert [(line["count"], line["failed"]) for line in found.values()] == [(2, 0), (0, 1), (2, 1)]
    assert found["strong"]["gain"] is None


def test_a_method_called_like_the_unrestored_pictures_is_refused(tmp_path):
    name = fake_method(tmp_path, "input", "return Restoration(image=observation.blurry)")
    with pytest.raises(UnblurError, match="'input' is the name of the pictures that no method restored"):
        make_entries([name], {})


def shown(result: dict[str, Any]) -> str:
    page = io.StringIO()
    Console(file=page, width=80, no_color=True).print(benchmark.table(result))
    return page.getvalue()


def test_the_table_shows_a_method_once_with_its_groups_and_fits_in_80_columns(grouped):
    result = run("wiener", "l0_psf+wiener", "picky", "l0_psf+nlm+hyper_laplacian", limit=None)
    text = shown(result)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    rows = [line.split() for line in text.splitlines()]
    assert [row[0] for row in rows[2:14:3]] == ["input", "noise-free", "wiener", "l0_psf+wiener"]
    assert [row[0] for row in rows[3:5]] == ["strong", "all"]
    assert f"{result['summary'][-1]['gain']:.2f}" in [word for row in rows for word in row if row[:1] == ["all"]]
    assert {"gain", "n.-fr.", "KS", "failed", "pictures"} <= {word for row in rows[:2] for word in row}
    caption = " ".join(text[text.index("tiny, 3 pictures") :].split())
    assert "means, gain over the input, gain over the noise-free blurry picture (n.-fr.)" in caption
    assert "seed: 7" in caption


def test_columns_that_no_method_fills_are_left_out(grouped, monkeypatch):
    monkeypatch.setattr(Tiny, "columns", Grouped.columns)
    monkeypatch.setattr(datasets, "get", lambda name: Tiny())
    result = run("wiener")
    assert [line["method"] for line in result["summary"]] == ["input", "wiener"]
    head = shown(result).split("input")[0]
    assert "gain" in head and "n.-fr." not in head and "KS" not in head and "pictures" not in head


# --- options of a data set ------------------------------------------------------------------------


def test_options_reach_the_data_set_and_the_protocol(grouped, monkeypatch):
    asked = []
    monkeypatch.setattr(Grouped, "samples", lambda self, root, limit: asked.append(self.options["seed"]) or iter(()))
    assert run("wiener", options={"seed": 3})["protocol"]["seed"] == 3
    assert run("wiener")["protocol"]["seed"] == 7
    assert asked == [3, 7]


def test_an_option_that_a_data_set_does_not_accept_names_those_that_do():
    with pytest.raises(UnblurError, match=r"'levin' has no option --noise\. These have: gopro\."):
        datasets.configured(datasets.get("levin"), {"noise": 5.0})
    with pytest.raises(UnblurError, match=r"'lai' has no option --seed\. These have: celeba, gopro, gopro2, nidf\."):
        datasets.configured(datasets.get("lai"), {"seed": 5})
    with pytest.raises(UnblurError, match=r"the noise of 'gopro' must be 0 or more, not -1\."):
        datasets.configured(datasets.get("gopro"), {"noise": -1})


# --- settings of one entry ------------------------------------------------------------------------


def test_two_variants_of_a_method_stand_in_one_run_as_they_were_typed(cast, tmp_path):
    names = ("wiener", "wiener[strength=30]", "l0_psf + wiener[strength=30,prior=flat]")
    result = run(*names, out=tmp_path)
    labels = ["wiener", "wiener[strength=30]", "l0_psf+wiener[strength=30,prior=flat]"]
    assert [row["method"] for row in result["rows"]] == labels
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(labels)
    plain, strong, _ = (row["psnr"] for row in result["rows"])
    assert plain > strong + 1
    assert strong == run("wiener", settings={"strength": 30})["rows"][0]["psnr"]
    assert result["rows"][2]["steps"] == ["l0_psf", "wiener"]
    assert all(label in shown(result).replace("\n", "") for label in labels[:2]), "brackets are not markup"


@pytest.mark.parametrize("general", ["strength", "wiener.strength"])
def test_brackets_replace_a_setting_of_the_whole_run(cast, general):
    result = run("wiener", "wiener[strength=30]", settings={general: 5})
    both = [row["psnr"] for row in result["rows"]]
    assert both == [run("wiener", settings={"strength": value})["rows"][0]["psnr"] for value in (5, 30)]


def test_an_estimator_with_settings_is_followed_by_the_default_step():
    (entry,) = make_entries(["l0_psf[size=9]"], {})
    assert (entry.label, entry.chain.name) == ("l0_psf[size=9]", "l0_psf+hyper_laplacian")
    assert entry.chain.steps[0].settings.size == 9


def test_commas_in_brackets_separate_settings_and_not_entries():
    assert benchmark.split_names("a, b[x=1,y=2]+c ,d[z=3],") == ["a", "b[x=1,y=2]+c", "d[z=3]"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wiener[strength]", r"'strength' in 'wiener\[strength\]' is no setting: write METHOD\[KEY=VALUE,...\]"),
        ("wiener[]", r"'' in 'wiener\[\]' is no setting"),
        ("wiener[strength=]", "is no setting"),
        ("wiener[strength=1", r"'wiener\[strength=1' .* is no method: write METHOD\[KEY=VALUE,...\]"),
        ("[strength=1]", "is no method"),
        ("wiener[strenght=1]", "has no setting 'strenght'. Did you mean 'strength'"),
        ("nlm[strength=1]+l0_psf+nlm[strength=2]", r"two values of 'nlm\.strength'"),
    ],
)
def test_brackets_that_make_no_sense_are_explained(name, message):
    with pytest.raises(UnblurError, match=message):
        make_entries([name], {})


def test_a_path_among_the_settings_makes_one_folder(tmp_path):
    assert folder_of(tmp_path, "nidf[weights=../../x.safetensors]").parent == tmp_path


def test_bench_nidf_runs_chains_that_denoise_before_and_after(tmp_path):
    save_photo(tmp_path / "x.png", 304, 304)
    result = benchmark.run(
        "nidf", tmp_path, ["nlm", "nlm+l0_psf[size=9]+wiener", "wiener+nlm"], limit=1, options={"seed": 1}
    )
    assert [(line["method"], line["group"]) for line in result["summary"]][::2] == [
        (name, "sigma 10") for name in ("input", "noise-free", "nlm", "nlm+l0_psf[size=9]+wiener", "wiener+nlm")
    ]
    assert [row["error"] for row in result["rows"]] == [None] * 5
    assert lines(result, "nlm")["sigma 10"]["gain"] > 0.3
    similarity = {row["method"]: row["kernel_similarity"] for row in result["rows"]}
    assert similarity["nlm+l0_psf[size=9]+wiener"] > 0 and similarity["wiener+nlm"] is None


def test_bench_nidf_compares_the_networks_with_chains_that_use_the_denoised_picture(tmp_path, monkeypatch):
    monkeypatch.setattr("unblur.datasets.nidf.SIDE", 96)
    for number in range(2):
        save_photo(tmp_path / f"{number}.png", 304, 304, seed=number)
    names = ["nidf", "nidf[output=denoised]", "nidf[output=denoised]+l0_psf[size=9]+wiener"]
    settings = {"orientations": 1, "iterations": 1}
    result = benchmark.run("nidf", tmp_path, names, limit=5, settings=settings, options={"seed": 1})
    assert [row["error"] for row in result["rows"]] == [None] * 5 * (2 + len(names))
    first = [row for row in result["rows"] if row["image"] == "0_40"]
    assert [row["method"] for row in first] == ["input", "noise-free", *names]
    assert [row["steps"] for row in first[2:]] == [["nidf"], ["nidf"], ["nidf", "l0_psf", "wiener"]]
    assert lines(result, "nidf[output=denoised]")["sigma 40"]["gain"] > 5
    assert first[-1]["kernel_similarity"] > 0 and first[-2]["kernel_similarity"] is None
