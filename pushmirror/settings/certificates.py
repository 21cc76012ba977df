"""Certificates for https that settings name, as files in PEM. Everything here raises KeyFileError, with advice."""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates

from pushmirror.errors import KeyFileError

_MAX_FILE_BYTES = 4 * 1024 * 1024
_GROUP_AND_OTHERS = 0o077


def check_server_certificate(certificate_path: Path, key_path: Path) -> Certificate:
    """Return the certificate that a service shows: the first in its file, of which the other file has the private key.

    The key must be closed to other users, must not need a passphrase, and has to fit.
    """
    certificate = read_certificates(certificate_path)[0]
    key = _read_public_half(key_path)
    if _as_bytes(key) != _as_bytes(certificate.public_key()):
        raise KeyFileError(
            f"{key_path}: is not the key of the first certificate in {certificate_path}: "
            "name a pair that was issued together, and let the certificate of the service be the first"
        )
    return certificate


def read_certificates(path: Path) -> list[Certificate]:
    """Return the certificates in a file, at least one."""
    try:
        return load_pem_x509_certificates(_read(path)[0])
    except ValueError as error:
        raise KeyFileError(f"{path}: holds no certificate: it has to be in PEM, -----BEGIN CERTIFICATE-----") from error


def _read_public_half(path: Path) -> PublicKeyTypes:
    content, mode = _read(path)
    if mode & _GROUP_AND_OTHERS:
        raise KeyFileError(f"{path}: other users may open this private key (mode {mode:04o}); run: chmod 600 {path}")
    try:
        return load_pem_private_key(content, password=None).public_key()
    except TypeError as error:  # cryptography's way of asking for a passphrase
        raise KeyFileError(f"{path}: is protected by a passphrase, which a daemon cannot type: remove it") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: holds no private key: it has to be in PEM") from error


def _as_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_FILE_BYTES), stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror or error}") from error
