"""Directories in the way of files and links: what of them goes, what is asked about, what stays."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pushmirror.settings.subscriber import SubscriberTree
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.parts import make_parts
from pushmirror.subscriber.way import Way
from tests.subscriber.upstream import TREE, paths

NOW_MS = 1_700_000_000_000
BUDGET = {"count": 3, "percent": 10, "limit": 50}

Result = TypeVar("Result")


async def at_once(function: Callable[..., Result], *arguments: Any) -> Result:
    """Do at once what a thread is for elsewhere."""
    return function(*arguments)


def finish(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Return what a coroutine returns that waits for nothing."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    result: Result = ended.value.value
    return result


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A mirror of 100 entries: 90 files in one directory, the others in small ones."""
    root = tmp_path / "mirror"
    for folder, count in {"pool": 90, "small/inner": 2, "other": 3}.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            (root / folder / str(number)).write_text("content")
    (root / "file").write_text("content")
    return root


@pytest.fixture
def way(root: Path, ledger: Ledger, tmp_path: Path) -> Way:
    """What makes way in it, of which the ledger knows how much there is."""
    tree = {"upstream": "up", "source": "rsync://127.0.0.1/m/", "path": str(root), "delete_budget": BUDGET}
    parts = make_parts(TREE, SubscriberTree.model_validate(tree), tmp_path)
    ledger.set_entries(TREE, 100)
    parts.mirror.make_staging()
    return Way(parts, ledger, lambda: NOW_MS, at_once)


def names(root: Path) -> set[str]:
    """Return what stands in the root, except for our own folder."""
    return {path.name for path in root.iterdir() if not path.name.startswith(".~")}


def test_a_directory_within_the_budget_goes_and_is_counted(way: Way, root: Path, ledger: Ledger) -> None:
    """With what is in it, as lost without being asked about."""
    assert finish(way.clear(paths("small"))) == 4
    assert names(root) == {"pool", "other", "file"}
    assert (ledger.tree(TREE).entries, ledger.tree(TREE).lost, way.blocked) == (96, 4, set())


def test_what_is_above_the_budget_stays_and_is_asked_about(way: Way, root: Path, ledger: Ledger) -> None:
    """Also when each of several directories would be within it: together they count."""
    assert finish(way.clear(paths("pool"))) == 0
    assert finish(way.clear(paths("small"))) == 0
    assert names(root) == {"pool", "small", "other", "file"}
    assert [row.path for row in ledger.deletions(TREE) if row.in_the_way] == [b"pool", b"small"]


@pytest.mark.parametrize("refused", ["small", "small/inner", "small/inner/1"])
@pytest.mark.parametrize("in_the_way", ["small", "small/inner"])
def test_what_was_refused_stays_with_the_directories_above_it(
    way: Way, root: Path, ledger: Ledger, refused: str, in_the_way: str
) -> None:
    """Although the budget would let all of it go; nobody is asked once more."""
    ledger.set_refusals(TREE, paths(refused))
    assert finish(way.clear(paths(in_the_way, "other"))) == 4
    assert (names(root), way.blocked) == ({"pool", "small", "file"}, set(paths(in_the_way)))
    assert (root / "small" / "inner" / "1").exists()
    assert ledger.deletions(TREE) == ()


def test_a_refusal_of_what_is_gone_keeps_nothing(way: Way, root: Path, ledger: Ledger) -> None:
    """Somebody has removed it by hand."""
    ledger.set_refusals(TREE, paths("small/gone"))
    assert finish(way.clear(paths("small"))) == 4


def test_what_was_approved_goes_whatever_is_in_it(way: Way, root: Path, ledger: Ledger) -> None:
    """The operator was asked about the directory itself."""
    ledger.set_refusals(TREE, paths("pool/1"))
    ledger.await_deletions(TREE, paths("pool"), NOW_MS, in_the_way=True)
    ledger.approve(TREE)
    assert finish(way.clear(paths("pool"))) == 91
    assert (names(root), ledger.tree(TREE).lost) == ({"small", "other", "file"}, 0)
