"""Asks a relay's HTTP service: for the origin's history as the origin is asked, and for the relay's own word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pushmirror.core.model import RelayState
from pushmirror.core.relay_messages import RELAY_STATE, parse_relay_state
from pushmirror.errors import MalformedMessage
from pushmirror.http.credentials import Credentials
from pushmirror.http.trust import Trust
from pushmirror.keys import PublicKey
from pushmirror.subscriber.key_ring import KeysOf
from pushmirror.subscriber.service_client import ServiceClient


@dataclass(frozen=True)
class RelayAddress:
    """Where the relay `name` is asked, and by which `keys` it is known."""

    name: str
    url: str
    keys: tuple[PublicKey, ...]


class RelayClient(ServiceClient):
    """The service of a relay of the upstream `publisher`, whose updates are signed with one of `keys_of` their tree."""

    def __init__(
        self,
        reactor: Any,
        address: RelayAddress,
        publisher: str,
        keys_of: KeysOf,
        prefix: str,
        environment: str,
        trust: Trust | None = None,
        tell_clock: Callable[[int], None] = lambda at_ms: None,
        credentials: Credentials | None = None,
    ) -> None:
        super().__init__(
            reactor,
            address.url,
            publisher,
            keys_of,
            prefix,
            environment,
            trust,
            tell_clock,
            credentials=credentials,
        )
        self._relay = address

    async def relay_state(self, tree: str) -> RelayState:
        """Return the relay's own, fresh word on where `tree` is there. Raises ServiceError or MalformedMessage."""
        envelope, nonce = await self._ask_state(tree, RELAY_STATE, self._relay.keys)
        state = parse_relay_state(envelope.msg)
        if (state.publisher, state.relay, state.tree, state.nonce) != (
            self._publisher, self._relay.name, tree, nonce,
        ):  # fmt: skip
            raise MalformedMessage("the tree state answers another question")
        self.tell_clock(envelope.timestamp * 1000)
        return state
