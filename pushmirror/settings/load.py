"""A settings file as a checked model, or all of its faults at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from pushmirror.errors import Fault, SettingsError
from pushmirror.settings.common import SettingsModel
from pushmirror.settings.cross import Problem, cross_check_publisher, cross_check_subscriber
from pushmirror.settings.document import Document, format_key, read_document
from pushmirror.settings.inspect import inspect_publisher, inspect_subscriber
from pushmirror.settings.known import list_keys
from pushmirror.settings.publisher import PublisherSettings
from pushmirror.settings.roles import PUBLISHER, SUBSCRIBER, find_role
from pushmirror.settings.subscriber import SubscriberSettings
from pushmirror.settings.wording import list_problems

Settings = TypeVar("Settings", bound=SettingsModel)


@dataclass(frozen=True)
class Role(Generic[Settings]):
    """What makes a publisher's file differ from a subscriber's."""

    name: str
    model: type[Settings]
    cross_check: Callable[[Document], list[Problem]]
    inspect: Callable[[Document], tuple[Fault, ...]]


PUBLISHER_ROLE = Role(PUBLISHER, PublisherSettings, cross_check_publisher, inspect_publisher)
SUBSCRIBER_ROLE = Role(SUBSCRIBER, SubscriberSettings, cross_check_subscriber, inspect_subscriber)


def load_publisher(path: Path) -> PublisherSettings:
    """Return the settings of a publisher, without a look at the disk. Raises SettingsError with all faults."""
    return _load(read_document(path), PUBLISHER_ROLE, inspected=False)


def load_subscriber(path: Path) -> SubscriberSettings:
    """Return the settings of a subscriber, without a look at the disk. Raises SettingsError with all faults."""
    return _load(read_document(path), SUBSCRIBER_ROLE, inspected=False)


def load_any(path: Path) -> PublisherSettings | SubscriberSettings:
    """Return the settings of whichever daemon the file is for. Raises SettingsError with all faults."""
    return _load_any(path, inspected=False)


def load_and_inspect_publisher(path: Path) -> PublisherSettings:
    """Return the settings of a publisher whose folders and files are as they must be.

    Raises SettingsError with all faults, of the file and of what it names.
    """
    return _load(read_document(path), PUBLISHER_ROLE, inspected=True)


def load_and_inspect_subscriber(path: Path) -> SubscriberSettings:
    """Return the settings of a subscriber whose folders and files are as they must be.

    Raises SettingsError with all faults, of the file and of what it names.
    """
    return _load(read_document(path), SUBSCRIBER_ROLE, inspected=True)


def load_and_inspect_any(path: Path) -> PublisherSettings | SubscriberSettings:
    """Return the settings of whichever daemon the file is for, with folders and files as they must be.

    Raises SettingsError with all faults, of the file and of what it names.
    """
    return _load_any(path, inspected=True)


def _load_any(path: Path, *, inspected: bool) -> PublisherSettings | SubscriberSettings:
    document = read_document(path)
    if find_role(document) == PUBLISHER:
        return _load(document, PUBLISHER_ROLE, inspected=inspected)
    return _load(document, SUBSCRIBER_ROLE, inspected=inspected)


def _load(document: Document, role: Role[Settings], *, inspected: bool) -> Settings:
    if find_role(document) != role.name:
        raise SettingsError((document.fault((), f"is not a {role.name}'s file: start the other daemon with it"),))
    settings, faults = _validate(document, role)
    faults += [document.fault(key, message) for key, message in role.cross_check(document)]
    if inspected:
        faults += role.inspect(document)
    if settings is None or faults:
        raise SettingsError(_sort(faults))
    return settings


def _validate(document: Document, role: Role[Settings]) -> tuple[Settings | None, list[Fault]]:
    faults = list(document.faults)
    try:
        return role.model.model_validate(document.data), faults
    except ValidationError as error:
        # A value that YAML could not read is missing for the model too: once is enough.
        told = {fault.key for fault in faults}
        problems = list_problems(error, list_keys(role.model))
        faults += [document.fault(key, message) for key, message in problems if format_key(key) not in told]
        return None, faults


def _sort(faults: list[Fault]) -> tuple[Fault, ...]:
    return tuple(sorted(dict.fromkeys(faults), key=lambda fault: (fault.line, fault.key)))
