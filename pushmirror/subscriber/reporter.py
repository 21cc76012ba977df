"""Tells the publisher's service about jobs: signed by this node, in order, as well as it can and never in the way."""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred

from pushmirror.core.messages import MAX_REASON_LENGTH, format_report, report_kind, topic
from pushmirror.core.model import Event, Report
from pushmirror.core.progress import Progress
from pushmirror.core.wire import compose
from pushmirror.errors import ServiceError
from pushmirror.keys import PrivateKey, seal
from pushmirror.logs import Throttle
from pushmirror.subscriber.records import JobRecord, TreeRecord

log = logging.getLogger(__name__)

_MAX_WAITING = 200


class TakesReports(Protocol):
    """Whoever reports are handed in to."""

    async def report(self, body: bytes) -> None:
        """Hand in a signed report. Raises ServiceError when it is not taken."""


class Reporter:
    """Hands reports of `node` to the service of one `publisher`; the oldest are dropped when too many wait."""

    def __init__(
        self,
        node: str,
        publisher: str,
        prefix: str,
        environment: str,
        key: PrivateKey,
        client: TakesReports,
        clock_ms: Callable[[], int],
    ) -> None:
        self._node = node
        self._publisher = publisher
        self._prefix = prefix
        self._environment = environment
        self._key = key
        self._client = client
        self._clock_ms = clock_ms
        self._throttle = Throttle(clock_ms)
        self._waiting: deque[bytes] = deque(maxlen=_MAX_WAITING)
        self._sending: Deferred[None] | None = None
        self._counter = 0

    def tell(self, event: Event, record: JobRecord, tree: TreeRecord, progress: Progress | None = None) -> None:
        """Report `event` of the job `record`, which left its tree as `tree`; `progress` of what it does now."""
        duration_ms = (record.finished_ms or self._clock_ms()) - record.started_ms
        report = Report(
            event=event,
            node=self._node,
            publisher=self._publisher,
            tree=record.tree,
            epoch=tree.head.epoch if tree.head else None,
            applied=tree.applied,
            cleaned=tree.cleaned,
            scope=record.scope,
            files=record.files if progress is None else progress.files_done,
            bytes=record.bytes if progress is None else progress.bytes_done,
            files_total=None if progress is None else progress.files_total,
            bytes_total=None if progress is None else progress.bytes_total,
            deleted=record.deleted,
            duration_ms=max(0, duration_ms),
            lag_ms=record.lag_ms,
            exit_code=record.exit_code,
            reason=None if record.reason is None else record.reason[:MAX_REASON_LENGTH],
        )
        self._waiting.append(seal(self._compose(report), self._key))
        self._send()

    def _compose(self, report: Report) -> bytes:
        self._counter += 1
        return compose(
            topic(self._prefix, self._environment, report_kind(report.event)),
            format_report(report),
            msg_id=str(uuid.uuid4()),
            at_ms=self._clock_ms(),
            counter=self._counter,
            username=self._node,
        )

    def _send(self) -> None:
        if self._sending is None and self._waiting:
            self._sending = Deferred.fromCoroutine(self._send_waiting())
            self._sending.addBoth(self._forget)

    def _forget(self, result: Any) -> None:
        self._sending = None
        if result is not None and not result.check(CancelledError):
            log.error("reporting failed by a fault of this program: %s", result.getTraceback())
        elif result is None:
            self._send()

    async def _send_waiting(self) -> None:
        while self._waiting:
            body = self._waiting.popleft()
            try:
                await self._client.report(body)
            except ServiceError as error:
                if (suppressed := self._throttle.allow("report")) is not None:
                    log.info("a report was not taken: %s (%d more before)", error, suppressed)

    def stop(self) -> None:
        """Give up what is not reported yet."""
        self._waiting.clear()
        if self._sending is not None:
            self._sending.cancel()
