"""A stand-in for an accelerator: tensors that say they lie elsewhere, and refuse to be mixed with those on the CPU.

It goes by the name of "meta", a device that every torch knows. The values lie in ordinary memory and every operation is
the CPU's, so that results are equal to the bit; but what torch would refuse on a real accelerator is
refused here too: an operation on tensors of two devices, and float64, which Apple's accelerator does not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "meta"
aten = torch.ops.aten
_INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class Elsewhere(Tensor):
    """A tensor on the stand-in device."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> Elsewhere:
        if values.dtype == torch.float64:
            raise TypeError("Cannot convert a tensor to float64 on a device that does not have it.")
        layout: dict[str, Any] = {"strides": values.stride(), "storage_offset": values.storage_offset()}
        self = Tensor._make_wrapper_subclass(cls, values.shape, dtype=values.dtype, device=NAME, **layout)
        self.values = values
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation, types, arguments=(), named=None):
        return _operate(operation, arguments, named or {})


@contextmanager
def accelerator() -> Iterator[None]:
    """While it is on, tensors can be made on the stand-in device, and moved there and back."""
    with _Operations(), _Literals():
        yield


class Pool(ThreadPoolExecutor):
    """Threads that know the stand-in device, too: `accelerator` is on for one thread only."""

    def submit(self, work, /, *arguments, **named):
        def there(*arguments, **named):
            with accelerator():
                return work(*arguments, **named)

        return super().submit(there, *arguments, **named)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        return _operate(operation, arguments, named or {})


class _Literals(TorchFunctionMode):
    """`torch.tensor([1, 2], device=...)` is no operation, and the real "meta" would forget the values."""

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = named or {}
        if function is torch.tensor and named.get("device") == torch.device(NAME):
            return torch.tensor(*arguments, **{**named, "device": "cpu"}).to(NAME)
        return function(*arguments, **named)


def _operate(operation: Any, arguments: Any, named: dict[str, Any]) -> Any:
    """One operation of torch, on the values."""
    tensors = [leaf for leaf in tree_leaves((arguments, named)) if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
    here = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere) and tensor.ndim > 0]
    if there and here and not _may_cross(operation.overloadpacket, arguments):
        raise RuntimeError(f"Expected all tensors to be on the same device, but {operation} was given two.")
    if operation is aten._conj.default:  # a view with a flag, which is heeded above this level only
        operation = aten._conj_physical.default
    device = named.get("device")
    result = operation(*_values(arguments), **_values(named if device is None else {**named, "device": "cpu"}))
    if operation._schema.is_mutable:
        return named.get("out", arguments[0])
    if there if device is None else torch.device(device).type == NAME:
        return tree_map(lambda leaf: Elsewhere(leaf) if isinstance(leaf, Tensor) else leaf, result)
    return result


def _may_cross(operation: Any, arguments: Any) -> bool:
    """Copies go from one device to another, and indices may stay on the CPU."""
    return operation is aten.copy_ or (operation in _INDEXING and isinstance(arguments[0], Elsewhere))


def _values(nested: Any) -> Any:
    return tree_map(lambda leaf: leaf.values if isinstance(leaf, Elsewhere) else leaf, nested)
