"""The model of a subscriber's settings file."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from pushmirror.core.filters import Rules
from pushmirror.core.leaps import LeapBounds
from pushmirror.core.paths import STAGING_NAME, TreePath, trust
from pushmirror.core.patterns import parse_pattern
from pushmirror.core.profiles import PROFILES, Profile, make_profile
from pushmirror.errors import UntrustedPath
from pushmirror.settings.common import (
    PLAIN_PROFILE,
    AbsolutePath,
    Environment,
    MetadataPatterns,
    Named,
    NodeName,
    PathPatterns,
    ProfileName,
    RemoteEndpoint,
    RemoteService,
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
from pushmirror.settings.encryption import PublicCurveKey
from pushmirror.settings.names import PROGRAM_PATTERN, check_program, shorten
from pushmirror.settings.paths import check_absolute
from pushmirror.settings.public_keys import PublicLines, read_public_lines
from pushmirror.settings.relays import Relay, Relays
from pushmirror.settings.units import parse_duration_ms

if TYPE_CHECKING:
    from pushmirror.keys import PublicKey

_REPOSITORY_GRACE_MS = parse_duration_ms("10m")
STAGING_FOLDER = STAGING_NAME.decode()
_MAX_SOURCES = 20


def _check_rsync(text: str) -> str:
    return str(check_absolute(text)) if "/" in text else check_program(text)


def _check_marker(text: str) -> TreePath:
    try:
        return trust(text.encode("utf-8", "surrogatepass"))
    except UntrustedPath as error:
        raise ValueError(f"{shorten(text)} is no file of the tree: write it as seen from the tree's root") from error


class Upstream(SettingsModel):
    """One publisher that is listened to."""

    publish: RemoteEndpoint | None = Field(
        default=None, description="the publisher's ZeroMQ PUB socket: tcp://HOST:PORT; absent: only relays are heard"
    )
    service: RemoteService | None = Field(
        default=None,
        description="the publisher's HTTP service: http://HOST:PORT or https://HOST/PATH; absent: relays are asked",
    )
    relays: Relays = Field(
        default_factory=lambda: MappingProxyType({}),
        description="mirrors of the publisher that hand its updates on, by node name",
    )
    curve: PublicCurveKey | None = Field(
        default=None, description="the public CURVE key of the publisher's bus; absent: its bus is not encrypted"
    )
    service_ca: AbsolutePath | None = Field(
        default=None,
        description="for https: the file of the authorities that are believed, also for relays; absent: the system's",
    )
    topic_prefix: TopicPrefix = Field(description="the beginning of the publisher's topics, such as org.example")
    environment: Environment = Field(description="the part of its topics after the prefix, such as prod")
    keys: PublicLines = Field(
        description="the public keys that are believed, each one line as in the publisher's key file with .pub"
    )
    accept_rotation: bool = Field(
        default=False,
        description="whether a new key is believed that the publisher announces, signed with one that is believed",
    )
    max_serial_jump: Annotated[int, Field(ge=1, le=10**15)] = Field(
        default=100_000,
        description="a serial that is further above what was heard, and that the service does not confirm, is held",
    )
    max_epoch_ahead_ms: Annotated[int, duration_between("0s", "3650d")] = duration_field(
        "max_epoch_ahead",
        "1d",
        "a new epoch that begins later than this from now, and that the service does not confirm, is held",
    )

    @property
    def public_keys(self) -> tuple[PublicKey, ...]:
        """The keys that are believed, read."""
        return read_public_lines(self.keys)

    @property
    def leap_bounds(self) -> LeapBounds:
        """What has to be confirmed before it is believed."""
        return LeapBounds(self.max_serial_jump, self.max_epoch_ahead_ms)


class DeleteBudget(SettingsModel):
    """How many deletions happen without asking: more than `count` and more than `percent` of the tree are held, and
    more than `limit` percent always."""

    count: Annotated[int, Field(ge=0, le=10**9)] = Field(
        default=1000, description="up to this many deletions are never held, unless they pass limit"
    )
    percent: Annotated[int, Field(ge=0, le=100)] = Field(
        default=5, description="up to this share of the tree's entries, in percent, is never held"
    )
    limit: Annotated[int, Field(ge=0, le=100)] = Field(
        default=50, description="more than this share of the tree's entries, in percent, is always held"
    )


class TreeSource(SettingsModel):
    """One of several sources of a tree; a URL alone is the origin's own."""

    url: SourceUrl = Field(description="the rsync URL of the tree there")
    relay: NodeName | None = Field(
        default=None,
        description="the mirror there is a relay, which says itself what it has: a name under relays of the upstream",
    )
    marker: Annotated[TreePath, text_parsed_by(_check_marker, "[^/].*")] | None = Field(
        default=None,
        description="the mirror there is used when this file, as seen from the tree's root, is as it is at the origin",
    )
    password_file: AbsolutePath | None = Field(
        default=None, description="the file with the password for this source; absent: that of the tree for the origin"
    )

    @model_validator(mode="before")
    @classmethod
    def _take_url(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, object]:
        return {"anyOf": [{"type": "string", "pattern": "^rsync://.+$"}, handler(schema)]}


