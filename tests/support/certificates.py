"""Certificates for tests: an authority of one's own, and what it issues."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

NOW = datetime.now(timezone.utc)
DAY = timedelta(days=1)
_MAY_SIGN = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


class Authority:
    """An authority whose certificate lies in `path`; one that was itself issued by `above` is an intermediate one."""

    def __init__(self, path: Path, name: str = "test authority", above: Authority | None = None) -> None:
        self.path = path
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = generate_private_key(SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = _describe(self._name, self._key, NOW - DAY, NOW + 30 * DAY).add_extension(constraints, critical=True)
        builder = builder.add_extension(_MAY_SIGN, critical=True)
        self.certificate = (above or self)._sign(builder)
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue(
        self,
        folder: Path,
        *names: str,
        start: datetime = NOW - DAY,
        end: datetime = NOW + DAY,
        chain: tuple[Authority, ...] = (),
        passphrase: bytes | None = None,
    ) -> tuple[Path, Path]:
        """Write a certificate for hosts and addresses, and its key, into `folder`; return both paths."""
        key = generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = _describe(subject, key, start, end).add_extension(alternatives, critical=False)
        issued = self._sign(builder)
        shown = [issued, *(each.certificate for each in chain)]
        folder.mkdir(exist_ok=True)
        certificate_path, key_path = folder / "service.crt", folder / "service.key"
        certificate_path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in shown))
        key_path.touch(mode=0o600)
        hidden: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
        return certificate_path, key_path

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(identifier, critical=False).issuer_name(self._name).sign(self._key, SHA256())


def _describe(
    subject: x509.Name, key: EllipticCurvePrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
