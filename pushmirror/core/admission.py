"""Requests to a service that answers some nodes alone: what is signed, and how that stands in the headers.

The service hands out a nonce, and the node signs with it: so neither needs to know the other's time, nothing is kept
for anybody who asks, and what somebody overheard is of no use when the nonce is old.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

SCHEME = "Pushmirror"
NONCE_SECONDS = 600
MAX_HEADER_CHARACTERS = 512
_MAC_BYTES = 16

_NONCE = r"[0-9a-f]{1,16}-[0-9a-f]{32}"
_AUTHORIZATION = re.compile(
    rf'{SCHEME} node="([A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})", nonce="({_NONCE})", signature="([A-Za-z0-9+/]{{86}}==)"'
)
_CHALLENGE = re.compile(rf'{SCHEME} nonce="([0-9A-Za-z_.-]{{1,128}})"')


@dataclass(frozen=True)
class Authorization:
    """What stands in the header of a request: who asks, by which nonce, and the signature over the request."""

    node: str
    nonce: str
    signature: bytes


def compose_request(service: str, node: str, nonce: str, method: bytes, target: bytes, body: bytes) -> bytes:
    """Return the bytes to be signed of a request to `service`, the name of a publisher or a relay.

    `target` is path and query as the service sees them, from ``/v1/`` on. It can be taken for no message, whose signed
    bytes begin with a brace.
    """
    digest = hashlib.sha256(body).hexdigest().encode()
    head = (b"pushmirror request 1", service.encode(), node.encode(), nonce.encode(), method, target, digest)
    return b"\n".join(head) + b"\n"


def format_authorization(authorization: Authorization) -> str:
    """Return the header ``Authorization``."""
    signature = base64.b64encode(authorization.signature).decode("ascii")
    return f'{SCHEME} node="{authorization.node}", nonce="{authorization.nonce}", signature="{signature}"'


def parse_authorization(text: str) -> Authorization | None:
    """Return what a header ``Authorization`` says, None when that is nothing of ours."""
    match = _AUTHORIZATION.fullmatch(text) if len(text) <= MAX_HEADER_CHARACTERS else None
    if match is None:
        return None
    try:
        return Authorization(match[1], match[2], base64.b64decode(match[3], validate=True))
    except binascii.Error:
        return None


def format_challenge(nonce: str) -> str:
    """Return the header ``WWW-Authenticate``."""
    return f'{SCHEME} nonce="{nonce}"'


def parse_challenge(text: str) -> str | None:
    """Return the nonce in a header ``WWW-Authenticate``, None when it wants something else."""
    match = _CHALLENGE.fullmatch(text) if len(text) <= MAX_HEADER_CHARACTERS else None
    return None if match is None else match[1]


def make_nonce(secret: bytes, now_s: int) -> str:
    """Return a nonce that is good for ten minutes; only who knows `secret` can make one."""
    return f"{now_s:x}-{_seal(secret, now_s)}"


def is_fresh(nonce: str, secret: bytes, now_s: int) -> bool:
    """Return whether `nonce` was made with `secret`, less than ten minutes ago."""
    made_s, _, seal = nonce.partition("-")
    # The time is part of what is sealed: whoever changes it would have to seal it anew.
    sealed = _seal(secret, int(made_s, 16))
    return 0 <= now_s - int(made_s, 16) < NONCE_SECONDS and hmac.compare_digest(seal.encode(), sealed.encode())


def _seal(secret: bytes, made_s: int) -> str:
    return hashlib.blake2b(str(made_s).encode(), key=secret, digest_size=_MAC_BYTES).hexdigest()
