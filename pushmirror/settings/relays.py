"""The models of what a subscriber's file says about relays: those it listens to, and the one that it is itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from pushmirror.settings.common import (
    AbsolutePath,
    ListeningEndpoint,
    ListeningService,
    Name,
    RemoteEndpoint,
    RemoteService,
    SettingsModel,
    duration_between,
    duration_field,
    list_to_tuple,
    size_between,
    size_field,
)
from pushmirror.settings.encryption import PublicCurveKey
from pushmirror.settings.public_keys import PublicLines, read_public_lines
from pushmirror.settings.serving import Proxies, ServiceLimits

if TYPE_CHECKING:
    from pushmirror.keys import PublicKey

MAX_RELAYS = 20


class UpstreamRelay(SettingsModel):
    """A mirror of the publisher that hands its updates on."""

    publish: RemoteEndpoint = Field(description="the relay's ZeroMQ PUB socket: tcp://HOST:PORT")
    service: RemoteService = Field(description="the relay's HTTP service: http://HOST:PORT or https://HOST/PATH")
    curve: PublicCurveKey | None = Field(
        default=None, description="the public CURVE key of the relay's bus; absent: its bus is not encrypted"
    )
    keys: PublicLines = Field(
        description="the public keys of the relay, each one line as in its key file with .pub: what it says of itself "
        "is believed; updates are believed by the publisher's keys alone"
    )

    @property
    def public_keys(self) -> tuple[PublicKey, ...]:
        """The keys of the relay, read."""
        return read_public_lines(self.keys)


class RelayHistory(SettingsModel):
    """How long updates are kept for those below who missed them."""

    age_ms: Annotated[int, duration_between("1m", "3650d")] = duration_field(
        "age", "30d", "updates that are applied and older than this are removed"
    )
    size_bytes: Annotated[int, size_between("1MB", "1TB")] = size_field(
        "size", "1GB", "how much the updates of one tree may take up with their lists; the oldest go first"
    )


class Relay(SettingsModel):
    """How this node hands on what it has applied."""

    publish: ListeningEndpoint = Field(
        description="where the ZeroMQ PUB socket listens: tcp://ADDRESS:PORT, tcp://*:PORT for every address"
    )
    service: ListeningService = Field(
        description="where the HTTP service for history and states listens: http://ADDRESS:PORT, https://ADDRESS:PORT"
    )
    service_certificate: AbsolutePath | None = Field(
        default=None,
        description="for https: the certificate of the service in PEM, and after it those that lead to its authority",
    )
    service_key: AbsolutePath | None = Field(
        default=None, description="for https: the private key of the certificate in PEM, readable by the daemon alone"
    )
    service_limits: ServiceLimits = Field(
        default=ServiceLimits(), description="what one address may have of the service; more is answered with 429"
    )
    trusted_proxies: Proxies = Field(
        default=(),
        description="addresses or networks of proxies whose X-Forwarded-For is believed, and who have no limits",
    )
    authorized_nodes: AbsolutePath | None = Field(
        default=None,
        description="the file of the nodes below whose reports are handed on to the publisher; absent: none is",
    )
    curve: AbsolutePath | None = Field(
        default=None,
        description="the secret key by which the relay's bus is encrypted, made by pushmirror keygen --curve; absent: "
        "it is not",
    )
    private: bool = Field(
        default=False, description="whether the relay's bus and service answer its authorized nodes alone"
    )
    heartbeat_ms: Annotated[int, duration_between("1s", "1h")] = duration_field(
        "heartbeat", "30s", "how often the relay says that it is alive, and what it has applied"
    )
    trees: Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(list_to_tuple)] | None = Field(
        default=None, description="the trees that are handed on; absent: all"
    )
    history: RelayHistory = Field(default=RelayHistory(), description="how much of what was applied is kept")


Relays = Annotated[Mapping[Name, UpstreamRelay], Field(max_length=MAX_RELAYS), AfterValidator(MappingProxyType)]
