"""The same results and records from a Ray cluster, also when one of its workers dies."""

from __future__ import annotations

import socket
import sys

import pytest

from fakes import fake_method
from folder_runs import PHOTOS, ThisProcess, folder_of_photos, results, run_folder
from test_cli import refused
from unblur.pipeline.folders.cluster import LOCAL, TRIES, RayCluster
from unblur.pipeline.folders.task import Job
from unblur.pipeline.options import Options
from unblur.types import UnblurError


@pytest.mark.slow  # Ray starts its servers and two workers, which import torch: 20 s on an idle machine
@pytest.mark.parametrize("deaths", [1, TRIES])
def test_a_photo_whose_worker_died_is_done_again(tmp_path, deaths):
    pytest.importorskip("ray", reason="pip install 'unblur[batch]'")
    photos = folder_of_photos(tmp_path / "photos")
    died = tmp_path / "died"
    died.mkdir()
    body = (
        "import os, pathlib, signal\n"
        f"    died = pathlib.Path({str(died)!r})\n"
        f"    if 'RAY_JOB_ID' in os.environ or os.environ.get('RAY_RAYLET_PID'):\n"
        f"        if observation.blurry.shape[-1] == 21 and len(list(died.iterdir())) < {deaths}:\n"  # px: b.jpg
        "            (died / str(os.getpid())).touch()\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return Restoration(image=observation.blurry + settings.shift)"
    )
    job = Job(Options(fake_method(tmp_path, "dying", body), force=True))
    run_folder(photos, tmp_path / "alone", job, ThisProcess())
    records = run_folder(photos, tmp_path / "out", job, RayCluster(LOCAL, jobs=2))
    assert len(list(died.iterdir())) == deaths
    assert set(records) == set(PHOTOS)
    wanted = results(tmp_path / "alone")
    if deaths == TRIES:
        assert f"its worker died {TRIES} times" in (records["b.jpg"].error or "")
        del wanted["b.jpg"]
    assert results(tmp_path / "out") == wanted


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_of_photos(tmp_path / "photos")
    monkeypatch.setitem(sys.modules, "ray", None)
    line = refused("restore", "photos", "-o", "out", "--ray", "local", "--method", "nlm")
    assert line == "error: --ray needs one more package: pip install 'unblur[batch]'.\n"


def test_a_cluster_that_does_not_answer_is_named_at_once():
    pytest.importorskip("ray", reason="pip install 'unblur[batch]'")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(UnblurError, match=rf"--ray {address}: there is no such cluster"):
            RayCluster(address)


@pytest.mark.parametrize("arguments", [("--ray",), ("--ray", "-o", "out"), ("--ray=local",)])
def test_without_an_address_ray_is_started_here(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    folder_of_photos(tmp_path / "photos")
    monkeypatch.setitem(sys.modules, "ray", None)
    rest = () if "-o" in arguments else ("-o", "out")
    line = refused("restore", "photos", *rest, "--method", "nlm", *arguments)
    assert line.startswith("error: --ray needs one more package")
