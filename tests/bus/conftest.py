"""What the tests of the bus share: a reactor that is turned by hand."""

from __future__ import annotations

from tests.support.reactor import reactor, spin

__all__ = ["reactor", "spin"]
