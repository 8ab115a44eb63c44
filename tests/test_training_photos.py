"""Samples depend on the run's seed and their number, and on nothing else."""

import numpy as np
import pytest
import torch
from PIL import Image

from trainables import Denoiser, photo_folder
from unblur.training import photos as training_photos
from unblur.training.photos import Photos, Samples, mixed_seed, sharp_area, training_batches
from unblur.types import UnblurError


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return Photos.of(photo_folder(tmp_path_factory.mktemp("photos")))


def batches(photos, **changed):
    settings = {"batch": 4, "steps": range(2), "rank": 0, "ranks": 1, "workers": 0}
    return list(training_batches(Samples(photos.training, Denoiser(), 5), **{**settings, **changed}))


def test_names_that_end_in_0_or_1_are_for_validation(photos):
    assert [path.stem for path in photos.validation] == ["photo-0", "photo-1"]
    assert len(photos.training) == 4 and not set(photos.training) & set(photos.validation)


def test_hidden_files_hidden_folders_and_folders_are_no_photos(tmp_path):
    folder = photo_folder(tmp_path / ".library" / "photos")
    photo_folder(folder / ".thumbnails")
    photo_folder(folder / "more")
    (folder / ".hidden-a.png").write_bytes((folder / "photo-0.png").read_bytes())
    (folder / "album.jpg").mkdir()
    found = Photos.of(folder)
    assert len(found.training) == 8 and len(found.validation) == 4


def test_what_is_written_among_the_photos_would_be_taken_for_one(tmp_path):
    folder = photo_folder(tmp_path / "photos")
    for out in (folder, folder / "run", folder / "runs" / "one"):
        with pytest.raises(UnblurError, match="would be taken for sharp photos"):
            Photos.of(folder, out=out)
    assert len(Photos.of(folder, out=tmp_path).training) == 4


def test_photos_are_shrunk_until_there_is_room_for_all(tmp_path, monkeypatch):
    photos = Photos.of(photo_folder(tmp_path / "photos"))
    whole = Samples(photos.training, Denoiser(), 0)
    monkeypatch.setattr(training_photos, "_MEMORY", 4 * 60 * 72)  # a third of what they take
    shrunk = Samples(photos.training, Denoiser(), 0)
    assert not torch.equal(whole[0]["sharp"], shrunk[0]["sharp"])
    assert shrunk[0]["sharp"].shape == whole[0]["sharp"].shape
    assert abs(float(whole[0]["sharp"].mean() - shrunk[0]["sharp"].mean())) < 0.2


def test_a_folder_that_will_not_do_is_refused(tmp_path):
    with pytest.raises(UnblurError, match="no such folder"):
        Photos.of(tmp_path / "nowhere")
    with pytest.raises(UnblurError, match="0 photos to train on and 0 to validate"):
        Photos.of(tmp_path)
    (tmp_path / "broken-a.jpg").write_bytes(b"no photo")
    with pytest.raises(UnblurError, match=r"broken-a.jpg: .* take it out of the folder"):
        Samples([tmp_path / "broken-a.jpg"], Denoiser(), 0)


def test_a_sample_is_the_same_whenever_and_wherever_it_is_made(photos):
    one, other = Samples(photos.training, Denoiser(), 5), Samples(photos.training, Denoiser(), 5)
    last, first = other[7]["blurry"], other[0]["blurry"]
    assert torch.equal(one[0]["blurry"], first) and torch.equal(one[7]["blurry"], last)
    assert not torch.equal(first, last)
    assert not torch.equal(first, Samples(photos.training, Denoiser(), 6)[0]["blurry"])


def test_workers_and_a_later_beginning_change_nothing(photos):
    plain = batches(photos, steps=range(4))
    for other in (batches(photos, steps=range(4), workers=2), plain[:2] + batches(photos, steps=range(2, 4))):
        assert all(torch.equal(a["blurry"], b["blurry"]) for a, b in zip(plain, other, strict=True))


def test_ranks_share_out_each_batch(photos):
    whole, parts = batches(photos), [batches(photos, rank=rank, ranks=2) for rank in range(2)]
    for number, batch in enumerate(whole):
        joined = torch.cat([part[number]["blurry"] for part in parts])
        assert torch.equal(joined, batch["blurry"])


def test_a_photo_is_read_as_it_is_restored_sixteen_bits_and_grey_too(tmp_path):
    levels = np.linspace(0, 65535, 60 * 72).reshape(60, 72).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep-a.png")
    area = Samples([tmp_path / "deep-a.png"], Denoiser(), 0)[0]["sharp"]
    assert 0.02 < area.std() < 0.4 and 0.1 < area.mean() < 0.9


def test_seeds_of_neighbours_have_nothing_in_common():
    seeds = {mixed_seed(seed, index) for seed in range(4) for index in range(1000)}
    assert len(seeds) == 4000 and all(0 <= seed < 2**64 for seed in seeds)
    bits = [bin(mixed_seed(0, index) ^ mixed_seed(0, index + 1)).count("1") for index in range(200)]
    assert np.mean(bits) == pytest.approx(32, abs=1)


@pytest.mark.parametrize("size", [(40, 200), (17, 9)])
def test_an_area_fits_whatever_the_photo(size):
    photo = (np.random.default_rng(0).random((*size, 3)) * 255).astype(np.uint8)
    for seed in range(8):
        area = sharp_area(photo, 33, torch.Generator().manual_seed(seed))
        assert area.shape == (3, 33, 33) and area.min() >= 0 and area.max() <= 1
