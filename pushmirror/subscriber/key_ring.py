"""Which keys count for which tree of one publisher: those that are pinned, and those that they were exchanged for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pushmirror.core.rotation import (
    Judgement,
    Rotation,
    believed_keys,
    end_ms,
    judge_rotation,
    parse_rotation,
    retired_keys,
)
from pushmirror.core.wire import Envelope
from pushmirror.errors import BadSignature, KeyFileError, MalformedMessage, StateError
from pushmirror.keys import PublicKey, parse_public_line, verify_envelope
from pushmirror.logs import Throttle
from pushmirror.subscriber.ledger_trust import LearnedRotation, LedgerTrust

log = logging.getLogger(__name__)

KeysOf = Callable[[str], Sequence[PublicKey]]
"""Returns the keys that count for a tree."""
_NO_KEYS: Mapping[str, Sequence[PublicKey]] = MappingProxyType({})


class KeyRing:
    """The keys of `publisher`: `keys` are pinned for all of its trees but those that have some in `tree_keys`.

    With `accept_rotation` a key counts as well that one of these was exchanged for, and the old one only as long as the
    publisher said. What was told of that is in the `ledger`.
    """

    def __init__(
        self,
        publisher: str,
        keys: Sequence[PublicKey],
        ledger: LedgerTrust,
        clock_ms: Callable[[], int],
        *,
        tree_keys: Mapping[str, Sequence[PublicKey]] = _NO_KEYS,
        accept_rotation: bool = False,
    ) -> None:
        self._publisher = publisher
        self._pinned = tuple(keys)
        self._tree_pinned = {tree: tuple(found) for tree, found in tree_keys.items()}
        self._ledger = ledger
        self._clock_ms = clock_ms
        self._accept = accept_rotation
        self._throttle = Throttle(clock_ms)
        self._learned = {learned.rotation.old: learned for learned in ledger.rotations(publisher)}
        self._retired = {old for old, learned in self._learned.items() if learned.retired}
        self._known_keys = {key.line: key for key in (*self._pinned, *_flatten(self._tree_pinned.values()))}
        self._conflicts = 0
        self._look_again_ms: int | None = 0
        self._of_publisher: tuple[PublicKey, ...] = ()
        self._of_trees: dict[str, tuple[PublicKey, ...]] = {}

    @property
    def of_publisher(self) -> tuple[PublicKey, ...]:
        """The keys that count for whatever has none of its own: they tell that the publisher is alive."""
        self._look()
        return self._of_publisher

    def of_tree(self, tree: str) -> tuple[PublicKey, ...]:
        """Return the keys that count for `tree`."""
        self._look()
        return self._of_trees.get(tree, self._of_publisher)

    @property
    def every(self) -> tuple[PublicKey, ...]:
        """All keys that count for anything."""
        self._look()
        return tuple(dict.fromkeys((*self._of_publisher, *_flatten(self._of_trees.values()))))

    @property
    def rotations(self) -> dict[str, Rotation]:
        """What is known of exchanged keys, by the old ones."""
        return {old: learned.rotation for old, learned in self._learned.items()}

    def take(self, envelope: Envelope) -> Judgement:
        """Take a ``key.rotated``. Only one that is new is recorded; it counts if the operator wants rotations to.

        Raises MalformedMessage, BadSignature for one that no key signed that counts, and StateError.
        """
        rotation = parse_rotation(envelope.msg)
        if rotation.publisher != self._publisher:
            raise MalformedMessage("the key is of another publisher")
        if rotation.old != envelope.certificate:
            raise BadSignature("a key can be exchanged by itself alone")
        pinned = (*self._pinned, *_flatten(self._tree_pinned.values()))
        judgement = judge_rotation(rotation, self.rotations, [key.line for key in pinned])
        if judgement is Judgement.KNOWN:
            return judgement  # before the signature: a repetition is to cost nothing
        verify_envelope(envelope, self.every)
        if judgement is Judgement.NEW:
            self._learn(rotation, envelope)
        else:
            self._refuse(rotation, judgement)
        return judgement

    def _learn(self, rotation: Rotation, envelope: Envelope) -> None:
        key = _read_key(rotation.new)
        now_ms = self._clock_ms()
        self._ledger.learn_rotation(rotation, envelope.travelling, now_ms)
        self._learned[rotation.old] = LearnedRotation(rotation, envelope.travelling, now_ms, retired=False)
        self._known_keys.setdefault(rotation.new, key)
        self._look_again_ms = 0
        if self._accept:
            log.warning(
                "upstream %s has exchanged its key: %s is believed from now on, %s for %d s more",
                self._publisher, rotation.new, rotation.old, max(0, rotation.until_ms - now_ms) // 1000,
            )  # fmt: skip
        else:
            log.warning(
                "upstream %s has exchanged its key, which changes nothing here: ask its operator whether %s is his, and"
                " add it to `keys` (or set accept_rotation: true) before the old one ends in %d s",
                self._publisher, rotation.new, max(0, rotation.until_ms - now_ms) // 1000,
            )  # fmt: skip

    def _refuse(self, rotation: Rotation, judgement: Judgement) -> None:
        self._conflicts += 1
        suppressed = self._throttle.allow(judgement.value)
        if suppressed is not None:
            log.error(
                "upstream %s: the key %s, exchanged before, is said to be exchanged for %s: that is not followed (%s);"
                " somebody else may have the old key (%d more since the last line)",
                self._publisher, rotation.old, rotation.new, judgement.value, suppressed,
            )  # fmt: skip

    def _look(self) -> None:
        """Work out anew what counts, when something was learned or an overlap is over."""
        now_ms = self._clock_ms()
        if self._look_again_ms is None or now_ms < self._look_again_ms:
            return
        known = self.rotations if self._accept else {}
        self._retire(retired_keys(known, now_ms))
        retired = self._retired if self._accept else set()
        self._of_publisher = self._count(self._pinned, known, retired)
        self._of_trees = {tree: self._count(keys, known, retired) for tree, keys in self._tree_pinned.items()}
        self._look_again_ms = min((end_ms(old, known) for old in known if old not in retired), default=None)

    def _count(
        self, pinned: Iterable[PublicKey], known: Mapping[str, Rotation], retired: Iterable[str]
    ) -> tuple[PublicKey, ...]:
        lines = believed_keys([key.line for key in pinned], known, frozenset(retired))
        return tuple(self._known_keys.setdefault(line, _read_key(line)) for line in lines)

    def _retire(self, over: frozenset[str]) -> None:
        new = over - self._retired
        self._retired |= new
        if not new:
            return
        try:
            self._ledger.retire_keys(self._publisher, new)
        except StateError as error:  # it is known in memory; after a restart the clock tells it again
            log.error("upstream %s: that a key has ended is not recorded: %s", self._publisher, error)
        for key in sorted(new):
            log.warning("upstream %s: the key %s was exchanged, and is not believed any more", self._publisher, key)

    def show(self) -> dict[str, Any]:
        """Return what ``status`` tells of the keys. Times are whole seconds since the epoch."""
        return {
            "accept_rotation": self._accept,
            "believed": [key.line for key in self.every],
            "rotations": [self._show(learned) for learned in self._learned.values()],
            "conflicts": self._conflicts,
        }

    def _show(self, learned: LearnedRotation) -> dict[str, Any]:
        rotation = learned.rotation
        return {
            "old": rotation.old,
            "new": rotation.new,
            "learned": learned.learned_ms // 1000,
            "old_until": end_ms(rotation.old, self.rotations) // 1000,
            "followed": self._accept,
            "old_believed": any(key.line == rotation.old for key in self.every),
        }


def _flatten(groups: Iterable[Sequence[PublicKey]]) -> Iterable[PublicKey]:
    return (key for group in groups for key in group)


def _read_key(line: str) -> PublicKey:
    try:
        return parse_public_line(line)
    except KeyFileError as error:
        raise MalformedMessage(f"the new key is none: {error}") from error
