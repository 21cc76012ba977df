"""Each message of the protocol: there and back, and what is refused in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.lists import list_digest
from pushmirror.core.messages import (
    MAX_REASON_LENGTH,
    MAX_TREES,
    epoch_order,
    format_heartbeat,
    format_report,
    format_state,
    format_update,
    format_updating,
    kind_of,
    parse_heartbeat,
    parse_report,
    parse_state,
    parse_update,
    parse_updating,
    report_kind,
    topic,
)
from pushmirror.core.model import ChangeList, Event, Head, Heartbeat, Report, TreeState, Update, Updating
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import MAX_INTEGER, canonical, parse_object
from pushmirror.errors import MalformedMessage
from tests.core.strategies import heartbeats, reports, states, updates, updatings
from tests.core.test_wire import json_objects, json_values

LIMIT = 10_000_000
DIGEST = "0" * 63 + "a"
EPOCH = "1795338257000-0123abcd"
CHANGES = ChangeList(changed=(TreePath(b"a"),), deleted=(TreePath(b"b"),))

UPDATE = Update(
    publisher="mirror.example.org",
    tree="debian",
    epoch=EPOCH,
    serial=7,
    previous=6,
    previous_digest=DIGEST,
    at_ms=1,
    whole=False,
    list_digest=list_digest(CHANGES),
    changes=CHANGES,
    changed=1,
    deleted=1,
    bytes=10,
)
HEARTBEAT = Heartbeat(
    "mirror.example.org", 3, 1, 30_000, {"debian": Head(EPOCH, 7, DIGEST), "new": Head(EPOCH, 0, None)}
)
STATE = TreeState("mirror.example.org", "debian", Head(EPOCH, 7, DIGEST), 3, "n0nce")
REPORT = Report(Event.COMPLETED, "t2", "mirror.example.org", "debian", EPOCH, 7, 6, "list", exit_code=0, reason="done")

PARSERS: dict[str, tuple[dict[str, Any], Callable[[Mapping[str, Any]], object]]] = {
    "update": (format_update(UPDATE), parse_update),
    "heartbeat": (format_heartbeat(HEARTBEAT), parse_heartbeat),
    "state": (format_state(STATE), parse_state),
    "report": (format_report(REPORT), lambda msg: parse_report("sync.completed", msg)),
}


def travel(msg: Mapping[str, Any]) -> dict[str, Any]:
    """Return `msg` as it arrives at the other end."""
    return parse_object(canonical(msg), max_bytes=LIMIT)


@given(updates())
def test_update_round_trip(update: Update) -> None:
    """An announcement arrives as it was sent."""
    assert parse_update(travel(format_update(update))) == update


@given(heartbeats)
def test_heartbeat_round_trip(heartbeat: Heartbeat) -> None:
    """A heartbeat arrives as it was sent."""
    assert parse_heartbeat(travel(format_heartbeat(heartbeat))) == heartbeat


@given(updatings())
def test_updating_round_trip(updating: Updating) -> None:
    """The word that a tree is being updated arrives as it was sent."""
    assert parse_updating(travel(format_updating(updating))) == updating


@given(states)
def test_state_round_trip(state: TreeState) -> None:
    """The state of a tree arrives as it was sent."""
    assert parse_state(travel(format_state(state))) == state


@given(reports)
def test_report_round_trip(report: Report) -> None:
    """A report arrives as it was sent; what it tells is in its topic."""
    assert parse_report(report_kind(report.event), travel(format_report(report))) == report


@pytest.mark.parametrize("exit_code", [-9, -15, 0, 23, 255])
def test_exit_code_of_a_report(exit_code: int) -> None:
    """A report may tell that rsync was ended by a signal."""
    report = replace(REPORT, exit_code=exit_code)
    assert parse_report("sync.completed", travel(format_report(report))) == report


def test_written_update() -> None:
    """An announcement is written with the keys of the protocol."""
    assert format_update(UPDATE) == {
        "format": 1,
        "publisher": "mirror.example.org",
        "tree": "debian",
        "epoch": EPOCH,
        "serial": 7,
        "previous": 6,
        "previous_digest": DIGEST,
        "at_ms": 1,
        "whole": False,
        "list": {"changed": ["a"], "deleted": ["b"], "directories": []},
        "list_digest": list_digest(CHANGES),
        "changed": 1,
        "deleted": 1,
        "bytes": 10,
        "root_mtime_ns": None,
        "max_clients": None,
    }


NAMES: tuple[object, ...] = (
    None,
    1,
    True,
    "",
    ".",
    "..",
    "a/b",
    "../a",
    "-a",
    ".a",
    "a b",
    "a\n",
    "é",
    "a\0",
    "\ud800",
    "x" * 129,
    ["a"],
)
INTEGERS: tuple[object, ...] = ("1", "", [], {}, True, False, -1, -(2**63), MAX_INTEGER + 1)
EPOCHS: tuple[object, ...] = (
    None,
    1,
    "",
    "0-0123abcd",
    "-1-0123abcd",
    "1-",
    "1-0123abc",
    "01-0123abcd",
    "1-0123ABCD",
    "1-0123abcd\n",
    "\u0661-0123abcd",
    "1" * 19 + "-0123abcd",
    "1-" + "a" * 65,
    "1-0123/../",
)
DIGESTS: tuple[object, ...] = (1, "", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n", [], False)
FORMATS: tuple[object, ...] = (None, 0, 2, "1", True, -1, MAX_INTEGER + 1)

HOSTILE: dict[str, dict[str, tuple[object, ...]]] = {
    "update": {
        "format": FORMATS,
        "publisher": NAMES,
        "tree": NAMES,
        "epoch": EPOCHS,
        "serial": (None, 0, 6, *INTEGERS),
        "previous": (None, 0, 7, 8, *INTEGERS),
        "previous_digest": (None, *DIGESTS),
        "at_ms": (None, *INTEGERS),
        "whole": (None, True, 0, "false"),
        "list": ([], "a", 1, {}, {"changed": ["../x"]}, {"changed": ["a"], "deleted": ["a"]}, {"changed": ["b"]}),
        "list_digest": (None, DIGEST, *DIGESTS),
        "changed": (None, *INTEGERS),
        "deleted": (None, *INTEGERS),
        "bytes": (None, *INTEGERS),
        "root_mtime_ns": INTEGERS,
        "max_clients": INTEGERS,
    },
    "heartbeat": {
        "format": FORMATS,
        "publisher": NAMES,
        "counter": (None, *INTEGERS),
        "at_ms": (None, *INTEGERS),
        "interval_ms": (0, 999, 3_600_001, MAX_INTEGER, *INTEGERS),
        "trees": (
            None,
            [],
            "a",
            {"../a": {"epoch": EPOCH, "serial": 0, "digest": None}},
            {"": {"epoch": EPOCH, "serial": 0, "digest": None}},
            {"\ud800": {"epoch": EPOCH, "serial": 0, "digest": None}},
            {"a": None},
            {"a": {}},
            {"a": {"epoch": EPOCH, "serial": 1, "digest": None}},
            {"a": {"epoch": EPOCH, "serial": 0, "digest": DIGEST}},
            {"a": {"epoch": EPOCH, "serial": -1, "digest": DIGEST}},
            {"a": {"epoch": "1", "serial": 1, "digest": DIGEST}},
            {f"t{number}": {"epoch": EPOCH, "serial": 0, "digest": None} for number in range(MAX_TREES + 1)},
        ),
    },
    "state": {
        "format": FORMATS,
        "publisher": NAMES,
        "tree": NAMES,
        "epoch": EPOCHS,
        "serial": (None, 0, *INTEGERS),
        "digest": (None, *DIGESTS),
        "oldest": (None, *INTEGERS),
        "nonce": (None, 1, "x" * 65, "\ud800"),
    },
    "report": {
        "format": FORMATS,
        "node": NAMES,
        "publisher": NAMES,
        "tree": NAMES,
        "epoch": EPOCHS[1:],
        "applied": (None, -2, *(value for value in INTEGERS if value != -1)),
        "cleaned": (None, -2, *(value for value in INTEGERS if value != -1)),
        "scope": (None, "", "LIST", "tree", 1, []),
        "files": (None, *INTEGERS),
        "bytes": (None, *INTEGERS),
        "deleted": (None, *INTEGERS),
        "files_total": INTEGERS,
        "bytes_total": INTEGERS,
        "duration_ms": (None, *INTEGERS),
        "lag_ms": INTEGERS,
        "exit_code": (-65, *(value for value in INTEGERS if value != -1)),
        "reason": (1, True, [], "x" * (MAX_REASON_LENGTH + 1), "\ud800"),
    },
}
ROWS = [(kind, key, value) for kind, keys in HOSTILE.items() for key, values in keys.items() for value in values]


@pytest.mark.parametrize("kind", PARSERS)
def test_every_key_has_hostile_values(kind: str) -> None:
    """The table below leaves no key of any message out."""
    assert set(HOSTILE[kind]) == set(PARSERS[kind][0])


@pytest.mark.parametrize(("kind", "key", "value"), ROWS, ids=[f"{kind}-{key}-{ascii(v)[:20]}" for kind, key, v in ROWS])
def test_hostile_value(kind: str, key: str, value: object) -> None:
    """One hostile value in an otherwise good message refuses it, in printable words of modest length."""
    msg, parse = PARSERS[kind]
    parse(json.loads(json.dumps(msg)))
    with pytest.raises(MalformedMessage) as caught:
        parse({**msg, key: value})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


OPTIONAL = {
    "update": {"list", "root_mtime_ns", "max_clients"},
    "heartbeat": {"interval_ms"},
    "state": set[str](),
    "report": {"epoch", "lag_ms", "files_total", "bytes_total", "exit_code", "reason"},
}


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind in HOSTILE for key in HOSTILE[kind]])
def test_absent_key(kind: str, key: str) -> None:
    """A key that is not optional must be there."""
    msg, parse = PARSERS[kind]
    rest = {name: value for name, value in msg.items() if name != key}
    if key in OPTIONAL[kind]:
        parse(rest)
        return
    with pytest.raises(MalformedMessage):
        parse(rest)


def test_defaults_of_absent_keys() -> None:
    """Without an interval a heartbeat has the protocol's; without an inline list it has to be fetched."""
    heartbeat = {key: value for key, value in format_heartbeat(HEARTBEAT).items() if key != "interval_ms"}
    assert parse_heartbeat(heartbeat).interval_ms == 30_000
    assert parse_heartbeat({**heartbeat, "interval_ms": None}).interval_ms == 30_000
    update = {key: value for key, value in format_update(UPDATE).items() if key != "list"}
    assert parse_update(update) == replace(UPDATE, changes=None)


