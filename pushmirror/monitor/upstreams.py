"""Which upstreams of a subscriber are silent, out of its answer to ``status``; nothing here is slow to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pushmirror.logs import escape
from pushmirror.monitor.quantities import format_duration_ms


def describe_silent(answer: Mapping[str, Any]) -> list[str]:
    """Return a line for each upstream that is silent; none for the answer of a publisher."""
    upstreams = answer.get("upstreams")
    found = upstreams if isinstance(upstreams, Mapping) else {}
    return [
        f"upstream {escape(str(name))} is silent: {_describe(upstream.get('last_heard_ms'))}{_list_faults(upstream)}"
        for name, upstream in found.items()
        if isinstance(upstream, Mapping) and upstream.get("state") == "silent"
    ]


def _list_faults(upstream: Mapping[str, Any]) -> str:
    faults = upstream.get("faults")
    told = faults.values() if isinstance(faults, Mapping) else ()
    return "".join(f"; {escape(fault)}" for fault in told if isinstance(fault, str))


def _describe(heard_ms: object) -> str:
    if not isinstance(heard_ms, int):
        return "it was never heard; look at its endpoint, and at what was dropped"
    return f"it was last heard {format_duration_ms(heard_ms)} ago; full syncs go on"
