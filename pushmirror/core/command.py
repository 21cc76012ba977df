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
    "--chmod=ug-s,Du+rx",
    "--no-motd",
    "--no-human-readable",
    "--stats",
    "--out-format=%i %n",
)
_LISTED = ("--from0", "--files-from=-", "--modify-window=-1")
_PUT = ("--ignore-missing-args", "-ii", "--info=name2")
"""What is missing upstream must not delete; all that is there is itemised, so that what is missing is known."""

_PROGRESS = ("--info=progress2",)

_SURPLUS = ("-n", "-r", "-i", "--delete", "--existing", "--ignore-existing", "--ignore-errors")
"""Only under ``-n`` is ``--ignore-errors`` allowed: what lies below an unreadable directory is dropped afterwards."""

_NEVER_THEIRS = ("--exclude=.~tmp~",)
_NEVER_OURS = (f"--exclude=/{STAGING_NAME.decode()}",)


@dataclass(frozen=True)
class Selection:
    """Filter arguments of recursive runs: those that compare everything, bring metadata, or bring the rest."""

    everything: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    payload: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunOptions:
    """What the local settings say about every rsync run of a tree. Seconds and kibibytes, as rsync counts them."""

    temp_dir: str
    metadata_dir: str
    io_timeout_s: int
    connect_timeout_s: int
    bandwidth_kib_per_s: int | None = None
    password_file: str | None = None
    exact_times: bool = False
    """Compare times to the nanosecond in runs over the whole tree too; for a mirror that was written by us alone."""
    selection: Selection = Selection()


@dataclass(frozen=True)
class Command:
    """`arguments` follow the program's name; `listing` is its standard input."""

    arguments: tuple[str, ...]
    listing: bytes = b""


def build_command(stage: Stage, source: Source, tree: str, options: RunOptions) -> Command:
    """Return the rsync run of `stage`: from `source` into the absolute folder `tree`, or aside for metadata."""
    whole = not stage.paths
    origin = source.tree_url.decode() if whole else source.root
    target = options.metadata_dir if stage.kind is StageKind.METADATA else tree
    scope = _LISTED if not whole else _whole_scope(options)
    chosen = (*_COMMON, *scope, *_stage_options(stage.kind, tree, options), *_filters(stage.kind, whole, options))
    if stage.most_deletions is not None:
        chosen = (*chosen, f"--max-delete={stage.most_deletions}")
    listing = b"".join(source.entry(path) + b"\0" for path in stage.paths)
    return Command((*chosen, *_limits(options), "--", origin, f"{target}/"), listing)


def _stage_options(kind: StageKind, tree: str, options: RunOptions) -> tuple[str, ...]:
    aside = f"--temp-dir={options.temp_dir}"
    table = {
        StageKind.PLAN: ("-n", "-r", "-i", "--delete", "--ignore-errors"),
        StageKind.LISTING: ("-n", "-r", *_PUT),
        StageKind.MARKER: ("--list-only", "--ignore-missing-args"),
        StageKind.PROBE: ("-n", *_PUT),
        StageKind.METADATA: (*_PUT, *_PROGRESS, aside, f"--link-dest={tree}"),
        StageKind.PAYLOAD: (*_PUT, *_PROGRESS, aside),
        StageKind.DIRECTORIES: (*_PUT, *_PROGRESS, "-r", aside),
        StageKind.WHOLE: ("-r", "-i", *_PROGRESS, aside),
        StageKind.SURPLUS: _SURPLUS,
        StageKind.DELETE: ("--delete-missing-args", "--force", "--existing", "--ignore-existing", "-i"),
    }
    return table[kind]


def _filters(kind: StageKind, whole: bool, options: RunOptions) -> tuple[str, ...]:
    """Return the filters of a recursive run; a list of single paths was filtered before it became a stage."""
    if kind in (StageKind.MARKER, StageKind.PROBE, StageKind.METADATA, StageKind.PAYLOAD, StageKind.DELETE):
        return ()
    never = (*_NEVER_OURS, *_NEVER_THEIRS) if whole else _NEVER_THEIRS
    if kind is StageKind.LISTING:
        return (*never, *options.selection.metadata)
    if kind in (StageKind.DIRECTORIES, StageKind.WHOLE):
        return (*never, *options.selection.payload)
    return (*never, *options.selection.everything)


def _whole_scope(options: RunOptions) -> tuple[str, ...]:
    return ("--modify-window=-1",) if options.exact_times else ()


def _limits(options: RunOptions) -> tuple[str, ...]:
    found = [f"--timeout={options.io_timeout_s}", f"--contimeout={options.connect_timeout_s}"]
    if options.bandwidth_kib_per_s is not None:
        found.append(f"--bwlimit={options.bandwidth_kib_per_s}")
    if options.password_file is not None:
        found.append(f"--password-file={options.password_file}")
    return tuple(found)
