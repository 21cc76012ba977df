"""Asks a relay's HTTP service: for the origin's history as the origin is asked, and for the relay's own word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pushmirror.core.model import RelayState
from pushmirror.core.relay_messages import RELAY_STATE, parse_relay_state
from pushmirror.core.testimony import check_address, read_testimony
from pushmirror.core.wire import open_envelope
from pushmirror.errors import MalformedMessage
from pushmirror.http.credentials import Credentials
from pushmirror.http.trust import Trust
from pushmirror.keys import PublicKey, verify_envelope
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
        return state if self._is_testimony(state) else replace(state, testimony=None)

    def _is_testimony(self, state: RelayState) -> bool:
        """Tell whether what the relay hands on is the publisher's own, about the epoch in which the relay is.

        What is not counts for nothing: it may be signed with a key that is not used any more, or not for this tree.
        """
        if state.testimony is None:
            return False
        try:
            envelope = open_envelope(state.testimony)
            check_address(envelope, self._publisher, self._prefix, self._environment)
            verify_envelope(envelope, self._keys_of(state.tree))
            told = read_testimony(envelope).heads.get(state.tree)
        except MalformedMessage:
            return False
        return told is not None and told.epoch == state.head.epoch
