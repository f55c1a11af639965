"""A paused lane takes no further portion, whatever happens to its workers, until it is resumed."""

import asyncio
from collections.abc import Sequence

from msgspec import UNSET

from punchcard.bulk import async_actions, pauses
from punchcard.bulk.jobs import Lane
from punchcard.bulk.worker import Worker
from tests.bulk.kinds import Record, Tried, records
from tests.bulk.queue import Queue, in_loop, quick, until

# so often does an idle worker look that nobody tells
POLL_MS = 20
LOOKS = 10


async def some_looks() -> None:
    """Time for a worker to take what it should not."""
    await asyncio.sleep(LOOKS * POLL_MS / 1000)


async def progress(queue: Queue, action: str) -> int:
    return int((await queue.action(action)).records_next)


@in_loop
async def test_the_portion_in_hand_ends_and_no_other_begins(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job, held, go_on = Tried(portion_records=5), asyncio.Event(), asyncio.Event()

        async def stop(plan: Sequence[Record]) -> None:
            if plan[0].n == 5:
                held.set()
                await go_on.wait()

        job.before_write = stop
        action = await queue.schedule(job, records(100))
        async with queue.working(job, quick(poll_ms=POLL_MS, portion_ms=10)):
            await held.wait()
            assert await pauses.pause(queue.conn, queue.project, Lane.FIFO)
            assert not await pauses.pause(queue.conn, queue.project, Lane.FIFO), "pausing twice is no error"
            go_on.set()
            await until(lambda: _has_passed(queue, action, 5))
            reached = await progress(queue, action)
            await some_looks()
            assert await progress(queue, action) == reached < 100
            seen = await async_actions.get_action(queue.conn, queue.project, action)
            assert (seen.status, seen.position, seen.lane_paused) == ("IN_PROGRESS", 0, True)
            assert seen.estimated_seconds_left is UNSET, "nobody knows when it goes on"
            assert await pauses.resume(queue.conn, queue.project, Lane.FIFO)
            assert not await pauses.resume(queue.conn, queue.project, Lane.FIFO)
            await queue.finished(action)
        assert await queue.numbers() == list(range(100))


async def _has_passed(queue: Queue, action: str, records_next: int) -> bool:
    return await progress(queue, action) > records_next


@in_loop
async def test_a_pause_survives_restarts_of_workers(workerless: str) -> None:
    """Those that stop, and those that are gone without a goodbye; a worker that starts later obeys too."""
    async with Queue.opened(workerless) as queue:
        job = Tried(lane=Lane.ROUND_ROBIN)
        await pauses.pause(queue.conn, queue.project, Lane.ROUND_ROBIN)
        action = await queue.schedule(job, records(10))
        for _ in range(2):
            async with queue.working(job, quick(poll_ms=POLL_MS)) as worker:
                lost = await queue.session_of(worker)
                await queue.rows("SELECT pg_terminate_backend(%s)", lost)
                await until(lambda worker=worker, lost=lost: _has_another(queue, worker, lost))  # type: ignore[misc]
                await some_looks()
                assert (await queue.action(action)).status == "ENQUEUED"
        async with queue.working(job, quick(poll_ms=POLL_MS)):
            await pauses.resume(queue.conn, queue.project, Lane.ROUND_ROBIN)
            await queue.finished(action)


async def _has_another(queue: Queue, worker: Worker, session: int) -> bool:
    return await queue.session_of(worker) != session


@in_loop
async def test_other_lanes_go_on(workerless: str) -> None:
    """Of the same project and of others."""
    async with Queue.opened(workerless) as queue:
        other, fifo = await queue.sibling(), Tried()
        rotating = Tried(lane=Lane.ROUND_ROBIN, kind=fifo.type)
        await pauses.pause(queue.conn, queue.project, Lane.FIFO)
        paused = await queue.schedule(fifo, records(3, "paused"))
        async with queue.working(fifo, quick(poll_ms=POLL_MS)):
            for no in range(3):
                await queue.finished(await queue.schedule(rotating, records(3, f"rotating {no}")))
                await other.finished(await other.schedule(fifo, records(3, f"other {no}")))
            assert (await queue.action(paused)).status == "ENQUEUED"
            await pauses.resume(queue.conn, queue.project, Lane.FIFO)
            await queue.finished(paused)


@in_loop
async def test_a_paused_lane_works_off_cancels_and_nothing_else(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job = Tried()
        await pauses.pause(queue.conn, queue.project, Lane.FIFO)
        actions = [await queue.schedule(job, records(3, f"{no}")) for no in range(4)]
        async with queue.working(job, quick(poll_ms=POLL_MS)):
            await some_looks()
            for action in actions[1:3]:
                await async_actions.cancel_action(queue.conn, queue.project, action)
                await until(lambda action=action: _has_failed(queue, action))  # type: ignore[misc]
            await some_looks()
            assert [(await queue.action(action)).status for action in (actions[0], actions[3])] == ["ENQUEUED"] * 2
            await pauses.resume(queue.conn, queue.project, Lane.FIFO)
            for action in (actions[0], actions[3]):
                await queue.finished(action)
        assert await queue.value("SELECT count(*) FROM async_action_cancels WHERE project_id = %s", queue.project) == 0


async def _has_failed(queue: Queue, action: str) -> bool:
    return bool((await queue.action(action)).status == "FAILED")
