"""One portion of a bulk job: read, plan, write, record, in one transaction.

Only errors of the data are blamed on a record: the portion is halved until the record is alone, which
then fails with its reason. Whatever else goes wrong leaves this module as an exception; the worker
retries the portion as a whole.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from punchcard import log
from punchcard.bulk.jobs import FAILURES_IN_RESULT_MAX, Batch, Failure, Job, Outcome, StaleRead
from punchcard.bulk.lanes import SQL, Claim
from punchcard.db.database import Conn
from punchcard.errors import PunchcardError, RecordError
from punchcard.settings import Settings

PORTION_RECORDS_MAX = 10_000
PLANS_MAX = 20
# after so many plans that were overtaken, the next is made with its rows locked
PLANS_WITHOUT_LOCKS = 3
# the indexes that keep creation times apart, by the end of their names: no record is to blame for taking one
CREATION_INDEX_SUFFIX = "_created"
# how often the same records may collide with concurrent writes before they are taken apart, and one alone fails
COLLISIONS_MAX = 2
REASON_STOPPED_WORKERS = "Processing this record stopped the worker three times"

logger = log.get(__name__)


class LaneLost(PunchcardError):
    """Another worker has taken the lane over; nothing of this portion was written."""


class PayloadMissing(PunchcardError):
    """An unfinished action has no payload for its next record."""


class _DataError(Exception):
    """A record of the batch cannot be written; which one is not known yet.

    A `collision` can be the work of somebody who wrote at the same time: another try may go well.
    """

    def __init__(self, reason: str, *, collision: bool = False) -> None:
        self.reason, self.collision = reason, collision


@contextlib.contextmanager
def _blaming_records() -> Iterator[None]:
    """Around what a job does, not around our own bookkeeping: a mistake in that is no record's fault."""
    try:
        yield
    except (pg.UniqueViolation, pg.ForeignKeyViolation, pg.ExclusionViolation) as error:
        if (error.diag.constraint_name or "").endswith(CREATION_INDEX_SUFFIX):
            raise StaleRead from error  # somebody else took the microsecond
        raise _DataError(_reason(error), collision=True) from error
    # of class 54 only what a value causes, such as a text too long for an index: it would fail for ever
    except (pg.DataError, pg.IntegrityError, pg.ProgramLimitExceeded) as error:
        raise _DataError(_reason(error)) from error
    except RecordError as error:
        raise _DataError(str(error)) from error


