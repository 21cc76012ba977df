"""ed25519 keys in OpenSSH files: make, read, sign, verify. Bytes only; what is signed is decided in `core.wire`."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from pushmirror.core.curve import is_line
from pushmirror.core.messages import NAME
from pushmirror.core.wire import Envelope, attach
from pushmirror.errors import BadSignature, KeyFileError
from pushmirror.key_files import UNPRINTABLE, already_there, read_bounded, write_new

ALGORITHM = "ssh-ed25519"
SIGNATURE_BYTES = 64
MAX_LINE_CHARACTERS = 1024
MAX_KEY_FILE_BYTES = 64 * 1024
MAX_AUTHORIZED_NODES_BYTES = 4 * 1024 * 1024

# OpenSSH's wire form of an ed25519 key: length-prefixed name, length-prefixed 32 bytes.
_BLOB_HEAD = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"


@dataclass(frozen=True)
class PublicKey:
    """The half that may be shown to anybody: `raw` is its 32 bytes. The comment takes no part in comparisons."""

    raw: bytes
    comment: str = field(default="", compare=False)

    @cached_property
    def line(self) -> str:
        """The key as OpenSSH writes it, on one line and without the comment."""
        return f"{ALGORITHM} {base64.b64encode(_BLOB_HEAD + self.raw).decode('ascii')}"

    @cached_property
    def _verifier(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.raw)

    def verify(self, signature: bytes, signed: bytes) -> bool:
        """Whether `signature` was made over exactly `signed` by the private half. Never raises for bad input."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        try:
            self._verifier.verify(signature, signed)
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """The secret half. It can sign and tell its public half; it never shows itself."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey, comment: str = "") -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), comment)

    def sign(self, data: bytes) -> bytes:
        """The signature over `data`, 64 bytes."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public.line!r})"


def seal(signed: bytes, key: PrivateKey) -> bytes:
    """Return the message whose bytes to be signed are `signed` (from `core.wire.compose`), signed with `key`."""
    return attach(signed, key.sign(signed), key.public.line)


def verify_envelope(envelope: Envelope, keys: Iterable[PublicKey]) -> PublicKey:
    """Return the one of the trusted `keys` that signed `envelope`. Raises BadSignature when none did."""
    for key in keys:
        if key.line == envelope.certificate:
            if key.verify(envelope.signature, envelope.signed):
                return key
            raise BadSignature("the signature does not fit the message")
    raise BadSignature("the message is signed with a key that is not trusted here")


def generate_key_file(path: Path, comment: str) -> PublicKey:
    """Make a new key: the private half in `path` (mode 0600), the public half beside it as ``<path>.pub`` (0644).

    Raises KeyFileError when either file exists already, or cannot be written; then neither is left half-made.
    """
    if UNPRINTABLE.search(comment) or len(comment) > MAX_LINE_CHARACTERS // 2:
        raise KeyFileError("the comment of a key must be one short line of printable characters, such as a host name")
    public_path = path.with_name(path.name + ".pub")
    if os.path.lexists(public_path):
        raise already_there(public_path)
    private = PrivateKey(Ed25519PrivateKey.generate(), comment)
    secret = private._key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    write_new(path, secret, 0o600)
    try:
        write_new(public_path, f"{private.public.line} {comment}".rstrip().encode() + b"\n", 0o644)
    except KeyFileError:
        path.unlink(missing_ok=True)
        raise
    return private.public


def load_private_key(path: Path) -> PrivateKey:
    """The private key in an OpenSSH file.

    Raises KeyFileError, with advice, when the file is missing, unreadable, open to other users, protected by a
    passphrase, of another type, or no key at all.
    """
    data, mode = read_bounded(path, MAX_KEY_FILE_BYTES, f"make one with: pushmirror keygen {path}")
    if mode & 0o077:
        raise KeyFileError(f"{path}: other users may open this private key (mode {mode:04o}); run: chmod 600 {path}")
    try:
        key = load_ssh_private_key(data, password=None)
    except TypeError as error:
        advice = "a daemon cannot type a passphrase; remove it with: ssh-keygen -p -N ''"
        raise KeyFileError(f"{path}: this key is protected by a passphrase; {advice} -f {path}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: {_why_not_private(data)}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: this is a key of another type; ed25519 is needed, as pushmirror keygen makes it")
    return PrivateKey(key)


def parse_public_line(line: str) -> PublicKey:
    """The key in one line of OpenSSH's form, ``ssh-ed25519 AAAA... comment``; the comment may be absent.

    Raises KeyFileError for anything else. The message never repeats the line.
    """
    if len(line) > MAX_LINE_CHARACTERS:
        raise KeyFileError(f"a public key is one line of at most {MAX_LINE_CHARACTERS} characters")
    words = line.strip().split(None, 2)
    if not words or words[0] != ALGORITHM:
        raise KeyFileError(f"a public key begins with {ALGORITHM} (options before it, and other types, are not taken)")
    if len(words) < 2:
        raise KeyFileError(f"the key itself is missing after {ALGORITHM}")
    comment = words[2] if len(words) > 2 else ""
    if UNPRINTABLE.search(comment):
        raise KeyFileError("the comment of a public key contains unprintable characters")
    return PublicKey(_decode_blob(words[1]), comment)


def read_authorized_nodes(path: Path) -> dict[str, PublicKey]:
    """The keys of the nodes whose reports count, by node name: lines ``ssh-ed25519 AAAA... node.name``.

    Empty lines, lines that begin with ``#`` and those of CURVE keys are skipped. Raises KeyFileError that names every
    bad line by its number: a malformed key, a missing or bad node name, a name or a key that appears twice.
    """
    data, mode = read_bounded(path, MAX_AUTHORIZED_NODES_BYTES, "an empty file means: no node's reports count")
    if mode & 0o002:
        raise KeyFileError(f"{path}: anybody may change this file (mode {mode:04o}); run: chmod o-w {path}")
    nodes: dict[str, PublicKey] = {}
    line_of_key: dict[PublicKey, int] = {}
    faults: list[str] = []
    for number, line in enumerate(data.decode("utf-8", errors="replace").split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#") or is_line(line):
            continue
        try:
            key = _parse_node_line(line, nodes)
            if key in line_of_key:
                raise KeyFileError(f"the key of line {line_of_key[key]} again; each node needs a key of its own")
        except KeyFileError as error:
            faults.append(f"{path}:{number}: {error}")
            continue
        nodes[key.comment] = key
        line_of_key[key] = number
    if faults:
        raise KeyFileError("\n".join(faults))
    return nodes


def _parse_node_line(line: str, known: dict[str, PublicKey]) -> PublicKey:
    key = parse_public_line(line)
    if not NAME.fullmatch(key.comment):
        raise KeyFileError("after the key comes the name of the node: letters, digits, dots, dashes, underscores")
    if key.comment in known:
        raise KeyFileError(f"the node {key.comment} again; one key for each node")
    return key


def _decode_blob(text: str) -> bytes:
    try:
        blob = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise KeyFileError("the key is not valid base64; copy the whole line of the .pub file") from error
    if not blob.startswith(_BLOB_HEAD) or len(blob) != len(_BLOB_HEAD) + 32:
        raise KeyFileError("the key is cut short or is not ed25519; copy the whole line of the .pub file")
    return blob[len(_BLOB_HEAD) :]


def _why_not_private(data: bytes) -> str:
    if data.lstrip().startswith(ALGORITHM.encode()):
        return "this is the public half; name the file without .pub"
    return "this is no private key in OpenSSH format; make one with pushmirror keygen, or ssh-keygen -t ed25519 -N ''"
