"""`pushmirror explain`: what it says is what the daemon does, and it does nothing itself."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pushmirror.cli.demo.world import TREE as DEMO_TREE
from pushmirror.cli.explain import explain as command
from pushmirror.core.lists import format_changes
from pushmirror.core.messages import HEARTBEAT, UPDATED, parse_update
from pushmirror.core.model import ChangeList, Head
from pushmirror.core.paths import TreePath
from pushmirror.core.rotation import Rotation
from pushmirror.core.wire import canonical
from pushmirror.keys import PrivateKey
from pushmirror.subscriber.ledger import Ledger
from tests.cli.world import ask, publish, running_world, tree_status, wait_applied
from tests.monitor.examples import (
    CHANGES,
    ENVIRONMENT,
    EPOCH,
    NODE,
    PREFIX,
    PUBLISHER,
    TREE,
    heartbeat_msg,
    make_key,
    previous_digest,
    report_msg,
    sign,
    update_msg,
)
from tests.support.processes import Program, run_pushmirror

pytestmark = pytest.mark.slow

SOURCE = "rsync://127.0.0.1:8730/fedora/updates/"


@pytest.fixture
def key(tmp_path: Path) -> PrivateKey:
    return make_key(tmp_path, PUBLISHER)


@pytest.fixture
def settings(tmp_path: Path, key: PrivateKey) -> Path:
    """A subscriber's settings; its rsync would leave a trace if it were run."""
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path / 'was-run'}\n")
    trap.chmod(0o755)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "state").mkdir()
    path = tmp_path / "subscriber.yaml"
    upstream = {
        "publish": "tcp://127.0.0.1:9940",
        "service": "http://127.0.0.1:9941",
        "topic_prefix": PREFIX,
        "environment": ENVIRONMENT,
        "keys": [key.public.line],
    }
    tree = {"upstream": PUBLISHER, "source": SOURCE, "path": str(tmp_path / "mirror")}
    path.write_text(
        yaml.safe_dump(
            {
                "name": NODE,
                "state_dir": str(tmp_path / "state"),
                "key": str(tmp_path / "node.key"),
                "control": str(tmp_path / "sock"),
                "rsync": str(trap),
                "upstreams": {PUBLISHER: upstream},
                "trees": {TREE: tree},
            }
        )
    )
    return path


def explain(settings: Path, body: bytes, *arguments: str | Path) -> dict[str, Any]:
    """Return what is explained about a message."""
    done = CliRunner().invoke(command, ["-", "--json", *map(str, arguments), "--config", str(settings)], input=body)
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    assert not (settings.parent / "was-run").exists()
    return answer


def make_ledger(settings: Path, *, serial: int) -> Ledger:
    """Return an open ledger of a mirror that is in step with `serial`."""
    ledger = Ledger(settings.parent / "state" / "ledger.sqlite")
    ledger.open_tree(TREE, "identity")
    ledger.start_over(TREE, Head(EPOCH, serial, previous_digest(serial + 1)), 0, 0, same_history=False)
    ledger.finish_puts(
        TREE, serial, ledger.tree(TREE).generation, (), settled=(), due_ms=0, entries=10, incomplete=(), full_sync_ms=1
    )
    return ledger


def stages(answer: dict[str, Any]) -> list[tuple[str, int]]:
    return [(command["stage"], command["entries"]) for command in answer["commands"]]


def test_a_believed_list(settings: Path, key: PrivateKey) -> None:
    """The next update is a list job: its puts, then the deletions of what is here, with the listing's first entries."""
    make_ledger(settings, serial=11).close()
    (settings.parent / "mirror" / "pool").mkdir()
    (settings.parent / "mirror" / "pool" / "old.rpm").write_text("old")
    answer = explain(settings, sign(key, UPDATED, update_msg()))
    assert (answer["verdict"], answer["cause"], answer["scope"], answer["tracking"]) == (
        "believed",
        None,
        "list",
        "next",
    )
    assert stages(answer) == [("payload", 2), ("delete", 1)]
    payload, delete = answer["commands"]
    assert payload["first_entries"] == ["updates/./pool/a.rpm", "updates/./pool/b.rpm"]
    assert payload["arguments"][0].endswith("/trap")
    assert payload["arguments"][-3:] == ["--", "rsync://127.0.0.1:8730/fedora/", f"{settings.parent}/mirror/"]
    assert "--delete-missing-args" in delete["arguments"]
    assert "--delete-missing-args" not in payload["arguments"]


