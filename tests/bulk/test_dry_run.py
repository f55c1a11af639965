"""Dry runs: the counts and failures of the import that would follow, and not a row that differs afterwards."""

import asyncio
import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.bulk import async_actions, claims, lanes
from punchcard.bulk.jobs import Batch
from punchcard.bulk.portions import REASON_DRY_RUN_TOO_LONG, REASON_STOPPED_WORKERS, run_portion
from punchcard.db.database import Conn, connect
from punchcard.orders.imports import OrdersImport
from tests.bulk.kinds import Record, Tried, records
from tests.bulk.queue import Queue, claimed, in_loop, quick
from tests.deployment import Project
from tests.orders.drawn import Random
from tests.orders.stored import rows

EXAMPLES = int(os.environ.get("PUNCHCARD_MODEL_EXAMPLES", "25"))
WRITTEN = ("customers", "products", "skus", "orders", "segment_inbox", "row_totals")
PIECE = 1024 * 1024


def dry_run(project: Project, orders: Any, **changes: Any) -> Any:
    """Send a dry run and wait; the action."""
    headers = {"content-type": "application/json"}
    parameters = {"dry_run": "true"} | changes
    content = msgspec.json.encode(orders)
    answer = project.call("POST", "/v1/orders/import", content=content, headers=headers, params=parameters)
    return project.finished(answer["async_action_id"])


def without_message(result: Any) -> Any:
    return {name: value for name, value in result.items() if name != "message"}


def dump(project: Project) -> list[Any]:
    """Every row that an import writes, with its version."""
    query = "SELECT to_jsonb(t) AS row, xmin::text AS version FROM {} AS t WHERE project_id = %(project)s ORDER BY 1"
    return [rows(project, query.format(table)) for table in WRITTEN]


# ---- through the front door --------------------------------------------------------------------

ORDERS = [
    {"source_id": "known", "status": "PAID", "amount": 5, "customer": {"source_id": "ann"}},
    {"source_id": "known", "status": "PAID", "amount": 5, "customer": {"source_id": "ann"}},
    {"source_id": "new", "customer": {"id": "cust_unknown"}},
    {"source_id": "dated", "metadata": {"ordered_at": "yesterday"}},
    {"items": [{"quantity": 1, "product": {"source_id": "mug", "price": 3, "override": True}}]},
]


def test_a_dry_run_says_what_the_import_then_does(project: Project) -> None:
    project.imported({"source_id": "known", "status": "CREATED"})
    before = dump(project)
    action = dry_run(project, ORDERS)
    assert dump(project) == before
    result = action["result"]
    assert (action["status"], action["operation_status"], action["dry_run"]) == ("DONE", "SUCCESS", True)
    assert (result["created_count"], result["updated_count"], result["unchanged_count"]) == (2, 1, 1)
    assert result["failed"] == [{"index": 2, "source_id": "new", "reason": "Cannot find customer with id cust_unknown"}]
    kept = rows(project, "SELECT record FROM async_action_failures WHERE project_id = %(project)s")
    assert kept == [{"record": 2}]
    assert result["message"] == "Dry run: 4 order(s) would be imported, 1 would fail. Nothing was written."
    real = project.finished(project.post_import(ORDERS))
    assert without_message(real["result"]) == without_message(result)
    assert "dry_run" not in real
    assert [action.get("dry_run") for action in project.get("/v1/async-actions")["async_actions"]] == [None, True, None]


@pytest.mark.parametrize("value", ["1", "yes", "True", "", "null"])
def test_the_parameter_is_true_or_false(project_18: Project, value: str) -> None:
    said = project_18.call("POST", f"/v1/orders/import?dry_run={value}", json=[], expect=400)
    assert said["key"] == "invalid_query_params"
    assert said["details"].startswith("Property .dry_run ")


def test_false_is_an_import(project_18: Project) -> None:
    action = dry_run(project_18, [{"source_id": "a"}], dry_run="false")
    assert "dry_run" not in action
    assert project_18.get("/v1/orders/a")["source_id"] == "a"


def test_an_empty_dry_run_ends(project_18: Project) -> None:
    action = dry_run(project_18, [])
    assert (action["status"], action["dry_run"], action["result"]["done_count"]) == ("DONE", True, 0)


def test_a_dry_run_comes_after_the_imports_before_it(project: Project) -> None:
    orders = [{"source_id": f"o-{n}", "customer": {"source_id": f"c-{n}"}} for n in range(1500)]
    project.post_import(orders)
    result = dry_run(project, [*orders, {"source_id": "another"}])["result"]
    assert (result["created_count"], result["updated_count"], result["unchanged_count"]) == (1, 0, 1500)


