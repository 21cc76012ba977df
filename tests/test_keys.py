"""Keys in OpenSSH files: made, read, trusted; and what is said about those that cannot be."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.errors import KeyFileError
from pushmirror.keys import (
    PrivateKey,
    PublicKey,
    generate_key_file,
    load_private_key,
    parse_public_line,
    read_authorized_nodes,
)

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")


def run_ssh_keygen(*arguments: str) -> str:
    return subprocess.run(
        ["ssh-keygen", *arguments], check=True, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    ).stdout


def public_line(number: int, comment: str = "") -> str:
    return f"{PublicKey(bytes([number]) * 32).line} {comment}"


@pytest.fixture
def key(tmp_path: Path) -> PrivateKey:
    generate_key_file(tmp_path / "key", "mirror.example.org")
    return load_private_key(tmp_path / "key")


def test_a_made_key_signs_and_verifies(tmp_path: Path) -> None:
    """What the private file signs, the public file's key verifies, and nothing else does."""
    public = generate_key_file(tmp_path / "key", "mirror.example.org")
    private = load_private_key(tmp_path / "key")
    from_file = parse_public_line((tmp_path / "key.pub").read_text())
    signature = private.sign(b"signed")
    assert len(signature) == 64
    assert private.public == public == from_file
    assert from_file.comment == "mirror.example.org"
    assert from_file.verify(signature, b"signed")
    assert not from_file.verify(signature, b"other")
    assert not PublicKey(bytes(32)).verify(signature, b"signed")


def test_files_are_made_with_their_modes_and_nothing_is_left_beside(tmp_path: Path) -> None:
    """The private half is for its owner only, the public half for all; there are no other files."""
    generate_key_file(tmp_path / "key", "c")
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {"key": 0o600, "key.pub": 0o644}


@pytest.mark.parametrize("existing", ["key", "key.pub"])
def test_nothing_is_overwritten(existing: str, tmp_path: Path) -> None:
    """When either file exists, making a key fails, changes it not, and makes no other file."""
    (tmp_path / existing).write_text("precious")
    with pytest.raises(KeyFileError, match="exists already"):
        generate_key_file(tmp_path / "key", "c")
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "precious"


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    """A dangling symlink at the key's place counts as existing; its target is not made."""
    (tmp_path / "key").symlink_to(tmp_path / "target")
    with pytest.raises(KeyFileError, match="exists already"):
        generate_key_file(tmp_path / "key", "c")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("comment", ["two\nlines", "bell\a", "x" * 600])
def test_a_comment_that_would_break_the_line_is_refused(comment: str, tmp_path: Path) -> None:
    """Line ends, control characters and long texts cannot be comments."""
    with pytest.raises(KeyFileError, match="comment"):
        generate_key_file(tmp_path / "key", comment)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    """The error names the file that could not be written."""
    with pytest.raises(KeyFileError, match=r"absent/key: cannot be written"):
        generate_key_file(tmp_path / "absent" / "key", "c")


@needs_ssh_keygen
def test_a_key_of_ssh_keygen_is_taken(tmp_path: Path) -> None:
    """What ``ssh-keygen -t ed25519`` makes loads, and both programs agree about its public half."""
    path = tmp_path / "key"
    run_ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", "node.example", "-f", str(path))
    private = load_private_key(path)
    assert (tmp_path / "key.pub").read_text().strip() == f"{private.public.line} node.example"


@needs_ssh_keygen
def test_ssh_keygen_reads_our_keys(tmp_path: Path) -> None:
    """ssh-keygen derives from our private file the public line that we wrote."""
    public = generate_key_file(tmp_path / "key", "c")
    assert run_ssh_keygen("-y", "-f", str(tmp_path / "key")).strip() == public.line


@needs_ssh_keygen
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-t", "ed25519", "-N", "secret words"), "passphrase.*ssh-keygen -p"),
        (("-t", "rsa", "-b", "2048", "-N", ""), "another type"),
        (("-t", "ecdsa", "-N", ""), "another type"),
        (("-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""), "OpenSSH format"),
    ],
)
def test_other_keys_are_refused_with_advice(options: tuple[str, ...], text: str, tmp_path: Path) -> None:
    """Passphrases, other types and other formats are told apart."""
    run_ssh_keygen("-q", *options, "-f", str(tmp_path / "key"))
    with pytest.raises(KeyFileError, match=text):
        load_private_key(tmp_path / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_private_key_open_to_others_is_refused(mode: int, tmp_path: Path) -> None:
    """Any right of group or world is refused, with the command that takes it away."""
    generate_key_file(tmp_path / "key", "c")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_private_key(tmp_path / "key")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "no private key"),
        (b"\xff\x00garbage", "no private key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "no private key"),
        (public_line(1).encode(), "public half"),
        (b"x" * 70_000, "larger than"),
    ],
)
def test_files_that_hold_no_key_are_refused(content: bytes, text: str, tmp_path: Path) -> None:
    """The error says what the file seems to be instead."""
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=text):
        load_private_key(path)


def test_missing_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    """A missing key is answered with the command that makes one; a folder is named as such."""
    with pytest.raises(KeyFileError, match="pushmirror keygen"):
        load_private_key(tmp_path / "key")
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_private_key(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyFileError, match="not a regular file"):
        load_private_key(tmp_path / "pipe")


