"""A real rpm repository, made by rpmbuild and createrepo_c."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.clients.deb_repository import run
from tests.clients.repository import Repository, put, unlink_all

NEEDED_PROGRAMS = ("rpmbuild", "createrepo_c")
REPOMD = "repomd.xml"
SPEC_HEAD = """\
Name: samples
Version: {version}
Release: 1
Summary: samples
License: MIT
BuildArch: noarch
%define _binary_payload w0.gzdio
%description
Samples.
%install
cp -r {content} %{{buildroot}}/samples
"""
SPEC_PART = """\
%package -n {name}
Summary: a sample
%description -n {name}
A sample.
%files -n {name}
/samples/{name}
"""


class RpmRepository(Repository):
    """Packages beside ``repodata``, whose files carry their checksums in their names; only one generation is kept."""

    profile = "rpm"
    entry = f"repodata/{REPOMD}"

    def build(self, sizes: Mapping[str, int]) -> dict[str, Path]:
        """Build packages of this version with so many bytes of content that does not compress, all in one go."""
        content, built = self.work / "content", self.work / "built"
        for folder in (content, built):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        for name, size_bytes in sizes.items():
            (content / name).write_bytes(os.urandom(size_bytes))
        spec = self.work / "samples.spec"
        head = SPEC_HEAD.format(version=self.version, content=content)
        spec.write_text(head + "".join(SPEC_PART.format(name=name) for name in sizes))
        places = {"_topdir": self.work / "rpmbuild", "_rpmdir": built, "__os_install_post": "%{nil}"}
        defined = [part for name, value in places.items() for part in ("--define", f"{name} {value}")]
        run("rpmbuild", "-bb", "--quiet", *defined, str(spec))
        return {name: built / "noarch" / f"{name}-{self.version}-1.noarch.rpm" for name in sizes}

    def place(self, name: str, file_name: str) -> str:
        """Return the place among the packages."""
        return f"Packages/{name[-1]}/{file_name}"

    def write_indexes(self) -> None:
        """Put the new indexes in place, and repomd.xml after them."""
        out = self.work / "indexes"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        run("createrepo_c", "--quiet", "--no-database", "--outputdir", str(out), str(self.current))
        built = sorted((out / "repodata").iterdir(), key=lambda path: path.name == REPOMD)
        self._indexes = {path.name for path in built}
        for path in built:
            put(path, self.root / "repodata" / path.name)

    def drop_old_indexes(self) -> None:
        """Delete the indexes that repomd.xml does not name."""
        there = (self.root / "repodata").iterdir()
        unlink_all(path for path in list(there) if path.name not in self._indexes)
