"""Durations and sizes as an operator writes them (``10m``, ``25MB``), and back."""

from __future__ import annotations

import re

MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}

# Fifteen digits stay below 2**63 in the units that anybody needs; the limits of each key are far lower.
_NUMBER_AND_UNIT = re.compile(r"([0-9]{1,15})[ ]?([A-Za-z]*)")


def parse_duration_ms(value: object) -> int:
    """Return the milliseconds of ``500ms``, ``2s``, ``10m``, ``24h`` or ``7d``; zero needs no unit.

    Raises ValueError, which says what to write instead.
    """
    return _parse(value, MILLISECONDS, "a duration", "500ms, 2s, 10m, 24h or 7d")


def parse_size_bytes(value: object) -> int:
    """Return the bytes of ``25MB``, ``64KiB`` or ``1GB``; zero needs no unit.

    Raises ValueError, which says what to write instead.
    """
    return _parse(value, BYTES, "a size", "500KB, 64KiB, 25MB or 1GB")


def format_duration(duration_ms: int) -> str:
    """Return `duration_ms` in the largest unit that needs no fraction."""
    return _format(duration_ms, MILLISECONDS, "s")


def format_size(size_bytes: int) -> str:
    """Return `size_bytes` in the largest unit that needs no fraction, decimal units first."""
    return _format(size_bytes, BYTES, "B")


def _parse(value: object, factors: dict[str, int], what: str, examples: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"must be {what}: a whole number and a unit, such as {examples}")
    match = _NUMBER_AND_UNIT.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{str(value)[:40]!r} is not {what}: write a whole number and a unit, such as {examples}")
    number, unit = int(match[1]), match[2]
    if not unit and number:
        raise ValueError(f"{number} has no unit: write {what} such as {examples}")
    if unit and unit not in factors:
        raise ValueError(f"{unit!r} is not a unit of {what.removeprefix('a ')}: write one of {', '.join(factors)}")
    return number * factors.get(unit, 1)


def _format(number: int, factors: dict[str, int], zero_unit: str) -> str:
    if number == 0:
        return f"0{zero_unit}"
    unit = min((unit for unit in factors if number % factors[unit] == 0), key=lambda unit: number // factors[unit])
    return f"{number // factors[unit]}{unit}"
