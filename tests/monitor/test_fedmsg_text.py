"""Our text in fedmsg's own tools."""

from __future__ import annotations

import json
from typing import Any

import fedmsg.meta
import pytest

from pushmirror.monitor.fedmsg_text import PushmirrorProcessor
from tests.monitor.examples import NODE, PUBLISHER, TREE, report_msg, topic_of, update_msg

CONFIG = {"topic_prefix_re": r"org\.fedoraproject\.(dev|stg|prod)"}


@pytest.fixture
def processor() -> PushmirrorProcessor:
    return PushmirrorProcessor(lambda text: text, **CONFIG)


def message(kind: str, msg: Any) -> dict[str, Any]:
    return {"topic": topic_of(kind), "msg": msg, "msg_id": "2026-1", "timestamp": 1_790_000_000, "i": 1}


@pytest.fixture
def meta(processor: PushmirrorProcessor) -> Any:
    """fedmsg.meta with our processor, as it finds it through the entry point of an installed pushmirror."""
    fedmsg.meta.processors = [processor, fedmsg.meta.DefaultProcessor(lambda text: text, **CONFIG)]
    yield fedmsg.meta
    fedmsg.meta.processors = fedmsg.meta.ProcessorsNotInitialized()


def test_terse_text(meta: Any) -> None:
    """`fedmsg-tail --terse` shows the kind of the message and our line, whatever the prefix of its topic is."""
    assert meta.msg2repr(message("tree.updated", update_msg()), **CONFIG).strip() == (
        "tree.updated -- fedora-updates: serial 12 — 2 changed, 1 deleted, 2.1 MB"
    )


def test_what_else_fedmsg_asks(meta: Any) -> None:
    """Subject, speaker and objects are told."""
    report = message("sync.completed", report_msg())
    assert meta.msg2agent(report, **CONFIG) == NODE
    assert meta.msg2objects(report, **CONFIG) == {f"tree/{TREE}"}
    assert meta.msg2usernames(report, **CONFIG) == set()
    assert meta.msg2agent(message("tree.updated", update_msg()), **CONFIG) == PUBLISHER


def test_messages_of_others_are_left_to_others(processor: PushmirrorProcessor) -> None:
    """A topic that is not ours is not claimed."""
    assert processor.handle_msg({"topic": "org.fedoraproject.prod.git.receive"}) is None
    assert processor.handle_msg({"topic": topic_of("tree.updated")}) == "tree.updated"


@pytest.mark.parametrize("msg", [None, [], "text", 5, {}, {"tree": []}, json.loads('{"tree": {"a": null}}')])
def test_bad_content_raises_nothing(meta: Any, msg: Any) -> None:
    """Content that is nothing of ours is told all the same."""
    for kind in ("tree.updated", "sync.failed", "tree.heartbeat"):
        assert meta.msg2subtitle(message(kind, msg), **CONFIG)
        assert meta.msg2objects(message(kind, msg), **CONFIG) == set()


def test_the_entry_point_leads_to_it() -> None:
    """The name in the package's settings is that of the class."""
    from configparser import ConfigParser

    from tests.support.processes import REPOSITORY

    settings = ConfigParser()
    settings.read(REPOSITORY / "setup.cfg")
    target = settings["options.entry_points"]["fedmsg.meta"].strip().split("=")[1].strip()
    assert target == f"{PushmirrorProcessor.__module__}:{PushmirrorProcessor.__qualname__}"
