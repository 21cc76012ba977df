"""What a request to the HTTP service asks for: from method, path and arguments to a question, or to a refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pushmirror.core.messages import NAME
from pushmirror.core.wire import MAX_INTEGER

MAX_UPDATES = 10_000
"""Updates in one answer; a client asks again after the last of them."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{8,64}")
_NUMBER = re.compile(r"[0-9]{1,19}")
_EPOCH = re.compile(r"[0-9a-z-]{1,128}")
_KEYS = re.compile(r"[0-9a-f]{16}(,[0-9a-f]{16}){0,31}")


@dataclass(frozen=True)
class UpdatesQuestion:
    """The updates of a tree after serial `after`, at most `limit`."""

    tree: str
    epoch: str
    after: int
    limit: int
    keys: tuple[str, ...] = ()
    """By which keys whoever asks can verify the answer (`core.rotation.fingerprint`); none: nothing was said."""


@dataclass(frozen=True)
class ListQuestion:
    """One change list of a tree."""

    tree: str
    digest: str


@dataclass(frozen=True)
class StateQuestion:
    """Where a tree is now, signed together with the nonce of whoever asks."""

    tree: str
    nonce: str
    keys: tuple[str, ...] = ()
    """As for updates."""


@dataclass(frozen=True)
class KeysQuestion:
    """By which messages a publisher has exchanged its key."""

    publisher: str


@dataclass(frozen=True)
class ReportQuestion:
    """A report to be taken; it is the body of the request."""


@dataclass(frozen=True)
class HeaderQuestion:
    """A signed update to be held against the journal; it is the body of the request."""


@dataclass(frozen=True)
class Refusal:
    """Why there is no answer: the HTTP status, and one line for whoever asked; `challenge` says how to ask instead,
    `wait_s` above 0 after how many seconds."""

    status: int
    text: str
    challenge: str | None = None
    wait_s: int = 0


Question = UpdatesQuestion | ListQuestion | StateQuestion | KeysQuestion | ReportQuestion | HeaderQuestion
Arguments = Mapping[bytes, list[bytes]]

_ONLY_GET = Refusal(405, "only GET and HEAD are answered here")
_NOT_FOUND = Refusal(404, "there is nothing at this address")


def parse_request(method: bytes, path: bytes, arguments: Arguments) -> Question | Refusal:
    """Return what is asked, or why that is no question. `path` is as it was sent: no escapes are needed in ours."""
    parts = path.decode("latin-1").split("/")[1:]
    if parts == ["v1", "reports"]:
        return ReportQuestion() if method == b"POST" else Refusal(405, "a report is sent with POST")
    if parts == ["v1", "headers"]:
        return HeaderQuestion() if method == b"POST" else Refusal(405, "a header is sent with POST")
    if parts[:2] == ["v1", "keys"] and len(parts) == 3 and NAME.fullmatch(parts[2]):
        return KeysQuestion(parts[2]) if method in (b"GET", b"HEAD") else _ONLY_GET
    if parts[:2] != ["v1", "trees"] or not 3 <= len(parts) <= 5 or not NAME.fullmatch(parts[2]):
        return _NOT_FOUND
    if method not in (b"GET", b"HEAD"):
        return _ONLY_GET
    return _parse_tree_request(parts[2], parts[3:], arguments)


def _parse_tree_request(tree: str, rest: list[str], arguments: Arguments) -> Question | Refusal:
    if not rest:
        return _parse_state(tree, arguments)
    if rest == ["updates"]:
        return _parse_updates(tree, arguments)
    if len(rest) == 2 and rest[0] == "lists":
        if _DIGEST.fullmatch(rest[1]):
            return ListQuestion(tree, rest[1])
        return Refusal(400, "a list is named by its digest: 64 hexadecimal digits in lower case")
    return _NOT_FOUND


def _parse_state(tree: str, arguments: Arguments) -> Question | Refusal:
    nonce = _only(arguments, b"nonce")
    if nonce is None or not _NONCE.fullmatch(nonce):
        return Refusal(400, "nonce is needed: 8 to 64 letters, digits, '-' or '_' that nobody can foresee")
    return StateQuestion(tree, nonce, _keys(arguments))


def _parse_updates(tree: str, arguments: Arguments) -> Question | Refusal:
    epoch = _only(arguments, b"epoch")
    if epoch is None or not _EPOCH.fullmatch(epoch):
        return Refusal(400, "epoch is needed: the one of the update that was heard last")
    after = _number(arguments, b"after")
    if after is None:
        return Refusal(400, "after is needed: the serial that was heard last, 0 for none")
    limit = _number(arguments, b"limit") if b"limit" in arguments else MAX_UPDATES
    if not limit:
        return Refusal(400, f"limit is a number from 1 to {MAX_UPDATES}")
    return UpdatesQuestion(tree, epoch, after, min(limit, MAX_UPDATES), _keys(arguments))


def _only(arguments: Arguments, key: bytes) -> str | None:
    """Return the value of an argument that is given exactly once."""
    values = arguments.get(key, [])
    return values[0].decode("latin-1") if len(values) == 1 else None


def _keys(arguments: Arguments) -> tuple[str, ...]:
    """Return which keys are named; what is not written as it should be says nothing."""
    text = _only(arguments, b"keys")
    return tuple(text.split(",")) if text is not None and _KEYS.fullmatch(text) else ()


def _number(arguments: Arguments, key: bytes) -> int | None:
    text = _only(arguments, key)
    if text is None or not _NUMBER.fullmatch(text) or int(text) > MAX_INTEGER:
        return None
    return int(text)
