"""Assembles the HTTP service of whoever has something to answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pushmirror.core.addresses import Network, parse_network
from pushmirror.core.limits import Limits
from pushmirror.http.answers import Answerer
from pushmirror.http.certificate import Certificate
from pushmirror.http.door import Door
from pushmirror.http.listening import MAX_CONNECTIONS, HttpService
from pushmirror.http.serving import ServiceFactory
from pushmirror.http.visitors import Visitors
from pushmirror.settings.serving import Served


def make_served(reactor: Any, settings: Served, answers: Answerer, door: Door | None = None) -> HttpService:
    """Return the service that `settings` ask for, behind its `door` if it is private.

    Raises KeyFileError when its certificate cannot be used.
    """
    certificate = None
    if settings.service_certificate is not None and settings.service_key is not None:
        certificate = Certificate(settings.service_certificate, settings.service_key, reactor.seconds)
    proxies = tuple(map(parse_network, settings.trusted_proxies))
    limits = settings.service_limits.limits
    return make_http_service(reactor, settings.service, answers, limits, proxies, certificate, door)


def make_http_service(
    reactor: Any,
    address: str,
    answers: Answerer,
    limits: Limits,
    proxies: Sequence[Network] = (),
    certificate: Certificate | None = None,
    door: Door | None = None,
    max_connections: int = MAX_CONNECTIONS,
) -> HttpService:
    """Return the service at `address`, with `limits` for each client; `certificate` is for https, `door` for one that
    answers some alone.

    `proxies` are believed about the clients for whom they ask.
    """
    visitors = Visitors(reactor, limits, proxies)
    factory = ServiceFactory(reactor, answers, visitors, door)
    return HttpService(reactor, address, factory, visitors, certificate, max_connections)
