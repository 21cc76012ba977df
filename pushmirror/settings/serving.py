"""What an operator can say about the HTTP service: its address, https, the limits of its clients, proxies before it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Protocol

from pydantic import BeforeValidator, Field

from pushmirror.core.addresses import parse_network
from pushmirror.core.limits import Limits
from pushmirror.settings.common import SettingsModel, list_to_tuple, size_between, size_field, text_parsed_by

_DEFAULT = Limits()


def _check_proxy(text: str) -> str:
    return str(parse_network(text))


Proxy = Annotated[str, text_parsed_by(_check_proxy, "[0-9A-Fa-f:.]+(/[0-9]+)?")]
Proxies = Annotated[tuple[Proxy, ...], Field(max_length=100), BeforeValidator(list_to_tuple)]


class ServiceLimits(SettingsModel):
    """What one address may have of the HTTP service; IPv6 counts by /64."""

    connections: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=_DEFAULT.connections, description="how many connections one address may have at the same time"
    )
    requests: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=_DEFAULT.requests_per_second,
        description="how many requests one address may make in a second in the long run, and 20 times as many at once",
    )
    traffic_bytes: Annotated[int, size_between("1MB", "1TB")] = size_field(
        "traffic", "500MB", "how much one address may be sent in a minute; an answer that has begun is not broken off"
    )

    @property
    def limits(self) -> Limits:
        """The limits, with those that are not for the operator."""
        return Limits(
            connections=self.connections,
            requests_per_second=self.requests,
            traffic_bytes_per_minute=self.traffic_bytes,
        )


class Served(Protocol):
    """The settings of whoever has such a service."""

    @property
    def service(self) -> str:
        """Where it listens."""

    @property
    def service_certificate(self) -> Path | None:
        """With `service_key`, for https."""

    @property
    def service_key(self) -> Path | None: ...

    @property
    def service_limits(self) -> ServiceLimits: ...

    @property
    def trusted_proxies(self) -> tuple[str, ...]: ...
