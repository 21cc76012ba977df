"""The sources of one job, one after the other: which it reads from, and what becomes of those that fail."""

from __future__ import annotations

from collections.abc import Iterable

from pushmirror.core.model import Stage, StageKind, Stamp
from pushmirror.core.paths import TreePath
from pushmirror.core.sources import Choice, MarkerVerdict, Proof, Wanted
from pushmirror.subscriber.parts import SourceParts
from pushmirror.subscriber.runs import JobStopped, Runs
from pushmirror.subscriber.sources import TreeSources

_NANOSECONDS = 10**9


class Turns:
    """Gives the job of `runs` one source at a time; each is tried once."""

    def __init__(self, sources: TreeSources, runs: Runs) -> None:
        self._sources = sources
        self._parts = sources.parts
        self._runs = runs
        self._index = 0
        self._tried: dict[int, JobStopped] = {}
        self.cleaned: int | None = None
        """Up to which serial the source in use had done its deletions, when the job began to read from it; None for one
        that never has any left to do."""

    async def take_next(self, wanted: Wanted, stamps: Iterable[Stamp] = ()) -> Choice:
        """Have the job read from the best source that was not tried yet, and return which one that is.

        `stamps` are those of the updates that the job is to apply. Raises JobStopped when no source is left.
        """
        announced = {stamp.path: stamp for stamp in stamps}
        while (choice := self._sources.choose(wanted, self._tried)) is not None:
            if not choice.look:
                self._index = choice.index
                self.cleaned = self._sources.cleaned(choice.index)
                self._runs.read_from(self._parts.sources[choice.index])
                self._sources.use(choice.index)
                return choice
            await self._look(choice.index, wanted, announced)
        raise self._give_up(wanted)

    @property
    def cleaned_by_now(self) -> int | None:
        """Up to which serial the source in use has done its deletions, as far as it has said so by now."""
        return self._sources.cleaned(self._index)

    def fail(self, stopped: JobStopped) -> None:
        """Take note of how the source that is in use failed."""
        self._fail(self._index, stopped)

    def succeed(self) -> None:
        """Take note that the source in use did what was asked of it."""
        self._sources.succeed(self._index)

    @property
    def has_next(self) -> bool:
        """Whether there are sources that the job has not tried."""
        return len(self._tried) + 1 < len(self._parts.sources)

    @property
    def look_at_markers(self) -> bool:
        """Whether there are sources whose markers are compared with what was announced."""
        return any(source.proof is Proof.MARKER for source in self._parts.sources)

    @property
    def may_delete(self) -> bool:
        """Whether deletions can be checked against the source in use."""
        return self._parts.sources[self._index].proof is not Proof.MARKER

    @property
    def surplus_source(self) -> SourceParts:
        """Which source tells what is surplus here: the one in use, or the publisher's own in place of a marked mirror.

        Such a one may still have what was deleted, so that it would be kept here, or brought anew, for ever.
        """
        origins = [source for source in self._parts.sources if source.proof is Proof.NONE]
        return self._parts.sources[self._index] if self.may_delete or not origins else origins[0]

    def _fail(self, index: int, stopped: JobStopped) -> None:
        self._sources.fail(index, stopped.judgement)
        self._tried[index] = stopped

    def _give_up(self, wanted: Wanted) -> JobStopped:
        if len(self._parts.sources) == 1 and self._tried:
            return self._tried[0]
        judgement = self._sources.sum_up(wanted, {index: stopped.judgement for index, stopped in self._tried.items()})
        codes = [stopped.code for stopped in self._tried.values()]
        missing = any(stopped.missing for stopped in self._tried.values())
        return JobStopped(judgement, codes[-1] if codes else None, missing=missing)

    # --- markers

    async def _look(self, index: int, wanted: Wanted, announced: dict[TreePath, Stamp]) -> None:
        """Find out whether the marker of a source is that of what is wanted: as it was announced, or as it is now."""
        marker = self._parts.sources[index].marker
        assert marker is not None  # noqa: S101 - only such a source has to be looked at
        try:
            found = await self._read(index, marker)
        except JobStopped as stopped:
            if not stopped.elsewhere:
                raise
            self._fail(index, stopped)
            return
        if found is None:
            verdict = MarkerVerdict.OTHER
        elif marker in announced and found == _in_seconds(announced[marker]):
            verdict = MarkerVerdict.SAME
        else:
            verdict = await self._compare(marker, found)
        self._sources.note_verdict(index, wanted, verdict)

    async def _compare(self, marker: TreePath, found: Stamp) -> MarkerVerdict:
        for index, source in enumerate(self._parts.sources):
            if source.proof is not Proof.NONE or index in self._tried:
                continue
            try:
                return MarkerVerdict.SAME if await self._read(index, marker) == found else MarkerVerdict.OTHER
            except JobStopped as stopped:
                if not stopped.elsewhere:
                    raise
                self._fail(index, stopped)  # what does not even let itself be looked at is not read from either
        return MarkerVerdict.UNKNOWN

    async def _read(self, index: int, marker: TreePath) -> Stamp | None:
        """Return size and time of the marker at a source, None when there is no such file. Raises JobStopped."""
        source = self._parts.sources[index]
        self._runs.read_from(source)
        result = await self._runs.run(Stage(StageKind.MARKER, (marker,)))
        return next((stamp for stamp in result.items.listed if stamp.path == marker), None)


def _in_seconds(stamp: Stamp) -> Stamp:
    return Stamp(stamp.path, stamp.size, stamp.mtime_ns // _NANOSECONDS * _NANOSECONDS)
