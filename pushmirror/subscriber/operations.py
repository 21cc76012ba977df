"""What an operator can ask of a running subscriber, over its control socket."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath, shorten, trust
from pushmirror.core.wire import digest
from pushmirror.errors import Refused, UntrustedPath, UsageError
from pushmirror.subscriber.dispatcher import Dispatcher
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.status import Status, show_job

log = logging.getLogger(__name__)

Request = Mapping[str, Any]
Answer = dict[str, Any]
_SHOWN_DELETIONS = 1000
_SHOWN_JOBS = 50


class Operations:
    """The handlers of the control socket. Each raises UsageError for a request that makes no sense."""

    def __init__(
        self,
        trees: Sequence[str],
        ledger: Ledger,
        dispatcher: Dispatcher,
        status: Status,
        clock_ms: Callable[[], int],
    ) -> None:
        self._trees = tuple(trees)
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._status = status
        self._clock_ms = clock_ms

    def handlers(self) -> dict[str, Callable[[Request], Answer]]:
        """Return the handlers by the name of their command."""
        return {
            "status": lambda request: self._status.show(),
            "sync": self.sync,
            "approve": self.approve,
            "refuse": self.refuse,
            "pause": lambda request: self._set_paused(request, paused=True),
            "resume": lambda request: self._set_paused(request, paused=False),
            "history": self.history,
        }

    def sync(self, request: Request) -> Answer:
        """Sync a tree now: the paths that are named, all of it (``full``), or whatever is pending."""
        tree = self._tree(request)
        paths = request.get("paths") or []
        if paths and request.get("full"):
            raise UsageError("a sync is either of some paths or of the whole tree")
        if paths:
            self._ledger.want_paths(tree, ChangeList(directories=_trusted(paths)), self._clock_ms())
        elif request.get("full"):
            # The operator says that the folder is as it should be, also if it is empty where it had entries before.
            self._ledger.set_entries(tree, 0)
            self._ledger.want_whole(tree, self._clock_ms())
        self._ledger.retry_now(tree)
        log.info("tree %s: the operator asks for a sync", tree)
        self._dispatcher.poke()
        return {"tree": tree, "last_job": self._last_job(tree)}

    def _last_job(self, tree: str) -> int:
        jobs = self._ledger.jobs(tree, 1)
        return jobs[0].job if jobs else 0

    def approve(self, request: Request) -> Answer:
        """Show the deletions that are pending; with ``release`` let exactly those go ahead.

        ``release`` comes with the ``digest`` of the deletions that were shown. Raises Refused when they are others now.
        """
        tree = self._tree(request)
        deletions = self._ledger.deletions(tree)
        paths = [deletion.path for deletion in deletions]
        in_the_way = [deletion.path for deletion in deletions if deletion.in_the_way]
        answer: Answer = {
            "tree": tree,
            "deletions": len(paths),
            "paths": [shorten(path, 4096) for path in paths[:_SHOWN_DELETIONS]],
            "digest": digest(b"\0".join(paths)),
            "in_the_way": [shorten(path, 4096) for path in in_the_way[:_SHOWN_DELETIONS]],
            "held": self._ledger.tree(tree).held,
        }
        if request.get("release"):
            if request.get("digest") != answer["digest"]:
                raise Refused(f"the pending deletions of {tree} are not those that were shown: look at them again")
            # In the same turn of the reactor: nothing is added to the ledger between the look and this.
            answer["released"] = self._ledger.approve(tree)
            log.warning("tree %s: the operator approves %d deletions", tree, answer["released"])
            self._dispatcher.poke()
        return answer

    def refuse(self, request: Request) -> Answer:
        """Keep what is to be deleted; with ``forget`` what was refused before is no longer kept for that reason."""
        tree = self._tree(request)
        if request.get("forget"):
            forgotten = len(self._ledger.refusals(tree))
            self._ledger.set_refusals(tree, ())
            log.warning("tree %s: the operator takes %d refusals back", tree, forgotten)
            return {"tree": tree, "forgotten": forgotten}
        kept = self._ledger.refuse(tree)
        log.warning("tree %s: the operator keeps %d paths that were to be deleted", tree, kept)
        self._dispatcher.poke()
        return {"tree": tree, "kept": kept}

    def _set_paused(self, request: Request, *, paused: bool) -> Answer:
        tree = self._tree(request)
        self._ledger.set_paused(tree, paused)
        log.info("tree %s: %s by the operator", tree, "paused" if paused else "resumed")
        self._dispatcher.poke()
        return {"tree": tree, "paused": paused}

    def history(self, request: Request) -> Answer:
        """Return the last jobs of a tree, the newest first."""
        tree = self._tree(request)
        return {"tree": tree, "jobs": [show_job(job) for job in self._ledger.jobs(tree, _SHOWN_JOBS)]}

    def _tree(self, request: Request) -> str:
        tree = request.get("tree")
        if tree not in self._trees:
            raise UsageError(f"there is no tree {str(tree)[:80]!r} here; there are: {', '.join(self._trees)}")
        return str(tree)


def _trusted(paths: object) -> tuple[TreePath, ...]:
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise UsageError("`paths` is a list of texts")
    try:
        return tuple(sorted({trust(path.encode("utf-8", "surrogateescape")) for path in paths}))
    except UntrustedPath as error:
        raise UsageError(f"{error}: write paths relative to the tree") from error
    except UnicodeEncodeError as error:
        raise UsageError("`paths` holds half of a surrogate pair, which no file name has") from error
