"""Cancelling: an action ends at the next turn of its lane, keeps what it committed, and holds nobody up."""

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
import pytest
from msgspec import UNSET
from psycopg import errors as pg

from punchcard.bulk import async_actions
from punchcard.bulk.jobs import Lane
from punchcard.db.database import Conn
from punchcard.errors import NotFound
from tests.bulk.kinds import Record, Tried, records
from tests.bulk.queue import Queue, in_loop, quick, until
from tests.deployment import Project
from tests.deployment import until as until_now

POSTS = 20
HELD_SECONDS = 5.0
ANSWER_SECONDS_MAX = 0.05
BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'punchcard worker' AND wait_event_type = 'Lock'"
)
STATUSES = "SELECT DISTINCT status FROM async_actions WHERE project_id = %s ORDER BY status"
REQUESTS = "SELECT count(*) FROM async_action_cancels WHERE project_id = %s"


async def cancel(queue: Queue, action: str) -> async_actions.AsyncAction:
    """As the endpoint does, wake-up included."""
    seen = await async_actions.cancel_action(queue.conn, queue.project, action)
    await queue.notify()
    return seen


async def ended(queue: Queue, action: str) -> async_actions.AsyncAction:
    """The action once it has ended."""
    await until(lambda: _has_ended(queue, action))
    return await async_actions.get_action(queue.conn, queue.project, action)


async def _has_ended(queue: Queue, action: str) -> bool:
    return (await queue.action(action)).finished_at is not None


class Held(Tried):
    """A job whose action `held` stops in the middle of its second portion."""

    def __init__(self, lane: Lane = Lane.FIFO) -> None:
        super().__init__(lane=lane, portion_records=5)
        self.is_held, self.go_on = asyncio.Event(), asyncio.Event()
        self.before_write = self._stop

    async def _stop(self, plan: Sequence[Record]) -> None:
        if plan[0].action == "held" and plan[0].n == 5:
            self.is_held.set()
            await self.go_on.wait()


@pytest.mark.parametrize("lane", [Lane.FIFO, Lane.ROUND_ROBIN])
@in_loop
async def test_one_under_way_ends_after_its_portion_and_keeps_it(workerless: str, lane: Lane) -> None:
    async with Queue.opened(workerless) as queue:
        job = Held(lane)
        action = await queue.schedule(job, records(100, "held"))
        behind = await queue.schedule(job, records(3, "behind"))
        async with queue.working(job, quick(portion_ms=10)):
            await job.is_held.wait()
            seen = await cancel(queue, action)
            assert (seen.status, seen.cancel_requested) == ("IN_PROGRESS", True)
            assert (await cancel(queue, action)).cancel_requested is True, "asking twice is no error"
            job.go_on.set()
            end = await ended(queue, action)
            assert (await queue.finished(behind))["done_count"] == 3
        kept = await queue.numbers("held")
        assert kept == list(range(len(kept)))
        assert 5 < len(kept) < 100
        assert (end.status, end.operation_status, end.records_processed) == ("FAILED", "FAILED", len(kept))
        assert (end.records_total, end.progress) == (100, len(kept)), "how far it came"
        result = await queue.result(action)
        assert result["done_count"] == len(kept)
        assert "cancel" in result["message"].lower()
        assert end.cancel_requested is UNSET
        assert await queue.value("SELECT count(*) FROM async_action_pieces WHERE action_id = %s", action) == 0
        assert await queue.value(REQUESTS, queue.project) == 0


@pytest.mark.parametrize("lane", [Lane.FIFO, Lane.ROUND_ROBIN])
@in_loop
async def test_one_that_waits_ends_with_nothing_done(workerless: str, lane: Lane) -> None:
    """Deep in its lane: not when its turn would come, but with the lane's next turn."""
    async with Queue.opened(workerless) as queue:
        job = Held(lane)
        front = await queue.schedule(job, records(10, "held"))
        async with queue.working(job, quick(portion_ms=10)):
            await job.is_held.wait()
            between = [await queue.schedule(job, records(50, f"between {no}")) for no in range(6)]
            deep = await queue.schedule(job, records(50, "deep"))
            last = await queue.schedule(job, records(2, "last"))
            assert (await cancel(queue, deep)).status == "ENQUEUED"
            job.go_on.set()
            end = await ended(queue, deep)
            assert not await _has_ended(queue, between[-1]), "it did not wait for those before it"
            for action in [front, *between, last]:
                await queue.finished(action)
        assert (end.status, end.operation_status, end.records_processed) == ("FAILED", "FAILED", 0)
        assert (end.records_total, end.progress) == (50, 0)
        assert await queue.numbers("deep") == []
        assert (await queue.action(deep)).started_at is None