class SubscriberTree(SettingsModel):
    """One tree that is mirrored."""

    upstream: NodeName = Field(description="whose announcements count: a name under upstreams")
    source: SourceUrl | None = Field(
        default=None,
        description="the rsync URL of the tree: rsync://HOST/MODULE/ or rsync://HOST/MODULE/FOLDER/",
    )
    sources: Annotated[tuple[TreeSource, ...], Field(max_length=_MAX_SOURCES), BeforeValidator(list_to_tuple)] = Field(
        default=(),
        description="several sources in place of source, in order of preference: URLs of the origin, relays, and "
        "mirrors with a marker",
    )
    path: TreeFolder = Field(description="the folder of the mirror on this machine")
    keys: PublicLines | None = Field(
        default=None,
        description="the public keys that are believed about this tree, and no others; absent: those of its upstream",
    )
    profile: ProfileName = Field(
        default=PLAIN_PROFILE,
        description="the repository format: plain, rpm, deb, arch or apk; with metadata or last, leave it out",
    )
    metadata: MetadataPatterns = Field(
        default=(),
        description="a format of your own: patterns of the files that are switched after everything is there",
    )
    last: MetadataPatterns = Field(
        default=(), description="a format of your own: patterns of the metadata that is switched last, in this order"
    )
    coalesce_ms: Annotated[int, duration_between("0s", "1h")] = duration_field(
        "coalesce", "2s", "announcements are gathered this long before a job starts"
    )
    max_age_ms: Annotated[int, duration_between("1s", "365d")] = duration_field(
        "max_age", "24h", "a full sync happens at the latest this long after the last one"
    )
    missing_wait_ms: Annotated[int, duration_between("0s", "7d")] = duration_field(
        "missing_wait", "10m", "an announced path that is missing upstream is waited for this long before a full sync"
    )
    delete_budget: DeleteBudget = Field(
        default=DeleteBudget(), description="how many deletions happen without asking the operator"
    )
    configured_delete_grace_ms: Annotated[int, duration_between("0s", "30d")] | None = Field(
        alias="delete_grace",
        default=None,
        description="deletions wait this long after everything else; absent: 0s for plain, 10m where there is metadata",
    )
    min_free_bytes: Annotated[int, size_between("0B", "1000TB")] = size_field(
        "min_free", "0B", "no job begins that would leave less than this free on the disk of the mirror"
    )
    include: PathPatterns = Field(
        default=(), description="patterns of paths to mirror in spite of exclude, as rsync reads --include"
    )
    exclude: PathPatterns = Field(default=(), description="patterns of paths not to mirror, as rsync reads --exclude")
    password_file: AbsolutePath | None = Field(
        default=None,
        description="the file with the password for the origin's rsync daemon, readable by the subscriber alone",
    )
    bandwidth_bytes_per_second: Annotated[int, size_between("1KB", "1TB")] | None = Field(
        alias="bandwidth", default=None, description="the most that one job reads per second; absent: no limit"
    )
    staging_dir: AbsolutePath | None = Field(
        default=None,
        description=f"the folder for temporary files, on the file system of the tree; absent: {STAGING_FOLDER} in it",
    )
    io_timeout_ms: Annotated[int, duration_between("1s", "1d")] = duration_field(
        "io_timeout", "10m", "rsync gives up when the connection was silent this long"
    )
    connect_timeout_ms: Annotated[int, duration_between("1s", "1h")] = duration_field(
        "connect_timeout", "60s", "rsync gives up when the upstream did not take the connection within this time"
    )
    no_progress_ms: Annotated[int, duration_between("1s", "7d")] = duration_field(
        "no_progress", "30m", "a job is ended when it brought nothing and said nothing for this long"
    )
    least_rate_bytes_per_second: Annotated[int, size_between("0B", "1GB")] = size_field(
        "least_rate", "100B", "a job is ended when, over a whole no_progress, it moved less than this per second"
    )
    list_job_limit_ms: Annotated[int, duration_between("1s", "30d")] = duration_field(
        "list_job_limit",
        "6h",
        "a job over a change list is ended after this time, and any job when the upstream's file list is not there "
        "by then; a full sync may take as long as it needs",
    )
    output_limit_bytes: Annotated[int, size_between("1MB", "1TB")] = size_field(
        "output_limit", "2GB", "a job is ended when its rsync printed more than this, or the file list is larger"
    )
    memory_limit_bytes: Annotated[int, size_between("10MB", "1TB")] = size_field(
        "memory_limit",
        "2GB",
        "a job is ended when one of its rsync processes takes more memory than this, or what it printed would here",
    )

    @property
    def public_keys(self) -> tuple[PublicKey, ...] | None:
        """The keys that are believed about this tree, read; None: those of its upstream."""
        return None if self.keys is None else read_public_lines(self.keys)

    @property
    def all_sources(self) -> tuple[TreeSource, ...]:
        """Where the tree can be read, in order of preference."""
        return self.sources if self.source is None else (TreeSource(url=self.source),)

    @property
    def delete_grace_ms(self) -> int:
        """How long deletions wait: as set, otherwise by the profile."""
        if self.configured_delete_grace_ms is not None:
            return self.configured_delete_grace_ms
        return _REPOSITORY_GRACE_MS if self.repository_profile else 0

    @property
    def repository_profile(self) -> Profile:
        """What is metadata in this tree: as the patterns of the operator say, otherwise as the format says."""
        if self.metadata or self.last:
            return make_profile("own", self.metadata, self.last)
        return PROFILES[self.profile]

    @property
    def rules(self) -> Rules:
        """What of this tree is not mirrored."""
        return Rules(tuple(map(parse_pattern, self.include)), tuple(map(parse_pattern, self.exclude)))

    @property
    def staging_path(self) -> Path:
        """The folder for temporary files: as set, otherwise inside the tree."""
        return self.staging_dir if self.staging_dir is not None else self.path / STAGING_FOLDER


