"""A real apt client with an empty cache: reads the indexes of a repository, and then downloads every package."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.clients.deb_repository import ARCHITECTURE, COMPONENT, SUITE
from tests.support.processes import clean_environment

SETTINGS = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "0";
Acquire::http::Proxy::127.0.0.1 "DIRECT";
Acquire::http::Timeout "20";
Dir::Cache "{folder}/cache/";
Dir::State "{folder}/state/";
Dir::State::status "{folder}/status";
Dir::Etc "{folder}/etc/";
Dir::Etc::parts "{folder}/etc/none/";
Dir::Etc::sourceparts "{folder}/etc/none/";
Dir::Etc::preferencesparts "{folder}/etc/none/";
Dir::Log "{folder}/log/";
"""


class AptClient:
    """apt, with settings and state of its own in the new folder `folder`; it asks the archive at `url` for `names`."""

    optional: tuple[str, ...] = ("/InRelease", "/Release.gpg")
    """The ends of what it asks for and does without: this archive is not signed."""

    def __init__(self, url: str, folder: Path, names: Sequence[str]) -> None:
        self._url = url
        self._folder = folder
        self._names = names
        self._settings = folder / "apt.conf"
        self._downloads = folder / "downloads"

    def read(self) -> list[str]:
        """Read the whole repository, beginning with nothing; return what went wrong, in apt's own words."""
        self._forget_everything()
        faults = self._run("update") or self._run("download", *self._names)
        got = {path.name.partition("_")[0] for path in self._downloads.glob("*.deb")}
        missing = [] if faults else sorted(set(self._names) - got)
        return [*faults, *(f"{name} did not arrive" for name in missing)]

    def _forget_everything(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        for name in ("cache/archives/partial", "state/lists/partial", "etc/none", "log", "downloads"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "status").touch()
        self._settings.write_text(SETTINGS.format(architecture=ARCHITECTURE, folder=self._folder))
        (self._folder / "etc" / "sources.list").write_text(f"deb [trusted=yes] {self._url} {SUITE} {COMPONENT}\n")

    def _run(self, *arguments: str) -> list[str]:
        """Run apt-get; return the lines that say what went wrong, none when it ended well."""
        done = subprocess.run(
            ["apt-get", "-q", *arguments],
            cwd=self._downloads,
            env={**clean_environment(), "LC_ALL": "C", "APT_CONFIG": str(self._settings)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        if done.returncode == 0:
            return []
        lines = done.stdout.decode(errors="replace").splitlines()
        told = [line.strip() for line in lines if line.startswith(("E:", "Err:", " "))]
        return told or [f"apt-get {arguments[0]} ended with {done.returncode}", *lines[-3:]]
