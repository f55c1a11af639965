"""Which action runs when: order of arrival, one at a time, and no lane starves another."""

import asyncio
import itertools
import time
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.bulk import lanes
from punchcard.db.database import Conn, connect
from tests.bulk.kinds import Record, Tried, records
from tests.bulk.queue import Queue, in_loop, quick, until


async def runs(queue: Queue) -> list[tuple[str, int, int]]:
    """The portions of a project in the order in which they were written: action, first and last portion number."""
    query = (
        "SELECT action, min(portion) AS first, max(portion) AS last FROM tried_records"
        " WHERE project_id = %s GROUP BY action ORDER BY 2"
    )
    return [(row.action, row.first, row.last) for row in await queue.rows(query, queue.project)]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), min_size=1, max_size=15))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_actions_of_a_project_run_one_by_one_in_order_of_arrival(
    workerless: str, arrivals: list[tuple[int, int]]
) -> None:
    """Whatever arrives in which project, with two workers at it while more arrives."""

    async def scenario() -> None:
        async with Queue.opened(workerless) as first:
            queues = [first, await first.sibling(), await first.sibling()]
            job = Tried(portion_records=7)
            async with first.working(job, quick(portion_ms=10)), first.working(job, quick(portion_ms=10)):
                asked: dict[str, list[tuple[str, int]]] = {queue.project: [] for queue in queues}
                for no, (place, count) in enumerate(arrivals):
                    action = await queues[place].schedule(job, records(count, action=f"{no:02}"))
                    asked[queues[place].project].append((action, count))
                await first.notify()
                for queue in queues:
                    for action, count in asked[queue.project]:
                        assert (await queue.finished(action))["done_count"] == count
            for queue in queues:
                portions = await runs(queue)
                assert [action for action, _, _ in portions] == sorted(action for action, _, _ in portions)
                assert all(a[2] < b[1] for a, b in itertools.pairwise(portions))
                query = "SELECT started_at, finished_at FROM async_actions WHERE project_id = %s ORDER BY seq"
                rows = await queue.rows(query, queue.project)
                assert all(a.finished_at <= b.started_at for a, b in itertools.pairwise(rows))

    asyncio.run(asyncio.wait_for(scenario(), 60))


@in_loop
async def test_a_late_commit_does_not_cut_in_on_the_action_under_way(workerless: str) -> None:
    """Its number is lower, and yet it must wait: one import at a time."""
    async with Queue.opened(workerless) as queue, await connect(workerless, part="test") as slow_api:
        job, half_done, go_on = Tried(portion_records=5), asyncio.Event(), asyncio.Event()

        async def pause(plan: Sequence[Record]) -> None:
            if plan[0].action == "b" and plan[0].n >= 5:
                half_done.set()
                await go_on.wait()

        job.before_write = pause
        async with slow_api.transaction():
            early = await queue.schedule(job, records(5, "a"), conn=slow_api)
            late = await queue.schedule(job, records(60, "b"))
            working = queue.working(job, quick(portion_ms=10))
            await working.__aenter__()
            await half_done.wait()
        go_on.set()
        await queue.finished(late)
        await queue.finished(early)
        await working.__aexit__(None, None, None)
        assert [action for action, _, _ in await runs(queue)] == ["b", "a"]
        assert (await queue.action(early)).seq < (await queue.action(late)).seq
        assert (await queue.action(late)).finished_at <= (await queue.action(early)).started_at


@in_loop
async def test_a_blocked_project_holds_nobody_up(workerless: str) -> None:
    async with Queue.opened(workerless) as blocked:
        other, job, go_on, held = await blocked.sibling(), Tried(), asyncio.Event(), asyncio.Event()

        async def pause(plan: Sequence[Record]) -> None:
            if plan[0].action == "blocked":
                held.set()
                await go_on.wait()

        job.before_write = pause
        async with blocked.working(job), blocked.working(job):
            waiting = await blocked.schedule(job, records(3, "blocked"))
            behind = await blocked.schedule(job, records(3, "behind"))
            await held.wait()
            for no in range(5):
                await other.finished(await other.schedule(job, records(3, f"other {no}")))
            assert (await blocked.action(behind)).status == "ENQUEUED"
            assert (await blocked.action(waiting)).status == "IN_PROGRESS"
            go_on.set()
            await blocked.finished(behind)


