"""One portion of a bulk job: read, plan, write, record, in one transaction.

Only errors of the data are blamed on a record: the portion is halved until the record is alone, which
then fails with its reason. Whatever else goes wrong leaves this module as an exception; the worker
retries the portion as a whole.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import errors as pg

from punchcard import log
from punchcard.bulk.jobs import FAILURES_IN_RESULT_MAX, Batch, Failure, Job, Outcome, StaleRead
from punchcard.bulk.lanes import SQL, Claim
from punchcard.db.database import Conn
from punchcard.errors import PunchcardError, RecordError
from punchcard.settings import Settings

PORTION_RECORDS_MAX = 10_000
PLANS_MAX = 20
# a record fails for a unique violation only if it raises one this often while alone
COLLISIONS_ALONE_MAX = 2
REASON_STOPPED_WORKERS = "Processing this record stopped the worker three times"

logger = log.get(__name__)


class LaneLost(PunchcardError):
    """Another worker has taken the lane over; nothing of this portion was written."""


class PayloadMissing(PunchcardError):
    """An unfinished action has no payload for its next record."""


class _DataError(Exception):
    """A record of the batch cannot be written; which one is not known yet."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


async def run_portion(conn: Conn, claim: Claim, jobs: Mapping[str, Job], settings: Settings) -> bool:
    """Process the next records of the claimed action. Returns whether that finished it."""
    if claim.records_next >= claim.records_total:
        return await _finish_empty(conn, claim, jobs[claim.type])
    job = jobs[claim.type]
    batch, piece = await _read(conn, claim, limit=claim.portion_records)
    if claim.stopped_workers:
        failure = _failure(job, batch, REASON_STOPPED_WORKERS)
        return await _write(conn, claim, job, piece, batch=_head(batch, 1), outcome=Outcome(0, [failure]), next_size=1)
    while True:
        started = time.perf_counter()
        try:
            return await _attempt(conn, claim, job, piece, batch, settings, started)
        except _DataError as error:
            if len(batch.bodies) == 1:
                outcome = Outcome(0, [_failure(job, batch, error.reason)])
                return await _write(conn, claim, job, piece, batch=batch, outcome=outcome, next_size=1)
            batch = _head(batch, len(batch.bodies) // 2)


async def _read(conn: Conn, claim: Claim, *, limit: int) -> tuple[Batch, Any]:
    parameters = {"project_id": claim.project, "id": claim.id, "record": claim.records_next}
    piece = await (await conn.execute(SQL.async_action_piece_get, parameters, binary=True)).fetchone()
    if piece is None or claim.records_next >= piece.first_record + piece.records:
        raise PayloadMissing(f"Action {claim.id} has no payload for record {claim.records_next}")
    bodies = msgspec.json.decode(piece.body, type=list[msgspec.Raw])
    offset = claim.records_next - piece.first_record
    return Batch(claim.records_next, [bytes(body) for body in bodies[offset : offset + limit]]), piece


async def _attempt(
    conn: Conn, claim: Claim, job: Job, piece: Any, batch: Batch, settings: Settings, started: float
) -> bool:
    """Plan and write the batch, again as long as what it was planned from changes meanwhile."""
    collisions = 0
    for _ in range(PLANS_MAX):
        try:
            plan = await job.plan(conn, claim.project, batch)
            return await _write(conn, claim, job, piece, batch=batch, plan=plan, settings=settings, started=started)
        except (StaleRead, pg.DeadlockDetected, pg.SerializationFailure):
            continue
        except (pg.UniqueViolation, pg.ForeignKeyViolation, pg.ExclusionViolation) as error:
            collisions += 1
            if collisions >= COLLISIONS_ALONE_MAX:
                raise _DataError(_reason(error)) from error
        except (pg.DataError, pg.IntegrityError) as error:
            raise _DataError(_reason(error)) from error
        except RecordError as error:
            raise _DataError(str(error)) from error
    raise PunchcardError(f"The rows that action {claim.id} needs changed {PLANS_MAX} times in a row")


async def _write(
    conn: Conn,
    claim: Claim,
    job: Job,
    piece: Any,
    *,
    batch: Batch,
    plan: Any = None,
    outcome: Outcome | None = None,
    settings: Settings | None = None,
    started: float = 0.0,
    next_size: int | None = None,
) -> bool:
    """Write the plan, or record an outcome that is already known, with the progress, in one transaction."""
    async with conn.transaction():
        outcome = outcome or await job.write(conn, claim.project, plan)
        records_next = claim.records_next + len(batch.bodies)
        if next_size is None and settings is not None:
            next_size = _adapted(claim, len(batch.bodies), time.perf_counter() - started, settings)
        counts = {
            name: claim.counts.get(name, 0) + outcome.counts.get(name, 0) for name in {**claim.counts, **outcome.counts}
        }
        done, failed = claim.records_done + outcome.done, claim.records_failed + len(outcome.failures)
        await _advance(conn, claim, records_next, done, failed, counts, next_size or claim.portion_records)
        await _record_failures(conn, claim, outcome.failures)
        if records_next == piece.first_record + piece.records:
            key = {"project_id": claim.project, "id": claim.id, "first_record": piece.first_record}
            await conn.execute(SQL.async_action_piece_delete, key)
        if records_next == claim.records_total:
            await _finish(conn, claim, job, done=done, failed=failed, counts=counts)
    return records_next == claim.records_total


async def _advance(
    conn: Conn, claim: Claim, records_next: int, done: int, failed: int, counts: dict[str, int], next_size: int
) -> None:
    row = {
        "project_id": claim.project,
        "id": claim.id,
        "started_by": claim.started_by,
        "records_next": records_next,
        "records_done": done,
        "records_failed": failed,
        "counts": psycopg.types.json.Jsonb(counts),
        "portion_records": next_size,
    }
    if await (await conn.execute(SQL.async_action_advance, row)).fetchone() is None:
        raise LaneLost(f"Another worker continues action {claim.id}")


async def _record_failures(conn: Conn, claim: Claim, failures: Sequence[Failure]) -> None:
    if failures:
        rows = [
            {"project_id": claim.project, "action_id": claim.id, "record": f.record, "source_id": f.source_id,
             "reason": f.reason, "body": f.body}
            for f in failures
        ]  # fmt: skip
        async with conn.cursor() as cursor:
            await cursor.executemany(SQL.async_action_failure_insert, rows)


async def _finish(conn: Conn, claim: Claim, job: Job, *, done: int, failed: int, counts: dict[str, int]) -> None:
    key = {"project_id": claim.project, "id": claim.id}
    failures: list[dict[str, Any]] = []
    if failed:
        cursor = await conn.execute(SQL.async_action_failures_first, {**key, "limit": FAILURES_IN_RESULT_MAX})
        failures = [
            {"source_id": row.source_id, "index": row.record, "reason": row.reason} for row in await cursor.fetchall()
        ]
    result = job.result(done=done, failed=failed, failures=failures, counts=counts)
    status = "FAILED" if failed and not done else "SUCCESS"
    await conn.execute(
        SQL.async_action_finish, {**key, "operation_status": status, "result": psycopg.types.json.Jsonb(result)}
    )


async def _finish_empty(conn: Conn, claim: Claim, job: Job) -> bool:
    async with conn.transaction():
        await _advance(
            conn,
            claim,
            claim.records_next,
            claim.records_done,
            claim.records_failed,
            claim.counts,
            claim.portion_records,
        )
        await _finish(conn, claim, job, done=claim.records_done, failed=claim.records_failed, counts=claim.counts)
    return True


def _adapted(claim: Claim, records: int, elapsed_s: float, settings: Settings) -> int:
    """The size of the next portion: what would have taken `portion_ms`, at most twice this one."""
    elapsed_ms = max(1.0, elapsed_s * 1000)
    if elapsed_ms > settings.portion_slow_ms:
        logger.warning("portion_slow", action=claim.id, records=records, ms=round(elapsed_ms))
        return max(1, records // 2)
    wanted = int(records * settings.portion_ms / elapsed_ms)
    return max(1, min(wanted, 2 * max(records, claim.portion_records), PORTION_RECORDS_MAX))


def _head(batch: Batch, count: int) -> Batch:
    return Batch(batch.first_record, batch.bodies[:count])


def _failure(job: Job, batch: Batch, reason: str) -> Failure:
    body = batch.bodies[0]
    return Failure(batch.first_record, job.source_id(body), reason, body)


def _reason(error: psycopg.Error) -> str:
    """What PostgreSQL refused, in its words but without the values of other rows."""
    return f"The record cannot be stored: {error.diag.message_primary or type(error).__name__}"
