"""An upstream that was taken over: whatever its rsync daemon does, the job ends within its limits and says why, the
mirror stays as it was, and an honest upstream mends it afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile import plays
from tests.hostile.daemon import Play
from tests.hostile.scene import Scene, scene

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A mirror that knows of a change which it cannot get as long as the upstream is hostile."""
    with scene(tmp_path_factory.mktemp("hostile")) as found:
        found.be_hostile(plays.refuse(b"later"))
        (found.world.tree / "file").write_text("changed")
        found.world.publish("--path=file")
        found.mirror.wait_for("the announcement", lambda tree: tree["announced"] == 1 and tree["reason"])
        yield found


ENDS: dict[str, tuple[Play, str]] = {
    "endless talk": (plays.talk_without_end, "the upstream's greeting and file list"),
    "endless list": (plays.list_without_end, "the upstream's greeting and file list are larger than 1000000 bytes"),
    "endless file": (plays.send_without_end, "the upstream was silent for too long|rsync took longer than 6 s"),
    "no answer": (plays.never_answer, "the upstream was silent for too long"),
    "no list": (plays.never_list, "the upstream was silent for too long"),
    "closed at once": (plays.close_at_once, "the upstream did not start the session"),
    "closed in the list": (plays.close_in_the_list, "the data stream broke off"),
    "closed in a file": (plays.close_in_a_file, "the data stream broke off"),
    "a file that is not what it says": (plays.corrupt_a_file, "failed verification"),
    "refused": (plays.refuse(b"not for you"), "not for you"),
    "refused with characters that forge": (plays.refuse(b"\x1b[31m\rapplied \xff serial 9"), "\\#033[31m"),
    "a link outside that is told of as new": (
        plays.forge(b"cL+++++++++ ../../outside/link"),
        "the data stream broke off",
    ),
    "a link outside that is told of as ignored": (
        plays.forge(b'ignoring unsafe symlink "../../outside/link" -> "/nowhere"'),
        "the data stream broke off",
    ),
    "a folder outside that is said to be in the way": (
        plays.forge(complained=b"could not make way for new regular file: ../../outside/folder"),
        "outside/folder",
    ),
    "an absolute path that is said to be in the way": (
        plays.forge(complained=b"could not make way for new regular file: /usr/lib"),
        "/usr/lib",
    ),
    **{name: (plays.smuggle(entry), reason) for name, (entry, reason) in plays.SMUGGLED.items()},
}


@pytest.mark.parametrize("name", ENDS)
def test_a_list_job_ends_with_a_reason_and_without_harm(field: Scene, name: str) -> None:
    """Nothing of it is in the mirror or beside it; status and history tell why, and the update stays pending."""
    play, reason = ENDS[name]
    job = field.fail(play)
    assert any(each in job["reason"] for each in reason.split("|")), job
    assert job["reason"].isprintable()
    assert job["duration_ms"] < 12_000
    assert (field.mirror.tree()["announced"], field.mirror.tree()["applied"]) == (1, 0)


WHOLE_ENDS: dict[str, tuple[Play, str]] = {
    "endless talk": (plays.talk_without_end, "the upstream's greeting and file list"),
    "endless list": (plays.list_without_end, "the upstream's greeting and file list are larger than 1000000 bytes"),
    "a byte a second of talk": (plays.drip(b"talk"), "which is less than `least_rate`"),
    "a byte a second of the list": (plays.drip(b"list"), "which is less than `least_rate`"),
    "closed in a file": (plays.close_in_a_file, "the data stream broke off"),
    "a path that climbs out": (plays.smuggle(plays.SMUGGLED["a path that climbs out"][0]), "unsafe pathname"),
}


@pytest.mark.parametrize("name", WHOLE_ENDS)
def test_a_full_sync_ends_with_a_reason_and_without_harm(field: Scene, name: str) -> None:
    """It has no limit of time once it transfers, and still it ends."""
    play, reason = WHOLE_ENDS[name]
    job = field.fail(play, full=True)
    assert (job["scope"], reason in job["reason"]) == ("whole", True), job
    assert job["duration_ms"] < 12_000


def test_what_an_upstream_claims_to_be_new_makes_its_budget_no_larger(field: Scene) -> None:
    """It has rsync print ten thousand files that there are not: they count neither as entries, nor against losses."""
    entries = field.mirror.tree()["entries"]
    claims = tuple(b">f+++++++++ d/%d" % number for number in range(10_000))
    field.fail(plays.forge(*claims))
    assert field.mirror.tree()["entries"] == entries == 3
    field.fail(plays.forge(*claims), full=True)
    assert field.mirror.tree()["entries"] in (0, entries)  # what was asked for by hand is counted at its end


def test_an_honest_upstream_mends_everything(field: Scene) -> None:
    """After all of that; nobody outside was touched, nothing was forged in the log, and nothing went wrong here."""
    field.recover()
    assert field.mirror.tree()["applied"] == 1
    log = field.mirror.program.log_text()
    assert "Traceback" not in log and "\x1b" not in log
    assert sorted(path.name for path in field.outside.iterdir()) == ["folder", "link", "precious"]