@pytest.mark.parametrize("kind", PARSERS)
def test_unknown_keys(kind: str) -> None:
    """A key that a later version of the protocol may add is ignored."""
    msg, parse = PARSERS[kind]
    assert parse({**msg, "later": {"x": [1]}}) == parse(msg)


def test_update_of_the_whole_tree() -> None:
    """A whole update has neither a list nor its digest; everything in between is refused."""
    whole = replace(UPDATE, whole=True, list_digest=None, changes=None)
    assert parse_update(format_update(whole)) == whole
    for wrong in (
        replace(whole, list_digest=DIGEST),
        replace(whole, changes=ChangeList()),
        replace(UPDATE, changes=None, list_digest=None),
    ):
        with pytest.raises(MalformedMessage):
            parse_update(format_update(wrong))


def test_first_update() -> None:
    """The first update of a journal has serial 0 before it and no digest of it."""
    first = replace(UPDATE, previous=0, previous_digest=None)
    assert parse_update(format_update(first)) == first
    with pytest.raises(MalformedMessage, match="previous_digest"):
        parse_update(format_update(replace(first, previous_digest=DIGEST)))


@given(
    st.sampled_from(sorted(PARSERS)),
    st.dictionaries(
        st.sampled_from(sorted({key for keys in HOSTILE.values() for key in keys})), json_values, max_size=3
    ),
)
def test_any_values(kind: str, changed: dict[str, Any]) -> None:
    """Whatever the values: a message, or MalformedMessage in printable words."""
    msg, parse = PARSERS[kind]
    for candidate in ({**msg, **changed}, changed):
        try:
            parse(candidate)
        except MalformedMessage as error:
            assert str(error).isprintable()


