"""Readable text for fedmsg's own tools (``fedmsg-tail --terse``), found through the entry point ``fedmsg.meta``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedmsg.meta.base import BaseProcessor

from pushmirror.core.messages import kind_of
from pushmirror.monitor.text import describe

_UNKNOWN_KIND = "message"


class PushmirrorProcessor(BaseProcessor):
    """Recognises our messages under whatever prefix and environment an operator chose."""

    __name__ = "pushmirror"
    __description__ = "push mirroring: what changed in a tree, and which mirror has it"
    # fedmsg demands both, as text; the project's documents travel with its sources.
    __link__ = "docs/operations.md"
    __docs__ = "docs/protocol.md"
    __obj__ = "Mirror updates"
    topic_prefix_re = r"\S+"

    def title(self, msg: Mapping[str, Any], **config: Any) -> str:
        """Return what the message is about, as its topic has it: ``tree.updated``."""
        return kind_of(str(msg.get("topic"))) or _UNKNOWN_KIND

    def subtitle(self, msg: Mapping[str, Any], **config: Any) -> str:
        """Return the message as one readable line."""
        return describe(self.title(msg), msg.get("msg"))

    def objects(self, msg: Mapping[str, Any], **config: Any) -> set[str]:
        """Return what the message is about as ``tree/NAME``."""
        return {f"tree/{tree}" for tree in (self._value(msg, "tree"),) if tree}

    def usernames(self, msg: Mapping[str, Any], **config: Any) -> set[str]:
        """Return nobody: publishers and nodes are machines, not accounts."""
        return set()

    def agent(self, msg: Mapping[str, Any], **config: Any) -> str | None:
        """Return who speaks: the node of a report, otherwise the publisher."""
        return self._value(msg, "node") or self._value(msg, "publisher")

    @staticmethod
    def _value(msg: Mapping[str, Any], key: str) -> str | None:
        content = msg.get("msg")
        value = content.get(key) if isinstance(content, Mapping) else None
        return value if isinstance(value, str) else None
