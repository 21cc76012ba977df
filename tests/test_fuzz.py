"""The corpora of the fuzzing harnesses, without a guide: what once reached something new does no harm."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import bodies, bus, control, meaning, wire
from fuzz.harness import MAX_BYTES, NAMES, Believed, Harness, load_harness, read_corpus
from fuzz.meaning import examples
from fuzz.mutation import mutate
from fuzz.parties import NODE, PINNED, compose_message, forge
from fuzz.unguided import search
from pushmirror.core.messages import HEARTBEAT, UPDATED
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import parse_object
from pushmirror.errors import MalformedMessage
from pushmirror.keys import seal
from tests.support.processes import REPOSITORY, clean_environment

MUTATIONS = 300
FULL_MUTATIONS = 20_000
MAX_CORPUS_BYTES = 400_000


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_does_no_harm(name: str) -> None:
    """Every file goes through its harness: no exception gets out, and nothing is believed."""
    harness = load_harness(name)
    found = dict(read_corpus(harness.corpus))
    assert len(found) >= 10
    for file, data in found.items():
        try:
            harness.check(data)
        except Exception as error:
            raise AssertionError(f"fuzz/corpus/{name}/{file} is a finding") from error


@pytest.mark.parametrize("name", NAMES)
def test_bytes_near_the_corpus_do_no_harm(name: str, full: bool) -> None:
    """The same holds for what comes of the files by a few changes at random."""
    harness, chance = load_harness(name), random.Random(name)
    corpus = [data for _, data in read_corpus(harness.corpus)]
    for number in range(FULL_MUTATIONS if full else MUTATIONS):
        data = mutate(chance, corpus)
        assert len(data) <= MAX_BYTES
        try:
            harness.check(data)
        except Exception as error:
            raise AssertionError(f"change {number} of {name} is a finding: {data!r}") from error


@pytest.mark.parametrize("name", NAMES)
def test_the_seeds_do_no_harm(name: str) -> None:
    """The seeds, which also have what is too large for the corpus, go through as well."""
    harness = load_harness(name)
    for data in harness.seeds():
        harness.check(data)


def test_every_harness_is_described() -> None:
    """SECURITY.md has a row for each of them."""
    security = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    section = security.partition("## Fuzzing\n")[2]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(NAMES)


def test_the_corpus_is_small() -> None:
    """It is kept with the program, and read in every run of the tests."""
    assert sum(len(data) for name in NAMES for _, data in read_corpus(load_harness(name).corpus)) <= MAX_CORPUS_BYTES


def announcement() -> dict[str, object]:
    """Return the content of an announcement that is in order."""
    return next(msg for kind, msg in examples() if kind == UPDATED)


def test_the_harness_of_messages_notices_what_is_believed() -> None:
    """A message that the pinned key has signed is a finding there: nobody else can have made it."""
    wire.check(forge(UPDATED, announcement()))
    with pytest.raises(Believed):
        wire.check(seal(compose_message(UPDATED, announcement()), PINNED))


@pytest.mark.parametrize("kind", [UPDATED, HEARTBEAT])
def test_the_harness_of_the_bus_notices_a_consequence(kind: str, tmp_path: Path) -> None:
    """A frame that is signed with the pinned key has one, and is a finding."""
    follower = bus.Follower(tmp_path)
    msg = next(msg for known, msg in examples() if known == kind)
    topic_frame = f"org.example.prod.pushmirror.{kind}".encode()
    follower.deliver(topic_frame, forge(kind, msg))
    with pytest.raises(Believed):
        follower.deliver(topic_frame, seal(compose_message(kind, msg), PINNED))


def test_the_harness_of_bodies_notices_what_is_taken(tmp_path: Path) -> None:
    """A report that the listed node has signed is taken, and is a finding."""
    kind, msg = next((kind, msg) for kind, msg in examples() if kind.startswith("sync."))
    assert msg["node"] == NODE
    publisher = bodies.Publisher(tmp_path)
    assert publisher.reports.take(forge(kind, msg)) is not None
    publisher.expect_nothing()
    assert publisher.reports.take(seal(compose_message(kind, msg), PINNED)) is None
    with pytest.raises(Believed):
        publisher.expect_nothing()


@pytest.mark.parametrize("path", [b"..", b"../a", b"a//b", b"/a", b"a/.~tmp~", b"x" * 256, b"a\0b"])
def test_the_harnesses_have_an_eye_of_their_own_for_paths(path: bytes) -> None:
    """What must not pass the door would be noticed behind it."""
    with pytest.raises((AssertionError, ValueError)):
        meaning.judge_path(path)
    meaning.judge_path(TreePath(b"pool/-rf"))


def test_the_content_of_messages_is_reached() -> None:
    """Files of the corpus are read to their end as messages, so that something could be found there."""
    found = [data for _, data in read_corpus(load_harness("messages").corpus)]
    assert sum(count_kinds(data) for data in found) > 10


def count_kinds(data: bytes) -> int:
    """Return as how many kinds of message `data` can be read."""
    try:
        return meaning.read_as_every_kind(parse_object(data, max_bytes=MAX_BYTES))
    except MalformedMessage:
        return 0


def test_a_daemon_answers_in_the_harness_of_control() -> None:
    """What is asked in order gets its answer there, so that not everything ends at the first check."""
    assert control.desk().ask(b'{"command": "status"}\n').endswith(b'"ok": true}\n')


def test_a_finding_ends_a_run_and_is_kept(tmp_path: Path) -> None:
    """The bytes are in a file, from which the harness fails again; without a finding there is no file."""

    def refuse_dots(data: bytes) -> None:
        assert b".." not in data

    broken = Harness("paths", refuse_dots, lambda: ())
    found = search(broken, 1000, 1, tmp_path / "findings")
    assert found is not None and found.name.startswith("paths-crash-")
    with pytest.raises(AssertionError):
        broken.check(found.read_bytes())
    assert search(load_harness("paths"), 50, 1, tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_the_program_runs_without_atheris(tmp_path: Path) -> None:
    """``python -m fuzz NAME --unguided`` tells how much was tried."""
    command = [sys.executable, "-m", "fuzz", "paths", "--unguided", "--runs", "50"]
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout[:14]) == (0, "paths: 50 runs"), done.stderr
