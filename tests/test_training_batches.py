"""Samples depend on the run's seed and their number, and on nothing else."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import unblur.training.run
from trainables import Denoiser, photo_folder, recipe
from unblur.training.batches import LOSSES, TRAINING, VALIDATION, Samples, seed_of, training_batches, validation_batch
from unblur.training.sources import Photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return Photos.of(photo_folder(tmp_path_factory.mktemp("photos")))


def samples_of(photos, seed=5, make=Denoiser):
    return Samples(photos, "training", make, seed)


def batches(photos, **changed):
    settings = {"batch": 4, "steps": range(2), "rank": 0, "ranks": 1, "workers": 0}
    return list(training_batches(samples_of(photos), **{**settings, **changed}))


def test_a_sample_is_the_same_whenever_and_wherever_it_is_made(photos):
    one, other = samples_of(photos), samples_of(photos)
    last, first = other[7]["blurry"], other[0]["blurry"]
    assert torch.equal(one[0]["blurry"], first) and torch.equal(one[7]["blurry"], last)
    assert not torch.equal(first, last)
    assert not torch.equal(first, samples_of(photos, seed=6)[0]["blurry"])


def test_making_samples_leaves_torchs_random_generator_alone(photos):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    samples_of(photos)[0]
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_and_a_later_beginning_change_nothing(photos):
    plain = batches(photos, steps=range(4))
    for other in (batches(photos, steps=range(4), workers=2), plain[:2] + batches(photos, steps=range(2, 4))):
        assert all(torch.equal(a["blurry"], b["blurry"]) for a, b in zip(plain, other, strict=True))


def test_ranks_share_out_each_batch(photos):
    whole, parts = batches(photos), [batches(photos, rank=rank, ranks=2) for rank in range(2)]
    for number, batch in enumerate(whole):
        joined = torch.cat([part[number]["blurry"] for part in parts])
        assert torch.equal(joined, batch["blurry"])


def test_a_worker_that_is_spawned_makes_the_same_batch(photos):
    """As on macOS and Windows, where everything that a worker needs is pickled."""
    small = recipe(network={"widths": [8], "blocks": 1}, observations={"side": 24, "psf_size": [3, 5]})
    make = unblur.training.run.maker("wiener_stack", small)
    samples = samples_of(photos, make=make)
    expected = samples[3]  # a trainable and decoded photos are there now, and must not be sent along
    loader = DataLoader(samples, batch_sampler=[[3]], num_workers=1, multiprocessing_context="spawn")
    (batch,) = loader
    assert all(torch.equal(batch[name][0], tensor) for name, tensor in expected.items())


def test_validation_takes_one_held_out_entry_after_the_other(photos, monkeypatch):
    taken = []
    sample = Photos.sample
    monkeypatch.setattr(Photos, "sample", lambda self, entry, *more: taken.append(entry) or sample(self, entry, *more))
    one, other = (validation_batch(photos, Denoiser, 3) for _ in range(2))
    assert [path.stem for path in taken[:3]] == ["photo-0", "photo-1", "photo-0"]
    assert torch.equal(one["blurry"], other["blurry"]) and not torch.equal(one["blurry"][0], one["blurry"][2])


def test_seeds_of_neighbours_have_nothing_in_common():
    purposes = (TRAINING, VALIDATION, LOSSES)
    seeds = {seed_of(purpose, seed, number) for purpose in purposes for seed in range(4) for number in range(300)}
    assert len(seeds) == 3600 and all(0 <= seed < 2**64 for seed in seeds)
    bits = [(seed_of(0, 0, number) ^ seed_of(0, 0, number + 1)).bit_count() for number in range(200)]
    assert np.mean(bits) == pytest.approx(32, abs=1.5)
