"""A stage of a job as an rsync command: a tuple of arguments, and what goes to its standard input.

No path of a message is ever an argument. Paths travel NUL-separated on standard input (``--files-from=- --from0``), and
``--files-from`` neither expands wildcards nor takes comments from a NUL-separated list (rsync(1)). The reasons for the
options are in ``docs/design.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from pushmirror.core.model import Stage, StageKind
from pushmirror.core.paths import STAGING_NAME
from pushmirror.core.source import Source

_COMMON = (
    "-lptH",
    "--safe-links",
    "--chmod=ug-s",
    "--no-motd",
    "--no-human-readable",
    "--stats",
    "--out-format=%i %n",
)
_LISTED = ("--from0", "--files-from=-", "--modify-window=-1")
_NEVER_OURS = (f"--exclude=/{STAGING_NAME.decode()}", "--exclude=.~tmp~")
_SURPLUS = ("-n", "-r", "-i", "--delete", "--existing", "--ignore-existing", "--ignore-errors")
"""Only under ``-n`` may ``--ignore-errors`` be used: what lies below an unreadable directory is dropped from the list."""


@dataclass(frozen=True)
class RunOptions:
    """What the local settings say about every rsync run of a tree. Seconds and kibibytes, as rsync counts them."""

    temp_dir: str
    io_timeout_s: int
    connect_timeout_s: int
    bandwidth_kib_per_s: int | None = None
    password_file: str | None = None
    exact_times: bool = False
    """Compare times to the nanosecond in runs over the whole tree too; for a mirror that was written by us alone."""


@dataclass(frozen=True)
class Command:
    """`arguments` follow the program's name; `listing` is its standard input."""

    arguments: tuple[str, ...]
    listing: bytes = b""


def build_command(stage: Stage, source: Source, tree: str, options: RunOptions) -> Command:
    """Return the rsync run of `stage`: from `source` into the absolute folder `tree`."""
    whole = not stage.paths
    origin = source.tree_url.decode() if whole else source.root
    arguments = (*_COMMON, *_stage_options(stage.kind, whole, options), *_limits(options), "--", origin, f"{tree}/")
    listing = b"".join(source.entry(path) + b"\0" for path in stage.paths)
    return Command(arguments, listing)


def _stage_options(kind: StageKind, whole: bool, options: RunOptions) -> tuple[str, ...]:
    aside = f"--temp-dir={options.temp_dir}"
    scope = _whole_scope(options) if whole else _LISTED
    if kind is StageKind.PAYLOAD:
        return (*scope, "--ignore-missing-args", "-ii", "--info=name2", aside)
    if kind is StageKind.DIRECTORIES:
        return (*scope, "-r", "--ignore-missing-args", "-ii", "--info=name2", aside, *_NEVER_OURS[1:])
    if kind is StageKind.DELETE:
        return (*scope, "--delete-missing-args", "--force", "--existing", "--ignore-existing", "-i")
    if kind is StageKind.SURPLUS:
        return (*scope, *_SURPLUS, *(_NEVER_OURS if whole else _NEVER_OURS[1:]))
    if kind is StageKind.PLAN:
        return (*scope, "-n", "-r", "-i", "--delete", "--ignore-errors", *_NEVER_OURS)
    return (*scope, "-r", "-i", aside, *_NEVER_OURS)


def _whole_scope(options: RunOptions) -> tuple[str, ...]:
    return ("--modify-window=-1",) if options.exact_times else ()


def _limits(options: RunOptions) -> tuple[str, ...]:
    found = [f"--timeout={options.io_timeout_s}", f"--contimeout={options.connect_timeout_s}"]
    if options.bandwidth_kib_per_s is not None:
        found.append(f"--bwlimit={options.bandwidth_kib_per_s}")
    if options.password_file is not None:
        found.append(f"--password-file={options.password_file}")
    return tuple(found)
