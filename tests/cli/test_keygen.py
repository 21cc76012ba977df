"""`pushmirror keygen` as an operator meets it."""

from __future__ import annotations

from pathlib import Path

from pushmirror.core.curve import parse_line
from pushmirror.curve import load_curve_pair
from pushmirror.keys import load_private_key, parse_public_line
from tests.support.processes import run_pushmirror


def test_it_makes_a_key_and_prints_the_public_line(tmp_path: Path) -> None:
    """Standard output is exactly the public line, fit for authorized_nodes; what to do next stands on stderr."""
    done = run_pushmirror("keygen", tmp_path / "key", "--comment", "t2.example.net")
    assert done.returncode == 0
    assert done.stdout == (tmp_path / "key.pub").read_bytes()
    key = parse_public_line(done.stdout.decode())
    assert key.comment == "t2.example.net"
    assert key == load_private_key(tmp_path / "key").public
    assert b"authorized_nodes" in done.stderr and b"upstreams" in done.stderr


def test_without_a_comment_the_host_is_named(tmp_path: Path) -> None:
    """There is always a name behind the key."""
    done = run_pushmirror("keygen", tmp_path / "key")
    assert len(done.stdout.split()) == 3


def test_an_existing_key_is_kept(tmp_path: Path) -> None:
    """A second run ends with 2 and one line that says what to do; the key is as before."""
    run_pushmirror("keygen", tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    done = run_pushmirror("keygen", tmp_path / "key")
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"exists already" in done.stderr and b"Traceback" not in done.stderr
    assert (tmp_path / "key").read_bytes() == before


def test_it_makes_a_key_for_an_encrypted_bus(tmp_path: Path) -> None:
    """With --curve both halves are one line each, the public one is printed, and what to do next stands on stderr."""
    done = run_pushmirror("keygen", "--curve", tmp_path / "bus", "--comment", "t2.example.net")
    assert done.returncode == 0
    assert done.stdout == (tmp_path / "bus.pub").read_bytes()
    assert parse_line(done.stdout.decode()) == load_curve_pair(tmp_path / "bus").public
    assert (tmp_path / "bus").stat().st_mode & 0o777 == 0o600
    assert b"bus.curve" in done.stderr and b"authorized_nodes" in done.stderr
    assert load_curve_pair(tmp_path / "bus").secret.encode() not in done.stdout + done.stderr
