"""Reads an operator's rsync command: where it writes, and whether its changes can be itemised without changing it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pushmirror.core.itemise import LOG_FORMAT
from pushmirror.errors import UsageError

_SHORT_NAMES = {"n": "dry-run", "i": "itemize-changes", "b": "backup", "T": "temp-dir"}
_SHORT_WITH_VALUE = frozenset("efTBM@")
_NAMES_WITH_VALUE = """
    address backup-dir block-size bwlimit cc checksum-choice checksum-seed chmod chown compare-dest compress-choice
    compress-level compress-threads config confine-root contimeout copy-as copy-dest debug dparam early-input exclude
    exclude-from files-from filter groupmap iconv include include-from info link-dest log-file log-file-format
    log-format max-alloc max-delete max-size min-size modify-window only-write-batch out-format outbuf partial-dir
    password-file port protocol read-batch remote-option rsh rsync-path skip-compress sockopts stderr stop-after
    stop-at suffix temp-dir time-limit timeout usermap write-batch zc zl zt
"""
_LONG_WITH_VALUE = frozenset(_NAMES_WITH_VALUE.split())
_ITEM_CODE = re.compile(r"%'*-?[0-9]*'*i")
_REMOTE = re.compile(r"[^/]*:|rsync://")
_AFTERWARDS = "run it by itself with -i, and announce its output with: pushmirror publish TREE --from-rsync FILE"

_NOTHING_TO_ANNOUNCE = "it changes nothing, so there is nothing to announce; leave it out"
_REFUSED = {
    "dry-run": _NOTHING_TO_ANNOUNCE,
    "list-only": _NOTHING_TO_ANNOUNCE,
    "only-write-batch": _NOTHING_TO_ANNOUNCE,
    "daemon": "a daemon is no transfer; give the rsync that brings the tree",
    "server": "this is rsync's own end of a connection; give the rsync that brings the tree",
    "link-dest": "what it links into place is not told from what was there already; run it by itself, and announce "
    "with: pushmirror publish TREE --whole-tree",
    "log-file": "the changes are read from a log file of our own, and rsync writes only one; "
    f"redirect the output instead, or {_AFTERWARDS}",
    "log-file-format": "the changes are read from the log file, in a format of our own; leave it out",
    "no-itemize-changes": "the changes would not be listed; leave it out",
    "no-i": "the changes would not be listed; leave it out",
}


@dataclass(frozen=True)
class RsyncCall:
    """An rsync command that can be run. Folders are as they were written, relative to the destination or absolute."""

    program: str
    arguments: tuple[str, ...]
    destination: str
    itemises: bool
    """Whether the operator has rsync itemise already, so that nothing on standard output changes."""
    scratch_folders: tuple[str, ...] = ()
    """Of ``--temp-dir`` and ``--backup-dir``."""
    partial_folder: str | None = None
    """Of ``--partial-dir``: when it is relative there is one in every directory."""

    def command(self, log: Path) -> tuple[str, ...]:
        """Return the command that does the same and writes what it changes to `log`."""
        # Changes of permissions alone are in a log file only when they are on standard output, too (rsync 3.5.0).
        itemise = () if self.itemises else ("-i",)
        return (self.program, *itemise, f"--log-file={log}", f"--log-file-format={LOG_FORMAT}", *self.arguments)


def parse_call(command: Sequence[str], environment: Mapping[str, str]) -> RsyncCall:
    """Return the operator's command, as it will run in `environment`.

    Raises UsageError for what is no rsync, or cannot be announced exactly.
    """
    program, *arguments = command
    if not os.path.basename(program).endswith("rsync"):
        raise UsageError(
            f"{program}: this is no rsync: give the rsync itself, and put what it runs under (nice, timeout) "
            "before pushmirror"
        )
    given: dict[str, list[str]] = {}
    places: list[str] = []
    for name, value in _read_options(arguments):
        if name:
            given.setdefault(name, []).append(value)
        else:
            places.append(value)
    _refuse_options(given)
    return RsyncCall(
        program=program,
        arguments=tuple(arguments),
        destination=_find_destination(places, given),
        itemises="itemize-changes" in given or _out_format(given) is not None,
        scratch_folders=(*given.get("temp-dir", ()), *given.get("backup-dir", ())),
        partial_folder=given["partial-dir"][-1] if "partial-dir" in given else environment.get("RSYNC_PARTIAL_DIR"),
    )


def _read_options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of every option as popt reads them (empty when it has none), and the rest without a name."""
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            yield from (("", place) for place in rest)
        elif argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            yield name, value if equals or name not in _LONG_WITH_VALUE else next(rest, "")
        elif argument.startswith("-") and argument != "-":
            yield from _read_letters(argument[1:], rest)
        else:
            yield "", argument


def _read_letters(letters: str, rest: Iterator[str]) -> Iterator[tuple[str, str]]:
    for position, letter in enumerate(letters, start=1):
        name = _SHORT_NAMES.get(letter, letter)
        if letter in _SHORT_WITH_VALUE:
            yield name, letters[position:].removeprefix("=") or next(rest, "")
            return
        yield name, ""


def _out_format(given: dict[str, list[str]]) -> str | None:
    formats = [*given.get("log-format", ()), *given.get("out-format", ())]  # the first is the old name of the second
    return formats[-1] if formats else None


def _refuse_options(given: dict[str, list[str]]) -> None:
    problems = [f"{_shown(name)}: {advice}" for name, advice in _REFUSED.items() if name in given]
    out_format = _out_format(given)
    if out_format is not None and not _ITEM_CODE.search(out_format):
        problems.append("--out-format: without %i in it rsync does not tell all that it changed; add it")
    if "copy-dest" in given and len(given.get("itemize-changes", ())) < 2:
        problems.append("--copy-dest: what it finds unchanged is put in place without being listed; add -ii")
    if "backup" in given and "backup-dir" not in given:
        problems.append(
            "--backup: the copies stay in the tree without being announced; give --backup-dir outside of it as well"
        )
    if problems:
        raise UsageError("\n".join(problems))


def _shown(name: str) -> str:
    return "--dry-run (-n)" if name == "dry-run" else f"--{name}"


def _find_destination(places: list[str], given: dict[str, list[str]]) -> str:
    if len(places) < (1 if "read-batch" in given else 2):
        raise UsageError("the command names no destination: rsync would only list what there is")
    if _REMOTE.match(places[-1]):
        raise UsageError(f"{places[-1]}: the destination is on another host; what it holds is announced from there")
    return places[-1]
