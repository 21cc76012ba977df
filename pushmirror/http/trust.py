"""Whom a client believes over https, and in plain words why it does not believe a certificate."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName
from OpenSSL.SSL import Connection
from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate as TrustedCertificate
from twisted.internet.ssl import optionsForClientTLS, trustRootFromCertificates
from zope.interface import implementer

from pushmirror.settings.certificates import read_certificates

_MAX_NAMES = 5


class Trust:
    """The authorities that are believed: those of the system, or instead those in the file `authorities`.

    Raises KeyFileError when that file has none.
    """

    def __init__(self, authorities: Path | None = None) -> None:
        self._root: Any = None
        if authorities is not None:
            pem = [each.public_bytes(Encoding.PEM) for each in read_certificates(authorities)]
            trusted = [TrustedCertificate.loadPEM(each) for each in pem]
            self._root = trustRootFromCertificates(trusted)  # type: ignore[no-untyped-call]  # Twisted's

    def introduce(self, host: str) -> Introduction:
        """Return what makes one TLS connection to `host`."""
        return Introduction(host, optionsForClientTLS(host, self._root))


@implementer(IOpenSSLClientConnectionCreator)
class Introduction:
    """One TLS connection to `host`, which has to prove that it is `host`."""

    def __init__(self, host: str, creator: Any) -> None:
        self._host = host
        self._creator = creator
        self._connection: Connection | None = None

    def clientConnectionForTLS(self, protocol: Any) -> Connection:
        """Return the TLS side of the connection; for Twisted."""
        connection: Connection = self._creator.clientConnectionForTLS(protocol)
        self._connection = connection
        return connection

    def explain(self, error: BaseException | None, now: datetime) -> str | None:
        """Return why the connection ended, if that was for TLS; None when it was not."""
        shown = self._shown()
        if isinstance(error, VerificationError):
            names = f": it is for {', '.join(_names(shown[0]))}" if shown else ""
            return f"the certificate is not for {self._host}{names}"
        if not isinstance(error, TlsError):
            return None
        reasons = [str(part[-1]) for part in (error.args[0] if error.args else ()) if part]
        if "certificate verify failed" in reasons:
            return _judge(shown, now)
        return f"TLS failed: {', '.join(reasons) or 'the connection was cut'}"

    def _shown(self) -> list[Certificate]:
        chain = self._connection.get_verified_chain() if self._connection is not None else None
        return [each.to_cryptography() for each in chain or ()]


def _judge(shown: list[Certificate], now: datetime) -> str:
    for certificate in shown:
        name = certificate.subject.rfc4514_string()
        if certificate.not_valid_after_utc < now:
            return f"the certificate has expired: {name}, on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        if certificate.not_valid_before_utc > now:
            start = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            return f"the certificate is not valid yet: {name}, before {start}; look at the clocks"
    issuer = f" ({shown[-1].issuer.rfc4514_string()})" if shown else ""
    return f"the certificate comes from an authority that is unknown here{issuer}: name its file as service_ca"


def _names(certificate: Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except (ExtensionNotFound, ValueError):
        return [certificate.subject.rfc4514_string() or "nobody"]
    names = [*found.get_values_for_type(DNSName), *map(str, found.get_values_for_type(IPAddress))]
    return names[:_MAX_NAMES] or ["nobody"]
