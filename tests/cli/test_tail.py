"""`pushmirror tail`: a real process on a real ZeroMQ socket."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
import zmq

from pushmirror.core.messages import HEARTBEAT, UPDATED
from pushmirror.keys import PrivateKey
from tests.monitor.examples import (
    ENVIRONMENT,
    NODE,
    PREFIX,
    PUBLISHER,
    every_message,
    make_key,
    report_msg,
    sign,
    topic_of,
    update_msg,
)
from tests.support.processes import PUSHMIRROR, Program, clean_environment, run_pushmirror
from tests.support.waiting import wait_until

COMPLETED = "sync.completed"


@pytest.fixture
def sender() -> Iterator[Any]:
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind("tcp://127.0.0.1:*")
        yield socket


@pytest.fixture
def keys(tmp_path: Path) -> tuple[PrivateKey, PrivateKey]:
    return make_key(tmp_path, PUBLISHER), make_key(tmp_path, NODE)


@pytest.fixture
def settings(tmp_path: Path, sender: Any, keys: tuple[PrivateKey, PrivateKey]) -> Path:
    """The settings of the publisher that `sender` pretends to be."""
    (tmp_path / "nodes").write_text(f"{keys[1].public.line} {NODE}\n")
    path = tmp_path / "publisher.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "name": PUBLISHER,
                "state_dir": str(tmp_path),
                "key": str(tmp_path / PUBLISHER),
                "bus": {"publish": endpoint_of(sender), "topic_prefix": PREFIX, "environment": ENVIRONMENT},
                "service": "http://127.0.0.1:9941",
                "authorized_nodes": str(tmp_path / "nodes"),
                "control": str(tmp_path / "sock"),
                "trees": {"debian": {"path": str(tmp_path / "debian")}},
            }
        )
    )
    return path


def endpoint_of(socket: Any) -> str:
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))


def send(sender: Any, kind: str, body: bytes) -> None:
    sender.send_multipart([topic_of(kind).encode(), body])


def send_all(sender: Any, keys: tuple[PrivateKey, PrivateKey]) -> None:
    for kind, body in every_message(*keys):
        send(sender, kind, body)


def wait_for_text(program: Program, send_again: Callable[[], object], text: str) -> str:
    """Return the log once `text` is in it, sending again and again: what is sent before it listens is lost."""

    def is_there() -> bool:
        assert program.running, program.log_tail()
        send_again()
        return text in program.log_text()

    wait_until(is_there, deadline_seconds=20, what=f"{text!r} in the output")
    return program.log_text()


def test_messages_are_shown_and_verified(
    tmp_path: Path, sender: Any, keys: tuple[PrivateKey, PrivateKey], settings: Path
) -> None:
    """Announcements and reports are a line each, verified and so without a mark; heartbeats are left out."""
    with Program(["tail", "--config", settings], log_path=tmp_path / "log") as program:
        text = wait_for_text(program, lambda: send_all(sender, keys), f"{NODE}: fedora-updates applied 12")
        assert "   fedora-updates: serial 12 — 2 changed, 1 deleted, 2.1 MB" in text
        assert "?" not in text
        assert "heartbeat" not in text


def test_what_is_not_verified_has_a_mark(
    tmp_path: Path, sender: Any, keys: tuple[PrivateKey, PrivateKey], settings: Path
) -> None:
    """A message with another key's signature, and garbage, are shown with a question mark; the next one is not."""

    def send_strange() -> None:
        send(sender, UPDATED, sign(keys[1], UPDATED, update_msg(serial=66)))
        send(sender, UPDATED, b"\xff\x1b[2J garbage")
        sender.send_multipart([b"\xff\xfe"])
        send_all(sender, keys)

    with Program(["tail", "--config", settings], log_path=tmp_path / "log") as program:
        text = wait_for_text(program, send_strange, f"{NODE}: fedora-updates applied 12")
        assert " ? fedora-updates: serial 66" in text
        assert "[malformed: not JSON" in text
        assert "\x1b" not in text


def test_bare_endpoint_says_once_that_nothing_is_verified(
    tmp_path: Path, sender: Any, keys: tuple[PrivateKey, PrivateKey]
) -> None:
    """With --endpoint alone every line is marked, and a note says so at the beginning."""
    with Program(["tail", "--endpoint", endpoint_of(sender)], log_path=tmp_path / "log") as program:
        text = wait_for_text(program, lambda: send_all(sender, keys), "serial 12")
        assert text.count("nothing that follows is verified") == 1
        assert " ? fedora-updates: serial 12" in text


def test_json_lines_are_flushed_one_by_one(
    tmp_path: Path, sender: Any, keys: tuple[PrivateKey, PrivateKey], settings: Path
) -> None:
    """--json writes each message as a line of its own at once; the selection holds for it, too."""
    arguments = ["tail", "--json", "--heartbeats", "--topic", "heartbeat", "--config", settings]
    environment = {"PYTHONUNBUFFERED": ""}
    with Program(arguments, log_path=tmp_path / "log", environment=environment) as program:
        wait_for_text(program, lambda: send_all(sender, keys), '"verified":true')
        told = [json.loads(line) for line in program.log_text().splitlines()[:-1]]
        assert {line["kind"] for line in told} <= {HEARTBEAT}


def test_node_and_tree_select(tmp_path: Path, sender: Any, keys: tuple[PrivateKey, PrivateKey], settings: Path) -> None:
    """Only what is about that node and tree is shown."""
    other = sign(keys[1], COMPLETED, report_msg(tree="debian"))

    def send_more() -> None:
        send_all(sender, keys)
        send(sender, COMPLETED, other)

    arguments = ["tail", "--node", NODE, "--tree", "debian", "--config", settings]
    with Program(arguments, log_path=tmp_path / "log") as program:
        text = wait_for_text(program, send_more, "debian applied 12")
        assert "fedora-updates" not in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(
    tmp_path: Path, sender: Any, keys: tuple[PrivateKey, PrivateKey], settings: Path, number: signal.Signals
) -> None:
    """SIGINT and SIGTERM end it with 0 and without a word."""
    with Program(["tail", "--config", settings], log_path=tmp_path / "log") as program:
        wait_for_text(program, lambda: send_all(sender, keys), "serial 12")
        program.send(number)
        assert program.wait() == 0
        assert "Traceback" not in program.log_text()


def test_it_ends_when_its_reader_has_gone(sender: Any, settings: Path) -> None:
    """Piped into something that ends, it ends by itself, even if no message ever comes."""
    process = subprocess.Popen(
        [*PUSHMIRROR, "tail", "--config", str(settings)],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.wait(20)
        assert process.stderr.read() == b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), b"where to?"),
        (("--endpoint", "nonsense"), b"tcp://HOST:PORT"),
        (("--endpoint", "tcp://127.0.0.1:1", "--config", "x"), b"either --config"),
        (("--config", "/no/such/file"), b"cannot be read"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(arguments: tuple[str, ...], told: bytes) -> None:
    """Bad arguments exit with 2 and say what to give."""
    done = run_pushmirror("tail", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert told in done.stderr
