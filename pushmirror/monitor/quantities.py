"""Quantities as people read them. None, and anything that is no number, is shown as a dash."""

from __future__ import annotations

import time
from typing import TypeGuard

UNKNOWN = "-"
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_THOUSAND = 1000
_LATEST_MS = 253_402_300_799_000  # the end of the year 9999; beyond it, calendars give up
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def format_bytes(count: object) -> str:
    """Return a number of bytes with a decimal unit: ``512 B``, ``2.0 kB``, ``2.1 MB``."""
    if not _is_number(count):
        return UNKNOWN
    amount = float(count)
    for unit in _BYTE_UNITS[:-1]:
        if amount < _THOUSAND:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= _THOUSAND
    return f"{amount:.1f} {_BYTE_UNITS[-1]}"


def format_duration_ms(duration_ms: object) -> str:
    """Return a duration in milliseconds as one or two units: ``260 ms``, ``1.5 s``, ``3 min 20 s``, ``2 d 4 h``."""
    if not _is_number(duration_ms):
        return UNKNOWN
    if duration_ms < _THOUSAND:
        return f"{duration_ms} ms"
    seconds = duration_ms // _THOUSAND
    if seconds < _MINUTE_S:
        return f"{duration_ms / _THOUSAND:.1f} s"
    if seconds < _HOUR_S:
        return _join(seconds // _MINUTE_S, "min", seconds % _MINUTE_S, "s")
    if seconds < _DAY_S:
        return _join(seconds // _HOUR_S, "h", seconds % _HOUR_S // _MINUTE_S, "min")
    return _join(seconds // _DAY_S, "d", seconds % _DAY_S // _HOUR_S, "h")


def format_count(count: object, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun: ``1 file``, ``1,200 files``; `plural` for a noun that does not just take an s."""
    if not _is_number(count):
        return f"{UNKNOWN} {plural or noun + 's'}"
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def format_time(at_ms: object) -> str:
    """Return a time as local date, time and milliseconds."""
    if not _is_number(at_ms) or at_ms > _LATEST_MS:
        return UNKNOWN
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at_ms // 1000))}.{at_ms % 1000:03d}"


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _join(amount: int, unit: str, rest: int, rest_unit: str) -> str:
    return f"{amount} {unit} {rest} {rest_unit}" if rest else f"{amount} {unit}"
