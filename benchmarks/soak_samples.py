"""What a soak looks at: memory, descriptors and threads of each daemon over time, and what its log complains of."""

from __future__ import annotations

import contextlib
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import Program

_COMPLAINT = re.compile(r"^\S+ (?P<level>WARNING|ERROR|CRITICAL) (?P<logger>\S+): (?P<text>.*)$")
_WALK = re.compile(r"subscriber\.runs: tree \S+: whole, all")
_APPLIED = re.compile(r"subscriber\.\w+: tree \S+: applied serial")

EXPLAINED: tuple[tuple[str, str], ...] = (
    (r"its word is handed on upwards", "a relay's ledger was restored: those below have heard more than it"),
    (r"no relay is as far as what was heard", "a relay's ledger was restored: those below have heard more than it"),
    (r"announced paths are missing upstream", "the tree went on: a later update deletes what an earlier one brought"),
    (r"no source will do|sources: .* the connection failed", "a stopped rsync daemon, a relay that is behind"),
    (r"the connection failed \(rsync", "a stopped rsync daemon"),
    (
        r"the data stream broke off|rsync was ended by signal|rsync exit code N",
        "rsync or its daemon ended in the middle",
    ),
    (r"is silent: no fresh heartbeat", "a daemon that is off or frozen, a network that is cut or stands still"),
    (r"is of no help: the (service did not answer|answer of the service broke off)", "the same"),
    (r"is of no help: the relay \S+ is behind", "the relay was off, and has yet to catch up"),
    (r"dropped a message \(stale\)", "a bus that repeats and reorders heartbeats; a daemon that was frozen"),
    (r"breaks off the greeting", "a network that was cut in the middle of it"),
    (r"rsync N\.N\.N has known faults", "the rsync that is installed, told at each start"),
    (r"was interrupted and is run again", "the subscriber was killed in the middle of a job"),
    (r"processes of an earlier job still run", "the subscriber was killed in the middle of a job"),
    (r"is not relayed: its first full sync is still to come", "the first start of the relay"),
)
"""A pattern of a complaint, without its numbers, and the fault of the soak that explains it."""


@dataclass(frozen=True)
class Sample:
    """One look at a process, `at_s` seconds after the soak began."""

    at_s: float
    process_id: int
    rss_bytes: int
    descriptors: int
    threads: int


@dataclass
class Daemon:
    """One daemon of the soak, through all its lives."""

    name: str
    program: Program
    samples: list[Sample] = field(default_factory=list)

    def look(self, started_s: float) -> None:
        """Take a sample; nothing when the daemon does not run."""
        if self.program.running:
            with contextlib.suppress(OSError):
                self.samples.append(read_sample(self.program.pid, time.monotonic() - started_s))

    def lives(self) -> int:
        """Return in how many processes it was seen."""
        return len({sample.process_id for sample in self.samples})

    def last_life(self) -> list[Sample]:
        """Return the samples of the process that was seen last."""
        return [sample for sample in self.samples if sample.process_id == self.samples[-1].process_id]

    def jobs(self) -> int:
        """Return how many jobs it has ended well."""
        return len(_APPLIED.findall(self.program.log_text()))

    def full_syncs(self) -> int:
        """Return how many full syncs it has begun, by its own word."""
        return len(_WALK.findall(self.program.log_text()))

    def complaints(self) -> Counter[str]:
        """Return the kinds of warnings and errors in its log, and how often each was logged."""
        found = (_COMPLAINT.match(line) for line in self.program.log_text().splitlines())
        kinds = Counter(kind_of(match["level"], match["logger"], match["text"]) for match in found if match)
        traces = sum(line.startswith("Traceback") for line in self.program.log_text().splitlines())
        return kinds + Counter({"a traceback outside the log": traces})


def read_sample(process_id: int, at_s: float) -> Sample:
    """Return how a process is doing. Raises OSError when it has ended."""
    folder = Path(f"/proc/{process_id}")
    lines = (line.partition(":") for line in (folder / "status").read_text().splitlines())
    status = {key: value.strip() for key, _, value in lines}
    rss_bytes = int(status.get("VmRSS", "0 kB").split()[0]) * 1024
    descriptors = sum(1 for _ in (folder / "fd").iterdir())
    return Sample(at_s, process_id, rss_bytes, descriptors, int(status["Threads"]))


def kind_of(level: str, logger: str, text: str) -> str:
    """Return what a complaint has in common with others of its kind: names and numbers are taken out."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", text)
    text = re.sub(r"\b(\d+-)?[0-9a-f]{12,}\b", "ID", text)
    text = re.sub(r"[a-z]+://\S+", "URL", text)
    text = re.sub(r"/\S+", "PATH", text)
    text = re.sub(r"\d+", "N", text)
    return f"{level} {logger.removeprefix('pushmirror.')}: {text[:160]}"


def explain(kind: str) -> str | None:
    """Return which fault of the soak leads to complaints of this kind; None when none is known to."""
    return next((reason for pattern, reason in EXPLAINED if re.search(pattern, kind)), None)


def mean_rss_bytes(samples: Iterable[Sample]) -> float:
    """Return the mean of the memory of some samples, which must not be none."""
    return statistics.fmean(sample.rss_bytes for sample in samples)


def growth_bytes_per_hour(samples: list[Sample]) -> float | None:
    """Return by how much memory grows, by the line that fits best; None for too few samples.

    The first third is left out: caches fill and pools are made while a daemon is young.
    """
    settled = samples[len(samples) // 3 :]
    if len(settled) < 10 or settled[0].at_s == settled[-1].at_s:
        return None
    slope, _ = statistics.linear_regression(
        [sample.at_s for sample in settled], [float(sample.rss_bytes) for sample in settled]
    )
    return slope * 3600
