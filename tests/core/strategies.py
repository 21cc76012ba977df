"""What hypothesis makes the values of core's tests from: paths with awkward names, lists, heads and messages."""

from __future__ import annotations

from hypothesis import strategies as st

from pushmirror.core.lists import list_digest
from pushmirror.core.messages import LONGEST_HEARTBEAT_MS, MAX_UPDATING_MS, SHORTEST_HEARTBEAT_MS
from pushmirror.core.model import (
    ChangeList,
    Event,
    Head,
    Heartbeat,
    Report,
    ScopeKind,
    Stamp,
    TreeState,
    Update,
    Updating,
)
from pushmirror.core.paths import RESERVED_PARTS, TreePath, format_text
from pushmirror.core.wire import MAX_INTEGER

AWKWARD_PARTS = (
    b"a",
    b"b",
    b"-rf",
    b"--delete",
    b"...",
    b".hidden",
    b"two words",
    b"new\nline",
    b"tab\t",
    b'quote"',
    b"\\#012",
    b"a -> b",
    b"star*",
    b"\xff\xfe",
    b"caf\xe9",
    "größe".encode(),
    "日本".encode(),
    "\U0001f600".encode(),
)

parts = st.sampled_from(AWKWARD_PARTS) | st.binary(min_size=1, max_size=8).filter(
    lambda part: b"/" not in part and b"\0" not in part and part not in (b".", b"..", *RESERVED_PARTS)
)
paths = st.lists(parts, min_size=1, max_size=4).map(lambda found: TreePath(b"/".join(found)))

counts = st.integers(0, MAX_INTEGER)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True)
epochs = st.from_regex(r"[1-9][0-9]{0,17}-[0-9a-z]{8,12}", fullmatch=True)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=64)


@st.composite
def change_lists(draw: st.DrawFn) -> ChangeList:
    """Return a list that a publisher may announce: sorted, without duplicates, nothing both put and deleted."""
    found = draw(st.sets(paths, max_size=12))
    kinds = {path: draw(st.sampled_from(["changed", "deleted", "directories"])) for path in sorted(found)}
    listed = {
        kind: tuple(path for path in sorted(found) if kinds[path] == kind)
        for kind in ("changed", "deleted", "directories")
    }
    linked = (
        draw(st.sets(st.tuples(st.sampled_from(listed["changed"]), paths), max_size=4)) if listed["changed"] else ()
    )
    bare = tuple(path for path in listed["changed"] if draw(st.booleans()))
    put = sorted((*listed["changed"], *listed["directories"]))
    stamped = [path for path in put if format_text(path) is not None and draw(st.booleans())]
    stamps = tuple(Stamp(path, draw(counts), draw(counts)) for path in stamped)
    return ChangeList(**listed, linked=tuple(sorted(linked)), bare=bare, stamps=stamps)


@st.composite
def heads(draw: st.DrawFn) -> Head:
    """Return the head of a tree; serial 0 comes without a digest."""
    serial = draw(st.just(0) | counts)
    return Head(draw(epochs), serial, draw(digests) if serial else None)


@st.composite
def updates(draw: st.DrawFn) -> Update:
    """Return an announcement: whole, with its list inline, or with a list that has to be fetched."""
    serial = draw(st.integers(1, MAX_INTEGER))
    previous = draw(st.integers(0, serial - 1))
    whole = draw(st.booleans())
    changes = None if whole else draw(st.none() | change_lists())
    digest = None if whole else (draw(digests) if changes is None else list_digest(changes))
    return Update(
        publisher=draw(names),
        tree=draw(names),
        epoch=draw(epochs),
        serial=serial,
        previous=previous,
        previous_digest=draw(digests) if previous else None,
        at_ms=draw(counts),
        whole=whole,
        list_digest=digest,
        changes=changes,
        changed=draw(counts),
        deleted=draw(counts),
        bytes=draw(counts),
        root_mtime_ns=draw(st.none() | counts),
        max_clients=draw(st.none() | counts),
    )


heartbeats = st.builds(
    Heartbeat,
    publisher=names,
    counter=counts,
    at_ms=counts,
    interval_ms=st.integers(SHORTEST_HEARTBEAT_MS, LONGEST_HEARTBEAT_MS),
    trees=st.dictionaries(names, heads(), max_size=4),
)


@st.composite
def updatings(draw: st.DrawFn) -> Updating:
    """Return the word that a tree is being updated, or not any more."""
    at_ms = draw(st.integers(0, MAX_INTEGER - MAX_UPDATING_MS))
    return Updating(draw(names), draw(names), at_ms, at_ms + draw(st.integers(0, MAX_UPDATING_MS)))


states = st.builds(TreeState, publisher=names, tree=names, head=heads(), oldest=counts, nonce=texts)
reports = st.builds(
    Report,
    event=st.sampled_from(Event),
    node=names,
    publisher=names,
    tree=names,
    epoch=st.none() | epochs,
    applied=st.integers(-1, MAX_INTEGER),
    cleaned=st.integers(-1, MAX_INTEGER),
    scope=st.sampled_from([kind.value for kind in ScopeKind]),
    files=counts,
    bytes=counts,
    deleted=counts,
    files_total=st.none() | counts,
    bytes_total=st.none() | counts,
    duration_ms=counts,
    lag_ms=st.none() | counts,
    exit_code=st.none() | st.integers(-64, 255),
    reason=st.none() | texts,
)
