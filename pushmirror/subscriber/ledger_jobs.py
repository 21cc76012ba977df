"""The jobs in the ledger: when they began, how they ended, and what of a tree is in place because of them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pushmirror.core.paths import TreePath
from pushmirror.core.relaying import Comparison
from pushmirror.subscriber.ledger_file import transaction
from pushmirror.subscriber.ledger_owed import record_comparison
from pushmirror.subscriber.ledger_rows import job_record
from pushmirror.subscriber.ledger_writes import LedgerPart, replace_deletions, update_tree
from pushmirror.subscriber.records import JobRecord

_KEPT_JOBS = 200
COMPARED_NOTHING = Comparison()


class LedgerJobs(LedgerPart):
    """Beginning, ending, failing."""

    def begin_job(self, tree: str, scope: str, serial: int, now_ms: int) -> int:
        """Record that a job starts; returns its number."""
        with transaction(self._database) as database:
            cursor = database.execute(
                "INSERT INTO jobs (tree, scope, serial, started_ms) VALUES (?, ?, ?, ?)", (tree, scope, serial, now_ms)
            )
        job = cursor.lastrowid
        assert job is not None  # noqa: S101 - an INSERT that did not fail has one
        return job

    def end_job(self, record: JobRecord) -> None:
        """Record how a job ended, and forget the oldest ones of its tree."""
        values = (
            record.serial, record.finished_ms, record.outcome, record.files, record.bytes, record.deleted,
            record.lag_ms, record.exit_code, record.reason, record.job,
        )  # fmt: skip
        with transaction(self._database) as database:
            database.execute(
                "UPDATE jobs SET serial = ?, finished_ms = ?, outcome = ?, files = ?, bytes = ?, deleted = ?,"
                " lag_ms = ?, exit_code = ?, reason = ? WHERE job = ?",
                values,
            )
            database.execute(
                "DELETE FROM jobs WHERE tree = ?"
                " AND job <= (SELECT job FROM jobs WHERE tree = ? ORDER BY job DESC LIMIT 1 OFFSET ?)",
                (record.tree, record.tree, _KEPT_JOBS),
            )

    def interrupt_jobs(self, now_ms: int) -> tuple[JobRecord, ...]:
        """Record every job that is still running as interrupted (the daemon that ran it is gone), and return them."""
        with transaction(self._database) as database:
            rows = database.execute("SELECT * FROM jobs WHERE finished_ms IS NULL").fetchall()
            database.execute(
                "UPDATE jobs SET finished_ms = ?, outcome = 'interrupted' WHERE finished_ms IS NULL", (now_ms,)
            )
        return tuple(job_record(row) for row in rows)

    def jobs(self, tree: str, limit: int) -> tuple[JobRecord, ...]:
        """Return the last jobs of `tree`, the newest first."""
        rows = self._database.execute("SELECT * FROM jobs WHERE tree = ? ORDER BY job DESC LIMIT ?", (tree, limit))
        return tuple(job_record(row) for row in rows)

    def finish_puts(
        self,
        tree: str,
        serial: int,
        generation: int,
        deletions: Iterable[TreePath],
        *,
        settled: Iterable[TreePath],
        due_ms: int,
        entries: int,
        incomplete: tuple[TreePath, ...],
        taken: int | None = None,
        full_sync_ms: int | None = None,
        exact_times: bool | None = None,
        unannounced: int | None = None,
        compared: Comparison = COMPARED_NOTHING,
    ) -> bool:
        """Record that every put of `tree` up to `serial` is in place, and what is to be deleted from `due_ms` on.

        `settled` are deletions that were pending and that a put has made void; `taken` is the highest number of a
        pending update that the job knew (None: all), so that what was asked for while it ran stays pending;
        `unannounced` is how much a full sync found that no announcement had told (None: it could not tell);
        `compared` is what the job compared with a source that may be a relay. Returns
        False, and records nothing, when the serials of the job's `generation` have lost their meaning while it ran.
        """
        with transaction(self._database) as database:
            row = database.execute("SELECT applied, generation FROM trees WHERE tree = ?", (tree,)).fetchone()
            if row["generation"] != generation:
                return False
            rechecked = record_comparison(database, tree, compared, due_ms)
            lowest = min(serial, row["applied"] + 1)
            if compared.deletions and compared.cleaned is not None:
                lowest = min(lowest, compared.cleaned + 1)
            if rechecked is not None:
                lowest = min(lowest, rechecked)
            replace_deletions(database, tree, settled, tuple(deletions), lowest, due_ms)
            database.execute(
                "DELETE FROM pending WHERE tree = ? AND serial <= ? AND number <= coalesce(?, number)",
                (tree, serial, taken),
            )
            update_tree(
                database, tree, applied=serial, entries=entries, failures=0, hopeless=0, retry_at_ms=None,
                missing_since_ms=None, reason=None, incomplete=json.dumps([path.hex() for path in incomplete]),
            )  # fmt: skip
            if full_sync_ms is not None:
                update_tree(
                    database, tree, last_full_sync_ms=full_sync_ms,
                    full_sync_failures=0, full_sync_retry_at_ms=None, full_sync_reason=None,
                )  # fmt: skip
            if exact_times is not None:
                update_tree(database, tree, exact_times=int(exact_times))
            if unannounced is not None:
                database.execute(
                    "UPDATE trees SET unannounced_total = unannounced_total + ?, unannounced_last = ? WHERE tree = ?",
                    (unannounced, unannounced, tree),
                )
        self.moved()
        return True

    def fail(self, tree: str, reason: str, retry_at_ms: int, *, counts: bool, hopeless: bool) -> None:
        """Record that a job of `tree` did not do what it was to do; without `counts` it is nobody's failure."""
        with transaction(self._database) as database:
            if counts:
                database.execute("UPDATE trees SET failures = failures + 1 WHERE tree = ?", (tree,))
            update_tree(database, tree, reason=reason, retry_at_ms=retry_at_ms, hopeless=int(hopeless))

    def fail_full_sync(self, tree: str, reason: str, retry_at_ms: int, *, counts: bool) -> None:
        """Record that a full sync of `tree` failed that nothing but its age asked for; other jobs do not wait for it.

        Only a full sync ends that.
        """
        with transaction(self._database) as database:
            database.execute(
                "UPDATE trees SET full_sync_failures = full_sync_failures + ? WHERE tree = ?", (int(counts), tree)
            )
            update_tree(database, tree, full_sync_reason=reason, full_sync_retry_at_ms=retry_at_ms)

    def succeed(self, tree: str) -> None:
        """Forget the failures of `tree`: a job has done what it was to do."""
        self._set(tree, failures=0, hopeless=0, retry_at_ms=None, reason=None)

    def wait_for_missing(self, tree: str, reason: str, now_ms: int, retry_at_ms: int) -> None:
        """Record that puts of `tree` were not at its upstream; the first time starts the clock of ``missing_wait``."""
        with transaction(self._database) as database:
            database.execute(
                "UPDATE trees SET missing_since_ms = coalesce(missing_since_ms, ?) WHERE tree = ?", (now_ms, tree)
            )
            update_tree(database, tree, reason=reason, retry_at_ms=retry_at_ms)
