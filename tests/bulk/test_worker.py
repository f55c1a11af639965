"""The worker's sessions and its end: what is lost comes back, nothing stays behind."""

import asyncio
from collections.abc import Sequence

from psycopg import errors as pg

from punchcard.bulk import signals
from punchcard.bulk.worker import Worker
from punchcard.db.database import connect
from tests.bulk.kinds import Record, Tried, records
from tests.bulk.queue import Queue, in_loop, quick, until


@in_loop
async def test_stop_ends_the_portion_in_hand_and_takes_no_other(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job, held, go_on = Tried(portion_records=4), asyncio.Event(), asyncio.Event()

        async def pause(_: Sequence[Record]) -> None:
            held.set()
            await go_on.wait()

        job.before_write = pause
        action = await queue.schedule(job, records(20))
        worker, stop = Worker(workerless, {job.type: job}, quick()), asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        await held.wait()
        stop.set()
        go_on.set()
        await running
        assert await queue.numbers() == [0, 1, 2, 3]
        row = await queue.action(action)
        assert (row.records_next, row.started_by, row.status) == (4, None, "IN_PROGRESS")
        assert await queue.value("SELECT count(*) FROM workers WHERE id = %s", worker.id) == 0
        assert await queue.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


@in_loop
async def test_an_idle_worker_stops_at_once(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        worker, stop = Worker(workerless, {}, quick(poll_ms=60_000, worker_silent_ms=120_000)), asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        await queue.session_of(worker)
        stop.set()
        await asyncio.wait_for(running, 50)


@in_loop
async def test_a_lost_session_repeats_the_portion_and_counts_nothing(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job, left = Tried(), [3]
        async with queue.working(job) as worker:

            async def end_session(_: Sequence[Record]) -> None:
                if left[0]:
                    left[0] -= 1
                    await queue.rows("SELECT pg_terminate_backend(%s)", await queue.session_of(worker))

            job.before_write = end_session
            action = await queue.schedule(job, records(1))
            result = await queue.finished(action)
            assert (result["done_count"], result["failed_count"]) == (1, 0)
            assert (await queue.action(action)).stops_alone == 0
            await until(lambda: _is_well(worker))


async def _is_well(worker: Worker) -> bool:
    return worker.trouble is None


@in_loop
async def test_trouble_without_work_is_forgotten(workerless: str) -> None:
    async with Queue.opened(workerless) as queue, queue.working(Tried()) as worker:
        first = await queue.session_of(worker)
        await queue.rows("SELECT pg_terminate_backend(%s)", first)
        await until(lambda: _has_trouble(worker))
        await until(lambda: _is_well(worker))
        assert await queue.session_of(worker) != first


async def _has_trouble(worker: Worker) -> bool:
    return worker.trouble is not None


@in_loop
async def test_the_pulse_comes_back(workerless: str) -> None:
    pulse = "SELECT pid FROM pg_stat_activity WHERE application_name = 'punchcard pulse ' || %s"
    async with Queue.opened(workerless) as queue, queue.working(Tried()) as worker:
        await until(lambda: queue.value(pulse, worker.id))
        first = await queue.value(pulse, worker.id)
        await queue.rows("SELECT pg_terminate_backend(%s)", first)

        async def another() -> bool:
            return await queue.value(pulse, worker.id) not in {None, first}

        await until(another)


@in_loop
async def test_a_failed_unlock_leaves_no_lock(workerless: str) -> None:
    """The session that may still hold the lane is closed; another worker gets the lane."""
    async with Queue.opened(workerless) as queue:
        job, left = Tried(portion_records=5), [1]
        async with queue.working(job) as worker:

            async def spoil(_: Sequence[Record]) -> None:
                if left[0] and worker._conn is not None:
                    left[0] -= 1
                    execute = worker._conn.execute

                    async def failing(query: bytes, *arguments: object, **options: object) -> object:
                        if b"pg_advisory_unlock" in query:
                            raise pg.QueryCanceled
                        return await execute(query, *arguments, **options)  # type: ignore[call-overload]

                    worker._conn.execute = failing  # type: ignore[assignment]

            job.before_write = spoil
            await queue.finished(await queue.schedule(job, records(20)))
            await until(lambda: _free_of_locks(queue))
        assert await queue.numbers() == list(range(20))


async def _free_of_locks(queue: Queue) -> bool:
    return bool(await queue.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0)


@in_loop
async def test_troubles_of_lanes_do_not_pile_up(workerless: str) -> None:
    """A lane whose failed action is gone is forgotten; one that works again has no trouble left."""
    async with Queue.opened(workerless) as queue:
        job = Tried()
        job.errors = [RuntimeError("once")] * 3
        async with queue.working(job) as worker:
            await queue.schedule(job, records(1))
            await until(lambda: _has_trouble(worker))
            await queue.conn.execute("DELETE FROM async_actions WHERE finished_at IS NULL")
            await until(lambda: _is_well(worker))
            assert worker._resting == {}


@in_loop
async def test_trouble_in_one_lane_does_not_slow_another(workerless: str) -> None:
    async with Queue.opened(workerless) as bad:
        good, job = await bad.sibling(), Tried()

        async def fail(plan: Sequence[Record]) -> None:
            if plan[0].action == "bad":
                raise pg.DiskFull

        job.before_write = fail
        async with bad.working(job) as worker:
            await bad.schedule(job, records(2, "bad"))
            for no in range(20):
                await good.finished(await good.schedule(job, records(2, f"{no}")))
            await until(lambda: _pause_is(worker, 1.0))  # grows, although portions elsewhere went well
            await bad.conn.execute("DELETE FROM async_actions WHERE finished_at IS NULL")


async def _pause_is(worker: Worker, least: float) -> bool:
    return any(trouble.backoff_s >= least for trouble in worker._resting.values())


@in_loop
async def test_a_notifier_sends_one_for_many(workerless: str) -> None:
    sent: list[int] = []

    async def send() -> None:
        sent.append(1)

    notifier = signals.Notifier(send)
    notifier.start()
    for _ in range(200):
        notifier.ask()
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    await notifier.stop()
    assert 1 <= len(sent) <= 50
    async with await connect(workerless, part="test") as conn:
        listener = signals.Listener(workerless, signals.DONE, part="test")
        listener.start()

        async def heard() -> bool:
            return listener.generation > 0

        await until(heard)
        generation = listener.generation
        await signals.notify(conn, signals.DONE)
        await listener.wait(generation, 5)
        assert listener.generation > generation
        await listener.stop()
