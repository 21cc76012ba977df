"""Where the mirrors of the model stand: what each follows and reads, and whether others read from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TIER1 = "tier1"
GRACE_S = 60


@dataclass(frozen=True)
class Place:
    """One mirror. It prefers its `relays`, in this order, to the publisher, which it follows only if `origin` says so.

    `relaying`: it hands on what it has applied.
    """

    name: str
    relays: tuple[str, ...] = ()
    origin: bool = True
    relaying: bool = False
    grace_s: int = GRACE_S

    @property
    def sources(self) -> list[dict[str, str]]:
        """What its settings say about where to read."""
        relays = [{"url": source_url(name), "relay": name} for name in self.relays]
        return [*relays, {"url": source_url(TIER1)}] if self.origin else relays


Places = Sequence[Place]
"""All mirrors; each stands behind the relays that it reads from."""


def source_url(host: str) -> str:
    """Return where the rsync daemon of a host has the tree."""
    return f"rsync://{host}/debian/"


def service_url(host: str) -> str:
    """Return where the HTTP service of a host is."""
    return f"http://{host}"


_RELAY = Place("relay0", relaying=True)
_SECOND = Place("relay1", relaying=True, grace_s=0)

TWO_MIRRORS: Places = (Place("mirror0"), Place("mirror1"))
CHAIN: Places = (_RELAY, Place("leaf", ("relay0",), origin=False))
"""The leaf hears nobody but the relay."""
HASTY_LEAF: Places = (_RELAY, Place("leaf", ("relay0",), origin=False, grace_s=0))
"""Deletions are due at the leaf before the relay does them."""
BESIDE_THE_ORIGIN: Places = (_RELAY, Place("leaf", ("relay0",), grace_s=0))
"""The leaf hears the publisher as well, before the relay has what it tells."""
TWO_RELAYS: Places = (_RELAY, _SECOND, Place("leaf", ("relay0", "relay1"), origin=False, grace_s=0))
THREE_TIERS: Places = (
    _RELAY,
    Place("relay1", ("relay0",), origin=False, relaying=True),
    Place("leaf", ("relay1",), False),
)
SHORT_CUT: Places = (
    _RELAY,
    Place("relay1", ("relay0",), origin=False, relaying=True, grace_s=0),
    Place("leaf", ("relay1", "relay0"), origin=False),
)
"""The leaf reads from a relay, and from the relay above that."""
TIERS: tuple[Places, ...] = (CHAIN, HASTY_LEAF, BESIDE_THE_ORIGIN, TWO_RELAYS, THREE_TIERS, SHORT_CUT)
