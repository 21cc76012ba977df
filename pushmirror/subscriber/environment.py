"""The environment that rsync is run in."""

from __future__ import annotations

from collections.abc import Mapping


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without anything that changes what rsync does, the language it speaks, or its time zone."""
    kept = {key: value for key, value in environment.items() if not key.startswith(("RSYNC_", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C", "TZ": "UTC0"}
