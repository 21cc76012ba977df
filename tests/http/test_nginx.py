"""A publisher behind nginx, as config/nginx.conf has it: over https, with a cache."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from pushmirror.core.messages import format_report
from pushmirror.core.model import Event, Report
from pushmirror.core.wire import open_envelope, parse_object
from pushmirror.keys import generate_key_file, load_private_key, seal
from pushmirror.publisher.identity import Identity
from tests.publisher.daemon import Publisher
from tests.support.certificates import Authority
from tests.support.ports import accepts, free_port
from tests.support.processes import REPOSITORY, Program, clean_environment
from tests.support.waiting import wait_until

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx-light"),
]
NODE = "t2.example.net"
STATE = "/v1/trees/debian?nonce=12345678"
MAIN = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/pushmirror.conf;
}}
"""


class Site:
    """nginx with the sample as its configuration, and the publisher behind it, which is not started yet."""

    def __init__(self, folder: Path) -> None:
        self.publisher = Publisher(folder)
        self.port, behind = free_port(), self.publisher.service.rpartition(":")[2]
        self.authority = Authority(folder / "ca.crt")
        certificate, key = self.authority.issue(folder / "tls", "127.0.0.1")
        text = (REPOSITORY / "config" / "nginx.conf").read_text()
        for old, new in [
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("/etc/nginx/tls/mirror.example.org.crt", str(certificate)),
            ("/etc/nginx/tls/mirror.example.org.key", str(key)),
            ("/var/cache/nginx/pushmirror", str(folder / "cache")),
            ("http://127.0.0.1:9941/", f"http://127.0.0.1:{behind}/"),
        ]:
            assert old in text
            text = text.replace(old, new)
        (folder / "pushmirror.conf").write_text(text)
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user))
        self.nginx = Program(
            ["-p", folder, "-c", folder / "nginx.conf"], log_path=folder / "nginx.log", command=[NGINX or "nginx"]
        )
        self.url = f"https://127.0.0.1:{self.port}/pushmirror"

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, source: str = "127.0.0.1"
    ) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=self.authority.path)
        client = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=10, context=context, source_address=(source, 0)
        )
        with closing(client):
            client.request(method, f"/pushmirror{path}", body)
            answer = client.getresponse()
            return answer.status, answer.read()

    def updates(self, epoch: object, after: int = 0) -> tuple[int, list[dict[str, Any]]]:
        status, body = self.ask(f"/v1/trees/debian/updates?epoch={epoch}&after={after}")
        return status, [parse_object(line, max_bytes=1 << 30) for line in body.splitlines()] if status == 200 else []

    def wait_for_updates(self, epoch: object, count: int) -> None:
        """Return when there are so many: no answer stays stale."""
        wait_until(lambda: len(self.updates(epoch)[1]) == count, what=f"{count} updates")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.nginx:
        wait_until(lambda: accepts(site.port), what=f"nginx\n{site.nginx.log_tail()}")
        yield site


def test_lists_are_cached_and_nothing_else_is(site: Site) -> None:
    """With the publisher gone a list is still to be had; history, states and refusals were always asked for anew."""
    with site.publisher.daemon() as daemon:
        daemon.wait_for_socket(site.publisher.control)
        epoch = site.publisher.status()["epoch"]
        site.publisher.announce()
        wait_until(lambda: site.updates(epoch)[1], what="the first update")
        (first,) = site.updates(epoch)[1]
        listed = f"/v1/trees/debian/lists/{first['update']['msg']['list_digest']}"
        other = f"/v1/trees/debian/lists/{'0' * 64}"
        status, body = site.ask(listed)
        assert status == 200 and site.ask(listed, "HEAD") == (200, b"")
        assert site.ask(other)[0] == 404 and site.updates("1-00000000")[0] == 410

        counters = [parse_object(site.ask(STATE)[1], max_bytes=1 << 20)["i"] for _ in range(2)]
        assert counters[0] < counters[1]
        for serial in range(2, 6):
            assert site.publisher.announce() == serial
            site.wait_for_updates(epoch, serial)
    assert site.ask(listed) == (200, body)
    assert site.ask(STATE)[0] == site.updates(epoch)[0] == site.updates("1-00000000")[0] == site.ask(other)[0] == 502


def test_reports_pass_and_large_bodies_do_not(site: Site, tmp_path: Path) -> None:
    """A report arrives as it was sent; what is too large is refused by the proxy."""
    generate_key_file(tmp_path / "node.key", NODE)
    key = load_private_key(tmp_path / "node.key")
    site.publisher.nodes.write_text(f"{key.public.line} {NODE}\n")
    report = Report(Event.STARTED, NODE, "mirror.example.org", "debian", None, -1, -1, "whole")
    identity = Identity("mirror.example.org", "org.example", "prod")
    now_ms = time.time_ns() // 10**6
    body = seal(identity.compose("sync.started", format_report(report), at_ms=now_ms, counter=1), key)
    with site.publisher.daemon() as daemon:
        daemon.wait_for_socket(site.publisher.control)
        assert site.ask("/v1/reports", "POST", body)[0] == 204
        status: Any = site.publisher.status()
        assert status["reports"]["accepted"] == 1
        with suppress(ConnectionError):
            assert site.ask("/v1/reports", "POST", b"x" * 70_000)[0] == 413


def test_a_subscriber_gets_its_history_through_the_proxy(site: Site) -> None:
    """The real client verifies certificate, state, updates and lists."""
    with site.publisher.daemon() as daemon:
        daemon.wait_for_socket(site.publisher.control)
        names = b"\n".join(b"pool/%06d/%s" % (number, b"x" * 80) for number in range(3000))
        site.publisher.publish("debian", "--paths-from", "-", "--force", stdin=names)
        epoch = str(site.publisher.status()["epoch"])
        wait_until(lambda: site.updates(epoch)[1], what="the update")
        state = open_envelope(site.ask(STATE)[1])
        assert state.topic.endswith("tree.state")
        fetched = subprocess.run(
            [sys.executable, "-m", "tests.http.history_client", site.url, site.publisher.key.line, epoch,
             str(site.authority.path)],
            cwd=REPOSITORY, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert fetched.returncode == 0, fetched.stderr
    told = json.loads(fetched.stdout)
    assert (told["updates"], told["paths"]) == (1, 3000)


def test_limits_are_those_of_the_client_behind_the_proxy(site: Site) -> None:
    """With `trusted_proxies` whoever asks too much is refused, and others go on, though all come from one address."""
    with site.publisher.config.open("a") as config:
        config.write("trusted_proxies: [127.0.0.1]\nservice_limits: {requests: 1}\n")
    with site.publisher.daemon() as daemon:
        daemon.wait_for_socket(site.publisher.control)
        statuses = [site.ask(STATE, source="127.0.0.5")[0] for _ in range(25)]
        assert statuses[:20] == [200] * 20 and 429 in statuses
        assert site.ask(STATE, source="127.0.0.6")[0] == 200
