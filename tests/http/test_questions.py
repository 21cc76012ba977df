"""Requests to the HTTP service, as questions or refusals."""

from __future__ import annotations

import pytest
from twisted.web.http import parse_qs

from pushmirror.http.questions import (
    HeaderQuestion,
    KeysQuestion,
    ListQuestion,
    Question,
    Refusal,
    ReportQuestion,
    StateQuestion,
    UpdatesQuestion,
    parse_request,
)

EPOCH = "1790000000000-0123456789abcdef"


def ask(method: bytes, address: bytes) -> Question | Refusal:
    path, _, query = address.partition(b"?")
    return parse_request(method, path, parse_qs(query, True))


@pytest.mark.parametrize(
    ("method", "address", "question"),
    [
        (b"GET", b"/v1/trees/t?nonce=abcdefgh", StateQuestion("t", "abcdefgh")),
        (b"HEAD", b"/v1/trees/t?nonce=abcdefgh", StateQuestion("t", "abcdefgh")),
        (b"GET", b"/v1/trees/debian-12.x_y?nonce=" + b"Az09_-" * 10, StateQuestion("debian-12.x_y", "Az09_-" * 10)),
        (b"GET", b"/v1/trees/t/lists/" + b"a0" * 32, ListQuestion("t", "a0" * 32)),
        (b"GET", b"/v1/trees/t/updates?epoch=%s&after=0" % EPOCH.encode(), UpdatesQuestion("t", EPOCH, 0, 10_000)),
        (b"GET", b"/v1/trees/t/updates?epoch=1-a&after=7&limit=3", UpdatesQuestion("t", "1-a", 7, 3)),
        (b"GET", b"/v1/trees/t/updates?epoch=1-a&after=7&limit=50000", UpdatesQuestion("t", "1-a", 7, 10_000)),
        (b"GET", b"/v1/trees/t/updates?later=1&epoch=1-a&after=9223372036854775807",
         UpdatesQuestion("t", "1-a", 2**63 - 1, 10_000)),
        (b"GET", b"/v1/trees/t?nonce=abcdefgh&keys=" + b"a0" * 8, StateQuestion("t", "abcdefgh", ("a0" * 8,))),
        (b"GET", b"/v1/trees/t/updates?epoch=1-a&after=7&keys=%s,%s" % (b"a0" * 8, b"b1" * 8),
         UpdatesQuestion("t", "1-a", 7, 10_000, ("a0" * 8, "b1" * 8))),
        (b"GET", b"/v1/trees/t?nonce=abcdefgh&keys=none", StateQuestion("t", "abcdefgh")),
        (b"GET", b"/v1/trees/t?nonce=abcdefgh&keys=", StateQuestion("t", "abcdefgh")),
        (b"GET", b"/v1/keys/mirror.example.org", KeysQuestion("mirror.example.org")),
        (b"HEAD", b"/v1/keys/p", KeysQuestion("p")),
        (b"POST", b"/v1/reports", ReportQuestion()),
        (b"POST", b"/v1/headers", HeaderQuestion()),
    ],
)  # fmt: skip
def test_what_the_protocol_knows_is_understood(method: bytes, address: bytes, question: Question) -> None:
    """Each request of the protocol becomes its question."""
    assert ask(method, address) == question


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        (b"GET", b"/", 404),
        (b"GET", b"", 404),
        (b"GET", b"*", 404),
        (b"GET", b"http://elsewhere/v1/trees/t?nonce=abcdefgh", 404),
        (b"GET", b"/v1", 404),
        (b"GET", b"/v1/trees", 404),
        (b"GET", b"/v1/keys", 404),
        (b"GET", b"/v1/keys/", 404),
        (b"GET", b"/v1/keys/..", 404),
        (b"GET", b"/v1/keys/p/q", 404),
        (b"POST", b"/v1/keys/p", 405),
        (b"GET", b"/v1/trees/", 404),
        (b"GET", b"/v1/trees/..?nonce=abcdefgh", 404),
        (b"GET", b"/v1/trees/%74?nonce=abcdefgh", 404),
        (b"GET", b"/v1/trees/t/", 404),
        (b"GET", b"/v1/trees/t/x", 404),
        (b"GET", b"/v1/trees/t/updates/1", 404),
        (b"GET", b"/v1/trees/t/lists", 404),
        (b"GET", b"/v1/trees/t/lists/a/b", 404),
        (b"GET", b"/v2/trees/t?nonce=abcdefgh", 404),
        (b"GET", b"/v1/trees/\xff?nonce=abcdefgh", 404),
        (b"GET", b"/v1/reports", 405),
        (b"PUT", b"/v1/reports", 405),
        (b"GET", b"/v1/headers", 405),
        (b"POST", b"/v1/headers/1", 404),
        (b"POST", b"/v1/trees/t?nonce=abcdefgh", 405),
        (b"DELETE", b"/v1/trees/t/updates", 405),
        (b"GET", b"/v1/trees/t", 400),
        (b"GET", b"/v1/trees/t?nonce=", 400),
        (b"GET", b"/v1/trees/t?nonce=short", 400),
        (b"GET", b"/v1/trees/t?nonce=" + b"x" * 65, 400),
        (b"GET", b"/v1/trees/t?nonce=abc%20efgh", 400),
        (b"GET", b"/v1/trees/t?nonce=abcdefgh%0a", 400),
        (b"GET", b"/v1/trees/t?nonce=abcdefgh&nonce=abcdefgi", 400),
        (b"GET", b"/v1/trees/t/lists/" + b"A0" * 32, 400),
        (b"GET", b"/v1/trees/t/lists/..", 400),
        (b"GET", b"/v1/trees/t/updates", 400),
        (b"GET", b"/v1/trees/t/updates?epoch=1-a", 400),
        (b"GET", b"/v1/trees/t/updates?after=1", 400),
        (b"GET", b"/v1/trees/t/updates?epoch=&after=1", 400),
        (b"GET", b"/v1/trees/t/updates?epoch=%ff&after=1", 400),
        (b"GET", b"/v1/trees/t/updates?epoch=1-a&after=-1", 400),
        (b"GET", b"/v1/trees/t/updates?epoch=1-a&after=1.0", 400),
        (b"GET", b"/v1/trees/t/updates?epoch=1-a&after=%C2%B2", 400),
        (b"GET", b"/v1/trees/t/updates?epoch=1-a&after=9223372036854775808", 400),
        (b"GET", b"/v1/trees/t/updates?epoch=1-a&after=1" + b"0" * 5000, 400),
        (b"GET", b"/v1/trees/t/updates?epoch=1-a&after=1&limit=0", 400),
        (b"GET", b"/v1/trees/t/updates?epoch=1-a&after=1&limit=x", 400),
        (b"GET", b"/v1/trees/t/updates?epoch=1-a&after=1&limit=1&limit=2", 400),
    ],
)
def test_anything_else_is_refused(method: bytes, address: bytes, status: int) -> None:
    """What is not in the protocol gets a status and one line."""
    refusal = ask(method, address)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
    assert refusal.text and "\n" not in refusal.text
