"""Checks of what settings say about https: that it goes together, and that the files are there and fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pushmirror.errors import KeyFileError
from pushmirror.settings.document import Document, KeyPath

_SERVICE, _CERTIFICATE, _KEY = "service", "service_certificate", "service_key"


def https_files(group: KeyPath = ()) -> tuple[KeyPath, KeyPath]:
    """Return where the certificate and the key of the service stand whose settings are in `group`."""
    return (*group, _CERTIFICATE), (*group, _KEY)


def check_https(document: Document, group: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield what does not go together about the service whose settings are in `group`: key and message."""
    address = document.value((*group, _SERVICE))
    secure = isinstance(address, str) and address.startswith("https://")
    for key, what in zip(https_files(group), ("certificate", "private key of its certificate"), strict=True):
        given = document.value(key) is not None
        if secure and not given:
            yield (*group, _SERVICE), f"https:// needs {key[-1]} as well: the file with the {what}"
        elif given and isinstance(address, str) and not secure:
            yield key, "does nothing for a service with http://: write https://, or remove the key"


def look_at_https(certificate: Path | None, key: Path | None, group: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with the files of an https service: key and message."""
    from pushmirror.settings.certificates import check_server_certificate  # loads much, for few

    if certificate is None or key is None:
        return
    try:
        check_server_certificate(certificate, key)
    except KeyFileError as error:
        at_certificate, at_key = https_files(group)
        yield at_key if str(error).startswith(f"{key}:") else at_certificate, str(error).partition(": ")[2]


def look_at_authorities(key: KeyPath, path: Path) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with a file of authorities."""
    from pushmirror.settings.certificates import read_certificates

    try:
        read_certificates(path)
    except KeyFileError as error:
        yield key, str(error).partition(": ")[2]
