"""What was refused to be deleted is left out of what is, whatever stands above and below it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.paths import TreePath, ancestors, lies_below, topmost
from pushmirror.core.refusals import in_scope, is_refused, still_refused, without_refused
from tests.subscriber.upstream import paths

SHORT_PATHS = st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=3).map(
    lambda parts: TreePath(b"/".join(parts))
)


def around_in(tree: set[TreePath]) -> object:
    """Return what tells the content of a directory of `tree`, as a mirror does."""

    def around(directory: TreePath, kept: frozenset[TreePath]) -> list[TreePath]:
        above = {part for path in kept for part in ancestors(path)}
        inside = [path for path in tree if lies_below(path, {directory})]
        return list(topmost(path for path in inside if not is_refused(path, kept) and path not in above))

    return around


@given(st.sets(SHORT_PATHS, max_size=12), st.sets(SHORT_PATHS, max_size=4), st.sets(SHORT_PATHS, max_size=4))
def test_nothing_that_was_refused_goes_and_all_else_does(
    named: set[TreePath], refused: set[TreePath], told: set[TreePath]
) -> None:
    """Of what is told to be deleted goes exactly what is neither refused, nor below, nor above what was refused."""
    tree = {part for path in named | refused for part in (path, *ancestors(path))}
    kept = frozenset(refused)
    found = set(without_refused(topmost(told), kept, around_in(tree)))  # type: ignore[arg-type]  # as above
    gone = {path for path in tree if path in found or lies_below(path, found)}
    above = {part for path in kept for part in ancestors(path)}
    assert gone == {
        p for p in tree if (p in told or lies_below(p, told)) and not is_refused(p, kept) and p not in above
    }


def test_a_refusal_is_over_when_the_upstream_has_the_path_again() -> None:
    """What is still surplus stays refused, one by one; so does what could not be looked at."""
    refused = frozenset(paths("folder", "back", "hidden/file"))
    left = still_refused(refused, paths("folder/old", "folder/old/file", "other"), paths("hidden"))
    assert left == paths("folder/old", "hidden/file")


def test_a_comparison_of_directories_is_about_what_is_in_them() -> None:
    """Refused paths elsewhere are not asked about."""
    assert in_scope(frozenset(paths("a", "a/b", "ab", "c")), paths("a")) == set(paths("a", "a/b"))