def test_a_request_of_several_pieces_is_one_portion(project_18: Project) -> None:
    """The second half repeats the first: it is seen to be there, although nothing of it is stored."""
    filling = "x" * (PIECE // 4)
    orders = [{"source_id": f"o-{n % 10}", "metadata": {"text": filling}} for n in range(20)]
    result = dry_run(project_18, orders)["result"]
    assert (result["created_count"], result["unchanged_count"]) == (10, 10)
    assert rows(project_18, "SELECT 1 FROM async_action_pieces WHERE project_id = %(project)s") == []
    assert without_message(project_18.import_orders(orders)) == without_message(result)


# ---- portion by portion ------------------------------------------------------------------------


async def run(queue: Queue, orders: list[Any], *, dry_run: bool, portions: list[int]) -> Any:
    """Run an import here, in portions of those sizes in turn; its result."""
    job = OrdersImport()
    async with queue.conn.transaction():
        action = await async_actions.schedule(
            queue.conn,
            queue.project,
            job,
            records=[msgspec.json.encode(order) for order in orders],
            request_id="test",
            dry_run=dry_run,
        )
    turn = lanes.LaneTurn(queue.project, job.lane, None)
    async with await connect(queue.dsn, part="test") as conn:
        for number in range(len(orders)):
            await conn.execute(
                "UPDATE async_actions SET portion_records = %s WHERE project_id = %s AND finished_at IS NULL",
                [portions[number % len(portions)], queue.project],
            )
            claim = await claimed(conn, turn, starter=claims.Starter("worker_us", "0", 3000), number=number)
            assert claim is not None
            if await run_portion(conn, claim, {job.type: job}, quick()):
                break
    row = await queue.action(action)
    assert row.status == "DONE"
    return without_message(msgspec.json.decode(row.result))


async def whole(queue: Queue) -> list[Any]:
    """Every row that an import writes, with its version."""
    query = "SELECT to_jsonb(t)::text AS row, xmin::text AS version FROM {} AS t WHERE project_id = %s ORDER BY 1"
    return [await queue.rows(query.format(table).encode(), queue.project) for table in WRITTEN]


async def with_ids(value: Any, queue: Queue) -> Any:
    """References as the ids that the rows have by now; null while there is no such row, unknown for number 9."""
    if isinstance(value, tuple):
        kind, source_id = value
        query = f"SELECT id FROM {kind} WHERE project_id = %s AND source_id = %s"
        known = await queue.value(query.encode(), queue.project, source_id)
        return known or (f"{kind}_unknown" if source_id.endswith("9") else None)
    if isinstance(value, list):
        return [await with_ids(element, queue) for element in value]
    if isinstance(value, dict):
        return {name: await with_ids(part, queue) for name, part in value.items()}
    return value


def drawn(draw: Random) -> Any:
    """An order, and one in ten with something that makes it fail."""
    order = draw.order()
    return draw.rarely(order, draw.poisoned(order), one_in=10)


IMPORTS = st.lists(st.lists(st.integers(0, 2**32), min_size=1, max_size=15), min_size=2, max_size=5)
SIZES = st.lists(st.integers(1, 15), min_size=1, max_size=4)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(imports=IMPORTS, dry=SIZES, real=SIZES)
def test_whatever_the_request_and_the_portions(
    workerless: str, imports: list[list[int]], dry: list[int], real: list[int]
) -> None:
    async def compare() -> None:
        async with Queue.opened(workerless) as queue:
            for seeds in [*imports, imports[-1]]:
                orders = await with_ids([drawn(Random(seed)) for seed in seeds], queue)
                before = await whole(queue)
                expected = await run(queue, orders, dry_run=True, portions=dry)
                assert await whole(queue) == before
                assert await run(queue, orders, dry_run=False, portions=real) == expected

    asyncio.run(compare())


@in_loop
async def test_pieces_stay_until_the_end(workerless: str) -> None:
    async with Queue.opened(workerless) as queue, await connect(workerless, part="test") as conn:
        job = OrdersImport()
        bodies = [msgspec.json.encode({"source_id": f"{n}", "metadata": {"t": "x" * (PIECE // 2)}}) for n in range(5)]
        async with conn.transaction():
            await async_actions.schedule(conn, queue.project, job, records=bodies, request_id="test", dry_run=True)
        left: list[int] = []
        turn, us = lanes.LaneTurn(queue.project, job.lane, None), claims.Starter("worker_us", "0", 3000)
        finished = False
        while not finished:
            await conn.execute("UPDATE async_actions SET portion_records = 2 WHERE project_id = %s", [queue.project])
            claim = await claimed(conn, turn, starter=us, number=len(left))
            assert claim is not None
            finished = await run_portion(conn, claim, {job.type: job}, quick())
            query = "SELECT count(*) FROM async_action_pieces WHERE project_id = %s"
            left.append(await queue.value(query, queue.project))
        assert left == [5, 5, 0]


class Endless(Tried):
    """A plan that does not come to its end."""

    async def plan(self, conn: Conn, project: str, batch: Batch) -> list[Record]:
        await asyncio.Event().wait()
        raise AssertionError


@in_loop
async def test_a_dry_run_that_takes_too_long_does_not_block_the_queue(workerless: str) -> None:
    async with Queue.opened(workerless) as queue:
        job = Endless()
        bodies = [msgspec.json.encode(record) for record in records(3)]
        async with queue.conn.transaction():
            action = await async_actions.schedule(
                queue.conn, queue.project, job, records=bodies, request_id="test", dry_run=True
            )
        async with queue.working(job, quick(worker_statement_ms=300)):
            result = await queue.finished(action)
        assert [failure["reason"] for failure in result["failed"]] == [REASON_DRY_RUN_TOO_LONG] * 3


@in_loop
async def test_a_record_that_stops_its_worker_fails_alone(workerless: str) -> None:
    """Also behind it, when everything before is planned again."""
    async with Queue.opened(workerless) as queue:
        bodies = [msgspec.json.encode(record) for record in records(100, fatal={61: True})]
        async with queue.conn.transaction():
            action = await async_actions.schedule(
                queue.conn, queue.project, Tried(), records=bodies, request_id="test", dry_run=True
            )
        workers = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bulk.mortal_workers", workerless, queue.project, action),
            stdout=subprocess.PIPE,
        )
        output, _ = await workers.communicate()
        result = await queue.finished(action)
        assert result["failed"] == [{"index": 61, "source_id": "61", "reason": REASON_STOPPED_WORKERS}]
        assert (result["done_count"], result["good_count"]) == (99, 99)
        assert await queue.numbers() == []
        assert int(output.split()[-1]) <= 24
