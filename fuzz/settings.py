"""A settings file: settings, or faults that each fit on a line. The operator's, but a slip must not be a crash."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fuzz.harness import CORPUS
from fuzz.parties import PINNED
from pushmirror.core.patterns import parse_pattern
from pushmirror.errors import SettingsError
from pushmirror.settings.glance import glance
from pushmirror.settings.load import load_any, load_publisher, load_subscriber

_SAMPLES = CORPUS.parent.parent / "config"


@cache
def _descriptor() -> int:
    return os.memfd_create("settings")


def check(data: bytes) -> None:
    """Read `data` as a file for either daemon, and at a glance, as commands do; and as a pattern of a filter."""
    os.ftruncate(_descriptor(), 0)
    os.pwrite(_descriptor(), data, 0)
    path = Path(f"/proc/self/fd/{_descriptor()}")
    for load in (load_any, load_publisher, load_subscriber, glance):
        try:
            load(path)
        except SettingsError as error:
            assert error.faults
            assert all("\n" not in str(fault) for fault in error.faults), str(error)
    _check_pattern(data[:256].decode("utf-8", "replace"))


def _check_pattern(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except ValueError:
        return
    for path in (b"a", b"pool/main/a.deb", text.encode()):
        pattern.matches(path, is_directory=True)


def seeds() -> Iterable[bytes]:
    """Yield the samples, settings with everything in them, and YAML that does more than settings need."""
    for name in ("publisher.yaml", "subscriber.yaml"):
        yield (_SAMPLES / name).read_bytes()
    yield (
        "name: t2.example.net\nstate_dir: /s\nkey: /k\ncontrol: /c\n"
        "upstreams:\n  main:\n    topic_prefix: org.example\n"
        f"    environment: prod\n    keys: ['{PINNED.public.line}']\n    relays:\n      r:\n        publish: tcp://h:1\n"
        f"        service: https://h:2\n        keys: ['{PINNED.public.line}']\ntrees:\n  debian:\n    upstream: main\n"
        "    path: /m\n    profile: deb\n    sources:\n      - {url: rsync://h/m/, relay: r}\n"
        "      - {url: rsync://i/m/, marker: project/trace/x}\n      - rsync://j/m/\n"
        "    coalesce: 5s\n    max_age: 1d\n    delete_budget: {count: 1, percent: 2, limit: 3}\n"
        "    exclude: ['*/debug/*', '/a', 'b/', '[a-z]*', '***']\n    bandwidth: 25MB\n"
    ).encode()
    yield (
        b"name: m\nstate_dir: /s\nkey: /k\nbus: {publish: 'tcp://*:1', topic_prefix: a.b, environment: c}\n"
        b"service: http://[::1]:2\ncontrol: /c\nhistory: {age: 30d, size: 1GB}\n"
        b"service_limits: {connections: 1, requests: 2, traffic: 3MB}\ntrusted_proxies: [127.0.0.1, '::1/64']\n"
        b"trees:\n  t: {path: /t, detect: {scan: 5m, thorough: 24h, watch: {settle: 10s}, exclude: [x]}}\n"
    )
    yield from (
        b"", b"a", b"- a", b"a: &x 1\nb: *x\n", b"a: [" * 40, b"a: !!python/object:os.system x\n", b"a: 2026-13-45\n",
        b"? [a]\n: b\n", b"a: 1\n---\nb: 2\n", b"a: 1e999\nb: .nan\nc: 0x" + b"f" * 5000, b"<<: {a: 1}\n",
        b"a:\n\tb: 1\n",
        b"trees: {\"a\\nb\": {path: \"\\u202e\"}}\n", b"a: !!binary 'x'\nb: !!timestamp 'x'\n", b"\xef\xbb\xbfa: 1\n",
        b"a: 190:20:30\nb: 0b1\nc: 0o7\nd: 1_000\n", b"a: 'x\n", b"%YAML 9.9\n---\na: 1\n",
    )  # fmt: skip
