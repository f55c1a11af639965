"""One portion of a bulk job: read, plan, write, record, in one transaction.

Only errors of the data are blamed on a record: the portion is halved until the record is alone, which
then fails with its reason. Whatever else goes wrong leaves this module as an exception; the worker
retries the portion as a whole.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar, cast

import msgspec
import psycopg
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from punchcard import log
from punchcard.bulk import pieces, reports
from punchcard.bulk.claims import Claim
from punchcard.bulk.jobs import (
    FAILURES_IN_RESULT_MAX,
    PORTION_US,
    Batch,
    Failure,
    Job,
    Outcome,
    Part,
    PayloadJob,
    Stretch,
    WalkJob,
    concludes,
    failures_path,
    is_reported,
    walks,
)
from punchcard.bulk.lanes import SQL
from punchcard.bulk.pieces import Stock
from punchcard.db.database import Conn, StaleRead
from punchcard.errors import PunchcardError, RecordError
from punchcard.settings import Settings

PORTION_RECORDS_MAX = 10_000
# what a smaller portion takes is mostly not for its records
TELLING_RECORDS = 200
# how much the last portion counts in what a record of its lane takes
LEARNING_RATE = 0.2
PLANS_MAX = 20
# after so many plans that were overtaken, the next is made with its rows locked
PLANS_WITHOUT_LOCKS = 3
# the indexes that keep creation times apart, by the end of their names: no record is to blame for taking one
CREATION_INDEX_SUFFIX = "_created"
# how often the same records may collide with concurrent writes before they are taken apart, and one alone fails
COLLISIONS_MAX = 2
REASON_STOPPED_WORKERS = "Processing this record stopped the worker three times"
REASON_NOT_STORED = "The record cannot be stored"
REASON_DRY_RUN_TOO_LONG = "The dry run takes longer than a portion may take: send fewer orders"

logger = log.get(__name__)


class LaneLost(PunchcardError):
    """Another worker has taken the lane over; nothing of this portion was written."""


class DataError(Exception):
    """A record of the batch cannot be written; which one is not known yet.

    A `collision` can be the work of somebody who wrote at the same time: another try may go well.
    """

    def __init__(self, reason: str, *, collision: bool = False) -> None:
        self.reason, self.collision = reason, collision


@contextlib.contextmanager
def blaming_records() -> Iterator[None]:
    """Around what a job does, not around our own bookkeeping: a mistake in that is no record's fault."""
    try:
        yield
    except (pg.UniqueViolation, pg.ForeignKeyViolation, pg.ExclusionViolation) as error:
        if (error.diag.constraint_name or "").endswith(CREATION_INDEX_SUFFIX):
            raise StaleRead from error  # somebody else took the microsecond
        raise DataError(_reason(error), collision=True) from error
    # of class 54 only what a value causes, such as a text too long for an index: it would fail for ever
    except (pg.DataError, pg.IntegrityError, pg.ProgramLimitExceeded) as error:
        raise DataError(_reason(error)) from error
    except RecordError as error:
        raise DataError(str(error)) from error


async def run_portion(conn: Conn, claim: Claim, jobs: Mapping[str, Job], settings: Settings) -> bool:
    """Process the next records of the claimed action. Returns whether that finished it."""
    portion = _portion(conn, claim, jobs, settings)
    empty = isinstance(portion, PayloadPortion) and not claim.records_total
    return await (portion.record(Outcome(0)) if empty else portion.run())


async def cancel(conn: Conn, claim: Claim, jobs: Mapping[str, Job], settings: Settings) -> None:
    """End an action that is asked to, in the transaction that is open. What it has committed stays."""
    total = "" if walks(jobs[claim.type]) else f" of {claim.records_total}"
    reason = f"Cancelled on request after {claim.records_next}{total} record(s); what was done before stays."
    await _portion(conn, claim, jobs, settings).finish(claim, ends=reason)


def _portion(conn: Conn, claim: Claim, jobs: Mapping[str, Job], settings: Settings) -> "Portion[Any]":
    job = jobs[claim.type]
    if walks(job):
        return WalkPortion(conn, claim, job, settings)
    return PayloadPortion(conn, claim, cast("PayloadJob", job), settings)


class _Work(Protocol):
    """What a portion takes."""

    def __len__(self) -> int: ...

    def halved(self) -> Self:
        """The first half of it."""


