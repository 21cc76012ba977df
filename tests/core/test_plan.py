"""The stages of a job."""

from __future__ import annotations

import pytest

from pushmirror.core.model import ChangeList, StageKind
from pushmirror.core.paths import TreePath
from pushmirror.core.plan import explain_stages, explain_whole, plan_list
from pushmirror.core.profiles import PLAIN, PROFILES, Profile

RPM = PROFILES["rpm"]


def paths(*names: str) -> tuple[TreePath, ...]:
    """Return `names` as paths."""
    return tuple(TreePath(name.encode()) for name in names)


LISTED = ChangeList(
    changed=paths("p.rpm", "repodata/repomd.xml"),
    directories=paths("Packages", "repodata/deep"),
    linked=((*paths("p.rpm"), *paths("settled.rpm")),),
)
# By profile and list: the stages, each with its paths.
PLANS = [
    (PLAIN, ChangeList(), []),
    (PLAIN, ChangeList(deleted=paths("x")), []),
    (PLAIN, ChangeList(changed=paths("a", "b")), [("payload", "a b")]),
    (PLAIN, ChangeList(directories=paths("d")), [("directories", "d"), ("surplus", "d")]),
    (
        PLAIN,
        LISTED,
        [
            ("payload", "p.rpm repodata/repomd.xml settled.rpm"),
            ("directories", "Packages repodata/deep p.rpm repodata/repomd.xml settled.rpm"),
            ("surplus", "Packages repodata/deep"),
        ],
    ),
    (RPM, ChangeList(changed=paths("p.rpm")), [("payload", "p.rpm")]),
    (RPM, ChangeList(changed=paths("repodata/repomd.xml")), [("metadata", "repodata/repomd.xml")]),
    (
        RPM,
        LISTED,
        [
            ("listing", "Packages repodata/deep"),
            ("metadata", "repodata/repomd.xml"),
            ("payload", "p.rpm settled.rpm"),
            ("directories", "Packages repodata/deep p.rpm settled.rpm"),
            ("surplus", "Packages repodata/deep"),
        ],
    ),
]


@pytest.mark.parametrize(("profile", "changes", "expected"), PLANS)
def test_stages_of_a_list_job(profile: Profile, changes: ChangeList, expected: list[tuple[str, str]]) -> None:
    """Metadata comes first, payload next, surplus last; what has nothing to do is left out."""
    stages = explain_stages(plan_list(changes, profile))
    assert [(stage.kind.value, b" ".join(stage.paths).decode()) for stage in stages] == expected


@pytest.mark.parametrize(
    ("adopting", "profile", "expected"),
    [
        (False, PLAIN, [StageKind.WHOLE, StageKind.SURPLUS]),
        (True, PLAIN, [StageKind.PLAN, StageKind.WHOLE, StageKind.SURPLUS]),
        (False, RPM, [StageKind.LISTING, StageKind.WHOLE, StageKind.SURPLUS]),
        (True, RPM, [StageKind.PLAN, StageKind.LISTING, StageKind.WHOLE, StageKind.SURPLUS]),
    ],
)
def test_stages_of_a_full_sync(adopting: bool, profile: Profile, expected: list[StageKind]) -> None:
    """A folder with content is looked at first; a repository's metadata is listed before anything is brought."""
    assert [stage.kind for stage in explain_whole(adopting=adopting, profile=profile)] == expected
