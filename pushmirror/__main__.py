"""``python -m pushmirror`` is the same as the ``pushmirror`` command."""

from __future__ import annotations

from pushmirror.cli.main import main

if __name__ == "__main__":
    main()