def test_deletions_above_the_budget_are_told_as_held(settings: Path, key: PrivateKey) -> None:
    """What would be held for the operator is said to be."""
    make_ledger(settings, serial=11).close()
    folder = settings.parent / "mirror" / "pool" / "old.rpm"
    folder.mkdir(parents=True)
    for number in range(9):
        (folder / str(number)).write_text("x")
    notes = explain(settings, sign(key, UPDATED, update_msg()))["notes"]
    assert any("held for the operator" in note for note in notes)


@pytest.mark.parametrize(
    ("serial_known", "serial", "tracking", "scope"),
    [(12, 12, "nothing new", "none"), (10, 12, "gap", "list"), (13, 14, "fork", "whole")],
)
def test_serials_are_judged_by_the_ledger(
    settings: Path, key: PrivateKey, serial_known: int, serial: int, tracking: str, scope: str
) -> None:
    """An old serial, a gap and a fork have the consequences that they have for the daemon."""
    make_ledger(settings, serial=serial_known).close()
    msg = update_msg(serial) | ({"previous_digest": "f" * 64} if tracking == "fork" else {})
    answer = explain(settings, sign(key, UPDATED, msg))
    assert (answer["tracking"], answer["scope"]) == (tracking, scope)
    assert bool(answer["commands"]) == (scope != "none")


def test_the_ledger_can_be_ignored(settings: Path, key: PrivateKey) -> None:
    """What a message stood for when it was new can still be seen."""
    make_ledger(settings, serial=12).close()
    answer = explain(settings, sign(key, UPDATED, update_msg()), "--ignore-ledger")
    assert stages(answer) == [("payload", 2)]


def test_pending_updates_are_part_of_the_job(settings: Path, key: PrivateKey) -> None:
    """A job brings what is pending already together with the message."""
    ledger = make_ledger(settings, serial=10)
    changes = ChangeList(changed=(TreePath(b"earlier"),))
    ledger.announce(TREE, parse_update(update_msg(11, changes)), previous_digest(12), changes, 5)
    ledger.close()
    answer = explain(settings, sign(key, UPDATED, update_msg()))
    assert answer["commands"][0]["first_entries"][0] == "updates/./earlier"
    assert any("also brings 1 update" in note for note in answer["notes"])


def test_the_first_sync_into_a_folder_with_content_begins_with_a_dry_run(settings: Path, key: PrivateKey) -> None:
    """A tree that was never synced is adopted, whatever the message lists."""
    ledger = Ledger(settings.parent / "state" / "ledger.sqlite")
    ledger.open_tree(TREE, "identity")
    ledger.close()
    (settings.parent / "mirror" / "something").write_text("here")
    answer = explain(settings, sign(key, UPDATED, update_msg()))
    assert [stage for stage, _ in stages(answer)] == ["plan", "whole", "surplus"]
    assert not any("--delete" in command["arguments"] for command in answer["commands"] if command["stage"] == "whole")


def test_a_whole_tree(settings: Path, key: PrivateKey) -> None:
    """An announcement of the whole tree is a full sync."""
    make_ledger(settings, serial=11).close()
    answer = explain(settings, sign(key, UPDATED, update_msg(changes=None)))
    assert [stage for stage, _ in stages(answer)] == ["whole", "surplus"]


def test_several_sources_are_told_with_what_makes_each_of_them_usable(settings: Path, key: PrivateKey) -> None:
    """The commands are those for the first; which one a job will read from nobody can know without asking."""
    document = yaml.safe_load(settings.read_text())
    tree = document["trees"][TREE]
    tree["sources"] = [{"url": "rsync://b.example.org/m/", "marker": "x"}, tree.pop("source")]
    settings.write_text(yaml.safe_dump(document))
    answer = explain(settings, sign(key, UPDATED, update_msg()))
    notes = " ".join(answer["notes"])
    assert "source 1: rsync://b.example.org/m/, if its x is the origin's, and not for deletions" in notes
    assert f"source 2: {SOURCE}, the origin's own" in notes
    assert "rsync://b.example.org/m/" in answer["commands"][0]["arguments"]


