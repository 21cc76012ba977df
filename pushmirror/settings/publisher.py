"""The model of a publisher's settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from pushmirror.core.patterns import parse_pattern
from pushmirror.core.retention import Retention
from pushmirror.settings.common import (
    PLAIN_PROFILE,
    AbsolutePath,
    Environment,
    ListeningEndpoint,
    ListeningService,
    Named,
    NodeName,
    ProfileName,
    SettingsModel,
    SocketPath,
    SourceUrl,
    TopicPrefix,
    TreeFolder,
    duration_between,
    duration_field,
    list_to_tuple,
    size_between,
    size_field,
    text_parsed_by,
)
from pushmirror.settings.paths import check_marker
from pushmirror.settings.serving import Proxies, ServiceLimits


def _check_pattern(text: str) -> str:
    return parse_pattern(text).text


Patterns = Annotated[tuple[Annotated[str, text_parsed_by(_check_pattern)], ...], BeforeValidator(list_to_tuple)]
Marker = Annotated[str, text_parsed_by(check_marker, ".+")]


class Bus(SettingsModel):
    """Where and under which topics the publisher speaks."""

    publish: ListeningEndpoint = Field(
        description="where the ZeroMQ PUB socket listens: tcp://ADDRESS:PORT, tcp://*:PORT for every address"
    )
    topic_prefix: TopicPrefix = Field(description="the beginning of every topic, such as org.example")
    environment: Environment = Field(description="the part of every topic after the prefix, such as prod")
    curve: AbsolutePath | None = Field(
        default=None,
        description="the secret key by which the bus is encrypted, from pushmirror keygen --curve; absent: it is not",
    )


class Watch(SettingsModel):
    """How a tree is watched."""

    settle_ms: Annotated[int, duration_between("100ms", "1d")] = duration_field(
        "settle", "10s", "what changed is announced when nothing has changed any more for this long"
    )


class Detect(SettingsModel):
    """How the publisher finds out by itself what changed in a tree. The ways can be combined."""

    scan_ms: Annotated[int, duration_between("1s", "365d")] | None = Field(
        alias="scan",
        default=None,
        description="how often the tree is scanned for what was written by rename, link or unlink; absent: never",
    )
    thorough_ms: Annotated[int, duration_between("1m", "365d")] | None = Field(
        alias="thorough",
        default=None,
        description="within which time every entry is looked at once, for edits in place; absent: never",
    )
    watch: Watch | None = Field(default=None, description="be told of changes by the kernel (inotify)")
    marker: Marker | None = Field(
        default=None,
        description="a file that changes when an update is complete, which has the tree scanned; relative to the tree",
    )
    exclude: Patterns = Field(default=(), description="patterns of paths that are never announced by a scan")


class PublisherTree(SettingsModel):
    """One tree that is announced."""

    path: TreeFolder = Field(description="the folder of the tree on this machine")
    url: SourceUrl | None = Field(default=None, description="the rsync URL under which others read the tree")
    profile: ProfileName = Field(
        default=PLAIN_PROFILE, description="the repository format: plain, rpm, deb, arch or apk"
    )
    max_clients: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="how many rsync clients this publisher takes at once; absent: not announced"
    )
    detect: Detect = Field(default=Detect(), description="how changes are found that nobody announces")


class History(SettingsModel):
    """How long updates are kept for those who missed them. Each tree's newest is kept whatever is set here."""

    age_ms: Annotated[int, duration_between("1m", "3650d")] = duration_field(
        "age", "30d", "updates older than this are removed; whoever was away for longer makes a full sync"
    )
    size_bytes: Annotated[int, size_between("1MB", "1TB")] = size_field(
        "size", "1GB", "how large the journal may become with its updates and lists; the oldest go first"
    )

    @property
    def retention(self) -> Retention:
        """What is kept."""
        return Retention(self.age_ms, self.size_bytes)


class PublisherSettings(SettingsModel):
    """All that a publisher is told by its operator."""

    name: NodeName = Field(description="the name of this publisher, as subscribers write it under upstreams")
    state_dir: AbsolutePath = Field(description="the folder of the journal; only this publisher may use it")
    key: AbsolutePath = Field(description="the private key, made by pushmirror keygen; the public one lies beside it")
    key_overlap_ms: Annotated[int, duration_between("0s", "366d")] = duration_field(
        "key_overlap", "14d", "how long the old key counts beside the new one after pushmirror rotate-key"
    )
    bus: Bus = Field(description="the message bus")
    service: ListeningService = Field(
        description="where the HTTP service for history and reports listens: http://ADDRESS:PORT, https://ADDRESS:PORT"
    )
    service_certificate: AbsolutePath | None = Field(
        default=None,
        description="for https: the certificate of the service in PEM, and after it those that lead to its authority",
    )
    service_key: AbsolutePath | None = Field(
        default=None, description="for https: the private key of the certificate in PEM, readable by the daemon alone"
    )
    service_limits: ServiceLimits = Field(
        default=ServiceLimits(), description="what one address may have of the service"
    )
    trusted_proxies: Proxies = Field(
        default=(),
        description="addresses or networks of proxies whose X-Forwarded-For is believed, and who have no limits",
    )
    authorized_nodes: AbsolutePath | None = Field(
        default=None,
        description="the file of the nodes whose reports count, a key and a node name a line; absent: none counts",
    )
    private: bool = Field(
        default=False, description="whether the bus and the service answer the authorized nodes alone"
    )
    control: SocketPath = Field(description="the UNIX socket by which commands reach the daemon")
    allow_root: bool = Field(default=False, description="whether the daemon may run as root")
    heartbeat_ms: Annotated[int, duration_between("1s", "1h")] = duration_field(
        "heartbeat", "30s", "how often the publisher says that it is alive, and which serials are the newest"
    )
    rsyncd_conf: AbsolutePath | None = Field(
        default=None,
        description="the configuration of the rsync daemon that serves the trees: what it hides is not announced",
    )
    history: History = Field(default=History(), description="how much of what was announced is kept")
    trees: Named[PublisherTree] = Field(description="the trees, by name")

    @property
    def tree_paths(self) -> tuple[Path, ...]:
        """The folders of all trees, in the order of the file."""
        return tuple(tree.path for tree in self.trees.values())
