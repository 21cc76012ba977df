"""The few settings that a client command needs, read without the models, which take long to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pushmirror.core.profiles import PLAIN, PROFILES
from pushmirror.settings.document import Document, KeyPath, read_document
from pushmirror.settings.names import check_environment, check_name, check_topic_prefix
from pushmirror.settings.paths import check_absolute, check_socket_path, check_tree_path
from pushmirror.settings.roles import PUBLISHER, SUBSCRIBER, find_role

_MAX_CLIENTS = 100_000


@dataclass(frozen=True)
class GlanceTree:
    """One tree: its folder, how many rsync clients its publisher takes at once (None: not said), and its format."""

    path: Path
    max_clients: int | None = None
    profile: str = PLAIN.name


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
    )


def _glance_at_tree(document: Document, name: str) -> GlanceTree:
    path = check_tree_path(_text(document, ("trees", name, "path")))
    max_clients = document.value(("trees", name, "max_clients"))
    profile = document.value(("trees", name, "profile"))
    if profile is None:
        profile = PLAIN.name
    if not isinstance(profile, str) or profile not in PROFILES:
        raise ValueError("profile is none that there is")
    if max_clients is None:
        return GlanceTree(path, profile=profile)
    if isinstance(max_clients, int) and not isinstance(max_clients, bool) and 1 <= max_clients <= _MAX_CLIENTS:
        return GlanceTree(path, max_clients, profile)
    raise ValueError("max_clients is no number of clients")


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
        trees=MappingProxyType(
            {name: GlanceTree(tree.path, getattr(tree, "max_clients", None), tree.profile) for name, tree in settings.trees.items()}
        ),
    )
