"""The systemd drop-in for the trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.settings.dropin import compose_dropin
from pushmirror.settings.load import load_any

from .examples import write_publisher, write_subscriber


def service_lines(path: Path) -> list[str]:
    """Return what the drop-in for a settings file sets in its [Service] section."""
    lines = compose_dropin(load_any(path)).text.splitlines()
    assert lines[1] == "[Service]"
    return lines[2:]


@pytest.fixture
def in_srv(tmp_path: Path) -> tuple[tuple[str, str], ...]:
    """Replacements by which the examples use the folders that the units expect."""
    return (
        (f"{tmp_path}/debian", "/srv/debian"),
        (f"{tmp_path}/fedora", "/srv/fedora"),
        (f"{tmp_path}/state", "/var/lib/pushmirror/ROLE"),
    )


def own(role: str, root: Path, replacements: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """Fill the role in, and put the control socket where the unit makes its folder."""
    named = [(old, new.replace("ROLE", role)) for old, new in replacements]
    return [*named, (f"{root}/{role}.sock", f"/run/pushmirror/{role}.sock")]


def test_a_subscriber_may_write_its_trees(tmp_path: Path, in_srv: tuple[tuple[str, str], ...]) -> None:
    """Each tree is made writable, and nothing else."""
    path = write_subscriber(tmp_path, *own("subscriber", tmp_path, in_srv))
    assert service_lines(path) == ["ReadWritePaths=-/srv/debian", "ReadWritePaths=-/srv/fedora"]
    assert compose_dropin(load_any(path)).path == "/etc/systemd/system/pushmirror-subscriber.service.d/trees.conf"


def test_a_publisher_only_reads_its_trees(tmp_path: Path, in_srv: tuple[tuple[str, str], ...]) -> None:
    """Trees of a publisher stay read-only."""
    path = write_publisher(tmp_path, *own("publisher", tmp_path, in_srv))
    assert service_lines(path) == ["ReadOnlyPaths=-/srv/debian", "ReadOnlyPaths=-/srv/fedora"]


def test_a_tree_and_its_staging_folder_share_one_mount(tmp_path: Path, in_srv: tuple[tuple[str, str], ...]) -> None:
    """Files are renamed from the staging folder into the tree, which no two mounts allow: one path covers both."""
    path = write_subscriber(
        tmp_path, *own("subscriber", tmp_path, in_srv), ("coalesce: 5s", "staging_dir: /srv/.staging/fedora")
    )
    assert service_lines(path) == ["ReadWritePaths=-/srv"]


def test_the_whole_machine_is_never_opened(tmp_path: Path, in_srv: tuple[tuple[str, str], ...]) -> None:
    """A staging folder that shares nothing with its tree is named by itself."""
    path = write_subscriber(
        tmp_path, *own("subscriber", tmp_path, in_srv), ("coalesce: 5s", "staging_dir: /staging/fedora")
    )
    assert "ReadWritePaths=-/staging/fedora" in service_lines(path)


def test_trees_in_hidden_places_are_mounted_in(tmp_path: Path, in_srv: tuple[tuple[str, str], ...]) -> None:
    """What the unit hides, homes and temporary folders, comes back by a mount, writable or not as the role needs."""
    homes = tuple((old, new.replace("/srv", "/home/mirror")) for old, new in in_srv)
    subscriber = write_subscriber(tmp_path, *own("subscriber", tmp_path, homes))
    assert service_lines(subscriber) == [
        "ProtectHome=tmpfs", "BindPaths=-/home/mirror/debian", "BindPaths=-/home/mirror/fedora"
    ]  # fmt: skip
    publisher = write_publisher(tmp_path, *own("publisher", tmp_path, homes), ("/home/mirror/debian", "/tmp/debian"))
    assert service_lines(publisher) == [
        "ProtectHome=tmpfs", "BindReadOnlyPaths=-/tmp/debian", "BindReadOnlyPaths=-/home/mirror/fedora"
    ]  # fmt: skip


def test_folders_of_its_own_that_the_unit_does_not_make_are_writable(
    tmp_path: Path, in_srv: tuple[tuple[str, str], ...]
) -> None:
    """A state folder and a socket elsewhere are let in too, for a publisher as well."""
    elsewhere = [
        (old, new.replace("/var/lib/pushmirror/", "/srv/state/").replace("/run/pushmirror/", "/srv/run/"))
        for old, new in own("publisher", tmp_path, in_srv)
    ]
    lines = service_lines(write_publisher(tmp_path, *elsewhere))
    assert lines[2:] == ["ReadWritePaths=-/srv/state/publisher", "ReadWritePaths=-/srv/run"]


@pytest.mark.parametrize(
    ("folder", "line"),
    [("/srv/a b", '"-/srv/a b"'), ("/srv/100%", "-/srv/100%%"), ('/srv/a"b', '"-/srv/a\\"b"'),
     ("/srv/a\\b", '"-/srv/a\\\\b"'), ("/srv/ü", "-/srv/ü")],
)  # fmt: skip
def test_odd_names_are_quoted_for_systemd(
    tmp_path: Path, in_srv: tuple[tuple[str, str], ...], folder: str, line: str
) -> None:
    """Spaces, quotes, backslashes and percent signs reach systemd as they are."""
    path = write_subscriber(tmp_path, *own("subscriber", tmp_path, in_srv), ("path: /srv/debian", f"path: '{folder}'"))
    assert service_lines(path)[0] == f"ReadWritePaths={line}"
