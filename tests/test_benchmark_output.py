"""The pictures and the table that a benchmark leaves."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from benchmark_cast import Tiny, run
from helpers import hook_psf
from unblur import benchmark, image_io
from unblur.types import UnblurError

# --- the pictures ---------------------------------------------------------------------------------


def test_the_pictures_are_written_by_method_with_the_psfs_that_were_estimated(cast, tmp_path):
    run("l0_psf", "l0_psf+wiener", "wiener", limit=2, out=tmp_path / "new")
    written = {str(path.relative_to(tmp_path / "new")) for path in tmp_path.rglob("*.png")}
    estimated = {
        f"{method}/group/{n}.{end}"
        for method in ("l0_psf", "l0_psf+wiener")
        for n in "01"
        for end in ("png", "psf.png")
    }
    assert written == estimated | {"wiener/group/0.png", "wiener/group/1.png"}
    psf = image_io.read_psf(tmp_path / "new/l0_psf/group/0.psf.png")
    np.testing.assert_allclose(psf, hook_psf(), atol=1e-4)


def test_a_written_picture_is_the_restored_one_in_8_bits(cast, tmp_path):
    run("perfect", out=tmp_path)
    with Image.open(tmp_path / "perfect/group/0.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels / 255, Tiny.scene(0).sharp[0, 0], atol=0.51 / 255)


def test_pictures_are_never_overwritten_and_this_is_noticed_before_any_work(cast, tmp_path):
    (tmp_path / "wiener").mkdir()
    (tmp_path / "wiener" / "precious.png").write_text("mine")
    with pytest.raises(UnblurError, match=r"wiener holds files already\..*--out"):
        run("sparse", "wiener", out=tmp_path)
    assert not cast.seen


def test_a_folder_that_cannot_be_made_is_named(cast, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UnblurError, match=r"cannot write pictures to .*file"):
        run("wiener", out=tmp_path / "file")


# --- the table ------------------------------------------------------------------------------------


def test_the_table_shows_mean_worst_and_time_with_the_protocol_below(cast):
    result = run("wiener", "l0_psf+hyper_laplacian", "nan", limit=2)
    page = io.StringIO()
    Console(file=page, width=110).print(benchmark.table(result))
    text = page.getvalue()
    for line in result["summary"][:2]:
        assert line["method"] in text
        assert f"{line['psnr']:.2f}" in text
        assert f"{line['worst_psnr']:.2f}" in text
        assert f"{line['seconds']:.2f}" in text
    assert "crop: 6" in text and "clip: [0.0, 1.0]" in text


def long_result(*, failed: int) -> dict[str, Any]:
    """A result with every figure as wide as it gets, and a caption of many lines."""
    figures = dict.fromkeys(("psnr", "worst_psnr"), 28.123) | dict.fromkeys(("seconds", "error_ratio_norm2"), 123.456)
    figures |= {"ssim": 0.91234, "error_ratio_ssd": 1.5, "count": 32 - failed, "failed": failed}
    summary = [{"method": name, **figures} for name in ("wiener", "l0_psf+nlm+hyper_laplacian")]
    versions = {"unblur": "1", "torch": "2", "threads": 1, "device": "cpu"}
    protocol = {"words": " ".join(f"word{i}" for i in range(60)), "last": "the end"}
    return {"dataset": "levin", "protocol": protocol, "versions": versions, "summary": summary}


@pytest.mark.parametrize("failed", [0, 3])
@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_of_the_table_is_cut_at_80_columns(failed, terminal):
    page = io.StringIO()
    Console(file=page, width=80, force_terminal=terminal, no_color=True).print(
        benchmark.table(long_result(failed=failed))
    )
    text = re.sub("\x1b[^m]*m", "", page.getvalue())
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    words = text.split()
    assert {"PSNR", "worst", "SSIM", "SSD", "norm2", "s", "l0_psf+nlm+hyper_laplacian"} <= set(words)
    assert words.count("123.456") == 2
    assert {f"word{i}" for i in range(59)} < set(words)
    assert "the end" in text
    assert "levin, 32 pictures" in text
    assert ("failed" in words) == bool(failed)
