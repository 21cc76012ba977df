"""Addresses in settings files."""

from __future__ import annotations

import pytest

from pushmirror.settings import endpoints

HOSTS = ["127.0.0.1:9940", "[::1]:9940", "[::]:9940", "[fe80::1%eth0]:9940", "localhost:1", "mirror.example.org:65535"]


@pytest.mark.parametrize("host", HOSTS)
def test_addresses_of_every_kind_are_taken(host: str) -> None:
    """IPv4, IPv6 in brackets, and names, for listening and for connecting."""
    assert endpoints.check_listening_endpoint(f"tcp://{host}") == f"tcp://{host}"
    assert endpoints.check_remote_endpoint(f"tcp://{host}") == f"tcp://{host}"
    assert endpoints.check_listening_service(f"http://{host}") == f"http://{host}"
    assert endpoints.check_listening_service(f"https://{host}/") == f"https://{host}"
    assert endpoints.check_remote_service(f"https://{host}") == f"https://{host}"


@pytest.mark.parametrize(
    ("text", "advice"),
    [("127.0.0.1:9940", "tcp://HOST:PORT"), ("ipc:///run/x", "tcp://HOST:PORT"), ("tcp://127.0.0.1", "host and a port"),
     ("tcp://:9940", "host and a port"), ("tcp://::1:9940", "brackets"), ("tcp://[::1]", "host and a port"),
     ("tcp://[::g]:1", "not an IPv6 address"), ("tcp://[*]:1", "not an IPv6 address"), ("tcp://a:0", "port from 1"),
     ("tcp://a:65536", "port from 1"), ("tcp://a:", "port from 1"), ("tcp://a:*", "host and a port"),
     ("tcp://a:99999999999999999999", "port from 1"), ("tcp://300.1.1.1:1", "not an IPv4 address"),
     ("tcp://127.1:1", "not an IPv4 address"), ("tcp://0x7f.1:1", "not an IPv4 address"),
     ("tcp://a b:1", "not the name of a host"), ("tcp://-a:1", "not the name of a host"),
     ("tcp://a..b:1", "not the name of a host"), ("tcp://bücher:1", "not the name of a host"),
     ("tcp://eth0;lo:1", "not the name of a host"), ("tcp://a:1/x", "host and a port"),
     ("tcp://" + "a" * 64 + ":1", "not the name"), ("tcp://[fe80::1%]:1", "not the name of an interface")],
)  # fmt: skip
def test_bad_endpoints_are_refused_with_advice(text: str, advice: str) -> None:
    """A bad endpoint is refused in the same words for listening and for connecting."""
    for check in (endpoints.check_listening_endpoint, endpoints.check_remote_endpoint):
        with pytest.raises(ValueError, match=advice):
            check(text)


def test_every_address_is_for_listening_alone() -> None:
    """A star can be listened on, and nobody can connect to it."""
    assert endpoints.check_listening_endpoint("tcp://*:9940") == "tcp://*:9940"
    assert endpoints.check_listening_service("http://*:9941/") == "http://*:9941"
    with pytest.raises(ValueError, match="is for listening"):
        endpoints.check_remote_endpoint("tcp://*:9940")
    with pytest.raises(ValueError, match="is for listening"):
        endpoints.check_remote_service("http://*:9941")


@pytest.mark.parametrize("text", ["https://h", "http://h/a/b", "https://[::1]/x", "http://h:80"])
def test_a_remote_service_may_lie_below_a_path(text: str) -> None:
    """A service behind a proxy has a path, and needs no port; a slash at the end does not matter."""
    assert endpoints.check_remote_service(text) == text
    assert endpoints.check_remote_service(f"{text}/") == text


@pytest.mark.parametrize(
    ("text", "advice"),
    [("ftp://h", "URL of a service"), ("h:80", "URL of a service"), ("http://u:secret@h", "must not hold a user"),
     ("http://h/?a=b", "only a path"), ("http://h/#x", "only a path"), ("http://h:0", "port from 1"),
     ("http://h:x", "host and a port"), ("http://", "host and a port"), ("http://h:", "port from 1")],
)  # fmt: skip
def test_bad_services_are_refused_with_advice(text: str, advice: str) -> None:
    """What is no plain URL of a service is refused, and a password in it is not repeated."""
    with pytest.raises(ValueError, match=advice) as caught:
        endpoints.check_remote_service(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "advice"),
    [("ftp://h:1", "begin with http://"), ("http://h", "host and a port"), ("https://h", "host and a port"),
     ("http://h:1/x", "host and a port"), ("https://h:1/x", "host and a port")],
)  # fmt: skip
def test_a_listening_service_is_http_or_https_on_a_port(text: str, advice: str) -> None:
    """The service listens on one host and port; a path is a proxy's affair."""
    with pytest.raises(ValueError, match=advice):
        endpoints.check_listening_service(text)


@pytest.mark.parametrize("text", ["rsync://h/m/", "rsync://u@h:873/m/a/b", "rsync://[::1]:873/m"])
def test_sources_are_rsync_urls(text: str) -> None:
    """The URL of a module or of a folder in it is a source."""
    assert endpoints.check_source(text) == text


@pytest.mark.parametrize(
    ("text", "advice"),
    [("http://h/m", "not an rsync URL"), ("h::m", "not an rsync URL"), ("rsync://h", "not an rsync URL"),
     ("rsync://u:secret@h/m/", "must not hold a password"), ("rsync://h/m/../x", r"m/\.\./x"),
     ("rsync://h/m\n/", "control")],
)  # fmt: skip
def test_bad_sources_are_refused_with_advice(text: str, advice: str) -> None:
    """What rsync should not be given is refused, and a password in it is not repeated."""
    with pytest.raises(ValueError, match=advice) as caught:
        endpoints.check_source(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("tcp://*:9940", "*", 9940), ("http://[::1]:9941", "::1", 9941), ("tcp://127.0.0.1:1", "127.0.0.1", 1)],
)
def test_an_address_is_split_for_a_socket(text: str, host: str, port: int) -> None:
    """Whoever listens gets the host without brackets, and the port as a number."""
    assert endpoints.split_host_and_port(text) == (host, port)
