"""Which of the messages on a bus somebody wants to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pushmirror.core.messages import HEARTBEAT
from pushmirror.monitor.hearing import Heard


@dataclass(frozen=True)
class Selection:
    """None selects everything. Heartbeats come only when they are asked for, by `heartbeats` or by `topic`."""

    topic: str | None = None
    """A kind (``tree.updated``), its first or last word (``sync``, ``failed``), or how the whole topic begins."""
    tree: str | None = None
    node: str | None = None
    heartbeats: bool = False

    def takes(self, heard: Heard) -> bool:
        """Tell whether a message is wanted; messages of other programs never are."""
        if heard.kind is None:
            return False
        return self._takes_kind(heard.kind, heard.topic) and self._takes_tree(heard) and self._takes_node(heard)

    def _takes_kind(self, kind: str, topic: str) -> bool:
        if self.topic is None:
            return self.heartbeats or kind != HEARTBEAT
        named = kind == self.topic or self.topic in kind.split(".") or topic.startswith(self.topic)
        if kind == HEARTBEAT:
            return named and (self.heartbeats or self.topic in (HEARTBEAT, "heartbeat", topic))
        return named

    def _takes_tree(self, heard: Heard) -> bool:
        trees = heard.msg.get("trees")
        return (
            self.tree is None
            or heard.msg.get("tree") == self.tree
            or (isinstance(trees, Mapping) and self.tree in trees)
        )

    def _takes_node(self, heard: Heard) -> bool:
        return self.node is None or heard.msg.get("node") == self.node
