"""Which daemon a settings file is for."""

from __future__ import annotations

from pushmirror.errors import SettingsError
from pushmirror.settings.document import Document

PUBLISHER = "publisher"
SUBSCRIBER = "subscriber"


def find_role(document: Document) -> str:
    """Return `PUBLISHER` or `SUBSCRIBER`. Raises SettingsError for a file that looks like both or neither."""
    is_publisher, is_subscriber = "bus" in document.data, "upstreams" in document.data
    if is_publisher == is_subscriber:
        found = "both" if is_publisher else "neither"
        message = f"a publisher's file has the key bus, a subscriber's has upstreams: this one has {found}"
        raise SettingsError((document.fault((), message),))
    return PUBLISHER if is_publisher else SUBSCRIBER
