"""What all tests share."""

import signal

import pytest
import torch

import benchmark_cast
import elsewhere
from unblur import datasets, methods
from unblur.pipeline import device
from unblur.solvers import workers


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Pictures this small are slower with several threads; tests of threads set their number themselves."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[2, 4], ids=lambda count: f"{count} threads")
def several_threads(request):
    """What a person's computer has: torch and the workers use this many threads."""
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c():
    """Processes that the tests start handle Ctrl-C, also where the tests run in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def stand_in(monkeypatch):
    """The name of a device that is not the CPU, wherever the tests run; see `elsewhere`."""
    monkeypatch.setattr(device, "device_names", lambda: ["cpu", f"{elsewhere.NAME}:0"])
    monkeypatch.setattr(workers, "ThreadPoolExecutor", elsewhere.Pool)
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a module keeps the stand-in's tensors
    with elsewhere.accelerator():
        yield elsewhere.NAME
    torch.__future__.set_overwrite_module_params_on_conversion(False)


@pytest.fixture
def cast(monkeypatch):
    """A data set called `tiny` and stand-ins for methods; see `benchmark_cast`."""
    cast = benchmark_cast.Cast()
    monkeypatch.setattr(methods, "get", cast.get)
    monkeypatch.setattr(datasets, "get", lambda name: benchmark_cast.Tiny())
    return cast
