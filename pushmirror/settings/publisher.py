"""The model of a publisher's settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from pushmirror.settings.common import (
    AbsolutePath,
    Environment,
    ListeningEndpoint,
    ListeningService,
    Named,
    NodeName,
    Profile,
    SettingsModel,
    SocketPath,
    SourceUrl,
    TopicPrefix,
    TreeFolder,
    duration_between,
    duration_field,
)


class Bus(SettingsModel):
    """Where and under which topics the publisher speaks."""

    publish: ListeningEndpoint = Field(
        description="where the ZeroMQ PUB socket listens: tcp://ADDRESS:PORT, tcp://*:PORT for every address"
    )
    topic_prefix: TopicPrefix = Field(description="the beginning of every topic, such as org.example")
    environment: Environment = Field(description="the part of every topic after the prefix, such as prod")


class PublisherTree(SettingsModel):
    """One tree that is announced."""

    path: TreeFolder = Field(description="the folder of the tree on this machine")
    url: SourceUrl | None = Field(default=None, description="the rsync URL under which others read the tree")
    profile: Profile = Field(default="plain", description="the repository format; plain knows no metadata")
    max_clients: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="how many rsync clients this publisher takes at once; absent: not announced"
    )


class PublisherSettings(SettingsModel):
    """All that a publisher is told by its operator."""

    name: NodeName = Field(description="the name of this publisher, as subscribers write it under upstreams")
    state_dir: AbsolutePath = Field(description="the folder of the journal; only this publisher may use it")
    key: AbsolutePath = Field(description="the private key, made by pushmirror keygen; the public one lies beside it")
    bus: Bus = Field(description="the message bus")
    service: ListeningService = Field(
        description="where the HTTP service for history and reports listens: http://ADDRESS:PORT"
    )
    authorized_nodes: AbsolutePath | None = Field(
        default=None,
        description="the file of the nodes whose reports count, a key and a node name a line; absent: none counts",
    )
    control: SocketPath = Field(description="the UNIX socket by which commands reach the daemon")
    allow_root: bool = Field(default=False, description="whether the daemon may run as root")
    heartbeat_ms: Annotated[int, duration_between("1s", "1h")] = duration_field(
        "heartbeat", "30s", "how often the publisher says that it is alive, and which serials are the newest"
    )
    trees: Named[PublisherTree] = Field(description="the trees, by name")

    @property
    def tree_paths(self) -> tuple[Path, ...]:
        """The folders of all trees, in the order of the file."""
        return tuple(tree.path for tree in self.trees.values())
