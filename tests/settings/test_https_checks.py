"""What settings say about https, held against the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pushmirror.core.limits import Limits
from pushmirror.errors import Fault, SettingsError
from pushmirror.settings.load import load_and_inspect_publisher, load_and_inspect_subscriber, load_any
from pushmirror.settings.publisher import PublisherSettings
from tests.support.certificates import Authority

from .examples import make_surroundings, write_publisher, write_subscriber


def write_secure(root: Path) -> Path:
    """Write a publisher's file whose service is an https one, with its certificate."""
    Authority(root / "ca.crt").issue(root / "tls", "localhost")
    service = "service: https://127.0.0.1:9941"
    files = f"service_certificate: {root}/tls/service.crt\nservice_key: {root}/tls/service.key"
    return write_publisher(root, ("service: http://127.0.0.1:9941", f"{service}\n{files}"))


def faults(path: Path) -> list[tuple[int, str, str]]:
    with pytest.raises(SettingsError) as caught:
        load_and_inspect_publisher(path)
    found: tuple[Fault, ...] = caught.value.faults
    return [(fault.line, fault.key, fault.message) for fault in found]


def test_a_certificate_that_fits_is_taken(tmp_path: Path) -> None:
    """Both files in their places are all that https needs; a subscriber may name the authority."""
    make_surroundings(tmp_path)
    settings = load_and_inspect_publisher(write_secure(tmp_path))
    assert settings.service == "https://127.0.0.1:9941"
    url = "    service: http://127.0.0.1:9941\n"
    subscriber = write_subscriber(tmp_path, (url, f"{url}    service_ca: {tmp_path}/ca.crt\n"))
    assert load_and_inspect_subscriber(subscriber).upstreams["main"].service_ca == tmp_path / "ca.crt"


def test_what_is_wrong_with_the_files_is_told_at_their_keys(tmp_path: Path) -> None:
    """Missing, open to others, of another pair, no PEM: each with its line and a cure."""
    make_surroundings(tmp_path)
    path, key = write_secure(tmp_path), tmp_path / "tls" / "service.key"
    key.chmod(0o644)
    ((line, at, text),) = faults(path)
    assert (line, at) == (10, "service_key") and "chmod 600" in text
    key.unlink()
    ((line, at, text),) = faults(path)
    assert (line, at) == (10, "service_key") and "cannot be read" in text
    shutil.copy(tmp_path / "publisher.key", key)
    ((line, at, text),) = faults(path)
    assert (line, at) == (10, "service_key")
    (tmp_path / "tls" / "service.crt").write_text("nonsense")
    ((line, at, text),) = faults(path)
    assert (line, at) == (9, "service_certificate") and "PEM" in text
    url = "    service: http://127.0.0.1:9941\n"
    subscriber = write_subscriber(tmp_path, (url, f"{url}    service_ca: {tmp_path}/tls/service.crt\n"))
    with pytest.raises(SettingsError, match=r"upstreams\.main\.service_ca: holds no certificate"):
        load_and_inspect_subscriber(subscriber)


def test_a_relays_certificate_is_looked_at_in_the_same_way(tmp_path: Path) -> None:
    """Its keys stand in its own group, and outside of every tree."""
    make_surroundings(tmp_path)
    certificate, key = Authority(tmp_path / "ca.crt").issue(tmp_path / "tls", "localhost")
    files = f"  service_certificate: {certificate}\n  service_key: {key}\n"
    relay = f"relay:\n  publish: tcp://*:9942\n  service: https://*:9943\n{files}"
    path = write_subscriber(tmp_path, ("upstreams:\n", f"{relay}upstreams:\n"))
    settings = load_and_inspect_subscriber(path).relay
    assert settings is not None and (settings.service_certificate, settings.service_key) == (certificate, key)
    key.chmod(0o644)
    with pytest.raises(SettingsError, match=r"relay\.service_key: .*chmod 600"):
        load_and_inspect_subscriber(path)
    shutil.copy(certificate, tmp_path / "debian" / "service.crt")
    text = path.read_text().replace(str(certificate), str(tmp_path / "debian" / "service.crt"))
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"relay\.service_certificate: lies inside the tree debian"):
        load_and_inspect_subscriber(path)


def test_limits_are_those_of_the_program_unless_set(tmp_path: Path) -> None:
    """What is set replaces one limit and leaves the others."""
    url = "service: http://127.0.0.1:9941\n"
    default = load_any(write_publisher(tmp_path))
    assert isinstance(default, PublisherSettings) and default.service_limits.limits == Limits()
    written = write_publisher(
        tmp_path, (url, f"{url}service_limits: {{traffic: 1GB}}\ntrusted_proxies: [127.0.0.1, '::1', 10.0.0.0/8]\n")
    )
    settings = load_any(written)
    assert isinstance(settings, PublisherSettings)
    assert settings.service_limits.limits == Limits(traffic_bytes_per_minute=10**9)
    assert settings.trusted_proxies == ("127.0.0.1/32", "::1/128", "10.0.0.0/8")
