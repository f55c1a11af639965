"""A lane that works off an inbox: every row once and in order, whatever happens to it or to the worker."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence

import pytest
from psycopg import errors as pg

from punchcard.bulk import lanes, pauses
from punchcard.bulk.claims import Starter
from punchcard.bulk.inboxes import InboxPortion
from punchcard.bulk.jobs import Lane
from punchcard.bulk.portions import REASON_STOPPED_WORKERS, LaneLost
from punchcard.db.database import connect
from tests.bulk.kinds import Record, TriedInbox, records
from tests.bulk.queue import Queue, in_loop, quick, until

LEFT = "SELECT count(*) FROM event_outbox WHERE project_id = %s"
FAILED = "SELECT event_id, reason FROM event_failures WHERE project_id = %s ORDER BY failed_at"
NOTED = "SELECT n FROM tried_records WHERE project_id = %s ORDER BY portion, n"


async def emptied(queue: Queue) -> None:
    await until(lambda: _is_empty(queue))


async def _is_empty(queue: Queue) -> bool:
    return bool(await queue.value(LEFT, queue.project) == 0)


@in_loop
async def test_rows_are_worked_off_in_their_order(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        inbox = TriedInbox()
        await queue.drop(records(100))
        async with queue.working(inbox=inbox):
            await emptied(queue)
            assert [row.n for row in await queue.rows(NOTED, queue.project)] == list(range(100))
            assert max(inbox.tries) > 8, "portions grow"
            # and what comes later, without waiting for the poll
            await queue.drop(records(3, "b"))
            await queue.notify()
            await emptied(queue)
        assert await queue.numbers("b") == [0, 1, 2]
        row = (await queue.rows("SELECT * FROM lane_turns WHERE project_id = %s", queue.project))[0]
        assert (row.lane, row.started_by) == ("reactions", None)


@in_loop
async def test_a_row_that_the_data_refuses_is_set_aside(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        await queue.drop(records(30, refused={7: "not this one"}, sqlstate={21: "23514"}))
        async with queue.working(inbox=TriedInbox()):
            await emptied(queue)
        assert await queue.numbers() == [n for n in range(30) if n not in {7, 21}]
        failed = await queue.rows(FAILED, queue.project)
        assert [row.reason for row in failed] == ["not this one", "The record cannot be stored: as asked"]


@in_loop
async def test_trouble_outside_the_data_is_no_rows_fault(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        inbox, left = TriedInbox(), [2]

        async def fail(_: Sequence[Record]) -> None:
            if left[0]:
                left[0] -= 1
                raise pg.DiskFull

        inbox.before_write = fail
        await queue.drop(records(20))
        async with queue.working(inbox=inbox) as worker:
            await emptied(queue)
            assert worker.trouble is None
        assert await queue.numbers() == list(range(20))
        assert await queue.rows(FAILED, queue.project) == []


@pytest.mark.parametrize("ends_session", [False, True])
@in_loop
async def test_a_portion_that_takes_too_long_is_made_smaller(workerless: str, *, ends_session: bool) -> None:
    """Whether PostgreSQL ends a statement or the session: what is too much once is so each time."""
    async with Queue.opened(workerless) as queue:
        inbox = TriedInbox()
        async with queue.working(inbox=inbox) as worker:

            async def be_slow(rows: Sequence[Record]) -> None:
                if len(rows) > 3:
                    if not ends_session:
                        raise pg.QueryCanceled
                    await queue.rows("SELECT pg_terminate_backend(%s)", await queue.session_of(worker))

            inbox.before_write = be_slow
            await queue.drop(records(40))
            await emptied(queue)
        assert await queue.numbers() == list(range(40))
        assert await queue.rows(FAILED, queue.project) == []


@pytest.mark.parametrize("fatal", [0, 13])
@in_loop
async def test_a_row_that_stops_its_worker_three_times_is_set_aside(workerless: str, fatal: int) -> None:
    async with Queue.opened(workerless) as queue:
        await queue.drop(records(30, fatal={fatal: True}))
        workers = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bulk.mortal_workers", workerless, queue.project, "outbox"),
            stdout=subprocess.PIPE,
        )
        output, _ = await workers.communicate()
        assert await queue.numbers() == [n for n in range(30) if n != fatal]
        assert [row.reason for row in await queue.rows(FAILED, queue.project)] == [REASON_STOPPED_WORKERS]
        assert 3 <= int(output.split()[-1]) <= 10


@in_loop
async def test_a_paused_lane_waits(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        other = await queue.sibling()
        await pauses.pause(queue.conn, queue.project, Lane.REACTIONS)
        await queue.drop(records(5))
        await other.drop(records(5))
        async with queue.working(inbox=TriedInbox()):
            await emptied(other)
            assert await queue.value(LEFT, queue.project) == 5
            await pauses.resume(queue.conn, queue.project, Lane.REACTIONS)
            await emptied(queue)


@in_loop
async def test_a_worker_that_lost_its_lane_commits_nothing(workerless: str) -> None:
    async with (
        Queue.opened(workerless) as queue,
        await connect(workerless, part="test") as ours,
        await connect(workerless, part="test") as theirs,
    ):
        await queue.drop(records(6))
        turn, slow, quicker = lanes.LaneTurn(queue.project, Lane.REACTIONS, None), TriedInbox(), TriedInbox()

        async def overtake(_: Sequence[Record]) -> None:
            # as if our session had been ended: another worker takes the turn after ours
            look = await (
                await theirs.execute(lanes.SQL.inbox_look, {"project_id": queue.project, "lane": turn.lane})
            ).fetchone()
            other = InboxPortion(theirs, turn, look, quicker, quick())
            taking = asyncio.create_task(other.run(starter=Starter("worker_b", "0", 3000), number=1))
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            await until(lambda: queue.value(waiting))
            overtaking.append(taking)

        overtaking: list[asyncio.Task[bool]] = []
        slow.before_write = overtake
        async with lanes.held(ours, turn) as look:
            portion = InboxPortion(ours, turn, look, slow, quick())
            with pytest.raises(LaneLost):
                await portion.run(starter=Starter("worker_a", "0", 3000), number=0)
        assert await overtaking[0]
        # half of them, since for the other worker the first portion has stopped ours
        assert await queue.numbers() == [0, 1, 2]
        assert await queue.value(LEFT, queue.project) == 3


@in_loop
async def test_a_row_that_becomes_visible_late_is_found(workerless: str) -> None:
    """A number drawn early and committed late lies below what was taken out meanwhile."""
    async with Queue.opened(workerless) as queue, await connect(workerless, part="test") as slow_writer:
        inbox = TriedInbox()
        async with queue.working(inbox=inbox):
            async with slow_writer.transaction():
                await queue.drop(records(1, "early"), conn=slow_writer)
                for no in range(12):
                    await queue.drop(records(1, f"{no}"))
                    await queue.notify()
                    await emptied(queue)
            await queue.notify()
            await emptied(queue)
        assert await queue.numbers("early") == [0]
