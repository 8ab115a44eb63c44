"""Write the network of a method as an ONNX file, and check with onnxruntime that it computes the same."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unblur.contract import Method
from unblur.image_io.write import check_place, put_in_place
from unblur.trained import network
from unblur.types import UnblurError

TOLERANCE = 1e-3
"""Largest difference between onnxruntime and torch on the [0, 1] scale with which a file is written."""

OPSET = 18
_PICTURES = ("blurry", "noisy")  # the order of the inputs
_LARGEST = 4096  # times `multiple`: the largest side in pixels that the exporter considers


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was written.

    Attributes:
        path: the file.
        inputs: names of the inputs, `(1, 3, H, W)` float32 in [0, 1].
        multiple: height and width must be multiples of this number of pixels.
        difference: largest difference to torch on the [0, 1] scale, on a random picture of another size.
    """

    path: Path
    inputs: tuple[str, ...]
    multiple: int
    difference: float


def export_onnx(method: Method, path: Path, *, weights: Path | None = None, overwrite: bool = False) -> Exported:
    """Write the network of a method to an ONNX file. The output `image` is the restored picture, not clipped.

    The network alone is written. What a method does around it (mean over orientations, tiles, the exposure ratio,
    the check of the result) is not part of the file.

    Args:
        method: a method whose network makes a picture.
        path: the file, `.onnx`.
        weights: a file of weights; None: those that ship.
        overwrite: whether it may replace a file.

    Raises:
        UnblurError: a method without such a network, a missing package, a place that will not do, or a file that does
            not compute what torch does.
    """
    card, trained = method.card, method.trained
    if trained is None or trained.picture is None or trained.method != card.name:
        raise UnblurError(f"'{card.name}' is no single network that makes a picture, so it cannot be exported.")
    if path.suffix.lower() != ".onnx":
        raise UnblurError(f"{path}: an ONNX file ends in .onnx.")
    check_place(path, overwrite=overwrite, source=weights)
    _require_packages()
    inputs = tuple(name for name in _PICTURES if name in card.needs)
    multiple = max(card.multiple_of, card.grid)
    module = _Picture(network(method, weights), trained.picture).eval()
    data = _converted(module, inputs, multiple, {"method": card.name, "multiple_of": str(multiple)})
    difference = _difference(data, module, inputs, multiple)
    if not difference <= TOLERANCE:
        raise UnblurError(f"{path}: not written, as onnxruntime differs from torch by {difference:.2g} of 1.")
    put_in_place(data, path, overwrite=overwrite)
    return Exported(path, inputs, multiple, difference)


class _Picture(nn.Module):
    """A network that gives the restored picture only."""

    def __init__(self, network: nn.Module, picture: Callable[..., Tensor]) -> None:
        super().__init__()
        # The order of the weights in memory is part of torch's trace, and of no use to others.
        self.network = network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self._picture = picture

    def forward(self, *pictures: Tensor) -> Tensor:
        """`(1, 3, H, W)`, one or two -> `(1, 3, H, W)`."""
        return self._picture(self.network, *pictures)


def _require_packages() -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise UnblurError("export needs more packages: pip install 'unblur[onnx]'.") from None


def _converted(module: nn.Module, inputs: tuple[str, ...], multiple: int, facts: dict[str, str]) -> bytes:
    height = torch.export.Dim("h", min=1, max=_LARGEST)
    width = torch.export.Dim("w", min=1, max=_LARGEST)
    sides = {2: multiple * height, 3: multiple * width}
    with _without_chatter():
        program = torch.onnx.export(
            module,
            tuple(torch.rand(1, 3, 2 * multiple, 3 * multiple) for _ in inputs),
            dynamo=True,
            dynamic_shapes=(tuple(sides for _ in inputs),),
            input_names=list(inputs),
            output_names=["image"],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(facts)
    return program.model_proto.SerializeToString()


def _difference(data: bytes, module: nn.Module, inputs: tuple[str, ...], multiple: int) -> float:
    """The largest difference between onnxruntime and torch on random pictures of a size not used for the trace."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(1, 3, 3 * multiple, 5 * multiple, generator=generator) for _ in inputs]
    with torch.no_grad():
        wanted = module(*pictures)
    feed: dict[str, Any] = {name: picture.numpy() for name, picture in zip(inputs, pictures, strict=True)}
    (image,) = session.run(["image"], feed)
    return float((torch.from_numpy(image) - wanted).abs().max())


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Torch's exporter reports what it skips; none of it concerns the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
