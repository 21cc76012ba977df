"""A real apt client reads a mirror of ours while Tier 1 goes from version to version without waiting for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.apt_client import AptClient
from tests.clients.deb_repository import NEEDED_PROGRAMS, DebRepository
from tests.clients.proof import ROUNDS, ROUNDS_IN_FULL, need, prove, shown_faults
from tests.clients.web import WebServer
from tests.support.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(ROUNDS_IN_FULL * 10 + 300)]


@pytest.fixture(autouse=True)
def _programs() -> None:
    need(NEEDED_PROGRAMS)


def test_apt_never_sees_a_broken_repository(tmp_path: Path, full: bool) -> None:
    """With an empty cache each time: not one hash mismatch, not one missing file; at the end the mirror is exact."""
    with World(tmp_path) as world:
        repository = DebRepository(world.tree, tmp_path / "building")
        rounds = prove(
            world,
            repository,
            lambda web: AptClient(web.url, tmp_path / "apt", repository.names),
            ROUNDS_IN_FULL if full else ROUNDS,
        )
        assert shown_faults(rounds) == []


def test_apt_reads_the_repository_by_hash(tmp_path: Path) -> None:
    """The repository is one that apt takes without a complaint, and it asks for the index under its checksum."""
    repository = make_repository(tmp_path)
    with WebServer(repository.root) as web:
        index = repository.root / "dists/stable/main/binary-amd64"
        for plain in (index / "Packages", index / "Packages.gz"):
            plain.unlink()
        assert AptClient(web.url, tmp_path / "apt", repository.names).read() == []
        assert all(line.endswith(AptClient.optional) for line in web.take_refused())


def test_apt_notices_a_missing_package(tmp_path: Path) -> None:
    """So a round that is not broken had every package."""
    repository = make_repository(tmp_path)
    next(repository.root.glob("pool/*/sample-07/*")).unlink()
    with WebServer(repository.root) as web:
        faults = AptClient(web.url, tmp_path / "apt", repository.names).read()
        assert any("sample-07" in fault and "404" in fault for fault in faults)
        assert any("sample-07" in line for line in web.take_refused())


def test_apt_notices_another_package_than_announced(tmp_path: Path) -> None:
    """So a round that is not broken had no hash mismatch."""
    repository = make_repository(tmp_path)
    package = next(repository.root.glob("pool/*/sample-07/*"))
    package.write_bytes(bytes(package.stat().st_size))
    with WebServer(repository.root) as web:
        faults = AptClient(web.url, tmp_path / "apt", repository.names).read()
        assert any("Hash Sum mismatch" in fault for fault in faults), faults


def test_apt_notices_indexes_of_another_version(tmp_path: Path) -> None:
    """Where indexes are not kept under their checksums, a Release that is older than they are is a mismatch."""
    repository = make_repository(tmp_path, by_hash=False)
    release = (repository.root / repository.entry).read_bytes()
    repository.step()
    (repository.root / repository.entry).write_bytes(release)
    with WebServer(repository.root) as web:
        assert AptClient(web.url, tmp_path / "apt", repository.names).read()


def make_repository(tmp_path: Path, *, by_hash: bool = True) -> DebRepository:
    """Return a repository at its second version."""
    root = tmp_path / "tree"
    root.mkdir()
    repository = DebRepository(root, tmp_path / "building", by_hash=by_hash)
    repository.step()
    repository.step()
    return repository
