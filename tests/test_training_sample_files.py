"""Samples on disk: what is read is what was written, whole or not at all, and of one recipe only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from trainables import Denoiser, photo_folder
from unblur.imaging.psf import gaussian_psf
from unblur.training.batches import Samples
from unblur.training.sample_files import StoredSamples, begin, is_for_validation, read_sample, sample_name, write_sample
from unblur.training.sources import Photos
from unblur.training.synthesis import SampleWriter, write_missing
from unblur.types import Cancelled, Progress, UnblurError

FACTS = {"method": "denoiser", "preset": "small", "observations": {"sigma": 0.1}, "seed": 0}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def eight_bits(*shape: int) -> torch.Tensor:
    return (255 * random(*shape)).round() / 255


@pytest.mark.parametrize(
    ("tensor", "error"),
    [
        (eight_bits(3, 8, 9), 0),
        (eight_bits(1, 8, 9), 0),
        (random(3, 8, 9), 0.5 / 65535 + 1e-7),
        (random(1, 8, 9), 0.5 / 65535 + 1e-7),
        (random(3, 8, 9) - 0.2, 0),
        (random(5, 8, 9), 0.5 / 65535 + 1e-7),
        (eight_bits(4, 3, 8, 9), 0),
        (1.5 * random(4, 3, 8, 9), 0),
        (torch.full((1, 1, 1), 0.1), 0),
        (torch.tensor([1, 2]), 0),
        (torch.tensor(0.3), 0),
    ],
    ids=lambda value: str(tuple(value.shape)) if isinstance(value, torch.Tensor) else "",
)
def test_every_tensor_comes_back_at_its_precision(tmp_path, tensor, error):
    write_sample(tmp_path / "0", {"seen": tensor})
    (name,) = sample = read_sample(tmp_path / "0")
    assert name == "seen" and sample["seen"].dtype == tensor.dtype
    torch.testing.assert_close(sample["seen"], tensor, atol=error, rtol=0)


def test_a_psf_is_stored_exactly_and_also_to_look_at(tmp_path):
    psf = gaussian_psf(1.0, 5)[None].float()
    write_sample(tmp_path / "0", {"blurry": eight_bits(3, 8, 9), "psf": psf})
    assert torch.equal(read_sample(tmp_path / "0")["psf"], psf)
    assert sorted(path.name for path in (tmp_path / "0").iterdir()) == [
        "blurry.png",
        "psf.tif",
        "psf.view.png",
        "sample.json",
    ]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "0" / "psf.tif"), psf[0].numpy())
    assert np.asarray(Image.open(tmp_path / "0" / "psf.view.png")).max() == 255


def test_a_sample_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(OSError, match="no space"):
        write_sample(tmp_path / "0", {"blurry": eight_bits(3, 8, 9), "sharp": random(3, 8, 9)})
    assert not (tmp_path / "0").exists()


def test_a_damaged_sample_is_named_with_the_remedy(tmp_path):
    write_sample(tmp_path / "0", {"blurry": eight_bits(3, 8, 9)})
    (tmp_path / "0" / "blurry.png").write_bytes(b"")
    with pytest.raises(UnblurError, match=r"0: not a whole sample .*--resume"):
        read_sample(tmp_path / "0")


# --- a folder of them -----------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    return Photos.of(photo_folder(tmp_path / "photos"))


def fill(folder: Path, photos: Photos, count: int = 22, progress: Progress | None = None, workers: int = 0) -> None:
    begin(folder, FACTS, resume=folder.exists())
    write_missing(SampleWriter(folder, photos, Denoiser, 0), count, workers, progress or Progress())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_is_filled_in_parts_by_several_workers_is_that_filled_at_once(tmp_path, photos):
    fill(tmp_path / "whole", photos)
    fill(tmp_path / "parts", photos, count=5)
    write_sample(tmp_path / "parts" / ".0000007.partial", {"blurry": eight_bits(3, 8, 9)})  # as a killed process leaves
    fill(tmp_path / "parts", photos, workers=2)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_cancelling_leaves_whole_samples(tmp_path, photos):
    class Stops(Progress):
        def on_advance(self, steps, figures):
            if steps == 1:
                self.cancel()

    with pytest.raises(Cancelled):
        fill(tmp_path / "some", photos, progress=Stops())
    names = sorted(path.name for path in (tmp_path / "some").iterdir())
    assert names == [sample_name(0), sample_name(1), "samples.json"]
    assert read_sample(tmp_path / "some" / sample_name(1))["sharp"].shape == (3, 24, 24)


def test_one_in_twenty_samples_is_held_out_and_made_of_what_the_source_holds_out(tmp_path, photos, monkeypatch):
    made = []
    sample = Photos.sample
    monkeypatch.setattr(Photos, "sample", lambda self, entry, *more: made.append(entry) or sample(self, entry, *more))
    fill(tmp_path / "samples", photos)
    assert [made[number] for number in (0, 20)] == photos.validation
    for number, entry in enumerate(made):
        assert is_for_validation(number) == (number in (0, 20)) == (entry in photos.validation)
    stored = StoredSamples.of(tmp_path / "samples", "denoiser", FACTS["observations"])
    assert [path.name for path in stored.validation] == [sample_name(0), sample_name(20)]
    assert len(stored.training) == 20


def test_a_sample_from_the_folder_is_what_observe_gave(tmp_path, photos):
    fill(tmp_path / "samples", photos)
    stored = StoredSamples.of(tmp_path / "samples", "denoiser", FACTS["observations"])
    read = stored.observed(stored.training[4], Denoiser(), torch.Generator())  # number 5
    observed = Samples(photos, "training", Denoiser, 0)[5]
    assert read.keys() == observed.keys()
    for name, tensor in observed.items():
        torch.testing.assert_close(read[name], tensor, atol=0.5 / 65535 + 1e-7, rtol=0)


def test_samples_of_another_method_are_observed_as_pairs(tmp_path, photos):
    fill(tmp_path / "samples", photos)
    stored = StoredSamples.of(tmp_path / "samples", "sharpener", {"anything": 1})
    read = read_sample(stored.training[0])
    observed = stored.observed(stored.training[0], Denoiser(), torch.Generator().manual_seed(1))
    assert torch.equal(observed["sharp"], read["sharp"]) and not torch.equal(observed["blurry"], read["blurry"])


def test_a_folder_of_another_recipe_is_refused_with_what_differs(tmp_path, photos):
    fill(tmp_path / "samples", photos, count=2)
    with pytest.raises(UnblurError, match=r"not the same observations \(sigma was 0.1, is 0.2\)"):
        begin(tmp_path / "samples", {**FACTS, "observations": {"sigma": 0.2}}, resume=True)
    with pytest.raises(UnblurError, match=r"not the same seed \(was 0, is 1\)"):
        begin(tmp_path / "samples", {**FACTS, "seed": 1}, resume=True)
    with pytest.raises(UnblurError, match="Add --resume"):
        begin(tmp_path / "samples", FACTS, resume=False)
    with pytest.raises(UnblurError, match=r"not the same observations \(sigma was 0.1, is 0.3\)"):
        StoredSamples.of(tmp_path / "samples", "denoiser", {"sigma": 0.3})


def test_a_folder_of_something_else_is_refused(tmp_path, photos):
    with pytest.raises(UnblurError, match=r"samples.json: missing or damaged"):
        StoredSamples.of(tmp_path / "photos", "denoiser", {})
    with pytest.raises(UnblurError, match="is not empty"):
        begin(tmp_path / "photos", FACTS, resume=False)
    fill(tmp_path / "few", photos, count=1)
    with pytest.raises(UnblurError, match="1 samples are too few"):
        StoredSamples.of(tmp_path / "few", "denoiser", FACTS["observations"])


def test_more_samples_have_another_digest(tmp_path, photos):
    digests = []
    for count in (3, 4):
        fill(tmp_path / "samples", photos, count=count)
        digests.append(StoredSamples.of(tmp_path / "samples", "denoiser", FACTS["observations"]).digest())
    assert digests[0] != digests[1]
    assert json.loads((tmp_path / "samples" / "samples.json").read_text())["validation"] == "every 20th"
