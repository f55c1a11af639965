"""What a portion does with errors: which are a record's fault, which are retried, and that nothing counts twice."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors as pg

from punchcard.bulk import claims, lanes
from punchcard.bulk.portions import REASON_STOPPED_WORKERS, run_portion
from punchcard.bulk.worker import SQL
from punchcard.db.database import connect
from punchcard.orders.imports import OrdersImport
from tests.bulk.kinds import Record, Tried, records
from tests.bulk.queue import Queue, claimed, in_loop, quick, until


@in_loop
async def test_bad_records_are_found_among_many(workerless: str) -> None:
    """One refused by PostgreSQL's types, one by a constraint, one by us; 1,997 others go in."""
    async with Queue.opened(workerless) as queue:
        job = Tried(portion_records=1000)
        asked = records(2000, sqlstate={3: "22003", 1444: "23514"}, refused={1999: "not this one"})
        action = await queue.schedule(job, asked)
        async with queue.working(job):
            result = await queue.finished(action)
        assert result["failed"] == [
            {"index": 3, "source_id": "3", "reason": "The record cannot be stored: as asked"},
            {"index": 1444, "source_id": "1444", "reason": "The record cannot be stored: as asked"},
            {"index": 1999, "source_id": "1999", "reason": "not this one"},
        ]
        assert (result["done_count"], result["failed_count"], result["good_count"]) == (1997, 3, 1997)
        assert await queue.numbers() == [n for n in range(2000) if n not in {3, 1444, 1999}]
        assert len(job.tries) < 150


