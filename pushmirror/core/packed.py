"""A long change list read out of its bytes a block at a time, so that it is never in memory as objects of JSON.

Only the canonical form can be read like this; whether it is one is seen on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

_BLOCK_BYTES = 64 * 1024
_DECODER = json.JSONDecoder()
_KEY = re.compile(rb'[{,]"([a-z_]+)":\[')
"""Where an array begins. Inside of a text every quotation mark has a backslash before it."""


class NotPacked(Exception):
    """The bytes are not what they looked like: they have to be read as any JSON is."""


@dataclass(frozen=True)
class PackedArray:
    """The items of an array between `start` and `end` of `body`, its brackets not included."""

    body: bytes | bytearray
    start: int
    end: int

    def __iter__(self) -> Iterator[object]:
        """Yield the items. Raises NotPacked when this is no array after all."""
        start = self.start
        # Neither of these can be inside of a text, where the quotation mark would be escaped.
        border = b'],["' if self.body.startswith(b"[", start) else b',"'
        while start < self.end:
            last = start + _BLOCK_BYTES
            cut = self.body.rfind(border, start, last) if last < self.end else self.end
            if cut < 0:  # hardly a list of ours, and what it is would all be made at once
                raise NotPacked
            end = cut if cut == self.end else cut + border.index(b",")
            yield from _parse_items(self.body[start:end])
            start = end + 1


def _parse_items(block: bytes | bytearray) -> list[object]:
    try:
        items: list[object] = _DECODER.decode(f"[{block.decode()}]")
    except (ValueError, RecursionError) as error:
        raise NotPacked from error
    return items


def unpack(body: bytes | bytearray, known: Collection[str]) -> dict[str, PackedArray]:
    """Return the arrays of an object that holds nothing but arrays under `known` keys.

    Raises NotPacked for anything else, if not now then from one of the arrays: all of them have to be gone through.
    """
    found = list(islice(_KEY.finditer(body), len(known) + 1))  # whoever writes more of them repeats one
    if len(found) > len(known):
        raise NotPacked
    starts = [match.start() for match in found]
    keys = [match[1].decode("ascii") for match in found]
    if not found or starts[0] != 0 or any(earlier >= later for earlier, later in pairwise(keys)):
        raise NotPacked
    if bytes(body[start] for start in starts) != b"{".ljust(len(starts), b","):  # no JSON at all
        raise NotPacked
    if not all(key in known for key in keys):  # what is under another one may hold anything, also what looks like ours
        raise NotPacked
    ends = [*(start - 1 for start in starts[1:]), len(body) - len("]}")]
    if not body.endswith(b"]}") or any(not body.startswith(b"]", end) for end in ends):
        raise NotPacked
    return {key: PackedArray(body, match.end(), end) for key, match, end in zip(keys, found, ends, strict=True)}
