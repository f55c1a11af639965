"""Long jobs side by side: all under way at once, a portion each in turn, a small one soon done."""

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from msgspec import UNSET
from psycopg import errors as pg

from punchcard.bulk import async_actions
from punchcard.bulk.jobs import Lane
from punchcard.bulk.worker import Worker
from punchcard.db.database import connect
from tests.bulk.kinds import Counted, Record, Tried, records
from tests.bulk.queue import Queue, in_loop, quick, until

LONG = 100_000
PORTION = 50
# so slow that a portion does not grow
SECONDS = 0.0005
# a portion can be held open for as long as a test takes
PATIENT: dict[str, object] = {"worker_idle_in_transaction_ms": 60_000, "worker_silent_ms": 60_000}


async def counting(queue: Queue, job: Counted, count: int, action: str) -> str:
    """Schedule a walk."""
    asked = {"action": action, "count": count, "seconds": SECONDS}
    async with queue.conn.transaction():
        return await async_actions.schedule_walk(
            queue.conn, queue.project, job, rows_estimate=count, request_id="test", parameters=asked
        )


async def portions(queue: Queue) -> list[str]:
    """The actions of the project's portions, in the order in which they were written."""
    query = "SELECT DISTINCT portion, action FROM tried_records WHERE project_id = %s ORDER BY portion"
    return [row.action for row in await queue.rows(query, queue.project)]


@pytest.mark.parametrize("jobs", [10, 200])
@in_loop
async def test_all_long_jobs_are_in_progress_within_one_turn(workerless: str, jobs: int) -> None:
    """And within a second, while the first portion of the first of them is still held open."""
    async with Queue.opened(workerless) as queue:
        job, held, go_on = Tried(lane=Lane.ROUND_ROBIN), asyncio.Event(), asyncio.Event()

        async def pause(_: Sequence[Record]) -> None:
            held.set()
            await go_on.wait()

        job.before_write = pause
        actions = await queue.schedule_all(job, [records(1, f"{no:03}") for no in range(jobs)])
        asked_at = await queue.value("SELECT clock_timestamp()")
        async with queue.working(job, quick(**PATIENT)):
            await held.wait()
            rows = await queue.rows("SELECT * FROM async_actions WHERE project_id = %s", queue.project)
            assert {row.status for row in rows} == {"IN_PROGRESS"}
            assert max((row.started_at - asked_at).total_seconds() for row in rows) < 1
            assert await queue.numbers() == [], "nothing is written yet"
            go_on.set()
            await queue.finished(actions[-1])
        # those that have just come are behind the one that was first
        assert await portions(queue) == [f"{no:03}" for no in range(jobs)]


@pytest.mark.parametrize("workers", [1, 2])
@in_loop
async def test_a_small_job_behind_ten_long_ones_ends_within_two_rounds(workerless: str, workers: int) -> None:
    async with Queue.opened(workerless) as queue:
        job, tuned = Counted(portion_records=PORTION), quick(portion_ms=20)
        for no in range(10):
            await counting(queue, job, LONG, f"long {no}")
        working = [queue.working(job, tuned) for _ in range(workers)]
        for worker in working:
            await worker.__aenter__()
        await until(lambda: _some(queue, 30))
        small = await counting(queue, job, 10, "small")
        before = await queue.value(
            "SELECT count(DISTINCT portion) FROM tried_records WHERE project_id = %s", queue.project
        )
        await queue.finished(small)
        seen = await portions(queue)
        await queue.conn.execute("DELETE FROM async_actions WHERE finished_at IS NULL")
        for worker in working:
            await worker.__aexit__(None, None, None)
        waited = seen.index("small") - before
        assert waited <= 2 * 10, f"{waited} portions of others came first"


async def _some(queue: Queue, least: int) -> bool:
    return len(await portions(queue)) >= least


@in_loop
async def test_between_two_portions_of_a_job_every_other_has_one(workerless: str) -> None:
    """Two workers; jobs of different lengths, of which one fails now and then for a reason outside."""
    async with Queue.opened(workerless) as queue:
        walk, failures = Counted(portion_records=PORTION), [3]
        write = walk.write

        async def failing(conn: object, project: str, plan: tuple[list[Record], bool]) -> None:
            if plan[0][0].action == "c" and plan[0][0].n >= PORTION and failures[0]:
                failures[0] -= 1
                raise pg.DiskFull
            await write(conn, project, plan)  # type: ignore[arg-type]

        walk.write = failing  # type: ignore[method-assign]
        tuned = quick(portion_ms=10, poll_ms=20)
        lengths = {"a": 240, "b": 80, "c": 180, "d": 130}
        actions = [await counting(queue, walk, count, name) for name, count in lengths.items()]
        async with queue.working(walk, tuned), queue.working(walk, tuned):
            for action in actions:
                await queue.finished(action)
        seen = await portions(queue)
        for name in lengths:
            places = [no for no, other in enumerate(seen) if other == name]
            for begin, end in itertools.pairwise(places):
                owed = {other for other in seen[end:] if other in seen[:begin]} - {name, "c"}
                assert owed <= set(seen[begin:end]), f"{name} went twice: {seen}"
        assert failures == [0]
        for name, count in lengths.items():
            assert await queue.numbers(name) == list(range(count))


