"""Files with CURVE keys: made once and closed to others, read with advice for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq

from pushmirror.core.curve import CurveKey, parse_line
from pushmirror.curve import SECRET_WORD, generate_curve_file, generate_pair, load_curve_pair, read_curve_nodes
from pushmirror.errors import KeyFileError
from pushmirror.keys import generate_key_file, read_authorized_nodes
from pushmirror.nodes import AuthorizedNodes
from pushmirror.settings.disk import look_at_nodes


def test_a_pair_is_made_closed_and_read_back(tmp_path: Path) -> None:
    """The secret half has mode 0600 and is one line, the public one is the line for others; ZeroMQ takes both."""
    path = tmp_path / "bus"
    public = generate_curve_file(path, "mirror.example.org")
    assert path.stat().st_mode & 0o777 == 0o600
    assert parse_line((tmp_path / "bus.pub").read_text()) == public
    pair = load_curve_pair(path)
    assert pair.public == public
    assert zmq.curve_public(pair.secret.encode()).decode() == public.text
    assert pair.secret not in repr(pair)


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    """Neither half is ever overwritten, and no half-made pair is left."""
    (tmp_path / "bus.pub").write_text("mine")
    with pytest.raises(KeyFileError, match="exists already"):
        generate_curve_file(tmp_path / "bus", "name")
    assert [path.name for path in tmp_path.iterdir()] == ["bus.pub"]


@pytest.mark.parametrize("name", ["", "two words", "a/b"])
def test_a_name_that_settings_would_not_take_is_refused(tmp_path: Path, name: str) -> None:
    """The line is for files in which the name has to be one."""
    with pytest.raises(KeyFileError, match="the name behind"):
        generate_curve_file(tmp_path / "bus", name)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "keygen --curve"),
        (generate_pair().public.line, "the public half"),
        ("nonsense", "no secret CURVE key"),
        (f"{SECRET_WORD} tooshort", "40 characters"),
        ("x" * 20_000, "larger than"),
    ],
    ids=["none", "the public half", "nonsense", "too short", "too large"],
)
def test_a_bad_secret_is_told_with_advice_and_never_shown(tmp_path: Path, content: str | None, told: str) -> None:
    """Each mistake has its own sentence."""
    path = tmp_path / "bus"
    if content is not None:
        path.write_text(content)
        path.chmod(0o600)
    with pytest.raises(KeyFileError, match=told) as raised:
        load_curve_pair(path)
    assert "tooshort" not in str(raised.value)


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """The error says which command closes it."""
    generate_curve_file(tmp_path / "bus", "name")
    (tmp_path / "bus").chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_curve_pair(tmp_path / "bus")


def test_both_kinds_of_keys_stand_in_one_file_of_nodes(tmp_path: Path) -> None:
    """A node has a line of each kind; whoever reads one kind passes the other over, and changes are seen."""
    signing = generate_key_file(tmp_path / "key", "t2.example.net")
    first, second = generate_pair().public, generate_pair().public
    path = tmp_path / "authorized_nodes"
    path.write_text(f"# ours\n{signing.line} t2.example.net\n{first.line} t2.example.net\n")
    nodes = AuthorizedNodes(path)
    assert (nodes.read(), nodes.read_curve()) == ({"t2.example.net": signing}, {first.raw})
    path.write_text(f"{second.line} t3.example.net\n")
    assert (nodes.read(), nodes.read_curve()) == ({}, {second.raw})
    path.write_text("curve25519 bad\n")
    assert nodes.read_curve() == {second.raw}


def test_every_bad_line_of_a_curve_key_is_told_by_its_number(tmp_path: Path) -> None:
    """No name, a name twice, a key twice and no key at all, each with file and line; also by `check-config`."""
    one, two = generate_pair().public, generate_pair().public
    path = tmp_path / "authorized_nodes"
    lines = [f"{one.line} a", two.line, f"{two.line} a", f"{one.line} b", "curve25519 short c"]
    path.write_text("\n".join(lines))
    with pytest.raises(KeyFileError) as raised:
        read_curve_nodes(path)
    assert [line.split(": ")[0] for line in str(raised.value).splitlines()] == [f"{path}:{n}" for n in (2, 3, 4, 5)]
    assert read_authorized_nodes(path) == {}
    assert len(look_at_nodes(path)) == 4


def test_keys_are_the_same_key_whatever_name_stands_behind() -> None:
    """A name is for people."""
    assert CurveKey(bytes(32), "a") == CurveKey(bytes(32), "b")
