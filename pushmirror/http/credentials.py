"""How a node makes itself known to a service that answers listed nodes alone, once that asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from pushmirror.core.admission import Authorization, compose_request, format_authorization, parse_challenge
from pushmirror.keys import PrivateKey


class Credentials:
    """Signs requests of `node` to the service of `service`, a publisher or a relay."""

    def __init__(self, node: str, key: PrivateKey, service: str) -> None:
        self._node = node
        self._key = key
        self._service = service
        self._nonce: str | None = None

    def learn(self, challenges: Sequence[str]) -> bool:
        """Take the nonce out of an answer's ``WWW-Authenticate``. False: there is none, or the one that was tried."""
        nonce = parse_challenge(challenges[0]) if len(challenges) == 1 else None
        is_new = nonce is not None and nonce != self._nonce
        self._nonce = nonce or self._nonce
        return is_new

    def headers(self, method: bytes, target: bytes, body: bytes) -> dict[str, list[str]]:
        """Return what the headers of a request need; nothing before a nonce was learned."""
        if self._nonce is None:
            return {}
        signed = compose_request(self._service, self._node, self._nonce, method, target, body)
        given = Authorization(self._node, self._nonce, self._key.sign(signed))
        return {"Authorization": [format_authorization(given)]}
