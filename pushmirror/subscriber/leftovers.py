"""The lock of a tree, taken for a job: whatever a killed daemon left running on the tree is ended first."""

from __future__ import annotations

import logging
import signal
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool

from pushmirror.core.exits import Judgement, Outcome
from pushmirror.subscriber.parts import TreeParts
from pushmirror.subscriber.runs import JobStopped

log = logging.getLogger(__name__)

_POLL_S = 0.1
_KILL_AFTER_S = 5.0
_GIVE_UP_S = 20.0


async def take_lock(reactor: Any, parts: TreeParts) -> int:
    """Return the descriptor of the tree's lock. Raises JobStopped when an rsync that holds it does not end."""
    started_s = reactor.seconds()
    asked: list[int] = []
    while (lock := parts.lock.take()) is None:
        waited_s = reactor.seconds() - started_s
        wanted = signal.SIGKILL if waited_s > _KILL_AFTER_S else signal.SIGTERM
        if wanted not in asked:
            asked.append(wanted)
            count = await deferToThreadPool(reactor, reactor.getThreadPool(), parts.lock.signal_holders, wanted)
            log.warning("tree %s: %d rsync processes of an earlier job still run: ending them", parts.name, count)
        if waited_s > _GIVE_UP_S:
            raise JobStopped(Judgement(Outcome.RETRY, "an rsync of an earlier job does not end"))
        await deferLater(reactor, _POLL_S)
    return lock