@in_loop
async def test_more_than_a_turn_ends_at_once(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job = Tried()
        actions = await queue.schedule_all(job, [records(1, f"{no}") for no in range(120)])
        last = await queue.schedule(job, records(1, "last"))
        async with queue.conn.transaction():
            for action in actions:
                await async_actions.cancel_action(queue.conn, queue.project, action)
        async with queue.working(job):
            await queue.finished(last)
            assert [status for (status,) in await queue.rows(STATUSES, queue.project)] == ["DONE", "FAILED"]
        assert await queue.value(REQUESTS, queue.project) == 0
        query = "SELECT count(*) FROM tried_records WHERE project_id = %s"
        assert await queue.value(query, queue.project) == 1


@in_loop
async def test_the_last_portion_comes_before_the_end(workerless: str) -> None:
    """Cancelled while it writes its last records: it has done all it was asked for, and says so."""
    async with Queue.opened(workerless) as queue:
        job = Held()
        action = await queue.schedule(job, records(10, "held"))
        async with queue.working(job, quick(portion_ms=1000)):
            await job.is_held.wait()
            await cancel(queue, action)
            job.go_on.set()
            end = await ended(queue, action)
            await until(lambda: _no_requests(queue))
        assert (end.status, end.operation_status) == ("DONE", "SUCCESS")
        assert await queue.numbers("held") == list(range(10))


async def _no_requests(queue: Queue) -> bool:
    return bool(await queue.value(REQUESTS, queue.project) == 0)


@in_loop
async def test_one_that_cannot_go_on_can_be_cancelled(workerless: str) -> None:
    """It is retried for ever otherwise, and holds up all behind it."""
    async with Queue.opened(workerless) as queue:
        job = Tried()

        async def fail(plan: Sequence[Record]) -> None:
            if plan[0].action == "stuck":
                raise pg.DiskFull

        job.before_write = fail
        stuck, behind = await queue.schedule(job, records(3, "stuck")), await queue.schedule(job, records(3, "behind"))
        async with queue.working(job) as worker:
            await until(lambda: _has_trouble(worker))
            await cancel(queue, stuck)
            assert (await ended(queue, stuck)).status == "FAILED"
            assert (await queue.finished(behind))["done_count"] == 3


async def _has_trouble(worker: Any) -> bool:
    return worker.trouble is not None


class Concluding(Tried):
    """A job that notes its ends; those of some actions cannot be noted."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck, self.ends = set[str](), list[tuple[str, bool]]()

    async def conclude(
        self, conn: Conn, project: str, action_id: str, parameters: Mapping[str, Any], *, succeeded: bool
    ) -> None:
        if action_id in self.stuck:
            raise pg.LockNotAvailable
        self.ends.append((action_id, succeeded))


@in_loop
async def test_an_end_that_cannot_be_noted_is_tried_again_and_stops_no_other_lane(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        other, job = await queue.sibling(), Concluding()
        action = await queue.schedule(job, records(3))
        job.stuck.add(action)
        await async_actions.cancel_action(queue.conn, queue.project, action)
        async with queue.working(job) as worker:
            await until(lambda: _has_trouble(worker))
            session = await queue.session_of(worker)
            for no in range(5):
                await other.finished(await other.schedule(job, records(1, f"{no}")))
            assert await queue.session_of(worker) == session, "it has no trouble with its session"
            assert not await _has_ended(queue, action)
            job.stuck.clear()
            assert (await ended(queue, action)).status == "FAILED"
        assert (action, False) in job.ends
        assert await queue.numbers() == []


@in_loop
async def test_what_cannot_be_cancelled(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        other, job = await queue.sibling(), Tried()
        action = await queue.schedule(job, records(1))
        with pytest.raises(NotFound):
            await async_actions.cancel_action(queue.conn, other.project, action)
        async with queue.working(job):
            await queue.finished(action)
        with pytest.raises(async_actions.ActionFinished):
            await async_actions.cancel_action(queue.conn, queue.project, action)
        with pytest.raises(NotFound):
            await async_actions.cancel_action(queue.conn, queue.project, "aa_unknown")
        query = "SELECT count(*) FROM async_action_cancels WHERE project_id = ANY(%s)"
        assert await queue.value(query, [queue.project, other.project]) == 0


def test_cancelling_and_accepting_wait_for_no_portion(project_18: Project) -> None:
    """While a portion of the lane is held open for five seconds, each is answered in less than 50 ms."""
    project = project_18
    an_order = {"source_id": "o", "status": "PAID", "amount": 5, "customer": {"source_id": "c"}}
    project.imported(an_order)
    dsn = project.deployment.dsn
    accepting, cancelling, actions = list[float](), list[float](), list[str]()
    with psycopg.connect(dsn) as blocker, psycopg.connect(dsn, autocommit=True) as observer:
        blocker.execute("SELECT 1 FROM customers WHERE project_id = %s FOR UPDATE", [project.id])
        held = project.post_import([{"source_id": "o", "status": "CREATED"}])

        def is_blocked() -> bool:
            row = observer.execute(BLOCKED.encode()).fetchone()
            return bool(row and row[0])

        until_now(is_blocked)
        blocked_at = time.monotonic()
        for no in range(POSTS):
            began = time.perf_counter()
            actions.append(project.post_import([{**an_order, "source_id": f"{no}"}]))
            accepting.append(time.perf_counter() - began)
        for action in [held, *actions[:-1]]:
            began = time.perf_counter()
            answer = project.call("POST", f"/v1/async-actions/{action}/cancel", expect=202)
            cancelling.append(time.perf_counter() - began)
            assert (answer["id"], answer["cancel_requested"]) == (action, True)
        time.sleep(max(0.0, blocked_at + HELD_SECONDS - time.monotonic() - 1))
        assert is_blocked(), "the portion is still held open"
    print(
        f"medians: accepted in {statistics.median(accepting):.4f} s, cancelled in {statistics.median(cancelling):.4f} s"
    )
    # whoever has to wait for the portion does so each time; the machine is slow now and then
    assert min(accepting) < ANSWER_SECONDS_MAX
    assert min(cancelling) < ANSWER_SECONDS_MAX
    assert project.finished(actions[-1])["status"] == "DONE"
    for action in actions[:-1]:
        end = project.finished(action)
        assert (end["status"], end["operation_status"]) == ("FAILED", "FAILED")
        project.call("POST", f"/v1/async-actions/{action}/cancel", expect=409)
    assert project.get("/v1/orders")["total"] == 2
    assert project.finished(held)["status"] == "DONE", "its only portion was under way"
