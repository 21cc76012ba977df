"""Who gets an answer of a private service: the nodes that its operator has listed, by requests that they sign."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence

from pushmirror.core.admission import (
    Authorization,
    compose_request,
    format_challenge,
    is_fresh,
    make_nonce,
    parse_authorization,
)
from pushmirror.http.questions import Refusal
from pushmirror.logs import Throttle
from pushmirror.nodes import AuthorizedNodes

_log = logging.getLogger(__name__)


class Door:
    """Lets `nodes` in to the service of `service`, a publisher or a relay. `clock_s` is any clock that goes on."""

    def __init__(self, service: str, nodes: AuthorizedNodes, clock_s: Callable[[], float]) -> None:
        self._service = service
        self._nodes = nodes
        self._clock_s = clock_s
        self._secret = secrets.token_bytes(32)
        self._throttle = Throttle(lambda: int(clock_s() * 1000))

    def admit(self, method: bytes, target: bytes, headers: Sequence[str], body: bytes) -> Refusal | None:
        """Return why a request is not answered, None when it is. `headers` are its ``Authorization``.

        The signature is checked last: nobody has that done who has not asked for a nonce, and named a listed node.
        """
        now_s = int(self._clock_s())
        given = parse_authorization(headers[0]) if len(headers) == 1 else None
        if given is None or not is_fresh(given.nonce, self._secret, now_s):
            challenge = format_challenge(make_nonce(self._secret, now_s))
            return Refusal(401, "this service is private: a listed node signs its request, with this nonce", challenge)
        if not self._is_signed(given, method, target, body):
            self._tell(given.node)
            return Refusal(403, "this service is private, and no listed node has signed this request")
        return None

    def _is_signed(self, given: Authorization, method: bytes, target: bytes, body: bytes) -> bool:
        key = self._nodes.read().get(given.node)
        signed = compose_request(self._service, given.node, given.nonce, method, target, body)
        return key is not None and key.verify(given.signature, signed)

    def _tell(self, node: str) -> None:
        suppressed = self._throttle.allow("refused")
        if suppressed is not None:
            text = "a request of %s was refused: it is not in authorized_nodes, or with another key (%d more before)"
            _log.warning(text, node, suppressed)
