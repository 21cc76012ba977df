"""A real apt repository, made by dpkg-deb and apt-ftparchive."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.clients.repository import Repository, put

GENERATIONS_KEPT = 3
SUITE = "stable"
COMPONENT = "main"
ARCHITECTURE = "amd64"
INDEX_FOLDER = f"dists/{SUITE}/{COMPONENT}/binary-{ARCHITECTURE}"
NEEDED_PROGRAMS = ("dpkg-deb", "apt-ftparchive", "apt-get")
RELEASE_FIELDS = {
    "Origin": "example",
    "Suite": SUITE,
    "Codename": SUITE,
    "Architectures": ARCHITECTURE,
    "Components": COMPONENT,
}


class DebRepository(Repository):
    """One suite with one component, and with `by_hash` the indexes under their checksums too, of some generations."""

    profile = "deb"
    entry = f"dists/{SUITE}/Release"

    def __init__(self, root: Path, work: Path, *, by_hash: bool = True, seed: int = 1) -> None:
        super().__init__(root, work, seed=seed)
        self._by_hash = by_hash
        self._generations: list[list[Path]] = []

    def build(self, sizes: Mapping[str, int]) -> dict[str, Path]:
        """Build packages of this version with so many bytes of content that does not compress."""
        return {name: self._build_one(name, size_bytes) for name, size_bytes in sizes.items()}

    def _build_one(self, name: str, size_bytes: int) -> Path:
        source = self.work / name
        (source / "DEBIAN").mkdir(parents=True)
        (source / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: {self.version}\nArchitecture: all\n"
            "Maintainer: Nobody <nobody@example.org>\nDescription: a sample\n"
        )
        content = source / "usr" / "share" / name
        content.mkdir(parents=True)
        (content / "data").write_bytes(os.urandom(size_bytes))
        package = self.work / f"{name}_{self.version}_all.deb"
        run("dpkg-deb", "-Znone", "--root-owner-group", "--build", str(source), str(package))
        shutil.rmtree(source)
        return package

    def place(self, name: str, file_name: str) -> str:
        """Return the place in the pool."""
        return f"pool/{COMPONENT}/{name}/{file_name}"

    def write_indexes(self) -> None:
        """Put the new indexes in place, under their checksums first, and Release after them."""
        release = self._build_release()
        built = sorted((self.work / INDEX_FOLDER).iterdir())
        if self._by_hash:
            self._generations.append([self._put_by_hash(index) for index in built])
        for index in built:
            put(index, self.root / INDEX_FOLDER / index.name)
        put(release, self.root / self.entry)

    def _build_release(self) -> Path:
        """Build the indexes and the Release file over them, in `work`; return the latter."""
        folder = self.work / INDEX_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        index = run("apt-ftparchive", *options(False), "packages", "pool", folder=self.current)
        (folder / "Packages").write_bytes(index)
        (folder / "Packages.gz").write_bytes(gzip.compress(index, mtime=0))
        release = self.work / "Release"
        fields = {**RELEASE_FIELDS, "Version": str(self.version)}
        named = [f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in fields.items()]
        release.write_bytes(
            run("apt-ftparchive", *options(self._by_hash), *named, "release", f"dists/{SUITE}", folder=self.work)
        )
        return release

    def _put_by_hash(self, index: Path) -> Path:
        """Give an index that is about to be put in place its second name, by its checksum; return that."""
        checksum = hashlib.sha256(index.read_bytes()).hexdigest()
        target = self.root / INDEX_FOLDER / "by-hash" / "SHA256" / checksum
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(index, target)
        return target

    def drop_old_indexes(self) -> None:
        """Delete what is older than the generations that the archive keeps."""
        while len(self._generations) > GENERATIONS_KEPT:
            for path in self._generations.pop(0):
                path.unlink()


def options(by_hash: bool) -> list[str]:
    """Return the options of apt-ftparchive: SHA256 is the only checksum, so that one folder by hash is enough."""
    unused = [f"-oAPT::FTPArchive::{kind}=false" for kind in ("MD5", "SHA1", "SHA512")]
    return [*unused, f"-oAPT::FTPArchive::Release::Acquire-By-Hash={'yes' if by_hash else 'no'}"]


def run(*arguments: str, folder: Path | None = None) -> bytes:
    """Run a program to its end, in `folder`; return what it printed. Fails when the program does."""
    done = subprocess.run(arguments, cwd=folder, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stderr.decode(errors='replace')}"
    return done.stdout
