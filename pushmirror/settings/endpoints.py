"""Addresses in settings files: ZeroMQ endpoints, addresses of the HTTP service, and rsync URLs."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from pushmirror.core.source import parse_source
from pushmirror.settings.names import shorten

_MAX_PORT = 65535
_MAX_HOST_CHARACTERS = 253
_MAX_LABEL_CHARACTERS = 63
_HOST_AND_PORT = re.compile(r"(\[[^\[\]/]*\]|[^\[\]:/]*):([0-9]*)")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
# libzmq and Twisted both take the interface after the sign of a link-local address.
_ZONE = re.compile(r"%[A-Za-z0-9_.-]{1,15}")


def check_listening_endpoint(text: str) -> str:
    """Return `text` if a ZeroMQ socket can be bound to it. Raises ValueError, which says what to write."""
    _check_host_and_port(_after("tcp://", text), text, may_be_any=True)
    return text


def check_remote_endpoint(text: str) -> str:
    """Return `text` if a ZeroMQ socket can be connected to it. Raises ValueError, which says what to write."""
    _check_host_and_port(_after("tcp://", text), text, may_be_any=False)
    return text


def check_listening_service(text: str) -> str:
    """Return `text` if the HTTP service can listen there: ``http://HOST:PORT`` or ``https://HOST:PORT``, with ``*`` for
    every address.

    Raises ValueError, which says what to write.
    """
    scheme = "https://" if text.startswith("https://") else "http://"
    _check_host_and_port(_after(scheme, text).removesuffix("/"), text, may_be_any=True)
    return text.removesuffix("/")


def check_remote_service(text: str) -> str:
    """Return `text`, without a slash at its end, if it is the URL of a service: http or https, perhaps with a path.

    Raises ValueError, which says what to write.
    """
    scheme = next((scheme for scheme in ("http://", "https://") if text.startswith(scheme)), None)
    if scheme is None:
        raise ValueError(f"{shorten(text)} is not the URL of a service: write http://HOST:PORT or https://HOST")
    host_and_port, _, path = text.removeprefix(scheme).partition("/")
    if "@" in host_and_port:
        raise ValueError("a URL in the settings must not hold a user or a password")
    if not re.fullmatch(r"[A-Za-z0-9._~/%-]*", path):
        raise ValueError(f"{shorten(text)}: only a path may follow the host, no query and no fragment")
    default_port = "" if re.search(r":[0-9]*$", re.sub(r"\[.*\]", "", host_and_port)) else ":80"
    _check_host_and_port(host_and_port + default_port, text, may_be_any=False)
    return text.rstrip("/")


def check_source(text: str) -> str:
    """Return `text` if it is the rsync URL of a tree. Raises ValueError, which says what to write."""
    userinfo, at_sign, _ = text.removeprefix("rsync://").partition("/")[0].rpartition("@")
    if at_sign and ":" in userinfo:
        raise ValueError("an rsync URL must not hold a password: put it into a file and name that as password_file")
    if not text.isprintable():
        raise ValueError(f"{shorten(text)} holds a control character: write rsync://HOST/MODULE/")
    parse_source(text)
    return text


def split_host_and_port(text: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port of an address that was checked here; ``*`` stays ``*``."""
    parts = urlsplit(text)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{shorten(text)} has no host and port")
    return parts.hostname, parts.port


def _after(scheme: str, text: str) -> str:
    if not text.startswith(scheme):
        raise ValueError(f"{shorten(text)} does not begin with {scheme}: write {scheme}HOST:PORT")
    return text.removeprefix(scheme)


def _check_host_and_port(host_and_port: str, whole: str, *, may_be_any: bool) -> None:
    match = _HOST_AND_PORT.fullmatch(host_and_port)
    if match is None or not match[1]:
        hint = "; an IPv6 address goes into brackets, as in [::1]:9940" if host_and_port.count(":") > 1 else ""
        raise ValueError(f"{shorten(whole)} is not a host and a port, as in 127.0.0.1:9940{hint}")
    host, port = match[1], match[2]
    if not port or not 0 < int(port[:6]) <= _MAX_PORT:
        raise ValueError(f"{shorten(whole)} needs a port from 1 to {_MAX_PORT}")
    if host == "*":
        if not may_be_any:
            raise ValueError(f"{shorten(whole)}: '*' is for listening; name the host to connect to")
    elif host.startswith("["):
        _check_ipv6(host[1:-1], whole)
    else:
        _check_ipv4_or_name(host, whole)


def _check_ipv6(host: str, whole: str) -> None:
    address, _, zone = host.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError as error:
        raise ValueError(f"{shorten(whole)}: {shorten(host)} is not an IPv6 address") from error
    if "%" in host and not _ZONE.fullmatch(f"%{zone}"):
        raise ValueError(f"{shorten(whole)}: {shorten(zone)} is not the name of an interface")


def _check_ipv4_or_name(host: str, whole: str) -> None:
    labels = host.removesuffix(".").split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        # Whatever ends in a number is an address and never a name: 300.1.1.1 and 127.1 are mistakes.
        try:
            ipaddress.IPv4Address(host)
        except ValueError as error:
            raise ValueError(f"{shorten(whole)}: {shorten(host)} is not an IPv4 address") from error
        return
    fits = len(host) <= _MAX_HOST_CHARACTERS and all(len(label) <= _MAX_LABEL_CHARACTERS for label in labels)
    if not fits or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{shorten(whole)}: {shorten(host)} is not the name of a host")
