"""The parts of a picture from which its blur can be told."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers import structured_picture
from unblur.solvers import areas


def test_where_to_look_does_not_depend_on_the_strips_a_picture_is_read_in(monkeypatch):
    picture = structured_picture(700, 300)
    whole = areas.informative_place(picture, 160)
    monkeypatch.setattr(areas, "_STRIP", 2)
    assert areas.informative_place(picture, 160) == whole


def test_a_place_to_look_is_found_in_a_narrow_picture():
    rows, columns = areas.informative_place(structured_picture(400, 33), 160)
    assert (rows.stop - rows.start, columns) == (160, slice(0, 33))


class LargestTensor(TorchDispatchMode):
    """How many numbers the largest result of an operation holds, views aside."""

    size = 0

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        result = operation(*arguments, **(named or {}))
        if not operation.is_view:
            sizes = (leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
            self.size = max(self.size, *sizes, 0)
        return result


def test_looking_for_a_place_copies_no_large_picture(monkeypatch):
    monkeypatch.setattr(areas, "_STRIP", 2)
    picture = structured_picture(1200, 200)
    with LargestTensor() as largest:
        areas.informative_place(picture, 160)
    assert largest.size < picture.numel() / 2
