"""A client of rpm repositories reads a mirror of ours while Tier 1 goes from version to version without waiting."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.proof import ROUNDS, ROUNDS_IN_FULL, need, prove, shown_faults
from tests.clients.rpm_client import RpmClient
from tests.clients.rpm_repository import NEEDED_PROGRAMS, RpmRepository
from tests.clients.web import WebServer
from tests.support.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(ROUNDS_IN_FULL * 10 + 300)]


@pytest.fixture(autouse=True)
def _programs() -> None:
    need(NEEDED_PROGRAMS)


def test_a_client_never_sees_a_broken_rpm_repository(tmp_path: Path, full: bool) -> None:
    """From repomd.xml to every package: no wrong checksum, no missing file; at the end the mirror is exact."""
    with World(tmp_path) as world:
        repository = RpmRepository(world.tree, tmp_path / "building")
        rounds = prove(
            world,
            repository,
            lambda web: RpmClient(web.port, repository.names),
            ROUNDS_IN_FULL if full else ROUNDS,
        )
        assert shown_faults(rounds) == []


def test_the_client_reads_the_repository(tmp_path: Path) -> None:
    """The repository is one in which everything is as its indexes say, after several versions."""
    repository = make_repository(tmp_path)
    with WebServer(repository.root) as web:
        assert RpmClient(web.port, repository.names).read() == []
        assert web.take_refused() == []


def test_the_client_notices_a_missing_package(tmp_path: Path) -> None:
    """So a round that is not broken had every package."""
    repository = make_repository(tmp_path)
    next(repository.root.glob("Packages/*/sample-07-*")).unlink()
    with WebServer(repository.root) as web:
        assert "404" in " ".join(RpmClient(web.port, repository.names).read())


def test_the_client_notices_another_package_than_announced(tmp_path: Path) -> None:
    """So a round that is not broken had no wrong checksum."""
    repository = make_repository(tmp_path)
    package = next(repository.root.glob("Packages/*/sample-07-*"))
    package.write_bytes(bytes(package.stat().st_size))
    with WebServer(repository.root) as web:
        assert "checksum mismatch" in " ".join(RpmClient(web.port, repository.names).read())


def test_the_client_notices_a_missing_index(tmp_path: Path) -> None:
    """So a round that is not broken had every index that repomd.xml names."""
    repository = make_repository(tmp_path)
    next(repository.root.glob("repodata/*filelists*")).unlink()
    with WebServer(repository.root) as web:
        assert "filelists" in " ".join(RpmClient(web.port, repository.names).read())


def make_repository(tmp_path: Path) -> RpmRepository:
    """Return a repository at its second version."""
    root = tmp_path / "tree"
    root.mkdir()
    repository = RpmRepository(root, tmp_path / "building")
    repository.step()
    repository.step()
    return repository
