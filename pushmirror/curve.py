"""Key pairs for ZeroMQ's encryption (CURVE) in files of one line each: make and read them."""

from __future__ import annotations

import os
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pushmirror.core.curve import WORD, CurveKey, decode, encode, is_line, parse_line
from pushmirror.core.messages import NAME
from pushmirror.errors import KeyFileError
from pushmirror.key_files import already_there, read_bounded, write_new

SECRET_WORD = "curve25519-secret"  # noqa: S105 - what the line of a secret key begins with
_MAX_FILE_BYTES = 16 * 1024
_MAX_NODES_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class CurvePair:
    """A pair: the half for others, and the `secret` one, as Z85."""

    public: CurveKey
    secret: str = field(repr=False)


def make_pair(secret: bytes) -> CurvePair:
    """Return the pair of which `secret` is the secret half: 32 random bytes."""
    public = X25519PrivateKey.from_private_bytes(secret).public_key()
    return CurvePair(CurveKey(public.public_bytes_raw()), encode(secret))


def generate_pair() -> CurvePair:
    """Return a new pair."""
    return make_pair(X25519PrivateKey.generate().private_bytes_raw())


def generate_curve_file(path: Path, name: str) -> CurveKey:
    """Make a new pair: the secret half in `path` (mode 0600), the line for others beside it as ``<path>.pub`` (0644).

    Raises KeyFileError when either file exists already, or cannot be written; then neither is left half-made.
    """
    if not NAME.fullmatch(name):
        raise KeyFileError("the name behind a CURVE key has letters, digits, dots, dashes and underscores alone")
    public_path = path.with_name(f"{path.name}.pub")
    if os.path.lexists(public_path):
        raise already_there(public_path)
    pair = generate_pair()
    public = CurveKey(pair.public.raw, name)
    write_new(path, f"{SECRET_WORD} {pair.secret} {name}\n".encode(), 0o600)
    try:
        write_new(public_path, f"{public.line}\n".encode(), 0o644)
    except KeyFileError:
        path.unlink(missing_ok=True)
        raise
    return public


def load_curve_pair(path: Path) -> CurvePair:
    """Return the pair of which `path` has the secret half.

    Raises KeyFileError, with advice, when the file is missing, unreadable, open to other users, or no such key.
    """
    data, mode = read_bounded(path, _MAX_FILE_BYTES, f"make one with: pushmirror keygen --curve {path}")
    if mode & 0o077:
        raise KeyFileError(f"{path}: other users may open this secret key (mode {mode:04o}); run: chmod 600 {path}")
    words = data.decode("utf-8", "replace").split()
    if len(words) < 2 or words[0] != SECRET_WORD:
        raise KeyFileError(f"{path}: {_why_not_secret(words)}")
    try:
        return make_pair(decode(words[1]))
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from error


def read_curve_nodes(path: Path) -> dict[str, CurveKey]:
    """Return the CURVE keys in a file of nodes, by node name: lines ``curve25519 KEY node.name``, and no others.

    Raises KeyFileError that names every bad line by its number: a malformed key, no name, a name or a key twice.
    """
    data, _ = read_bounded(path, _MAX_NODES_BYTES, "an empty file means: nobody")
    nodes: dict[str, CurveKey] = {}
    seen: set[CurveKey] = set()
    faults: list[str] = []
    for number, line in enumerate(data.decode("utf-8", errors="replace").split("\n"), start=1):
        if not is_line(line):
            continue
        try:
            key = _parse_node_line(line, nodes, seen)
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
            continue
        nodes[key.name] = key
        seen.add(key)
    if faults:
        raise KeyFileError("\n".join(faults))
    return nodes


def _parse_node_line(line: str, known: Container[str], seen: Container[CurveKey]) -> CurveKey:
    key = parse_line(line)
    if not key.name:
        raise ValueError("after the key comes the name of the node")
    if key.name in known:
        raise ValueError(f"the node {key.name} again; one CURVE key for each node")
    if key in seen:
        raise ValueError("this key again; each node needs a key of its own")
    return key


def _why_not_secret(words: list[str]) -> str:
    if words[:1] == [WORD]:
        return "this is the public half; name the file without .pub"
    return "this is no secret CURVE key; make one with pushmirror keygen --curve"