WorkT = TypeVar("WorkT", bound=_Work)


def next_size(records: int, elapsed_ms: float, settings: Settings, *, most: int) -> int:
    """The size of the next portion: what would have taken `portion_ms`, at most `most`."""
    if elapsed_ms > settings.portion_slow_ms:
        logger.warning("portion_slow", records=records, ms=round(elapsed_ms))
        return max(1, records // 2)
    wanted = int(records * settings.portion_ms / max(1.0, elapsed_ms))
    return max(1, min(wanted, most, PORTION_RECORDS_MAX))


class Portion(Generic[WorkT]):
    """The next records of one action, on the session that holds its lane."""

    def __init__(self, conn: Conn, claim: Claim, job: Job, settings: Settings) -> None:
        self._conn, self._claim, self._job, self._settings = conn, claim, job, settings
        self._key = {"project_id": claim.project, "id": claim.id}
        self._started = time.perf_counter()

    async def run(self) -> bool:
        """Process what the portion takes, in smaller parts if need be. Returns whether that finished the action."""
        work = await self.read()
        if self._claim.stopped_workers:
            return await self.fail_first(work, REASON_STOPPED_WORKERS)
        while True:
            try:
                return await self.attempt(work)
            except DataError as error:
                if len(work) == 1:
                    return await self.fail_first(work, error.reason)
                work = work.halved()

    async def read(self) -> WorkT:
        """What the portion takes."""
        raise NotImplementedError

    async def fail_first(self, work: WorkT, reason: str) -> bool:
        """Put the first record among the failures and go on behind it."""
        raise NotImplementedError

    async def attempt(self, work: WorkT) -> bool:
        """Plan and write the records, again as long as what it was planned from changes meanwhile."""
        self._started = time.perf_counter()
        collisions, plan = 0, None
        for attempt in range(PLANS_MAX):
            try:
                if attempt < PLANS_WITHOUT_LOCKS or plan is None:
                    plan = await self._plan(work)
                    async with self._conn.transaction():
                        return await self._write(plan)
                async with self._conn.transaction():
                    # somebody writes the same rows all the time: hold what the last plan would have changed
                    await self._job.lock(self._conn, self._claim.project, plan)
                    plan = await self._plan(work)
                    return await self._write(plan)
            except (StaleRead, pg.DeadlockDetected, pg.SerializationFailure):
                continue
            except DataError as error:
                collisions += 1
                if not error.collision or collisions >= COLLISIONS_MAX:
                    raise
        raise PunchcardError(f"The rows that action {self._claim.id} needs changed {PLANS_MAX} times in a row")

    async def _plan(self, work: WorkT) -> Any:
        with blaming_records():
            return await self._job.plan(self._conn, self._claim.project, work)

    async def _write(self, plan: Any) -> bool:
        if not self._claim.dry_run:
            with blaming_records():
                await self._job.write(self._conn, self._claim.project, plan)
        return await self._record(self._job.outcome(plan))

    async def record(self, outcome: Outcome) -> bool:
        """Commit an outcome that wrote no data. Returns whether that finished the action."""
        if is_reported(self._job) and not outcome.report:
            outcome.report = [self._job.report_of_failure(failure) for failure in outcome.failures]
        async with self._conn.transaction():
            return await self._record(outcome)

    async def _record(self, outcome: Outcome) -> bool:
        """Progress, failures and perhaps the end, in the transaction of the data."""
        counts = {**self._claim.counts}
        for name, count in outcome.counts.items():
            counts[name] = counts.get(name, 0) + count
        # a new claim, not a changed one: the transaction may fail and be repeated
        after = msgspec.structs.replace(
            self._claim,
            records_next=self._claim.records_next + outcome.records,
            records_done=self._claim.records_done + outcome.done,
            records_failed=self._claim.records_failed + len(outcome.failures),
            counts=counts,
        )
        elapsed_ms = (time.perf_counter() - self._started) * 1000
        after.portion_records = self._next_size(outcome.records, elapsed_ms)
        async with self._conn.pipeline():
            await self._conclude(after, outcome)
            if outcome.records:
                await self._learn(outcome.records, elapsed_ms)
            await self._keep_failures(outcome.failures)
            if outcome.report and is_reported(self._job):
                await reports.keep(self._conn, self._claim, self._job.report_columns, outcome.report)
            finished = after.records_next == after.records_total or outcome.ends is not None
            if finished:
                written = await self.finish(after, ends=outcome.ends)
            else:
                written = await self._conn.execute(SQL.async_action_advance, self._progress(after))
        # only now, because an answer awaited in a pipeline is a round trip more
        if await written.fetchone() is None:
            raise LaneLost(f"Another worker continues action {after.id}")
        return finished

    async def _conclude(self, after: Claim, outcome: Outcome) -> None:
        """What else a portion leaves behind, or says about what comes next; before progress is written."""

    async def _learn(self, records: int, elapsed_ms: float) -> None:
        """Remember what a record took, for estimates of the time that is left and for the lane's next action."""
        usual = max(1, int(records * self._settings.portion_ms / max(1.0, elapsed_ms)))
        elapsed_us = elapsed_ms * 1000
        learnt = {
            "project_id": self._claim.project,
            "lane": self._claim.lane,
            "turn": self._claim.turn,
            # of a small portion little is for its records, but some is
            "record_us": max(elapsed_us - PORTION_US, elapsed_us / 20) / records,
            "weight": LEARNING_RATE * min(1.0, records / TELLING_RECORDS),
            "usual_records": min(usual, PORTION_RECORDS_MAX) if records >= TELLING_RECORDS else None,
        }
        await self._conn.execute(SQL.lane_learn, learnt)

    def _progress(self, after: Claim) -> dict[str, Any]:
        return {
            **self._key,
            "started_by": after.started_by or None,
            "records_total": after.records_total,
            "records_next": after.records_next,
            "records_done": after.records_done,
            "records_failed": after.records_failed,
            "counts": Jsonb(after.counts),
            "cursor": None if after.cursor is None else Jsonb(after.cursor),
            "portion_records": after.portion_records,
        }

    async def _keep_failures(self, failures: Sequence[Failure]) -> None:
        if failures:
            columns = {
                "records": [failure.record for failure in failures],
                "source_ids": [failure.source_id for failure in failures],
                "reasons": [failure.reason for failure in failures],
                "bodies": [failure.body for failure in failures],
            }
            await self._conn.execute(SQL.async_action_failures_insert, {**self._key, **columns})

    async def finish(self, claim: Claim, *, ends: str | None) -> psycopg.AsyncCursor[Any]:
        """Write the result; of an action that `ends` before its time, the reason. A row if it was still ours."""
        failures: list[dict[str, Any]] = []
        if claim.records_failed:
            parameters = {**self._key, "limit": FAILURES_IN_RESULT_MAX}
            cursor = await self._conn.execute(SQL.async_action_failures_first, parameters)
            failures = [
                {"source_id": row.source_id, "index": row.record, "reason": row.reason}
                for row in await cursor.fetchall()
            ]
        result = self._job.result(
            done=claim.records_done,
            failed=claim.records_failed,
            failures=failures,
            counts=claim.counts,
            dry_run=claim.dry_run,
        )
        if claim.records_failed > len(failures):
            result |= {"failed_listed_count": len(failures), "failures_url": failures_path(claim.id)}
        if ends is not None:
            result |= {"message": ends}
        failed = ends is not None or (claim.records_failed and not claim.records_done)
        row = {
            **self._progress(claim),
            "status": "DONE" if ends is None else "FAILED",
            "operation_status": "FAILED" if failed else "SUCCESS",
            "result": Jsonb(result),
            "payload_kept": self._settings.payload_days > 0,
            "reported": is_reported(self._job),
        }
        if ends is not None and not row["payload_kept"]:
            await self._conn.execute(SQL.async_action_pieces_delete, {**self._key, "records_next": claim.records_total})
        written = await self._conn.execute(SQL.async_action_finish, row)
        if concludes(self._job):
            await self._job.conclude(self._conn, claim.project, claim.id, claim.parameters, succeeded=not failed)
        return written

    def _next_size(self, records: int, elapsed_ms: float) -> int:
        return next_size(records, elapsed_ms, self._settings, most=self._next_size_max(records))

    def _next_size_max(self, records: int) -> int:
        return 2 * records


class PayloadPortion(Portion[Batch]):
    """The next records of a request."""

    def __init__(self, conn: Conn, claim: Claim, job: PayloadJob, settings: Settings) -> None:
        super().__init__(conn, claim, job, settings)
        self._source_id = job.source_id
        # what was read from the payload
        self._stock = Stock(0, 0, [])

    async def read(self) -> Batch:
        """At most as many records as the portion may take and three pieces hold; of a dry run, those of all pieces."""
        first, limit = self._claim.records_next, self._claim.portion_records
        if self._claim.dry_run:
            return await self._read_all(first, limit)
        self._stock = await pieces.fetch(self._conn, self._claim, first, limit)
        bodies = self._stock.bodies[first - self._stock.first :][:limit]
        return Batch(first, bodies, parameters=self._claim.parameters, action_id=self._claim.id)

    async def _read_all(self, first: int, limit: int) -> Batch:
        end, bodies = min(first + limit, self._claim.records_total), list[bytes]()
        while len(bodies) < end:
            self._stock = await pieces.fetch(self._conn, self._claim, len(bodies), end - len(bodies))
            bodies += self._stock.bodies
        # they left no trace; and what stopped a worker must not be tried again
        cursor = await self._conn.execute(SQL.async_action_failures_records, self._key)
        failed = {row.record for row in await cursor.fetchall()}
        earlier = [record for record in range(first) if record not in failed]
        part = Part(earlier, [bodies[record] for record in earlier])
        return Batch(first, bodies[first:end], part, self._claim.parameters, self._claim.id)

    async def attempt(self, work: Batch) -> bool:
        if not self._claim.dry_run:
            return await super().attempt(work)
        try:
            return await asyncio.wait_for(super().attempt(work), self._settings.worker_statement_ms / 1000)
        except TimeoutError:
            # beyond the next limit the link would be cut, and a smaller portion would plan what was before it again
            numbered = enumerate(work.bodies, work.first_record)
            failures = [Failure(no, self._source_id(body), REASON_DRY_RUN_TOO_LONG, body) for no, body in numbered]
            return await self.record(Outcome(0, failures))

    async def fail_first(self, work: Batch, reason: str) -> bool:
        body = work.bodies[0]
        return await self.record(Outcome(0, [Failure(work.first_record, self._source_id(body), reason, body)]))

    async def _conclude(self, after: Claim, outcome: Outcome) -> None:
        """Delete pieces that are used up; a dry run, which is planned from all of them, keeps them to its end."""
        kept = self._settings.payload_days or (self._claim.dry_run and after.records_next < after.records_total)
        if outcome.records and not kept:
            used = {**self._key, "records_next": after.records_next}
            await self._conn.execute(SQL.async_action_pieces_delete, used)

    def _next_size(self, records: int, elapsed_ms: float) -> int:
        # a dry run plans all that came before again: small portions would never end
        return 2 * records or 1 if self._claim.dry_run else super()._next_size(records, elapsed_ms)

    def _next_size_max(self, records: int) -> int:
        # a portion that was cut at the end of a piece says little: the next may be as large as this one might have been
        cut = self._claim.records_next + records == self._stock.end
        return max(2 * records, self._claim.portion_records if cut else 1)


class WalkPortion(Portion[Stretch]):
    """The next stored rows of a walk. How many there are is known at its end; until then the total is an estimate."""

    def __init__(self, conn: Conn, claim: Claim, job: WalkJob, settings: Settings) -> None:
        super().__init__(conn, claim, job, settings)
        self._skip = job.skip

    async def read(self) -> Stretch:
        claim = self._claim
        return Stretch(claim.cursor, claim.portion_records, claim.records_next, claim.parameters, claim.id)

    async def fail_first(self, work: Stretch, reason: str) -> bool:
        first = msgspec.structs.replace(work, rows_max=1)
        return await self.record(await self._skip(self._conn, self._claim.project, first, reason))

    async def _conclude(self, after: Claim, outcome: Outcome) -> None:
        after.cursor = outcome.cursor
        at_end = outcome.cursor is None and outcome.ends is None
        after.records_total = after.records_next if at_end else max(after.records_total, after.records_next + 1)


def _reason(error: psycopg.Error) -> str:
    """What PostgreSQL refused, in its words but without the values of other rows."""
    return f"{REASON_NOT_STORED}: {error.diag.message_primary or type(error).__name__}"
