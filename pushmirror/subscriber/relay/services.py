"""Whoever can be asked about the trees of one publisher: the publisher itself, and its relays when it cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pushmirror.core.model import Head, RelayHead, RelayState, TreeState
from pushmirror.core.relaying import adopt_state, choose_word
from pushmirror.core.wire import Envelope
from pushmirror.errors import MalformedMessage, ServiceError
from pushmirror.subscriber.history_page import Forked
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.relay.client import RelayClient
from pushmirror.subscriber.service_client import HistoryGone, ServiceClient

log = logging.getLogger(__name__)

HeardRelays = Callable[[str], Mapping[str, RelayHead]]
"""Returns where each relay that is heard is with a tree, in the operator's order."""


MayTell = Callable[[str, str, str], bool]
"""Returns whether a relay other than the last argument may be at an epoch of a tree."""


class Services:
    """Asks the `origin`, if there is one, and then the `relays`; `believed` is what a mirror has heard of a tree."""

    def __init__(
        self,
        origin: ServiceClient | None,
        relays: Mapping[str, RelayClient],
        heard_relays: HeardRelays,
        believed: Callable[[str], Head | None],
        may_tell: MayTell,
    ) -> None:
        self._origin = origin
        self._relays = relays
        self._heard_relays = heard_relays
        self._believed = believed
        self._may_tell = may_tell

    async def updates(self, tree: str, epoch: str, after: int, take: Callable[[HeardUpdate], None]) -> int:
        """As `ServiceClient.updates`, from the first that has them; relays that are further are asked before others.

        What one has handed out before it failed is handed out again by the next. That the publisher's own history is
        another one counts, whatever relays still hand out.
        """
        failures: list[ServiceError | MalformedMessage] = []
        for client in self._ranked(tree):
            try:
                return await client.updates(tree, epoch, after, take)
            except (ServiceError, MalformedMessage) as error:
                if client is self._origin and isinstance(error, Forked):
                    raise
                failures.append(error)
        raise _choose_failure(failures)

    def _ranked(self, tree: str) -> Iterator[ServiceClient]:
        if self._origin is not None:
            yield self._origin
        heard = self._heard_relays(tree)
        yield from (
            self._relays[name]
            for name in sorted(self._relays, key=lambda name: -heard[name].applied.serial if name in heard else 1)
        )

    async def state(self, tree: str) -> TreeState:
        """Return a fresh word on where `tree` is: the publisher's own, otherwise that of a relay that is not behind.

        Raises ServiceError or MalformedMessage when nobody can tell.
        """
        failure: ServiceError | MalformedMessage = ServiceError("there is nobody to be asked")
        if self._origin is not None:
            try:
                return await self._origin.state(tree)
            except (ServiceError, MalformedMessage) as error:
                failure = error
        for some in (self._heard_relays(tree).keys(), self._relays.keys() - self._heard_relays(tree).keys()):
            try:
                return await self._relays_word(tree, [name for name in self._relays if name in some])
            except (ServiceError, MalformedMessage) as error:
                failure = error
        raise failure

    async def _relays_word(self, tree: str, names: Sequence[str]) -> TreeState:
        words, failure = [], ServiceError("no relay is as far as what was heard")
        for name in names:
            try:
                words.append(await self._relays[name].relay_state(tree))
            except (ServiceError, MalformedMessage) as error:
                failure = ServiceError(f"the relay {name} is of no help: {error}")
        believed = self._believed(tree)

        def may_be_told_elsewhere(word: RelayState) -> bool:
            return believed is not None and self._may_tell(tree, believed.epoch, word.relay)

        chosen = choose_word(believed, words, may_be_told_elsewhere)
        if chosen is None:
            raise failure
        return adopt_state(believed, chosen)

    @property
    def clients(self) -> tuple[ServiceClient, ...]:
        """All who can be asked, the publisher itself first."""
        return (*filter(None, (self._origin,)), *self._relays.values())

    async def rotations(self, take: Callable[[Envelope], None]) -> None:
        """As `ServiceClient.rotations`, from the publisher itself, or from every relay when it cannot be asked."""
        failure: ServiceError | MalformedMessage | None = ServiceError("there is nobody to be asked")
        for client in self.clients:
            try:
                await client.rotations(take)
            except (ServiceError, MalformedMessage) as error:
                failure = failure and error
                continue
            failure = None
            if client is self._origin:
                return
        if failure is not None:
            raise failure

    @property
    def has_origin(self) -> bool:
        """Whether the publisher itself can be asked, when it answers."""
        return self._origin is not None

    async def show_header(self, body: bytes) -> None:
        """As `ServiceClient.show_header`: to the publisher itself, otherwise to all relays, which hand it on.

        Which of them is heard by the publisher nobody can know. Raises ServiceError when nobody takes it.
        """
        if await self._showed(filter(None, (self._origin,)), body):
            return
        if not await self._showed(self._relays.values(), body):
            raise ServiceError("neither the publisher nor a relay takes it")

    @staticmethod
    async def _showed(clients: Iterable[ServiceClient], body: bytes) -> bool:
        taken = False
        for client in clients:
            try:
                await client.show_header(body)
                taken = True
            except ServiceError as error:
                log.info("a header that was shown was not taken: %s", error)
        return taken

    async def report(self, body: bytes) -> None:
        """Hand in a signed report, to the publisher or to a relay that hands it on. Raises ServiceError."""
        failure = ServiceError("there is nobody who takes reports")
        for client in self.clients:
            try:
                await client.report(body)
                return
            except ServiceError as error:
                failure = error
        raise failure

    def expects(self, tree: str, wanted: Head) -> bool:
        """Tell whether a relay that is heard, and is not there yet, will have the updates up to `wanted` by and by."""
        heads = [head.applied for head in self._heard_relays(tree).values()]
        return any(head.epoch == wanted.epoch and head.serial < wanted.serial for head in heads)

    def has_more(self, tree: str, head: Head) -> bool:
        """Tell whether a relay that is heard has more than `head`, which may be where it is clean and no further."""
        told = [heard.applied for heard in self._heard_relays(tree).values()]
        return any(applied.epoch == head.epoch and applied.serial > head.serial for applied in told)


def _choose_failure(failures: Sequence[ServiceError | MalformedMessage]) -> ServiceError | MalformedMessage:
    """Return the failure that says most: what is forked or gone is not to be had, what else failed may be tried."""
    for kind in (Forked, HistoryGone, MalformedMessage, ServiceError):
        for failure in failures:
            if isinstance(failure, kind):
                return failure
    return ServiceError("there is nobody to be asked")
