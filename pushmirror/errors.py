"""Every error that pushmirror raises on purpose.

::

    PushmirrorError                 the message says what is wrong and what to do about it
    +-- UsageError                  the command line asks for something that cannot be done (exit 2)
    +-- SettingsError               faults in a settings file, all of them at once (exit 2)
    +-- KeyFileError                a key cannot be read, written or trusted (exit 2)
    +-- NotRunning                  the daemon does not answer on its control socket (exit 3)
    +-- TimedOut                    what was waited for did not happen in time (exit 4)
    +-- Refused                     the daemon understood the request and declined it (exit 1)
    +-- UpstreamSilent              a subscriber hears nothing from one of its upstreams (exit 1)
    +-- StateError                  a journal or ledger cannot be used as it is (exit 1)
        +-- DamagedJournal          ... because the journal's file is not what a publisher has written
        +-- DamagedLedger           ... because the ledger's file is none, or is not sound any more
    +-- ServiceError                a publisher's HTTP service did not give a usable answer
    +-- MalformedMessage            a message from the bus or the service is not what the protocol says
        +-- UntrustedPath           ... because of one path in it
        +-- BadSignature            ... because nobody who is trusted signed it

Foreign exceptions are translated at the border where they arise, with the cause kept (``raise ... from``).
"""

from __future__ import annotations

from dataclasses import dataclass


class PushmirrorError(Exception):
    """The root of the tree; `exit_code` is what a command ends with when this error reaches its top."""

    exit_code = 1


class UsageError(PushmirrorError):
    exit_code = 2


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a settings file: where (`line` counts from 1; 0 is the file as a whole), the path
    of the key (``trees.debian.path``; empty for the whole file), and what to do."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class SettingsError(PushmirrorError):
    """All faults of one settings file; the text is one line per fault."""

    exit_code = 2

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class KeyFileError(PushmirrorError):
    exit_code = 2


class NotRunning(PushmirrorError):
    exit_code = 3


class TimedOut(PushmirrorError):
    exit_code = 4


class Refused(PushmirrorError):
    exit_code = 1


class UpstreamSilent(PushmirrorError):
    exit_code = 1


class StateError(PushmirrorError):
    exit_code = 1


class DamagedJournal(StateError):
    exit_code = 1


class DamagedLedger(StateError):
    exit_code = 1


class ServiceError(PushmirrorError):
    exit_code = 1


class MalformedMessage(PushmirrorError):
    """`cause_name` is one lower-case word for counters and logs: ``format``, ``path``, ``signature``, ``topic`` ..."""

    cause_name = "format"


class UntrustedPath(MalformedMessage):
    cause_name = "path"


class BadSignature(MalformedMessage):
    cause_name = "signature"
