"""Silent upstreams, named with what is known of the reason."""

from __future__ import annotations

from typing import Any

import pytest

from pushmirror.monitor.upstreams import describe_silent


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ({"bus": "it does not let this node listen", "service": None}, "; it does not let this node listen"),
        ({"bus": None, "service": "it is private"}, "; it is private"),
        ({"bus": 7}, ""),
        (None, ""),
    ],
)
def test_a_silent_upstream_is_told_with_its_faults(faults: Any, told: str) -> None:
    """What the daemon knows to be wrong with bus or service follows; nothing else is made of it."""
    (line,) = describe_silent({"upstreams": {"main": {"state": "silent", "last_heard_ms": 2000, "faults": faults}}})
    assert line.startswith("upstream main is silent: it was last heard ")
    assert line.endswith(f"full syncs go on{told}")


def test_who_is_heard_is_not_told_of() -> None:
    """Connected and connecting upstreams are no line, nor is the answer of a publisher."""
    assert describe_silent({"upstreams": {"main": {"state": "connected"}}}) == []
    assert describe_silent({"role": "publisher"}) == []