@in_loop
async def test_a_value_too_long_for_an_index_does_not_block_the_queue(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job = Tried()
        action = await queue.schedule(job, records(5, sqlstate={2: "54000"}))
        async with queue.working(job):
            result = await queue.finished(action)
        assert (result["done_count"], [failure["index"] for failure in result["failed"]]) == (4, [2])


@in_loop
async def test_a_collision_is_planned_again_before_a_record_is_blamed(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job, collisions = Tried(), [1]

        async def collide_once(_: Sequence[Record]) -> None:
            if collisions:
                collisions.pop()
                raise pg.UniqueViolation

        job.before_write = collide_once
        action = await queue.schedule(job, records(7))
        async with queue.working(job):
            assert (await queue.finished(action))["done_count"] == 7
        assert job.tries == [7, 7]


@pytest.mark.parametrize("state", ["40P01", "40001"])
@in_loop
async def test_deadlocks_are_repeated_silently(workerless: str, state: str) -> None:
    async with Queue.opened(workerless) as queue:
        job, left = Tried(), [3]

        async def fail(_: Sequence[Record]) -> None:
            if left[0]:
                left[0] -= 1
                raise {"40P01": pg.DeadlockDetected, "40001": pg.SerializationFailure}[state]

        job.before_write = fail
        action = await queue.schedule(job, records(3))
        async with queue.working(job) as worker:
            assert (await queue.finished(action))["done_count"] == 3
            assert worker.trouble is None
        assert job.tries == [3, 3, 3, 3]


@pytest.mark.parametrize("error", [RuntimeError("a mistake of ours"), pg.DiskFull("no space"), MemoryError()])
@in_loop
async def test_other_errors_are_retried_and_shown(workerless: str, error: Exception) -> None:
    """They never end the action, are never a record's fault, and do not count as attempts."""
    async with Queue.opened(workerless) as queue:
        job = Tried()
        job.errors = [error] * 4
        action = await queue.schedule(job, records(1))
        async with queue.working(job, quick(heartbeat_ms=20)):
            await until(lambda: _trouble_is(queue, type(error).__name__))
            result = await queue.finished(action)
            await until(lambda: _trouble_is(queue, None))
        assert (result["done_count"], result["failed_count"]) == (1, 0)
        row = await queue.action(action)
        assert (row.stops_alone, row.status, row.operation_status) == (0, "DONE", "SUCCESS")


async def _trouble_is(queue: Queue, name: str | None) -> bool:
    row = await (await queue.conn.execute(SQL.workers_alive, {"silent_ms": 3000})).fetchone()
    assert row is not None
    return row.trouble is None if name is None else name in (row.trouble or "")


@in_loop
async def test_a_portion_above_its_time_limit_is_halved(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job = Tried(portion_records=40)
        action = await queue.schedule(job, [Record(n, seconds=0.05) for n in range(40)])
        async with queue.working(job, quick(worker_statement_ms=700, portion_slow_ms=600)):
            result = await queue.finished(action)
        assert (result["done_count"], result["failed_count"]) == (40, 0)
        assert job.tries[:3] == [40, 20, 10]


@in_loop
async def test_a_portion_that_lost_its_start_mark_writes_nothing(workerless: str) -> None:
    async with Queue.opened(workerless) as queue, await connect(workerless, part="test") as other:
        stolen: list[int] = []
        job = Tried()

        async def steal_once(_: Sequence[Record]) -> None:
            if not stolen:
                stolen.append(1)
                postmaster = await (await other.execute(SQL.postmaster_start)).fetchone()
                assert postmaster is not None
                await other.execute(
                    "UPDATE async_actions SET started_by = %s WHERE project_id = %s",
                    [f"worker_gone/{postmaster.started}/0", queue.project],
                )

        job.before_write = steal_once
        action = await queue.schedule(job, records(8))
        async with queue.working(job):
            result = await queue.finished(action)
        assert (result["done_count"], result["good_count"]) == (8, 8)
        assert await queue.numbers() == list(range(8))
        assert job.tries[:2] == [8, 4]  # the thief was taken for a worker that a portion stopped


@in_loop
async def test_portions_take_the_time_they_should(workerless: str) -> None:
    """Too large a first portion shrinks, too small a one grows."""
    async with Queue.opened(workerless) as queue:
        slow, fast = Tried(portion_records=100), Tried(portion_records=1)
        action = await queue.schedule(slow, [Record(n, seconds=0.005) for n in range(200)])
        async with queue.working(slow, quick(portion_ms=50)):
            await queue.finished(action)
        assert slow.tries[0] == 100
        assert 3 <= sorted(slow.tries)[len(slow.tries) // 2] <= 20
        action = await queue.schedule(fast, records(1000, "fast"))
        unhurried = quick(portion_ms=5000, portion_slow_ms=8000)  # a stall of the machine must not count
        async with queue.working(fast, unhurried):
            await queue.finished(action)
        assert fast.tries[:6] == [1, 2, 4, 8, 16, 32]
        assert len(fast.tries) < 20


# ---- portions that stop their worker -----------------------------------------------------------


@pytest.mark.parametrize(("count", "fatal", "deaths_max"), [(1, 0, 5), (300, 211, 24)])
@in_loop
async def test_a_record_that_stops_its_worker_three_times_fails(
    workerless: str, count: int, fatal: int, deaths_max: int
) -> None:
    async with Queue.opened(workerless) as queue:
        action = await queue.schedule(Tried(), records(count, fatal={fatal: True}))
        workers = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bulk.mortal_workers", workerless, queue.project, action),
            stdout=subprocess.PIPE,
        )
        output, _ = await workers.communicate()
        result = await queue.finished(action)
        assert result["failed"] == [{"index": fatal, "source_id": str(fatal), "reason": REASON_STOPPED_WORKERS}]
        assert await queue.numbers() == [n for n in range(count) if n != fatal]
        assert 3 <= int(output.split()[-1]) <= deaths_max


@in_loop
async def test_only_workers_that_are_gone_count_as_stopped(workerless: str) -> None:
    async with Queue.opened(workerless) as queue, await connect(workerless, part="test") as conn:
        job = Tried()
        await queue.schedule(job, records(64))
        await queue.schedule(job, records(1))
        started = await queue.value("SELECT extract(epoch FROM pg_postmaster_start_time())::text")
        turn = lanes.LaneTurn(queue.project, job.lane, None)
        us = claims.Starter("worker_us", started, 3000)

        async def next_portion(left_by: str | None) -> int:
            await conn.execute(
                "UPDATE async_actions SET started_by = %s WHERE project_id = %s", [left_by, queue.project]
            )
            claim = await claimed(conn, turn, starter=us, number=1)
            assert claim is not None
            return claim.records_at_hand

        assert await next_portion(None) == 64
        assert await next_portion(f"worker_us/{started}/7") == 64  # our own connection was lost
        assert await next_portion("worker_gone/1234.5/7") == 64  # PostgreSQL was restarted
        assert await next_portion(f"worker_gone/{started}/7") == 32


@in_loop
async def test_a_worker_that_only_lost_its_session_did_not_stop(workerless: str) -> None:
    async with Queue.opened(workerless) as queue, await connect(workerless, part="test") as conn:
        job = Tried()
        async with queue.working(job) as well:
            await queue.session_of(well)
            await until(lambda: queue.value("SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '%%pulse%%'"))
            async with conn.transaction():  # not visible to the worker, which would take it
                await queue.schedule(job, records(64), conn=conn)
                started = await queue.value("SELECT extract(epoch FROM pg_postmaster_start_time())::text")
                us = claims.Starter("worker_us", started, 3000)
                mark = f"{well.id}/{started}/7"
                await conn.execute(
                    "UPDATE async_actions SET started_by = %s WHERE project_id = %s", [mark, queue.project]
                )
                claim = await claimed(conn, lanes.LaneTurn(queue.project, job.lane, None), starter=us, number=1)
                assert claim is not None
                assert claim.records_at_hand == 64
                await conn.execute("DELETE FROM async_actions WHERE project_id = %s", [queue.project])


@given(
    poison=st.integers(0, 1999), total=st.integers(1, 2000), growth=st.sampled_from([1, 2]), seed=st.integers(0, 2**32)
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_poisonous_record_is_found_with_few_deaths(poison: int, total: int, growth: int, seed: int) -> None:
    """Whatever its place, and however portions grow between the deaths: fewer than a server's parts may die."""
    poison, next_record, size, stops, deaths, stopped = poison % total, 0, 1000, 0, 0, False
    while next_record <= poison:
        size = min(size, total - next_record)
        size, stops = claims.next_start(portion_records=size, stops_alone=stops, stopped=stopped)
        if stops >= claims.STOPS_ALONE_MAX:
            break
        stopped = next_record <= poison < next_record + size
        if stopped:
            deaths += 1
        else:
            next_record, stops, size = next_record + size, 0, growth * size
    assert next_record == poison
    assert deaths <= 24


# ---- set-wise -----------------------------------------------------------------------------------


@in_loop
async def test_records_that_fail_are_written_in_one_statement(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job = Tried(portion_records=2000)
        action = await queue.schedule(job, records(2000, foreseen={n: f"no {n}" for n in range(2000)}))
        async with queue.working(job):
            result = await queue.finished(action)
        assert (result["done_count"], result["failed_count"], len(result["failed"])) == (0, 2000, 1000)
        assert (await queue.action(action)).operation_status == "FAILED"
        assert await queue.value("SELECT count(*) FROM async_action_failures WHERE action_id = %s", action) == 2000


@in_loop
async def test_the_statements_of_a_portion_do_not_grow_with_its_records(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        few, many = await statements_of_an_import(queue, "few", 20), await statements_of_an_import(queue, "many", 900)
        assert few == many
        assert few < 40
        few, many = await statements_of_an_import(queue, "few", 20), await statements_of_an_import(queue, "many", 900)
        assert few == many, "also where all is stored already"


async def statements_of_an_import(queue: Queue, name: str, count: int) -> int:
    """How many statements one portion of new customers, products and orders, and of failures, sends."""
    job = OrdersImport()
    orders = [
        {
            "source_id": f"{name}-{n}",
            "status": "PAID",
            "customer": {"source_id": f"{name}-{n}"} if n % 10 else {"id": "cust_unknown"},
            "items": [{"quantity": 1, "price": 2, "product": {"source_id": f"{name}-{n}", "override": True}}],
        }
        for n in range(count)
    ]
    await queue.schedule(job, [msgspec.json.encode(order) for order in orders])
    async with await connect(queue.dsn, part="test") as conn:
        with tempfile.TemporaryFile("r+b") as trace:
            conn.pgconn.trace(trace.fileno())
            turn = lanes.LaneTurn(queue.project, job.lane, None)
            claim = await claimed(conn, turn, starter=claims.Starter("worker_us", "0", 3000), number=1)
            assert claim is not None
            # however slow the machine is, the next portion takes as many
            settings = quick(portion_ms=9000, portion_slow_ms=10_000)
            assert await run_portion(conn, claim, {job.type: job}, settings)
            conn.pgconn.untrace()
            trace.seek(0)
            sent = [line.split(b"\t") for line in trace if b"\tF\t" in line]
    return sum(1 for message in sent if message[3] in {b"Execute", b"Query"})