def test_a_private_key_never_shows_itself(key: PrivateKey) -> None:
    """Its text form holds the public half only."""
    assert repr(key) == str(key) == f"PrivateKey(public={key.public.line!r})"


def test_keys_are_equal_by_their_bytes() -> None:
    """The comment makes no difference to equality or hash."""
    assert {PublicKey(bytes(32), "a"), PublicKey(bytes(32), "b")} == {PublicKey(bytes(32), "c")}
    assert PublicKey(bytes(32)) != PublicKey(b"\x01" * 32)


@given(st.binary(max_size=80), st.binary(max_size=20))
def test_verifying_rubbish_is_false_and_no_error(signature: bytes, signed: bytes) -> None:
    """Whatever bytes claim to be a signature, or a key, the answer is no."""
    assert not PublicKey(b"\xfe" * 32).verify(signature, signed)
    assert not PublicKey(b"\xfe" * 32).verify(signature.ljust(64, b"\x00"), signed)


@given(st.binary(min_size=32, max_size=32))
def test_public_lines_round_trip(raw: bytes) -> None:
    """Every key reads back from its line, with spaces around and a comment of several words."""
    key = parse_public_line(f"  {PublicKey(raw).line}\tsome words here \n")
    assert (key.raw, key.comment, key.line) == (raw, "some words here", PublicKey(raw).line)


def blob_line(blob: bytes) -> str:
    return "ssh-ed25519 " + base64.b64encode(blob).decode()


GOOD_BLOB = base64.b64decode(public_line(1).split()[1])


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "begins with ssh-ed25519"),
        ("ssh-rsa AAAA x", "begins with ssh-ed25519"),
        ('from="host" ' + public_line(1), "options before it"),
        ("ssh-ed25519", "missing"),
        ("ssh-ed25519 AAA x", "base64"),
        ("ssh-ed25519 AA*A x", "base64"),
        ("ssh-ed25519 ÄÖÜ= x", "base64"),
        (blob_line(GOOD_BLOB[:-1]), "cut short"),
        (blob_line(GOOD_BLOB + b"\x00"), "cut short"),
        (blob_line(b"\x00\x00\x00\x07ssh-rsa" + GOOD_BLOB[11:]), "not ed25519"),
        (public_line(1, "bell\a"), "unprintable"),
        (public_line(1, "x" * 2000), "at most"),
    ],
)
def test_bad_public_lines_are_refused(line: str, text: str) -> None:
    """Each fault of a line has its own words."""
    with pytest.raises(KeyFileError, match=text):
        parse_public_line(line)


@given(st.binary(min_size=32, max_size=32))
def test_a_public_line_comes_back(raw: bytes) -> None:
    """Whatever the 32 bytes are."""
    assert parse_public_line(PublicKey(raw).line) == PublicKey(raw)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading_of_a_public_line(text: str) -> None:
    """Any text is a key or a KeyFileError."""
    for line in (text, f"ssh-ed25519 {text}", public_line(1, text)):
        with contextlib.suppress(KeyFileError):
            assert len(parse_public_line(line).raw) == 32


def test_authorized_nodes_are_read_by_name(tmp_path: Path) -> None:
    """Keys are found by node name; comments and empty lines do not matter, nor does a missing last line end."""
    path = tmp_path / "nodes"
    path.write_text(f"# ours\n\n{public_line(1, 't2.example.net')}\r\n  # theirs\n{public_line(2, 'b_2')}")
    assert read_authorized_nodes(path) == {"t2.example.net": PublicKey(b"\x01" * 32), "b_2": PublicKey(b"\x02" * 32)}


def test_an_empty_list_of_nodes_is_allowed(tmp_path: Path) -> None:
    """No node's reports count then."""
    (tmp_path / "nodes").touch()
    assert read_authorized_nodes(tmp_path / "nodes") == {}


def test_every_bad_line_is_told_with_its_number(tmp_path: Path) -> None:
    """Faults of lines, names and keys that appear twice are all reported at once, one line each."""
    path = tmp_path / "nodes"
    lines = [
        public_line(1, "one"),
        public_line(2),
        "ssh-rsa AAAA two",
        public_line(3, "one"),
        public_line(1, "again"),
        public_line(4, "two words"),
        public_line(5, "../up"),
    ]
    path.write_text("\n".join(lines))
    with pytest.raises(KeyFileError) as caught:
        read_authorized_nodes(path)
    faults = str(caught.value).splitlines()
    assert [fault.split(": ")[0] for fault in faults] == [f"{path}:{number}" for number in range(2, 8)]
    words = ["name of the node", "begins with", "the node one again", "key of line 1", "name of the", "name of the"]
    assert all(word in fault for word, fault in zip(words, faults, strict=True))


def test_a_list_of_nodes_that_anybody_may_change_is_refused(tmp_path: Path) -> None:
    """World-writable means that everybody could authorise himself."""
    path = tmp_path / "nodes"
    path.touch()
    path.chmod(0o646)
    with pytest.raises(KeyFileError, match="chmod o-w"):
        read_authorized_nodes(path)


def test_a_missing_list_of_nodes_is_told(tmp_path: Path) -> None:
    """The error says that an empty file would do."""
    with pytest.raises(KeyFileError, match="empty file"):
        read_authorized_nodes(tmp_path / "nodes")