async def run_portion(conn: Conn, claim: Claim, jobs: Mapping[str, Job], settings: Settings) -> bool:
    """Process the next records of the claimed action. Returns whether that finished it."""
    portion = Portion(conn, claim, jobs[claim.type], settings)
    if claim.records_next >= claim.records_total:
        return await portion.record(Outcome(0), records=0)
    batch = await portion.read()
    if claim.stopped_workers:
        return await portion.fail_first(batch, REASON_STOPPED_WORKERS)
    while True:
        try:
            return await portion.attempt(batch)
        except _DataError as error:
            if len(batch.bodies) == 1:
                return await portion.fail_first(batch, error.reason)
            batch = Batch(batch.first_record, batch.bodies[: len(batch.bodies) // 2])


class Portion:
    """The next records of one action, on the session that holds its lane."""

    def __init__(self, conn: Conn, claim: Claim, job: Job, settings: Settings) -> None:
        self._conn, self._claim, self._job, self._settings = conn, claim, job, settings
        self._key = {"project_id": claim.project, "id": claim.id}
        # the piece that is being read, and the record after its last
        self._piece_first, self._piece_end = 0, 0
        self._started = time.perf_counter()

    async def read(self) -> Batch:
        """The next records: of one piece, and at most as many as the portion may take."""
        next_record, limit = self._claim.records_next, self._claim.portion_records
        parameters = {**self._key, "record": next_record}
        piece = await (await self._conn.execute(SQL.async_action_piece_get, parameters, binary=True)).fetchone()
        if piece is None or next_record >= piece.first_record + piece.records:
            raise PayloadMissing(f"Action {self._claim.id} has no payload for record {next_record}")
        self._piece_first, self._piece_end = piece.first_record, piece.first_record + piece.records
        bodies = msgspec.json.decode(piece.body, type=list[msgspec.Raw])
        offset = next_record - piece.first_record
        return Batch(next_record, [bytes(body) for body in bodies[offset : offset + limit]])

    async def attempt(self, batch: Batch) -> bool:
        """Plan and write the batch, again as long as what it was planned from changes meanwhile."""
        self._started = time.perf_counter()
        collisions, plan = 0, None
        for attempt in range(PLANS_MAX):
            try:
                if attempt < PLANS_WITHOUT_LOCKS or plan is None:
                    plan = await self._plan(batch)
                    async with self._conn.transaction():
                        return await self._write(batch, plan)
                async with self._conn.transaction():
                    # somebody writes the same rows all the time: hold what the last plan would have changed
                    await self._job.lock(self._conn, self._claim.project, plan)
                    plan = await self._plan(batch)
                    return await self._write(batch, plan)
            except (StaleRead, pg.DeadlockDetected, pg.SerializationFailure):
                continue
            except _DataError as error:
                collisions += 1
                if not error.collision or collisions >= COLLISIONS_MAX:
                    raise
        raise PunchcardError(f"The rows that action {self._claim.id} needs changed {PLANS_MAX} times in a row")

    async def _plan(self, batch: Batch) -> Any:
        with _blaming_records():
            return await self._job.plan(self._conn, self._claim.project, batch)

    async def _write(self, batch: Batch, plan: Any) -> bool:
        with _blaming_records():
            outcome = await self._job.write(self._conn, self._claim.project, plan)
        return await self._record(outcome, records=len(batch.bodies))

    async def fail_first(self, batch: Batch, reason: str) -> bool:
        """Put the batch's first record among the failures and go on behind it."""
        body = batch.bodies[0]
        failure = Failure(batch.first_record, self._job.source_id(body), reason, body)
        return await self.record(Outcome(0, [failure]), records=1)

    async def record(self, outcome: Outcome, *, records: int) -> bool:
        """Commit an outcome that wrote no data. Returns whether that finished the action."""
        async with self._conn.transaction():
            return await self._record(outcome, records=records)

    async def _record(self, outcome: Outcome, *, records: int) -> bool:
        """Progress, failures and perhaps the end, in the transaction of the data."""
        counts = {**self._claim.counts}
        for name, count in outcome.counts.items():
            counts[name] = counts.get(name, 0) + count
        # a new claim, not a changed one: the transaction may fail and be repeated
        after = msgspec.structs.replace(
            self._claim,
            records_next=self._claim.records_next + records,
            records_done=self._claim.records_done + outcome.done,
            records_failed=self._claim.records_failed + len(outcome.failures),
            portion_records=self._next_size(records),
            counts=counts,
        )
        await self._advance(after)
        await self._keep_failures(outcome.failures)
        if records and after.records_next == self._piece_end:
            await self._conn.execute(SQL.async_action_piece_delete, {**self._key, "first_record": self._piece_first})
        if after.records_next < after.records_total:
            return False
        await self._finish(after)
        return True

    async def _advance(self, after: Claim) -> None:
        row = {
            **self._key,
            "started_by": after.started_by,
            "records_next": after.records_next,
            "records_done": after.records_done,
            "records_failed": after.records_failed,
            "counts": Jsonb(after.counts),
            "portion_records": after.portion_records,
        }
        if await (await self._conn.execute(SQL.async_action_advance, row)).fetchone() is None:
            raise LaneLost(f"Another worker continues action {after.id}")

    async def _keep_failures(self, failures: Sequence[Failure]) -> None:
        if failures:
            columns = {
                "records": [failure.record for failure in failures],
                "source_ids": [failure.source_id for failure in failures],
                "reasons": [failure.reason for failure in failures],
                "bodies": [failure.body for failure in failures],
            }
            await self._conn.execute(SQL.async_action_failures_insert, {**self._key, **columns})

    async def _finish(self, claim: Claim) -> None:
        failures: list[dict[str, Any]] = []
        if claim.records_failed:
            parameters = {**self._key, "limit": FAILURES_IN_RESULT_MAX}
            cursor = await self._conn.execute(SQL.async_action_failures_first, parameters)
            failures = [
                {"source_id": row.source_id, "index": row.record, "reason": row.reason}
                for row in await cursor.fetchall()
            ]
        result = self._job.result(
            done=claim.records_done, failed=claim.records_failed, failures=failures, counts=claim.counts
        )
        status = "FAILED" if claim.records_failed and not claim.records_done else "SUCCESS"
        await self._conn.execute(
            SQL.async_action_finish, {**self._key, "operation_status": status, "result": Jsonb(result)}
        )

    def _next_size(self, records: int) -> int:
        """The size of the next portion: what would have taken `portion_ms`, at most twice this one."""
        elapsed_ms = max(1.0, (time.perf_counter() - self._started) * 1000)
        if elapsed_ms > self._settings.portion_slow_ms:
            logger.warning("portion_slow", records=records, ms=round(elapsed_ms))
            return max(1, records // 2)
        wanted = int(records * self._settings.portion_ms / elapsed_ms)
        # a portion that was cut at the end of a piece says little: the next may be as large as this one might have been
        cut = self._claim.records_next + records == self._piece_end
        at_most = max(2 * records, self._claim.portion_records if cut else 1)
        return max(1, min(wanted, at_most, PORTION_RECORDS_MAX))


def _reason(error: psycopg.Error) -> str:
    """What PostgreSQL refused, in its words but without the values of other rows."""
    return f"The record cannot be stored: {error.diag.message_primary or type(error).__name__}"