def test_a_list_that_is_fetched(settings: Path, key: PrivateKey, tmp_path: Path) -> None:
    """A list that does not travel in the message is told with where it is; given as a file it is explained."""
    make_ledger(settings, serial=11).close()
    body = sign(key, UPDATED, update_msg(inline=False))
    answer = explain(settings, body)
    assert (answer["scope"], answer["commands"]) == ("list", [])
    assert any(f"/v1/trees/{TREE}/lists/" in note for note in answer["notes"])
    (tmp_path / "list.json").write_bytes(canonical(format_changes(CHANGES)))
    assert stages(explain(settings, body, "--list", tmp_path / "list.json")) == [("payload", 2)]
    (tmp_path / "other.json").write_bytes(canonical(format_changes(ChangeList())))
    done = run_pushmirror("explain", "-", "--list", tmp_path / "other.json", "--config", settings, stdin=body)
    assert done.returncode == 2
    assert b"its digest is another" in done.stderr


def bad_messages(key: PrivateKey, stranger: PrivateKey) -> dict[str, tuple[bytes, str]]:
    """Messages with the cause for which the daemon would count them."""
    good = json.loads(sign(key, UPDATED, update_msg()))
    unsigned = {name: value for name, value in good.items() if name != "signature"}
    escaping = update_msg() | {"list": {"changed": ["a/../../b"], "deleted": [], "directories": []}}
    other_topic = "org.example.dev.pushmirror.tree.updated"
    return {
        "not JSON": (b"nonsense", "format"),
        "too large": (b'{"a": "' + b"x" * 300_000 + b'"}', "format"),
        "not signed": (canonical(unsigned), "signature"),
        "signed by a stranger": (sign(stranger, UPDATED, update_msg()), "signature"),
        "forged": (canonical(good | {"msg": update_msg(13)}), "signature"),
        "an escaping path": (sign(key, UPDATED, escaping), "path"),
        "an unknown tree": (sign(key, UPDATED, update_msg() | {"tree": "unknown"}), "tree"),
        "another publisher": (sign(key, UPDATED, update_msg() | {"publisher": "other"}), "publisher"),
        "another topic": (sign(key, UPDATED, update_msg(), topic_text=other_topic), "topic"),
        "a report": (sign(key, "sync.completed", report_msg()), "topic"),
    }


def test_bad_messages_are_dropped_for_the_daemons_reason(settings: Path, key: PrivateKey, tmp_path: Path) -> None:
    """Each bad message is explained with the cause under which the daemon counts it; nothing would be run."""
    for name, (body, cause) in bad_messages(key, make_key(tmp_path, "stranger")).items():
        answer = explain(settings, body)
        assert (answer["verdict"], answer["cause"]) == ("dropped", cause), name
        assert answer["reason"], name
        assert "commands" not in answer, name


def test_a_heartbeat(settings: Path, key: PrivateKey) -> None:
    """A heartbeat is compared with the ledger, tree by tree."""
    body = sign(key, HEARTBEAT, heartbeat_msg())
    assert any("there is no ledger" in note for note in explain(settings, body)["notes"])
    make_ledger(settings, serial=11).close()
    assert explain(settings, body)["notes"] == [f"{TREE}: the publisher is at serial 12: gap"]


def test_a_line_of_tail_is_taken_too(settings: Path, key: PrivateKey) -> None:
    """What `tail --json` prints can be explained as it is."""
    body = sign(key, UPDATED, update_msg())
    line = canonical({"envelope": json.loads(body), "kind": UPDATED, "verified": True})
    assert explain(settings, line)["verdict"] == "believed"


def test_the_text_shows_commands_as_a_shell_takes_them(settings: Path, key: PrivateKey) -> None:
    """Without --json it is text: the verdict, the scope, quoted commands, and that nothing was run."""
    done = run_pushmirror("explain", "-", "--config", settings, stdin=sign(key, UPDATED, update_msg()))
    text = done.stdout.decode()
    assert "verdict:  believed: signed with a key that is believed for mirror.example.org" in text
    assert "'--out-format=%i %n'" in text
    assert "     updates/./pool/a.rpm\n" in text
    assert text.endswith("Nothing was run.\n")


def test_nothing_is_made_or_modified(settings: Path, key: PrivateKey) -> None:
    """With a ledger that a daemon has open, with one that was left, and without any: every file stays as it was."""
    body = sign(key, UPDATED, update_msg())
    before = snapshot(settings.parent)
    explain(settings, body)
    assert snapshot(settings.parent) == before
    ledger = make_ledger(settings, serial=11)
    assert (settings.parent / "state" / "ledger.sqlite-wal").stat().st_size > 0
    before = snapshot(settings.parent)
    assert explain(settings, body)["tracking"] == "next"
    assert snapshot(settings.parent) == before
    ledger.close()
    before = snapshot(settings.parent)
    assert explain(settings, body)["tracking"] == "next"
    assert snapshot(settings.parent) == before


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Return what is in a folder: times and contents of all files, times of all folders."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


