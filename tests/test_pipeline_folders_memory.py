"""How many photos are restored at a time depends on the memory that they need and on what there is."""

from __future__ import annotations

import pytest

from helpers import save_photo
from unblur.image_io.size import picture_size
from unblur.pipeline.folders import memory
from unblur.pipeline.folders.memory import MemoryModel, free_memory, processor_count


def test_a_larger_photo_needs_more():
    model = MemoryModel()
    assert model.need(None) == model.need(0) == model.base
    assert model.need(12_000_000) - model.need(0) == pytest.approx(12e6 * model.per_pixel)


def test_parallel_tiles_need_more():
    alone, together = MemoryModel(1), MemoryModel(8)
    assert together.need(1_000_000) == alone.need(1_000_000), "a photo that is restored as a whole"
    assert together.need(12_000_000) == alone.need(12_000_000) + 3 * MemoryModel.per_tile


def test_a_method_that_needs_more_than_expected_is_noticed():
    model = MemoryModel()
    usual = model.need(1_000_000)
    model.learn(1_000_000, usual // 2)
    model.learn(None, 10 * usual)
    assert model.need(1_000_000) == usual
    model.learn(1_000_000, 3 * usual)
    assert model.need(1_000_000) == pytest.approx(3 * usual)
    assert model.need(2_000_000) == pytest.approx(6 * usual - model.base)


def test_this_machine_has_memory_and_processors():
    assert processor_count() >= 1
    free = free_memory()
    assert free is None or free > 10_000_000


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "5000\n", "memory.current": "2000\n"}, 3000),
        ({"memory.max": "max\n", "memory.current": "2000\n"}, None),
        ({"memory/memory.limit_in_bytes": "900", "memory/memory.usage_in_bytes": "1000"}, 0),
        ({}, None),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path, monkeypatch, files, left):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_available", lambda: 4000)
    assert free_memory() == min(4000, 4000 if left is None else left)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "gif", "bmp"])
def test_the_size_is_read_from_the_header(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    save_photo(path, 30, 40)
    assert picture_size(path) == (40, 30)
    path.write_bytes(path.read_bytes()[:12])
    assert picture_size(path) is None


def test_a_file_that_is_no_photo_has_no_size(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    for name in ("a.jpg", "none.jpg", "."):
        assert picture_size(tmp_path / name) is None