@given(json_objects)
def test_any_object(raw: dict[str, Any]) -> None:
    """An object of something else is malformed as any message."""
    for _, parse in PARSERS.values():
        with pytest.raises(MalformedMessage):
            parse(raw)


@pytest.mark.parametrize(
    "kind", ["sync.", "sync.done", "tree.updated", "", "sync.Completed", "sync.sync.completed", "\0"]
)
def test_report_of_unknown_kind(kind: str) -> None:
    """A report whose topic tells nothing known is malformed."""
    with pytest.raises(MalformedMessage):
        parse_report(kind, format_report(REPORT))


def test_topics() -> None:
    """A topic is made of prefix, environment and kind, and the kind is found in it again."""
    made = topic("org.example", "prod", "tree.updated")
    assert made == "org.example.prod.pushmirror.tree.updated"
    assert kind_of(made) == "tree.updated"
    assert kind_of("org.pushmirror.prod.pushmirror.sync.failed") == "sync.failed"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tree.updated",
        "pushmirror.tree.updated",
        "org.example.prod.pushmirror.tree",
        "org.example.prod.pushmirror.tree.updated.more",
        "org.example.prod.pushmirror.tree.updated\n",
        "org.example.prod.pushmirror.Tree.updated",
        "org.example prod.pushmirror.tree.updated",
        "org.example.prod.fedmsg.tree.updated",
        "\ud800.pushmirror.tree.",
    ],
)
def test_foreign_topics(text: str) -> None:
    """A topic of another program has no kind."""
    assert kind_of(text) is None


def test_order_of_epochs() -> None:
    """Epochs are ordered by the time of their creation as a number, then by their random part."""
    ordered = ["9-zzzzzzzz", "10-aaaaaaaa", "10-bbbbbbbb", "1795338257000-00000000", "1795338257001-00000000"]
    shuffled = [ordered[place] for place in (3, 1, 4, 0, 2)]
    assert sorted(shuffled, key=epoch_order) == ordered
