"""What the two ends of an encrypted bus need to know, and how they come by it from what the settings name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pushmirror.curve import CurvePair, generate_pair, load_curve_pair
from pushmirror.nodes import AuthorizedNodes


@dataclass(frozen=True)
class ServerCurve:
    """How a publisher speaks CURVE: its `secret` key as Z85, and the raw keys of those who may listen (None: all)."""

    secret: str = field(repr=False)
    allowed: Callable[[], frozenset[bytes]] | None = None

    def read_allowed(self) -> frozenset[bytes] | None:
        """Return who may listen now."""
        return None if self.allowed is None else self.allowed()


@dataclass(frozen=True)
class ClientCurve:
    """How a subscriber speaks CURVE, each key as Z85: to the `server` that it expects, and as whom."""

    server: bytes
    public: bytes
    secret: bytes = field(repr=False)


def make_server_curve(path: Path | None, nodes: AuthorizedNodes | None) -> ServerCurve | None:
    """Return how a bus is encrypted by the key in the file `path`; with `nodes`, for those alone. None: it is not.

    Whoever has the key of the bus itself may listen as well: its operator does, with the publisher's settings.
    Raises KeyFileError for a key that cannot be used.
    """
    if path is None:
        return None
    pair = load_curve_pair(path)
    if nodes is None:
        return ServerCurve(pair.secret)
    return ServerCurve(pair.secret, lambda: nodes.read_curve() | {pair.public.raw})


def make_client_curve(server: str | None, own: CurvePair | None) -> ClientCurve | None:
    """Return how to listen to a bus whose public key is `server`; None: it is not encrypted.

    Without a pair of one's `own` a new one does: it encrypts, and makes nobody known.
    """
    if server is None:
        return None
    pair = own or generate_pair()
    return ClientCurve(server.encode(), pair.public.text.encode(), pair.secret.encode())
