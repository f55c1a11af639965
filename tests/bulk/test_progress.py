"""What an action says while it waits and runs: its place in the queue, how far it is, how long it may take."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import voucherify

from punchcard.bulk import async_actions
from punchcard.db.database import connect
from tests.bulk.kinds import Record, Tried, records
from tests.bulk.queue import Queue, in_loop, quick
from tests.deployment import Project

MANY = 30_000


async def seen(queue: Queue, action: str) -> dict[str, Any]:
    """The action as the API shows it."""
    found = await async_actions.get_action(queue.conn, queue.project, action)
    shown: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
    return shown


@in_loop
async def test_positions_are_told_before_and_while_a_worker_is_there(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job, begun, go_on = Tried(portion_records=5), asyncio.Event(), asyncio.Event()

        async def hold(_: Sequence[Record]) -> None:
            begun.set()
            await go_on.wait()

        job.before_write = hold
        actions = [await queue.schedule(job, records(count, f"{count}")) for count in (8, 20, 30)]
        waiting = [await seen(queue, action) for action in actions]
        assert [action["position"] for action in waiting] == [1, 2, 3]
        assert all("estimated_seconds_left" not in action for action in waiting)
        assert (waiting[1]["records_total"], waiting[1]["records_processed"], waiting[1]["records_failed"]) == (
            20,
            0,
            0,
        )
        async with queue.working(job):
            await begun.wait()
            assert [(await seen(queue, action))["position"] for action in actions] == [0, 1, 2]
            go_on.set()
            for action in actions:
                await queue.finished(action)
        ended = [await seen(queue, action) for action in actions]
        assert all("position" not in action and "estimated_seconds_left" not in action for action in ended)
        assert [action["records_processed"] for action in ended] == [8, 20, 30]


@in_loop
async def test_a_running_action_says_what_became_of_its_records(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job, second, go_on = Tried(portion_records=4), asyncio.Event(), asyncio.Event()

        async def hold_the_second(_: Sequence[Record]) -> None:
            if len(job.tries) == 2:
                second.set()
                await go_on.wait()

        job.before_write = hold_the_second
        action = await queue.schedule(job, records(20, foreseen={2: "no"}))
        async with queue.working(job):
            await second.wait()
            now = await seen(queue, action)
            assert (now["records_processed"], now["records_failed"], now["counts"]) == (4, 1, {"good": 3})
            assert (now["status"], now["progress"], now["position"]) == ("IN_PROGRESS", 20, 0)
            go_on.set()
            await queue.finished(action)
        assert (await seen(queue, action))["counts"] == {"good": 19}


@in_loop
async def test_the_time_left_is_what_the_records_took_of_late(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job = Tried(portion_records=10)
        first = await queue.schedule(job, [Record(n, seconds=0.01) for n in range(10)])
        async with queue.working(job):
            await queue.finished(first)
        learnt = await queue.value("SELECT record_us FROM lane_turns WHERE project_id = %s", queue.project)
        assert 9_000 <= learnt < 1_000_000
        await queue.rows("UPDATE lane_turns SET record_us = 10000 WHERE project_id = %s RETURNING 1", queue.project)
        before = await queue.schedule(job, records(1000, "b"))
        last = await queue.schedule(job, records(500, "c"))
        assert (await seen(queue, before))["estimated_seconds_left"] == 11
        assert (await seen(queue, last))["estimated_seconds_left"] == 16


@in_loop
async def test_what_a_record_took_is_smoothed(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        await queue.rows(
            "INSERT INTO lane_turns SELECT %s, 'fifo', 1, now(), 1e9, 0, 0, 0, 0, '3', NULL, 1000 RETURNING 1",
            queue.project,
        )
        job = Tried(portion_records=500)

        async def learnt(count: int, name: str) -> float:
            await queue.finished(await queue.schedule(job, records(count, name)))
            return float(await queue.value("SELECT record_us FROM lane_turns WHERE project_id = %s", queue.project))

        async with queue.working(job):
            assert 0.99e9 <= await learnt(10, "few") < 0.995e9, "little of a small portion is for its records"
            assert 0.79e9 < await learnt(200, "many") < 0.8e9


@in_loop
async def test_what_single_records_took_says_little_of_many(workerless: str) -> None:
    """A portion of one record takes about as long as one of a hundred."""
    async with Queue.opened(workerless) as queue:
        job = Tried(portion_records=1000)
        async with queue.working(job):
            for no in range(5):
                await queue.finished(await queue.schedule(job, records(1, f"{no}")))
            await queue.finished(await queue.schedule(job, [Record(n, "a", seconds=0.0001) for n in range(300)]))
        learnt = await queue.value("SELECT record_us FROM lane_turns WHERE project_id = %s", queue.project)
        # nothing of the single ones, which would make it a multiple
        assert (await queue.value("SELECT portion_records FROM lane_turns WHERE project_id = %s", queue.project)) > 0
        action = await queue.action(await queue.schedule(job, records(10_000, "b")))
        assert (await seen(queue, action.id))["estimated_seconds_left"] == math.ceil((10_000 + 10_000 * learnt) / 1e6)


@in_loop
async def test_one_action_among_very_many_is_cheap_to_place(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        await queue.rows(
            "INSERT INTO async_actions (project_id, id, type, lane, request_id, created_at, updated_at, records_total,"
            " portion_records) SELECT %s, 'aa_' || n, 'TESTS.TRIED', 'fifo', 'test', now() + n * interval '1 us',"
            " now(), 7, 1 FROM generate_series(1, %s) AS n RETURNING 1",
            queue.project,
            MANY,
        )
        await queue.rows(
            "INSERT INTO lane_turns SELECT %s, 'fifo', 1, now(), 1000, 0, 0, 0, 0, '3' RETURNING 1",
            queue.project,
        )
        # autovacuum does so within a minute; until then, after tests that left few rows, the table looks empty
        await queue.conn.execute("ANALYZE async_actions")
        early, late = await seen(queue, "aa_1000"), await seen(queue, f"aa_{MANY}")
        assert (early["position"], early["estimated_seconds_left"]) == (1000, 17)
        assert "position_is_minimum" not in early
        assert (late["position"], late["position_is_minimum"]) == (1001, True)
        assert "estimated_seconds_left" not in late
        parameters = {"project_id": queue.project, "lane": "fifo", "id": "", "seq": 2**60, "limit": 1000}
        parameters |= {"records": 7, "rotating": False}
        async with await connect(workerless, part="test") as conn:
            explained = b"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) " + async_actions.SQL.async_action_queue
            plan = "\n".join(row[0] for row in await (await conn.execute(explained, parameters)).fetchall())
        assert "Index Scan Backward using async_actions_waiting" in plan, plan
        assert f"rows={MANY}" not in plan
        await queue.rows("DELETE FROM async_actions WHERE project_id = %s RETURNING 1", queue.project)


@in_loop
async def test_an_action_under_way_comes_first_whatever_its_number(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job, begun, go_on = Tried(), asyncio.Event(), asyncio.Event()

        async def hold(_: Sequence[Record]) -> None:
            begun.set()
            await go_on.wait()

        job.before_write = hold
        async with await connect(workerless, part="test") as slow, queue.working(job, quick(poll_ms=20)):
            async with slow.transaction():
                # its number is drawn first, and seen last
                late = await queue.schedule(job, records(3, "late"), conn=slow)
                early = await queue.schedule(job, records(3, "early"))
                await begun.wait()
            assert [(await seen(queue, action))["position"] for action in (early, late)] == [0, 1]
            go_on.set()
            await queue.finished(late)


# ---- the official client -----------------------------------------------------------------------


def test_the_official_client_reads_all_of_it(project_18: Project) -> None:
    keys = {"X-App-Id": project_18.application_id, "X-App-Token": project_18.application_token}
    orders = [{"source_id": f"o-{n}"} for n in range(3)]
    headers = {"content-type": "application/json"}
    body = msgspec.json.encode(orders)
    path = "/v1/orders/import"
    dry = project_18.call("POST", path, content=body, headers=headers, params={"dry_run": "true"})["async_action_id"]
    action = project_18.post_import(orders)
    raw = project_18.finished(action)
    project_18.finished(dry)
    assert (raw["records_total"], raw["records_processed"], raw["records_failed"]) == (3, 3, 0)
    assert {name: raw["counts"][name] for name in ("created", "updated", "unchanged")} == {
        "created": 3, "updated": 0, "unchanged": 0
    }  # fmt: skip
    with voucherify.ApiClient(voucherify.Configuration(host=project_18.deployment.url, api_key=keys)) as client:
        actions = voucherify.AsyncActionsApi(client)
        for action_id in (dry, action):
            read = actions.get_async_action(action_id)
            assert (read.id, read.type, read.status, read.progress) == (action_id, "ORDERS.IMPORT", "DONE", 100)
            assert read.result["created_count"] == 3
        assert [listed.id for listed in actions.list_async_actions().async_actions] == [action, dry]
        client.rest_client.pool_manager.clear()
    waiting = {**raw, "status": "ENQUEUED", "operation_status": "UNKNOWN", "progress": 0, "position": 3}
    waiting |= {"position_is_minimum": True, "estimated_seconds_left": 7, "dry_run": True}
    del waiting["result"]
    parsed = voucherify.AsyncActionGetResponseBody.from_dict(waiting)
    assert parsed is not None
    assert (parsed.id, parsed.result) == (action, None)
    assert voucherify.AsyncActionBase.from_dict(waiting) is not None


def test_a_list_has_what_is_documented_alone(project_18: Project) -> None:
    project_18.imported({"source_id": "o"})
    [listed] = project_18.get("/v1/async-actions")["async_actions"]
    assert set(listed) == {"id", "type", "status", "operation_status", "created_at", "updated_at", "request_id",
                           "progress", "processing_time", "object"}  # fmt: skip