class SubscriberSettings(SettingsModel):
    """All that a subscriber is told by its operator."""

    name: NodeName = Field(description="the name of this node, as publishers write it into authorized_nodes")
    state_dir: AbsolutePath = Field(description="the folder of the ledger; only this subscriber may use it")
    key: AbsolutePath = Field(description="the private key, made by pushmirror keygen; the public one lies beside it")
    control: SocketPath = Field(description="the UNIX socket by which commands reach the daemon")
    curve: AbsolutePath | None = Field(
        default=None,
        description="the secret key by which a private bus knows this node, made by pushmirror keygen --curve; absent: "
        "a new one at each start",
    )
    allow_root: bool = Field(default=False, description="whether the daemon may run as root")
    rsync: Annotated[str, text_parsed_by(_check_rsync, f"({PROGRAM_PATTERN}|/.+)")] = Field(
        default="rsync", description="the rsync program: its name or its absolute path"
    )
    confine_rsync: bool = Field(
        default=True,
        description="whether the kernel, if it can, lets rsync write in the folders of its tree only",
    )
    max_jobs: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=4, description="how many trees are synced at the same time"
    )
    relay: Relay | None = Field(default=None, description="hand on what was applied, to mirrors below this one")
    upstreams: Named[Upstream] = Field(description="the publishers, by name")
    trees: Named[SubscriberTree] = Field(description="the trees, by name")

    @property
    def tree_paths(self) -> tuple[Path, ...]:
        """The folders of all trees, in the order of the file."""
        return tuple(tree.path for tree in self.trees.values())