@pytest.mark.parametrize("workers", [1, 2])
@in_loop
async def test_a_new_head_waits_a_round_at_most(workerless: str, workers: int) -> None:
    """(Lanes with work / workers) portions; the portions of all workers together are as many as there are lanes."""
    lanes_with_work = 6
    async with Queue.opened(workerless) as newcomer:
        job = Tried(portion_records=1)
        tuned = quick(portion_ms=10)
        busy = [await newcomer.sibling() for _ in range(lanes_with_work - 1)]
        for queue in busy:
            await queue.schedule(job, [Record(n, seconds=0.02) for n in range(100)])
        working = [newcomer.working(job, tuned) for _ in range(workers)]
        for worker in working:
            await worker.__aenter__()
        waits = []
        for no in range(5):
            before = await newcomer.value("SELECT last_value FROM tried_portions")
            await newcomer.finished(await newcomer.schedule(job, [Record(no)]))
            query = "SELECT portion FROM tried_records WHERE project_id = %s AND n = %s"
            waits.append(await newcomer.value(query, newcomer.project, no) - before - 1)
        await newcomer.conn.execute("DELETE FROM async_actions WHERE finished_at IS NULL")
        for worker in working:
            await worker.__aexit__(None, None, None)
        assert max(waits) <= lanes_with_work + workers - 1
        assert max(waits) >= 1, "the other lanes had work all the time"


@in_loop
async def test_workers_share_many_short_portions(workerless: str) -> None:
    """A worker that finds its list served by others reads it anew instead of resting with work at hand."""
    async with Queue.opened(workerless) as first:
        job = Tried(portion_records=1)
        unwoken = quick(poll_ms=60_000, worker_silent_ms=120_000)
        queues = [first, *[await first.sibling() for _ in range(5)]]
        actions = [(q, await q.schedule(job, records(30, "a"))) for q in queues]
        began = time.monotonic()
        async with first.working(job, unwoken), first.working(job, unwoken):
            for queue, action in actions:
                await queue.finished(action)
        assert time.monotonic() - began < 55


@in_loop
async def test_a_notification_wakes_within_100_ms_and_polling_stands_behind_it(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job = Tried()
        async with queue.working(job, quick(poll_ms=60_000, worker_silent_ms=120_000)) as worker:
            listening = (
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'punchcard pulse ' || %s AND query ~ 'workers'"
            )
            await until(lambda: queue.value(listening, worker.id))
            waits = []
            for no in range(7):
                action = await queue.schedule(job, [Record(no)])
                asked_at = await queue.value("SELECT clock_timestamp()")
                await queue.notify()
                await queue.finished(action)
                waits.append(((await queue.action(action)).started_at - asked_at).total_seconds())
            assert min(waits) < 0.1
        async with queue.working(job, quick(poll_ms=100)):
            await queue.finished(await queue.schedule(job, [Record(99)]))


@in_loop
async def test_a_lane_that_is_taken_costs_nothing_to_wait_for(workerless: str) -> None:
    """A worker whose only lane another session holds looks for work once every poll interval, no more."""
    async with Queue.opened(workerless) as queue, await connect(workerless, part="test") as holder:
        job = Tried()
        action = await queue.schedule(job, records(3))
        key = lanes.LaneTurn(queue.project, "fifo", None).key
        await holder.execute("SELECT pg_advisory_lock(%s)", [key])
        async with queue.working(job, quick(poll_ms=250)) as worker:
            await queue.session_of(worker)
            looks, read = [], worker._round.read

            async def counted(conn: Conn) -> None:
                looks.append(time.monotonic())
                await read(conn)

            worker._round.read = counted  # type: ignore[method-assign]
            await until(lambda: _count(looks, 6))
            assert looks[-1] - looks[0] >= 4 * 0.25
            await holder.execute("SELECT pg_advisory_unlock(%s)", [key])
            await queue.finished(action)


async def _count(looks: list[float], least: int) -> bool:
    return len(looks) >= least


@pytest.mark.parametrize("rank", [0, 1])
def test_no_lane_of_a_long_list_waits_for_a_worker_that_is_slow(rank: int) -> None:
    """The other worker holds the lane served longest ago all the time; still each other lane gets its turns."""
    lanes_with_work = [lanes.LaneTurn(f"proj_{no:02}", "fifo", None) for no in range(3 * lanes.SHARED_LANES_MIN)]
    held, order, since = lanes_with_work[0], list(lanes_with_work), dict.fromkeys(lanes_with_work, 0)
    served = 0
    for _ in range(200):
        worker = lanes.Round()
        worker._share(order, workers=2, rank=rank)
        while worker:
            turn = worker.next()
            if turn is held:
                continue
            worker.has_served = True
            served += 1
            since[turn] = served
            order.remove(turn)
            order.append(turn)
        waits = [served - last for turn, last in since.items() if turn is not held]
        assert max(waits) <= 2 * len(lanes_with_work)
