"""Methods for pairs are compared with methods for one picture: `noisy:a` restores the short shot of each pair."""

from __future__ import annotations

import pytest
import torch

from benchmark_cast import Cast, Tiny, only_row, run
from unblur import datasets, methods

SHORT = torch.full((1, 1, 48, 56), 0.25)


@pytest.fixture
def cast(monkeypatch):
    actors = Cast()
    monkeypatch.setattr(methods, "get", actors.get)
    monkeypatch.setattr(datasets, "get", lambda name: Tiny(noisy=SHORT, frames=SHORT[:, None], exposure_ratio=8.0))
    return actors


@pytest.mark.parametrize("together", [1, 3])
def test_a_method_is_given_the_noisy_shot_as_its_photo_and_nothing_of_the_blurry_one(cast, together):
    result = run("noisy:nlm", "nlm", limit=3, together=together)
    assert [line["error"] for line in result["rows"]] == [None] * 6
    half = len(cast.seen["nlm"]) // 2
    on_noisy = [seen for seen in cast.seen["nlm"] if torch.equal(seen.blurry, SHORT.expand_as(seen.blurry))]
    assert len(on_noisy) == half
    for seen in on_noisy:
        assert (seen.noisy, seen.psf, seen.sigma, seen.exposure_ratio) == (None, None, None, None)


def test_its_row_is_scored_against_the_same_sharp_picture_and_has_a_name_of_its_own(cast):
    own, plain = run("noisy:nlm[strength=2]", "nlm[strength=2]")["rows"]
    assert (own["method"], plain["method"]) == ("noisy:nlm[strength=2]", "nlm[strength=2]")
    assert own["psnr"] < plain["psnr"], "the noisy shot of these samples is flat"


def test_a_chain_is_given_the_noisy_shot_at_its_beginning(cast):
    row = only_row("noisy: nlm+l0_psf+wiener")
    assert row["steps"] == ["nlm", "l0_psf", "wiener"] and row["error"] is None
    assert row["kernel_similarity"] is None, "the true PSF is that of the blurry picture"


def test_its_pictures_go_into_a_folder_that_every_system_allows(cast, tmp_path):
    run("noisy:nlm", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["noisy_nlm"]


def test_the_true_psf_does_not_belong_to_the_noisy_shot(cast):
    assert "needs a psf" in only_row("noisy:wiener")["error"]


def test_without_a_noisy_shot_the_row_has_an_error(cast, monkeypatch):
    monkeypatch.setattr(datasets, "get", lambda name: Tiny())
    assert only_row("noisy:nlm")["error"] == "'group/0' has no noisy shot: leave out 'noisy:'."
