"""A pytest plugin: the method in `toy/` is one of the package's, as if its folder lay in `unblur/methods`."""

from pathlib import Path

import unblur.methods

unblur.methods.__path__.append(str(Path(__file__).parent / "toy"))
