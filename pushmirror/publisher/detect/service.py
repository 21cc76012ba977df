"""Assembles the detection of changes: one detector for each tree that is to be scanned, watched, or has a marker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.threads import deferToThreadPool

from pushmirror.publisher.detect.announcing import Place
from pushmirror.publisher.detect.detector import TreeDetector
from pushmirror.publisher.detect.excludes import Excludes, make_excludes
from pushmirror.publisher.identity import Identity
from pushmirror.settings.publisher import PublisherSettings, PublisherTree

_log = logging.getLogger(__name__)


class DetectionService(MultiService):
    """The detectors of all trees that have one, by tree."""

    def __init__(self, detectors: dict[str, TreeDetector]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        self._detectors = detectors
        for detector in detectors.values():
            detector.setServiceParent(self)  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def describe(self) -> dict[str, Any]:
        """Return what the status tells, by tree."""
        return {tree: detector.describe() for tree, detector in self._detectors.items()}


def make_detection(
    reactor: Any,
    settings: PublisherSettings,
    identity: Identity,
    *,
    announced: Callable[[], None],
    clock_ms: Callable[[], int],
) -> DetectionService:
    """Return the detection that the settings ask for; `announced` is called in the reactor's thread when the journal
    has something new."""

    def run_in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return deferToThreadPool(reactor, reactor.getThreadPool(), function, *arguments, **named)

    return DetectionService(
        {
            name: TreeDetector(
                reactor,
                make_place(settings, name, identity),
                tree.detect,
                announced=announced,
                clock_ms=clock_ms,
                run_in_thread=run_in_thread,
            )
            for name, tree in settings.trees.items()
            if is_detected(tree)
        }
    )


def is_detected(tree: PublisherTree) -> bool:
    """Tell whether the daemon finds changes of the tree by itself."""
    detect = tree.detect
    return any(way is not None for way in (detect.scan_ms, detect.thorough_ms, detect.watch, detect.marker))


def make_place(settings: PublisherSettings, name: str, identity: Identity) -> Place:
    """Return where and in whose name the tree `name` is scanned."""
    tree = settings.trees[name]
    excludes = make_excludes(tree.detect.exclude, rsyncd_conf=settings.rsyncd_conf, root=tree.path, url=tree.url)
    _warn(name, excludes)
    return Place(
        tree=name,
        root=tree.path,
        excludes=excludes,
        state_dir=settings.state_dir,
        identity=identity,
        profile=tree.profile,
        max_clients=tree.max_clients,
    )


def _warn(name: str, excludes: Excludes) -> None:
    for note in excludes.notes:
        _log.info("%s: %s", name, note)
