"""Which keys the two ends of an encrypted bus use, from what the settings name."""

from __future__ import annotations

from pathlib import Path

from pushmirror.bus.sender import ServerCurve
from pushmirror.bus.sockets import ClientCurve
from pushmirror.curve import CurvePair, generate_pair, load_curve_pair
from pushmirror.nodes import AuthorizedNodes


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