def test_a_missing_file_is_a_usage_error(settings: Path) -> None:
    """A message that is not there exits with 2."""
    done = run_pushmirror("explain", "/no/such/message", "--config", settings)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"cannot be read" in done.stderr


RECORDER = """#!{python}
import json, os, sys
listing = sys.stdin.buffer.read() if "--files-from=-" in sys.argv else b""
with open({record!r}, "a") as file:
    file.write(json.dumps([sys.argv[1:], listing.decode()]) + "\\n")
reading, writing = os.pipe()
os.write(writing, listing)
os.close(writing)
os.dup2(reading, 0)
os.execv({rsync!r}, ["rsync", *sys.argv[1:]])
"""


@pytest.mark.slow
def test_the_daemon_runs_what_is_explained(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The commands that are explained are those that the daemon runs, argument for argument and entry for entry."""
    folder = tmp_path_factory.mktemp("record")
    rsync = shutil.which("rsync")
    record = folder / "record"
    recorder = folder / "rsync"
    recorder.write_text(RECORDER.format(python=sys.executable, record=str(record), rsync=rsync))
    recorder.chmod(0o755)

    def use_recorder(settings: dict[str, Any]) -> None:
        settings["rsync"] = str(recorder)
        settings["confine_rsync"] = False

    with running_world(folder / "w", use_recorder) as world:
        mirror = world.mirrors[0]
        assert ask(mirror, "pause", DEMO_TREE).returncode == 0
        release = world.tier1.tree / "dists/stable/Release"
        release.unlink()
        (world.tier1.tree / "new.txt").write_text("new")
        (world.tier1.tree / "folder").mkdir()
        arguments = ["tail", "--json", "--heartbeats", "--topic", "tree", "--config", world.tier1.settings]
        with Program(arguments, log_path=folder / "tail") as tail:
            tail.wait_for_line('"kind":"tree.heartbeat"')
            serial = publish(world, "--path", "new.txt", "--directory", "folder", "--delete", "dists/stable/Release")
            message = tail.wait_for_line('"kind":"tree.updated"').encode()
        world.processes.wait(lambda: tree_status(world)["announced"] == serial, "it is announced", 20)
        answer = explain(mirror.settings, message, "--ignore-ledger")
        record.unlink()
        assert ask(mirror, "resume", DEMO_TREE).returncode == 0
        wait_applied(world, serial)
    run = [json.loads(line) for line in record.read_text().splitlines()]
    assert [found[0] for found in run] == [command["arguments"][1:] for command in answer["commands"]]
    listings = [found[1].split("\0")[:-1] for found in run]
    assert listings == [command["first_entries"] for command in answer["commands"]]


# --- keys of trees, and keys that were exchanged


def test_a_tree_with_keys_of_its_own_is_explained_by_those(settings: Path, key: PrivateKey, tmp_path: Path) -> None:
    """The key of the upstream does not count for it."""
    other = make_key(tmp_path, "tree.example.org")
    document = yaml.safe_load(settings.read_text())
    document["trees"][TREE]["keys"] = [other.public.line]
    settings.write_text(yaml.safe_dump(document))
    dropped, believed = (explain(settings, sign(by, UPDATED, update_msg())) for by in (key, other))
    assert (dropped["verdict"], dropped["cause"], believed["verdict"]) == ("dropped", "signature", "believed")


@pytest.mark.parametrize("accept", [True, False])
def test_a_key_that_was_exchanged_counts_as_the_ledger_has_it(
    settings: Path, key: PrivateKey, tmp_path: Path, accept: bool
) -> None:
    """Where the settings accept that; without the ledger only the pinned one does."""
    new = make_key(tmp_path, "new.example.org")
    document = yaml.safe_load(settings.read_text())
    document["upstreams"][PUBLISHER]["accept_rotation"] = accept
    settings.write_text(yaml.safe_dump(document))
    ledger = make_ledger(settings, serial=11)
    rotation = Rotation(PUBLISHER, key.public.line, new.public.line, time.time_ns() // 1_000_000, 3_600_000)
    ledger.learn_rotation(rotation, b"", 0)
    ledger.close()
    body = sign(new, UPDATED, update_msg())
    assert explain(settings, body)["verdict"] == ("believed" if accept else "dropped")
    assert explain(settings, body, "--ignore-ledger")["verdict"] == "dropped"
