"""`python -m unblur` is `unblur`."""

from __future__ import annotations

from unblur.cli import main

if __name__ == "__main__":
    main()
