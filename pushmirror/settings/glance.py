"""The few settings that a client command needs, read without the models, which take long to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pushmirror.core.patterns import parse_pattern
from pushmirror.core.profiles import PLAIN, PROFILES
from pushmirror.core.rotation import MAX_OVERLAP_MS
from pushmirror.settings.document import Document, KeyPath, read_document
from pushmirror.settings.names import check_environment, check_name, check_topic_prefix
from pushmirror.settings.paths import check_absolute, check_socket_path, check_tree_path
from pushmirror.settings.roles import PUBLISHER, SUBSCRIBER, find_role
from pushmirror.settings.units import parse_duration_ms

if TYPE_CHECKING:
    from pushmirror.settings.publisher import PublisherTree
    from pushmirror.settings.subscriber import SubscriberTree

_MAX_CLIENTS = 100_000
DEFAULT_KEY_OVERLAP_MS = parse_duration_ms("14d")


@dataclass(frozen=True)
class GlanceTree:
    """One tree: its folder, how many rsync clients its publisher takes at once (None: not said), its format, the URL by
    which it is read, and the patterns of what a scan passes over."""

    path: Path
    max_clients: int | None = None
    profile: str = PLAIN.name
    url: str | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Glance:
    """What a client command needs; `topic_prefix` and `environment` are None for a subscriber, which may have
    several."""

    role: str
    name: str
    state_dir: Path
    control: Path
    topic_prefix: str | None
    environment: str | None
    trees: Mapping[str, GlanceTree]
    rsyncd_conf: Path | None = None
    key: Path | None = None
    key_overlap_ms: int = DEFAULT_KEY_OVERLAP_MS


def glance(path: Path) -> Glance:
    """Return what a client command needs from the settings file `path`.

    Raises SettingsError: when something that is needed here is wrong, with every fault of the whole file.
    """
    document = read_document(path)
    try:
        return _glance_at(document)
    except ValueError:
        return _glance_by_model(path)


def _glance_at(document: Document) -> Glance:
    if document.faults:
        raise ValueError("a faulty file is for the models")
    role = find_role(document)
    speaks = role == PUBLISHER
    trees = {check_name(name): _glance_at_tree(document, name) for name in document.names("trees")}
    if not trees:
        raise ValueError("a daemon without a tree")
    return Glance(
        role=role,
        name=check_name(_text(document, ("name",))),
        state_dir=check_absolute(_text(document, ("state_dir",))),
        control=check_socket_path(_text(document, ("control",))),
        topic_prefix=check_topic_prefix(_text(document, ("bus", "topic_prefix"))) if speaks else None,
        environment=check_environment(_text(document, ("bus", "environment"))) if speaks else None,
        trees=MappingProxyType(trees),
        rsyncd_conf=check_absolute(_text(document, ("rsyncd_conf",))) if "rsyncd_conf" in document.data else None,
        key=check_absolute(_text(document, ("key",))),
        key_overlap_ms=_glance_at_overlap(document),
    )


def _glance_at_overlap(document: Document) -> int:
    if "key_overlap" not in document.data:
        return DEFAULT_KEY_OVERLAP_MS
    overlap_ms = parse_duration_ms(_text(document, ("key_overlap",)))
    if overlap_ms > MAX_OVERLAP_MS:
        raise ValueError("key_overlap is too long")
    return overlap_ms


def _glance_at_tree(document: Document, name: str) -> GlanceTree:
    path = check_tree_path(_text(document, ("trees", name, "path")))
    profile = document.value(("trees", name, "profile"))
    url = document.value(("trees", name, "url"))
    return GlanceTree(
        path,
        _check_clients(document.value(("trees", name, "max_clients"))),
        _check_profile(PLAIN.name if profile is None else profile),
        url if isinstance(url, str) else None,
        _check_exclude(document.value(("trees", name, "detect")), document.value(("trees", name, "detect", "exclude"))),
    )


def _check_profile(value: object) -> str:
    if isinstance(value, str) and value in PROFILES:
        return value
    raise ValueError("profile is none that there is")


def _check_clients(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_CLIENTS):
        return value
    raise ValueError("max_clients is no number of clients")


def _check_exclude(detect: object, value: object) -> tuple[str, ...]:
    if detect is not None and not isinstance(detect, Mapping):
        raise ValueError("detect is no group")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("exclude is no list of patterns")
    for pattern in value:
        parse_pattern(pattern)
    return tuple(value)


def _text(document: Document, key: KeyPath) -> str:
    value = document.value(key)
    if isinstance(value, str):
        return value
    raise ValueError("not text")


def _glance_by_model(path: Path) -> Glance:
    # Imported here, and only for a file that is wrong: it takes a tenth of a second.
    from pushmirror.settings.load import load_any
    from pushmirror.settings.publisher import PublisherSettings

    settings = load_any(path)
    bus = settings.bus if isinstance(settings, PublisherSettings) else None
    return Glance(
        role=SUBSCRIBER if bus is None else PUBLISHER,
        name=settings.name,
        state_dir=settings.state_dir,
        control=settings.control,
        topic_prefix=None if bus is None else bus.topic_prefix,
        environment=None if bus is None else bus.environment,
        trees=MappingProxyType({name: _shorten(tree) for name, tree in settings.trees.items()}),
        rsyncd_conf=settings.rsyncd_conf if isinstance(settings, PublisherSettings) else None,
        key=settings.key,
        key_overlap_ms=settings.key_overlap_ms if isinstance(settings, PublisherSettings) else DEFAULT_KEY_OVERLAP_MS,
    )


def _shorten(tree: PublisherTree | SubscriberTree) -> GlanceTree:
    from pushmirror.settings.publisher import PublisherTree

    if isinstance(tree, PublisherTree):
        return GlanceTree(tree.path, tree.max_clients, tree.profile, tree.url, tree.detect.exclude)
    return GlanceTree(tree.path, profile=tree.profile)
