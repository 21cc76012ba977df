"""Hostile messages of every sort: of strangers, and properly signed by the key that is pinned, with hostile content."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pushmirror.core.lists import format_changes
from pushmirror.core.messages import HEARTBEAT, UPDATED, UPDATING, topic
from pushmirror.core.model import ChangeList
from pushmirror.core.relay_messages import RELAY_HEARTBEAT
from pushmirror.core.rotation import ROTATED
from pushmirror.core.wire import MAX_INTEGER, attach, canonical, compose, digest
from pushmirror.keys import PrivateKey, seal

Frames = list[bytes]

PATHS = ("../outside", "/etc/passwd", "-rf", "a/../../b", "a//b", ".", "", ".~pushmirror~", "a/.~tmp~", "nul\0byte",
         "a" * 300, "/".join(["a" * 200] * 20), "\ud800")  # fmt: skip
LONG_LIST_PATHS = 3000


@dataclass(frozen=True)
class Followed:
    """What the attacker knows, as everybody does: whose tree is followed, and where it is."""

    publisher: str
    tree: str
    epoch: str
    serial: int
    digest: str | None


class Arsenal:
    """Makes hostile messages about what is `followed`; `pinned` is the publisher's own key, which the attacker has."""

    def __init__(self, followed: Followed, pinned: PrivateKey, stranger: PrivateKey, chance: random.Random) -> None:
        self._followed = followed
        self._pinned = pinned
        self._stranger = stranger
        self._chance = chance
        self._number = 0

    def by_strangers(self) -> Iterator[Frames]:
        """Yield what anybody can send who has no key."""
        updated = self._topic(UPDATED)
        for size in (0, 1, 64, 4096, 60_000):
            yield [updated, os.urandom(size)]
        for opening in (b"[", b'{"a":', b'{"msg":{"list":['):
            yield [updated, opening * (100_000 // len(opening))]
        yield [updated, b'{"topic":1e400}']
        yield [updated, b'{"a":' + b"9" * 50_000 + b"}"]
        yield [updated]
        yield [updated, b"{}", b"{}"]
        yield [updated] + [b""] * 300
        yield [updated + b".more", self._sealed(UPDATED, self._update(), self._stranger)]
        for kind in (UPDATED, HEARTBEAT, UPDATING, ROTATED):
            msg = self._update() if kind == UPDATED else self._heartbeat()
            signed = self._compose(kind, msg)
            yield [self._topic(kind), signed]
            yield [self._topic(kind), seal(signed, self._stranger)]
            yield [self._topic(kind), attach(signed, self._stranger.sign(signed), self._pinned.public.line)]
            yield [self._topic(HEARTBEAT if kind == UPDATED else UPDATED), seal(signed, self._stranger)]
        cut = self._sealed(UPDATED, self._update(), self._stranger)
        yield [updated, cut[: len(cut) // 2]]
        yield [updated, cut.replace(b'"serial"', b'"serial":1,"serial"')]
        yield [updated, self._sealed(UPDATED, {**self._update(), "tree": "unknown"}, self._stranger)]
        yield [updated, self._sealed(UPDATED, {**self._update(), "publisher": "another"}, self._stranger)]

    def by_the_pinned_key(self) -> Iterator[Frames]:
        """Yield what is signed as it should be, and must lead to no job."""
        for path in PATHS:
            for key in ("changed", "deleted", "directories"):
                yield self._signed(UPDATED, self._update(**{key: [path]}))
        for count in (-1, MAX_INTEGER + 1, True, "7", [7], None):
            yield self._signed(UPDATED, {**self._update(), "changed": count})
            yield self._signed(UPDATED, {**self._update(), "serial": count})
            yield self._signed(UPDATED, {**self._update(), "bytes": count})
        for serial in (self._followed.serial + 50, self._followed.serial + 10**6, MAX_INTEGER):
            yield self._signed(UPDATED, {**self._update(), "serial": serial, "previous": serial - 1})
            yield self._signed(HEARTBEAT, self._heartbeat(serial=serial))
        yield self._signed(UPDATED, {**self._update(), "previous_digest": "f" * 64})
        names = [f"pool/{number:06d}" for number in range(LONG_LIST_PATHS)]
        yield self._signed(UPDATED, {**self._update(changed=names), "list_digest": "f" * 64})
        yield self._signed(UPDATED, self._update(changed=names[::-1]))
        yield self._signed(UPDATED, self._update(changed=["a"], deleted=["a"]))
        for epoch in ("1-00000000", "7258118400000-00000000", "-1-00000000", "x" * 1000):
            yield self._signed(UPDATED, {**self._update(), "epoch": epoch})
            yield self._signed(HEARTBEAT, self._heartbeat(epoch=epoch))
        yield self._signed(HEARTBEAT, {**self._heartbeat(), "trees": {f"t{number}": {} for number in range(1000)}})
        yield self._signed(HEARTBEAT, {**self._heartbeat(), "counter": 0, "at_ms": 0})
        yield self._signed(UPDATING, {"format": 1, "publisher": self._followed.publisher, "tree": self._followed.tree,
                                      "at_ms": 0, "expires_ms": 1000})  # fmt: skip
        yield self._signed(UPDATING, {"format": 1, "publisher": self._followed.publisher, "tree": self._followed.tree,
                                      "at_ms": 0, "expires_ms": MAX_INTEGER})  # fmt: skip

    def by_a_relay(self, name: str, key: PrivateKey) -> Iterator[Frames]:
        """Yield what a relay can say that its operator has listed, about what it has."""
        heads: tuple[Any, ...] = (None, 7, {}, {"epoch": self._followed.epoch}, self._relay_head(MAX_INTEGER),
                                  self._relay_head(self._followed.serial + 3), self._relay_head(-5))  # fmt: skip
        for counter, head in enumerate(heads, start=1):
            msg = {
                "format": 1, "publisher": self._followed.publisher, "relay": name, "counter": counter,
                "at_ms": counter, "interval_ms": 1000, "trees": {self._followed.tree: head},
            }  # fmt: skip
            yield [self._topic(RELAY_HEARTBEAT), self._sealed(RELAY_HEARTBEAT, msg, key)]

    def _relay_head(self, serial: int) -> dict[str, Any]:
        return {"epoch": self._followed.epoch, "serial": serial, "digest": "f" * 64, "cleaned": serial}

    def _topic(self, kind: str) -> bytes:
        return topic("org.example", "test", kind).encode()

    def _compose(self, kind: str, msg: dict[str, Any]) -> bytes:
        self._number += 1
        return compose(
            self._topic(kind).decode(), msg, msg_id=f"2026-{self._number}-{self._chance.random()}",
            at_ms=1_795_338_260_123, counter=self._number, username=self._followed.publisher,
        )  # fmt: skip

    def _sealed(self, kind: str, msg: dict[str, Any], key: PrivateKey) -> bytes:
        return seal(self._compose(kind, msg), key)

    def _signed(self, kind: str, msg: dict[str, Any]) -> Frames:
        return [self._topic(kind), self._sealed(kind, msg, self._pinned)]

    def _update(self, **listed: list[str]) -> dict[str, Any]:
        """Return an announcement that follows on what is known, but for one that has a path of no tree in its list."""
        changes = {**format_changes(ChangeList()), **(listed or {"changed": ["../outside"]})}
        return {
            "format": 1, "publisher": self._followed.publisher, "tree": self._followed.tree,
            "epoch": self._followed.epoch, "serial": self._followed.serial + 1, "previous": self._followed.serial,
            "previous_digest": self._followed.digest, "at_ms": 1_795_338_260_123, "whole": False, "list": changes,
            "list_digest": digest(canonical(changes)), "changed": 1, "deleted": 0, "bytes": 0,
            "root_mtime_ns": None, "max_clients": None,
        }  # fmt: skip

    def _heartbeat(self, *, serial: int | None = None, epoch: str | None = None) -> dict[str, Any]:
        head = {"epoch": epoch or self._followed.epoch, "serial": serial or self._followed.serial, "digest": "f" * 64}
        return {
            "format": 1, "publisher": self._followed.publisher, "counter": 1, "at_ms": 1, "interval_ms": 30_000,
            "trees": {self._followed.tree: head},
        }  # fmt: skip
