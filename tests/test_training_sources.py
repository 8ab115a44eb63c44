"""Sources: what is in a folder, what is held out, and what a sample of it is."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables import photo_folder
from unblur.training.pictures import PictureCache, _reduced, cut_area
from unblur.training.sources import Frames, Pairs, Photos
from unblur.types import UnblurError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def write_picture(path: Path, seed: int, size: tuple[int, int] = (40, 50)) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(levels).save(path)
    return levels


# --- photos ---------------------------------------------------------------------------------------


def test_names_that_end_in_0_or_1_are_for_validation(tmp_path):
    photos = Photos.of(photo_folder(tmp_path))
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


def test_results_must_not_be_written_among_the_photos(tmp_path):
    folder = photo_folder(tmp_path / "photos")
    for out in (folder, folder / "run", folder / "runs" / "one"):
        with pytest.raises(UnblurError, match="would be used for training"):
            Photos.of(folder, out=out)
    assert len(Photos.of(folder, out=tmp_path).training) == 4


def test_a_folder_that_will_not_do_is_refused(tmp_path):
    with pytest.raises(UnblurError, match="no such folder"):
        Photos.of(tmp_path / "nowhere")
    with pytest.raises(UnblurError, match="0 photos for training and 0 for validation"):
        Photos.of(tmp_path)


def test_a_photo_that_cannot_be_read_is_named_when_it_is_needed(tmp_path):
    photo_folder(tmp_path, count=1)
    (tmp_path / "broken-a.jpg").write_bytes(b"no photo")
    photos = Photos.of(tmp_path)
    with pytest.raises(UnblurError, match=r"broken-a.jpg: .* take it out of the folder"):
        photos.sample(tmp_path / "broken-a.jpg", 24, generator())


def test_other_photos_have_another_digest(tmp_path):
    digests = {Photos.of(photo_folder(tmp_path / str(count), count)).digest() for count in (1, 2, 2)}
    assert len(digests) == 2


def test_a_share_of_the_training_samples_is_drawn_and_none_of_the_validation(tmp_path):
    folder = photo_folder(tmp_path, count=20)
    photos, drawn = Photos.of(folder), Photos.of(folder, drawn=0.5)
    kinds = [entry for entry in drawn.training if not isinstance(entry, Path)]
    assert len(kinds) / len(drawn.training) == 0.5
    assert kinds.count("leaves") == kinds.count("text")
    assert [entry for entry in drawn.training if isinstance(entry, Path)] == photos.training
    assert drawn.validation == photos.validation and list(drawn.files()) == list(photos.files())
    assert drawn.digest() != photos.digest()


def test_a_drawn_sample_is_a_new_picture_each_time(tmp_path):
    photos = Photos.of(photo_folder(tmp_path), drawn=0.5)
    first, same, other = (photos.sample("leaves", 40, generator(seed))["sharp"] for seed in (0, 0, 1))
    assert first.shape == (3, 40, 40) and torch.equal(first, same) and not torch.equal(first, other)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_of_drawn_samples_that_is_none_is_refused(tmp_path, share):
    with pytest.raises(UnblurError, match=f"--drawn is a share.*not {share:g}"):
        Photos.of(photo_folder(tmp_path), drawn=share)


# --- pairs ----------------------------------------------------------------------------------------


def pairs_folder(folder: Path, scenes: int, count: int = 3) -> Path:
    for scene in range(scenes):
        for number in range(count):
            for part in ("blur", "sharp"):
                write_picture(folder / f"scene-{scene:02d}" / part / f"{number:06d}.png", 2 * number + (part == "blur"))
            write_picture(folder / f"scene-{scene:02d}" / "blur_gamma" / f"{number:06d}.png", 0)
    return folder


def scenes_of(pairs) -> set[str]:
    return {sharp.parent.parent.name for sharp, _ in pairs}


def test_every_tenth_scene_of_pairs_is_held_out_as_a_whole(tmp_path):
    pairs = Pairs.of(pairs_folder(tmp_path, 11))
    assert scenes_of(pairs.validation) == {"scene-00", "scene-10"} and len(pairs.validation) == 6
    assert len(scenes_of(pairs.training)) == 9 and len(pairs.training) == 27
    assert all(sharp.name == blurry.name and blurry.parent.name == "blur" for sharp, blurry in pairs.training)


def test_of_a_single_scene_the_last_tenth_is_held_out(tmp_path):
    pairs = Pairs.of(pairs_folder(tmp_path, 1, count=20))
    assert [sharp.stem for sharp, _ in pairs.validation] == ["000018", "000019"] and len(pairs.training) == 18


def test_the_part_for_tests_of_a_published_data_set_is_not_trained_on(tmp_path):
    pairs_folder(tmp_path / "train", 2)
    pairs_folder(tmp_path / "test", 3)
    pairs = Pairs.of(tmp_path)
    assert all("train" in sharp.parts for sharp, _ in (*pairs.training, *pairs.validation))


def test_both_pictures_of_a_pair_show_the_same_area(tmp_path):
    write_picture(tmp_path / "s" / "sharp" / "0.png", 0)
    levels = np.asarray(Image.open(tmp_path / "s" / "sharp" / "0.png"))
    (tmp_path / "s" / "blur").mkdir()
    Image.fromarray(levels // 2).save(tmp_path / "s" / "blur" / "0.png")
    entry = (tmp_path / "s" / "sharp" / "0.png", tmp_path / "s" / "blur" / "0.png")
    pairs = Pairs([entry], [entry])
    for seed in range(5):
        sample = pairs.sample(entry, 16, generator(seed))
        assert sample["sharp"].shape == (3, 16, 16)
        torch.testing.assert_close((255 * sample["sharp"]).round() // 2, (255 * sample["blurry"]).round())


def test_a_pair_that_is_none_is_named(tmp_path):
    pairs_folder(tmp_path, 2)
    (tmp_path / "scene-01" / "sharp" / "000001.png").unlink()
    with pytest.raises(UnblurError, match=r"000001.png: there is no sharp picture"):
        Pairs.of(tmp_path)
    write_picture(tmp_path / "scene-01" / "sharp" / "000001.png", 0, size=(30, 50))
    pairs = Pairs.of(tmp_path)
    with pytest.raises(UnblurError, match="the two differ in size"):
        pairs.sample(pairs.training[1], 16, generator())
    with pytest.raises(UnblurError, match="no pairs SCENE/blur"):
        Pairs.of(tmp_path / "scene-01" / "blur_gamma")


# --- frames ---------------------------------------------------------------------------------------


def test_a_sample_of_frames_is_consecutive_and_shows_one_area(tmp_path):
    """Each frame is of one grey level, its number."""
    for clip in ("a", "b"):
        (tmp_path / clip).mkdir()
        for number in range(12):
            Image.fromarray(np.full((40, 50, 3), number, np.uint8)).save(tmp_path / clip / f"{number:03d}.png")
    frames = Frames.of(tmp_path, 5)
    assert [len(clip) for clip in frames.training] == [12] == [len(clip) for clip in frames.validation]
    firsts = set()
    for seed in range(40):
        sample = frames.sample(frames.training[0], 16, generator(seed))["frames"]
        assert sample.shape == (5, 3, 16, 16)
        numbers = (255 * sample.mean((1, 2, 3))).round().long().tolist()
        assert numbers == list(range(numbers[0], numbers[0] + 5))
        firsts.add(numbers[0])
    assert firsts == set(range(8))


def test_clips_that_are_too_short_are_named(tmp_path):
    for number in range(3):
        write_picture(tmp_path / "a" / f"{number}.png", number)
        write_picture(tmp_path / "b" / f"{number}.png", number)
    with pytest.raises(UnblurError, match=r"[ab]: 3 frames, and a sample takes 4"):
        Frames.of(tmp_path, 4)


def test_of_a_single_clip_as_many_frames_are_held_out_as_a_sample_takes(tmp_path):
    for number in range(20):
        write_picture(tmp_path / f"{number:02d}.png", number)
    frames = Frames.of(tmp_path, 4)
    assert [path.stem for path in frames.validation[0]] == ["16", "17", "18", "19"]
    assert len(frames.training[0]) == 16


# --- decoded pictures -----------------------------------------------------------------------------


def test_pictures_are_read_when_needed_and_the_oldest_dropped_when_there_is_no_room(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        write_picture(path, number)
    cache = PictureCache(2 * 40 * 50 * 3)
    kept = [cache.read(path) for path in paths[:2]]
    assert cache.read(paths[0]) is kept[0]
    cache.read(paths[2])  # now 1 was used longest ago
    assert cache.read(paths[0]) is kept[0]
    assert cache.read(paths[1]) is not kept[1]


def test_a_picture_larger_than_the_cache_keeps_its_size(tmp_path):
    write_picture(tmp_path / "a.png", 0)
    assert PictureCache(10).read(tmp_path / "a.png").shape == (40, 50, 3)


def test_a_cache_is_empty_in_another_process(tmp_path):
    write_picture(tmp_path / "a.png", 0)
    cache = PictureCache(1 << 20)
    cache.read(tmp_path / "a.png")
    assert len(pickle.dumps(cache)) < 200


def test_sixteen_bits_and_grey_are_kept(tmp_path):
    levels = np.linspace(0, 65535, 60 * 72).reshape(60, 72).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    picture = PictureCache().read(tmp_path / "deep.png")
    assert picture.dtype == np.uint16
    assert all((picture[..., channel] == levels).all() for channel in range(3))


# --- areas ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(40, 200), (17, 9)])
def test_an_area_fits_whatever_the_picture(size):
    photo = (np.random.default_rng(0).random((*size, 3)) * 255).astype(np.uint8)
    for seed in range(8):
        area = cut_area([photo], 33, generator(seed), smallest_scale=0.5)
        assert area.shape == (1, 3, 33, 33) and area.min() >= 0 and area.max() <= 1


def test_reducing_keeps_coarse_stripes_and_removes_fine_ones():
    """Stripes of 16 pixels keep their contrast at half the size; those of 2 pixels, which would alias, become grey."""
    contrasts = []
    for period in (16, 2):
        stripes = 127.5 * (1 + np.cos(2 * np.pi * (np.arange(128) + 0.25) / period))
        photo = np.broadcast_to(np.rint(stripes).astype(np.uint8)[None, :, None], (128, 128, 3))
        contrasts.append(float(_reduced(photo, 64)[..., 8:-8, 8:-8].std()))
    assert contrasts == [pytest.approx(0.5**1.5, rel=0.02), pytest.approx(0, abs=0.005)]
