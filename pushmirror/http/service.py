"""Assembles the HTTP service of whoever has something to answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pushmirror.core.addresses import Network
from pushmirror.core.limits import Limits
from pushmirror.http.answers import Answerer
from pushmirror.http.certificate import Certificate
from pushmirror.http.door import Door
from pushmirror.http.listening import HttpService
from pushmirror.http.serving import ServiceFactory
from pushmirror.http.visitors import Visitors


def make_http_service(
    reactor: Any,
    address: str,
    answers: Answerer,
    limits: Limits,
    proxies: Sequence[Network] = (),
    certificate: Certificate | None = None,
    door: Door | None = None,
) -> HttpService:
    """Return the service at `address`, with `limits` for each client; `certificate` is for https, `door` for one that
    answers some alone.

    `proxies` are believed about the clients for whom they ask.
    """
    visitors = Visitors(reactor, limits, proxies)
    return HttpService(reactor, address, ServiceFactory(reactor, answers, visitors, door), visitors, certificate)
