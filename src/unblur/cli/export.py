"""`unblur export`: write the network of a method as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.console import Weights


def export(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="The name of a method with a network.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write: .onnx.")],
    weights: Weights = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Write the network of a method as an ONNX file, for pictures of any size.

    The file is checked with onnxruntime against torch before it is written.
    """
    from unblur import methods
    from unblur.pipeline.export import export_onnx

    made = export_onnx(methods.get(method), output, weights=weights, overwrite=overwrite)
    if not quiet:
        typer.echo(f"{method}: {' and '.join(made.inputs)} -> image, (1, 3, H, W) in 0..1 -> {made.path}")
        typer.echo(
            f"  H and W are multiples of {made.multiple}; differs from torch by at most {made.difference:.1g} of 1"
        )
