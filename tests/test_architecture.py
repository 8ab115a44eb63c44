"""Imports point one way, asking for help costs nothing, and files stay readable in one sitting."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unblur.types

SOURCE = Path(unblur.types.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

# A module imports from its own row (its own room, or a neighbour's) and from the rows above.
ROWS = (
    {"types", "contract", "trained"},
    {"imaging", "layers", "metrics", "image_io"},
    {"solvers", "losses"},
    {"methods", "datasets"},
    {"training", "pipeline"},
    {"benchmark"},
    {"__init__"},  # the public API
    {"cli", "web", "__main__"},
)
# A method may be built on another one, whose networks it uses. Other methods share code through solvers or layers.
BUILT_ON = {"camera_path": {"wiener_stack"}, "exemplar_psf": {"nidf"}, "nidf": {"wiener_stack"}}
ROW = {room: number for number, rooms in enumerate(ROWS) for room in rooms}


def _room(module: str) -> str:
    """`unblur.solvers.canvas` -> `solvers`; `unblur` itself -> `__init__`."""
    return [*module.split("."), "__init__"][1]


def _own_name(path: Path) -> str:
    parts = ("unblur", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(source: str) -> set[str]:
    """Modules of the package that some code names, wherever in it: a lazy or typing-only import counts."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # `from unblur import solvers` names a room, `from unblur.solvers import canvas` a module in it.
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name == "unblur" or name.startswith("unblur.")}


def _offences(name: str, source: str) -> list[str]:
    """The imports of a module `name` that point the wrong way."""
    here, offences = _room(name), []
    for target in sorted(_imported(source)):
        there = _room(target)
        if there not in ROW:  # `from unblur import restore`: a name of the public API
            there = "__init__"
        if ROW[there] > ROW[here]:
            offences.append(f"{name} imports {target}, which lies above it")
        allowed = {"", _file_of(name), *BUILT_ON.get(_file_of(name), ())}
        if here == there == "methods" and _file_of(target) not in allowed and _file_of(name):
            offences.append(f"{name} imports {target}: methods share through solvers or layers")
    return offences


def _file_of(module: str) -> str:
    """The method a module belongs to: `unblur.methods.nidf.network` -> `nidf`; "" for the room itself."""
    return [*module.split("."), "", ""][2]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: _own_name(path))
def test_imports_point_one_way(path):
    assert _room(_own_name(path)) in ROW, "a new room needs its place in ROWS, and in the design"
    assert _offences(_own_name(path), path.read_text()) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("unblur.solvers.canvas", "from unblur.methods import wiener"),
        ("unblur.types", "from unblur import imaging"),
        ("unblur.metrics.fidelity", "import unblur.pipeline.chain"),
        ("unblur.pipeline.chain", "def later():\n    from unblur.benchmark import run"),
        ("unblur.datasets", "if TYPE_CHECKING:\n    from unblur.cli import main"),
        ("unblur.pipeline.chain", "from unblur import restore"),
        ("unblur.methods.sparse", "from unblur.methods.wiener import restore"),
        ("unblur.methods.nidf.network", "from unblur.methods import wiener"),
    ],
)
def test_an_import_that_points_the_wrong_way_is_noticed(name, source):
    assert _offences(name, source)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("unblur.methods.nidf", "from unblur.methods.nidf.network import Net"),
        ("unblur.methods.nidf.network", "from unblur.layers.blocks import Block"),
        ("unblur.cli", "import unblur"),
        ("unblur.pipeline.chain", "from unblur import methods"),
        ("unblur.solvers.canvas", "import torch"),
    ],
)
def test_an_import_that_points_the_right_way_is_let_be(name, source):
    assert not _offences(name, source)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: _own_name(path))
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 400


def _loaded_after(code: str) -> set[str]:
    """The modules a fresh Python holds after running `code`."""
    report = f"{code}\nimport sys; print('LOADED', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED")[2].split())


ASK_FOR_HELP = """
import sys
from unblur.cli import main
sys.argv = ["unblur", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize("code", ["import unblur.cli", ASK_FOR_HELP], ids=["import", "help"])
def test_help_does_not_import_torch(code):
    loaded = _loaded_after(code)
    assert "unblur.cli" in loaded
    assert not loaded & {"torch", "scipy", "imagecodecs"}


def test_names_of_methods_are_known_without_importing_one():
    loaded = _loaded_after("from unblur import methods\nassert 'wiener' in methods.names()")
    assert not [module for module in loaded if module.startswith("unblur.methods.")]


def test_asking_for_a_method_imports_no_other():
    loaded = _loaded_after("from unblur import methods\nmethods.get('wiener')")
    assert [module for module in loaded if module.startswith("unblur.methods.")] == ["unblur.methods.wiener"]
