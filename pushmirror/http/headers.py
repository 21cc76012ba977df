"""Headers as the other side has sent them: bytes of any kind, read as text without a fault."""

from __future__ import annotations

from twisted.web.http_headers import Headers


def read_header(headers: Headers, name: str) -> list[str]:
    """Return the values of a header, each byte as one character. Twisted's own text raises for what is not UTF-8."""
    return [value.decode("latin-1") for value in headers.getRawHeaders(name.encode("ascii"), [])]
