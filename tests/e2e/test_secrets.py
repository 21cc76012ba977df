"""No secret is anywhere but in its own file: not in arguments, environments, logs, reports, status or state."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from tests.support.world import TREE, Subscriber, World

pytestmark = pytest.mark.slow

PASSWORD = "correct-horse-battery"
WRAPPER = """#!{python}
import json, os, socket, sys
with socket.create_connection(("127.0.0.1", {port})) as told:
    told.sendall(json.dumps([sys.argv, dict(os.environ)]).encode())
os.execvp("rsync", ["rsync", *sys.argv[1:]])
"""


@contextmanager
def watched_rsync(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield a program that tells with which arguments and environment it is run, and a list of all that it told."""
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, connection.makefile("rb") as stream:
                    told.append(stream.read().decode())

        threading.Thread(target=listen, daemon=True).start()
        program = folder / "watched-rsync"
        program.write_text(WRAPPER.format(python=sys.executable, port=server.getsockname()[1]))
        program.chmod(0o755)
        yield program, told
        server.shutdown(socket.SHUT_RDWR)


def secrets_of(world: World, mirror: Subscriber) -> list[str]:
    """Return the password, and the lines of the private keys."""
    keys = [(folder / "key").read_text().splitlines()[1:-1] for folder in (world.publisher_folder, mirror.folder)]
    return [PASSWORD, *(line for lines in keys for line in lines if len(line) > 30)]


def all_that_is_told(world: World, mirror: Subscriber, rsyncs: list[str]) -> dict[str, str]:
    """Return everything that anybody can come to see, by where it stands."""
    commands = [Path(f"/proc/{program.pid}/cmdline").read_bytes() for program in (world.publisher, mirror.program)]
    files = [path for path in (*world.publisher_folder.rglob("*"), *mirror.folder.rglob("*")) if path.is_file()]
    state = {str(path): path.read_bytes().decode("latin-1") for path in files if path.name not in ("key", "secret")}
    return {
        **state,
        "arguments and environment of rsync": "\n".join(rsyncs),
        "arguments of the daemons": b"\n".join(commands).decode(),
        "status": json.dumps(mirror.status()) + mirror.command("status", "--json") + mirror.command("status"),
        "history": mirror.command("history", TREE, "--json"),
        "what the publisher knows of it": "".join(world.publisher.log_text()),
    }


def test_secrets_are_told_to_nobody(tmp_path: Path) -> None:
    """With a password that is right, and with one that is refused; reports are signed, and kept by the publisher."""
    accounts = tmp_path / "accounts"
    accounts.write_text(f"mirror:{PASSWORD}\n")
    accounts.chmod(0o600)
    extra = f"auth users = mirror\nsecrets file = {accounts}"
    with World(tmp_path, rsyncd_extra=extra) as world, watched_rsync(tmp_path) as (program, told):
        (world.tree / "file").write_text("content")
        world.start_publisher()
        mirror = world.add_subscriber(
            source=world.source.replace("rsync://", "rsync://mirror@"), password_file=str(tmp_path / "secret")
        )
        (tmp_path / "secret").write_text(f"{PASSWORD}\n")
        (tmp_path / "secret").chmod(0o600)
        mirror.settings["rsync"] = str(program)
        mirror.start()
        mirror.wait_exact(0)
        accounts.write_text("mirror:another\n")
        (world.tree / "file").write_text("changed")
        world.publish("--path=file")
        tree = mirror.wait_for("the refusal", lambda tree: tree["reason"])
        assert "auth failed" in tree["reason"]
        wait_until(lambda: len(told) > 2, what="rsync was run")
        everything = all_that_is_told(world, mirror, told)
        assert "--password-file" in everything["arguments and environment of rsync"]
        found = {where for where, text in everything.items() for secret in secrets_of(world, mirror) if secret in text}
        assert found == set()


def test_what_the_daemons_write_is_for_their_user_alone(tmp_path: Path) -> None:
    """Whatever the umask of whoever starts them: journal, ledger, locks, and what rsync was given and has printed."""
    with World(tmp_path) as world:
        (world.tree / "file").write_text("content")
        before = os.umask(0)
        try:
            world.start_publisher()
            mirror = world.add_subscriber()
            mirror.start()
        finally:
            os.umask(before)
        mirror.wait_exact(0)
        (world.tree / "file").write_text("changed")
        mirror.wait_exact(world.publish("--path=file"))
        for state in (world.publisher_folder / "state", mirror.folder / "state"):
            closed: list[Path] = []
            for path in sorted(state.rglob("*")):
                mode = path.lstat().st_mode
                if path.is_dir() and not mode & 0o077:
                    closed.append(path)
                elif not any(path.is_relative_to(folder) for folder in closed):
                    assert not mode & 0o077, f"{path} has mode {mode:o}"
        for control in (world.publisher_folder / "control.sock", mirror.folder / "control.sock"):
            assert control.stat().st_mode & 0o777 == 0o660