@pytest.mark.parametrize("lane", [Lane.FIFO, Lane.ROUND_ROBIN])
@in_loop
async def test_one_that_is_committed_late_is_not_overlooked(workerless: str, lane: Lane) -> None:
    """Its place in the order is before all that the lane has done meanwhile, and long forgotten."""
    async with Queue.opened(workerless) as queue, await connect(workerless, part="test") as slow_api:
        job = Tried(lane=lane)
        async with queue.working(job, quick(poll_ms=50)):
            await queue.finished(await queue.schedule(job, records(1, "before")))
            async with slow_api.transaction():
                late = await queue.schedule(job, records(3, "late"), conn=slow_api)
                for no in range(4):
                    await queue.finished(await queue.schedule(job, records(1, f"{no}")))
            # long before all lanes with work are looked for
            await until(lambda: _is_done(queue, late), 25)
        assert await queue.numbers("late") == [0, 1, 2]


async def _is_done(queue: Queue, action: str) -> bool:
    return bool((await queue.action(action)).status == "DONE")


@in_loop
async def test_a_job_that_cannot_go_on_stops_no_other(workerless: str) -> None:
    """It loses its turn with each try, also when it had the first one."""
    async with Queue.opened(workerless) as queue:
        job, tries = Tried(lane=Lane.ROUND_ROBIN), []

        async def fail(plan: Sequence[Record]) -> None:
            if plan[0].action == "stuck":
                tries.append(1)
                raise pg.DiskFull

        job.before_write = fail
        stuck = await queue.schedule(job, records(3, "stuck"))
        others = [await queue.schedule(job, records(3, f"other {no}")) for no in range(5)]
        async with queue.working(job, quick(poll_ms=20)):
            for action in others:
                await queue.finished(action)
            assert (await queue.action(stuck)).status == "IN_PROGRESS"
            await queue.conn.execute("DELETE FROM async_actions WHERE finished_at IS NULL")
        assert 1 <= len(tries) <= len(others) + 1


@in_loop
async def test_a_fifo_lane_goes_on_beside_long_jobs(workerless: str) -> None:
    """The lanes of a project take turns: an import waits a portion for the long jobs, however many they are."""
    async with Queue.opened(workerless) as queue:
        walk, fifo = Counted(portion_records=PORTION), Tried()
        for no in range(20):
            await counting(queue, walk, LONG, f"long {no}")
        worker, stop = Worker(queue.dsn, {walk.type: walk, fifo.type: fifo}, quick(portion_ms=20)), asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        await until(lambda: _some(queue, 5))
        before = len(await portions(queue))
        await queue.finished(await queue.schedule(fifo, records(5, "import")))
        waited = (await portions(queue)).index("import") - before
        await queue.conn.execute("DELETE FROM async_actions WHERE finished_at IS NULL")
        stop.set()
        await running
        assert waited <= 2, f"{waited} portions of long jobs came first"


@in_loop
async def test_where_an_action_stands(workerless: str) -> None:
    """Position and estimate in each state; in a round_robin lane others take no more than they have."""
    async with Queue.opened(workerless) as queue:
        job, held, go_on = Tried(lane=Lane.ROUND_ROBIN, portion_records=10), asyncio.Event(), asyncio.Event()

        async def pause(plan: Sequence[Record]) -> None:
            if plan[0].n == 10:
                held.set()
                await go_on.wait()

        job.before_write = pause

        async def seen(action: str) -> async_actions.AsyncAction:
            return await async_actions.get_action(queue.conn, queue.project, action)

        first = await queue.schedule(job, records(5000, "first"))
        waiting = await queue.schedule(job, records(20, "waiting"))
        assert ((await seen(first)).position, (await seen(waiting)).position) == (1, 2)
        assert (await seen(first)).estimated_seconds_left is UNSET, "nothing is known of this lane yet"
        async with queue.working(job, quick(**PATIENT)):
            await held.wait()
            late = await queue.schedule(job, records(20, "late"))
            under_way, behind = await seen(first), await seen(late)
            assert (under_way.status, under_way.position) == ("IN_PROGRESS", 0)
            assert (behind.status, behind.position) == ("ENQUEUED", 1)
            us = await queue.value("SELECT max(record_us) FROM lane_turns WHERE project_id = %s", queue.project)
            # as many records of each other job as it has itself, and its own
            assert isinstance(behind.estimated_seconds_left, int)
            assert behind.estimated_seconds_left <= 3 * 20 * us / 1_000_000 + 1.1
            go_on.set()
            await queue.conn.execute("DELETE FROM async_actions WHERE id = %s", [first])
            await queue.finished(late)
        ended = await seen(late)
        assert (ended.position, ended.estimated_seconds_left) == (UNSET, UNSET)
        assert (await seen(waiting)).progress == 100
