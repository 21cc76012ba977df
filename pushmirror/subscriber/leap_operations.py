"""What an operator can say of jumps that are held: follow them, or forget them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pushmirror.core.leaps import Leap
from pushmirror.errors import Refused, UsageError
from pushmirror.subscriber.ledger import Ledger

log = logging.getLogger(__name__)

Request = Mapping[str, Any]


def show_leap(leap: Leap | None) -> dict[str, Any] | None:
    """Return a jump as a JSON object, None when there is none. Times are whole seconds since the epoch."""
    if leap is None:
        return None
    return {
        "epoch": leap.head.epoch,
        "serial": leap.head.serial,
        "since": leap.since_ms // 1000,
        "reason": leap.reason,
    }


class LeapOperations:
    """Handlers of the control socket about the jumps of `trees`. `adopt` follows the one of a tree that is held."""

    def __init__(self, trees: Collection[str], ledger: Ledger, adopt: Callable[[str], bool]) -> None:
        self._trees = trees
        self._ledger = ledger
        self._adopt = adopt

    def handlers(self) -> dict[str, Callable[[Request], dict[str, Any]]]:
        """Return the handlers by the name of their command."""
        return {"approve-leap": self.approve, "refuse-leap": self.refuse}

    def approve(self, request: Request) -> dict[str, Any]:
        """Show the jump that is held; with ``release``, which is the jump that was shown, follow it.

        Raises Refused when it is another one by now.
        """
        tree = self._tree(request)
        leap = show_leap(self._ledger.leap(tree))
        answer: dict[str, Any] = {"tree": tree, "leap": leap}
        if request.get("release") is not None:
            if leap is None or request["release"] != leap:
                raise Refused(f"the jump that {tree} holds is not the one that was shown: look at it again")
            answer["released"] = self._adopt(tree)
            log.warning(
                "tree %s: the operator lets it follow to serial %d of epoch %s", tree, leap["serial"], leap["epoch"]
            )
        return answer

    def refuse(self, request: Request) -> dict[str, Any]:
        """Forget the jump that is held: the tree stays where it is."""
        tree = self._tree(request)
        return {"tree": tree, "forgotten": self._ledger.forget_leap(tree)}

    def _tree(self, request: Request) -> str:
        tree = request.get("tree")
        if tree not in self._trees:
            raise UsageError(f"there is no tree {str(tree)[:80]!r} here; there are: {', '.join(self._trees)}")
        return str(tree)
