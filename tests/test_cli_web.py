"""`unblur web` on the command line: cheap to ask for help, safe by default, and clear about what is missing."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from typer.testing import CliRunner

from unblur.cli import app
from unblur.web import server

runner = CliRunner()


@pytest.fixture
def served(monkeypatch):
    """What the server would have been started with; it is not."""
    calls: list[dict] = []

    def serve(host, port, **options):
        calls.append({"host": host, "port": port, **options})
        options["ready"](server.address_of(host, port))

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.delenv("UNBLUR_PASSWORD", raising=False)
    return calls


def test_help_imports_neither_torch_nor_the_web_framework():
    code = """
import sys
from unblur.cli import main
sys.argv = ["unblur", "web", "--help"]
try:
    main()
finally:
    print("LOADED", *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Show a page in the browser" in done.stdout
    assert not set(done.stdout.rpartition("LOADED")[2].split()) & {"torch", "starlette", "uvicorn", "numpy", "anyio"}


def test_the_server_is_imported_without_torch():
    """So that the page is shown while torch is being imported."""
    code = "import sys, unblur.web.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "starlette" in loaded
    assert not loaded & {"torch", "scipy", "imagecodecs"}


def test_by_default_only_this_machine_is_served_and_no_password_is_asked(served):
    done = runner.invoke(app, ["web"])
    assert (served[0]["host"], served[0]["port"], served[0]["password"]) == ("127.0.0.1", 8765, None)
    assert (served[0]["max_pixels"], served[0]["max_bytes"]) == (100_000_000, 250_000_000)
    assert "http://127.0.0.1:8765/" in done.stdout
    assert "password" not in done.stdout


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.local"])
def test_for_other_machines_a_password_is_made_and_printed(served, host):
    first, second = (runner.invoke(app, ["web", "--host", host]) for _ in range(2))
    made = [call["password"] for call in served]
    assert f"The password is {made[0]}" in first.stdout
    assert f"The password is {made[1]}" in second.stdout
    assert len(set(made)) == 2
    assert min(map(len, made)) >= 16
    assert not any(call["open_page"] for call in served)


def test_a_password_of_ones_own_is_not_printed(served, tmp_path, monkeypatch):
    (tmp_path / "password").write_text("correct horse\nsecond line\n")
    from_file = runner.invoke(app, ["web", "--host", "0.0.0.0", "--password-file", str(tmp_path / "password")])
    monkeypatch.setenv("UNBLUR_PASSWORD", "battery staple")
    from_environment = runner.invoke(app, ["web"])
    assert [call["password"] for call in served] == ["correct horse", "battery staple"]
    assert "correct horse" not in from_file.output
    assert "battery staple" not in from_environment.output


@pytest.mark.parametrize(("content", "words"), [("short\n", "8 characters or more"), (None, "cannot be read")])
def test_a_password_that_is_too_short_or_missing_is_refused(served, tmp_path, content, words):
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    done = runner.invoke(app, ["web", "--password-file", str(file)])
    assert (done.exit_code, served) == (2, [])
    assert words in done.stderr


def test_an_extra_that_is_missing_is_named(served, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = runner.invoke(app, ["web"])
    assert (done.exit_code, served) == (2, [])
    assert "pip install 'unblur[web]'" in done.stderr


def test_a_port_in_use_or_a_foreign_address_is_refused_in_one_line(monkeypatch):
    monkeypatch.delenv("UNBLUR_PASSWORD", raising=False)
    with server.bound("127.0.0.1", 0) as taken:
        done = runner.invoke(app, ["web", "--port", str(taken.getsockname()[1])])
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert "Choose another --port" in done.stderr
    assert "cannot be used" in runner.invoke(app, ["web", "--host", "192.0.2.1"]).stderr


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:1/"), ("::1", "http://[::1]:1/"), ("box.local", "http://box.local:1/")],
)
def test_the_address_can_be_typed_into_a_browser(host, address):
    assert server.address_of(host, 1) == address


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost.evil", False),
    ],
)
def test_only_addresses_of_this_machine_need_no_password(host, loopback):
    assert server.is_loopback(host) is loopback


def test_the_command_shows_its_page_and_stops_with_ctrl_c():
    command = [sys.executable, "-u", "-m", "unblur", "web", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        said = running.stdout.readline()
        address = re.search(r"http://\S+", said)
        assert address, said
        with urllib.request.urlopen(address.group(), timeout=30) as answer:
            assert b"<title>unblur</title>" in answer.read()
        time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (0, "stopped.\n")
