"""A client of rpm repositories with an empty cache: follows repomd.xml to every index and every package."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import xml.etree.ElementTree as xml
from collections.abc import Iterator, Sequence

REPOSITORY_NAMES = {"repo": "http://linux.duke.edu/metadata/repo", "common": "http://linux.duke.edu/metadata/common"}
TIMEOUT_SECONDS = 20


class _Broken(Exception):
    """The repository does not hold what it says it holds."""


class RpmClient:
    """A reader of the repository that the web server on `port` of loopback serves; it expects the packages `names`."""

    optional: tuple[str, ...] = ()
    """It does without nothing of what it asks for."""

    def __init__(self, port: int, names: Sequence[str]) -> None:
        self._port = port
        self._names = names

    def read(self) -> list[str]:
        """Read the whole repository, beginning with nothing, as far as it goes; return what went wrong."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)
        try:
            self._follow(connection)
        except (_Broken, http.client.HTTPException, OSError, xml.ParseError) as error:
            return [str(error) or repr(error)]
        finally:
            connection.close()
        return []

    def _follow(self, connection: http.client.HTTPConnection) -> None:
        indexes = {
            kind: _fetch(connection, path, algorithm, checksum)
            for kind, path, algorithm, checksum in _indexes(_fetch(connection, "repodata/repomd.xml"))
        }
        names = set()
        for name, path, algorithm, checksum in _packages(gzip.decompress(indexes["primary"])):
            _fetch(connection, path, algorithm, checksum)
            names.add(name)
        if names != set(self._names):
            raise _Broken(f"other packages than expected: {sorted(names)}")


def _fetch(connection: http.client.HTTPConnection, path: str, algorithm: str = "", checksum: str = "") -> bytes:
    """Return the content of `path`; raise _Broken when it is not there or not what the checksum says."""
    connection.request("GET", f"/{path}")
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != http.client.OK:
        raise _Broken(f"{answer.status} {path}")
    if checksum and hashlib.new(algorithm, content).hexdigest() != checksum:
        raise _Broken(f"checksum mismatch: {path}")
    return content


def _indexes(repomd: bytes) -> Iterator[tuple[str, str, str, str]]:
    """Yield kind, path, kind of checksum and checksum of each index that repomd.xml names."""
    for data in xml.fromstring(repomd).findall("repo:data", REPOSITORY_NAMES):
        location, checksum = (data.find(f"repo:{part}", REPOSITORY_NAMES) for part in ("location", "checksum"))
        assert location is not None and checksum is not None
        yield data.attrib["type"], location.attrib["href"], checksum.attrib["type"], checksum.text or ""


def _packages(primary: bytes) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, path, kind of checksum and checksum of each package that the primary index names."""
    for package in xml.fromstring(primary).findall("common:package", REPOSITORY_NAMES):
        location, checksum = (package.find(f"common:{part}", REPOSITORY_NAMES) for part in ("location", "checksum"))
        assert location is not None and checksum is not None
        name = package.findtext("common:name", "", REPOSITORY_NAMES)
        yield name, location.attrib["href"], checksum.attrib["type"], checksum.text or ""
