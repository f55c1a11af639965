"""Totals are kept by those who write, and are what a count would say: after failures, side by side, after crashes."""

import asyncio
import random
from collections.abc import Iterator

import psycopg
import pytest

from punchcard.db import row_totals
from punchcard.db.database import connect
from tests.crash import targets
from tests.crash.model import an_import
from tests.deployment import Deployment, Project, until
from tests.orders.stored import rows, session

TABLES = ("customers", "orders", "products", "skus")


def counted(project: Project) -> dict[str, int]:
    return {
        table: rows(project, f"SELECT count(*) AS n FROM {table} WHERE project_id = %(project)s")[0]["n"]
        for table in TABLES
    }


def kept(project: Project) -> dict[str, int]:
    found = rows(
        project,
        "SELECT resource, sum(total)::int AS n FROM row_totals WHERE project_id = %(project)s GROUP BY resource",
    )
    return dict.fromkeys(TABLES, 0) | {row["resource"]: row["n"] for row in found}


def line(no: int) -> dict[str, object]:
    item = {
        "related_object": "sku",
        "product": {"source_id": f"p{no % 7}", "override": True},
        "sku": {"source_id": f"s{no % 20}", "override": True},
    }
    return {"source_id": f"o{no}", "customer": {"source_id": f"c{no % 11}"}, "items": [item]}


def test_totals_are_counts_after_new_repeated_and_failed_orders(project: Project) -> None:
    assert kept(project) == dict.fromkeys(TABLES, 0)
    project.imported(*map(line, range(50)))
    project.imported(*map(line, range(30, 80)))
    failing = [line(no) | {"customer": {"id": "cust_unknown"}} for no in range(200, 210)]
    assert project.import_orders([*failing, line(300), line(300)])["failed_count"] == 10
    assert project.import_orders(failing)["failed_count"] == 10
    assert kept(project) == counted(project) == {"customers": 11, "orders": 81, "products": 7, "skus": 20}
    assert project.get("/v1/orders")["total"] == 81
    assert project.get("/v1/customers")["total"] == 11
    assert project.get("/v1/products")["total"] == 7


def test_totals_of_two_projects_are_their_own(project: Project) -> None:
    other = project.deployment.new_project()
    try:
        rng = random.Random(5)
        actions = [(one, one.post_import(an_import(rng, no, 400))) for no in range(3) for one in (project, other)]
        for one, action in actions:
            one.finished(action)
        for one in (project, other):
            assert kept(one) == counted(one)
            assert one.get("/v1/orders")["total"] == counted(one)["orders"] > 0
    finally:
        other.close()


def test_writers_side_by_side_lose_nothing(project: Project) -> None:
    async def write(times: int) -> None:
        async with await connect(project.deployment.dsn, part="test") as conn:
            for no in range(times):
                async with conn.transaction(force_rollback=no % 5 == 4):
                    added = {"skus": 2, "orders": 1, "customers": 0} if no % 2 else {"orders": 1, "skus": 2}
                    await row_totals.add(conn, project.id, added, slot=row_totals.drawn_slot())
                    await row_totals.add(conn, project.id, {}, slot=row_totals.drawn_slot())

    async def all_at_once() -> tuple[int, int, int]:
        await asyncio.gather(*(write(25) for _ in range(6)))
        async with await connect(project.deployment.dsn, part="test") as conn:
            await row_totals.add(conn, project.id, {"skus": -40}, slot=row_totals.SLOT_OF_IMPORTS)
            orders, skus, products = [
                await row_totals.total(conn, project.id, resource) for resource in ("orders", "skus", "products")
            ]
            return orders, skus, products

    assert asyncio.run(all_at_once()) == (120, 200, 0)
    slots = rows(project, "SELECT DISTINCT slot FROM row_totals WHERE project_id = %(project)s")
    assert 2 < len(slots) <= row_totals.SLOTS + 1
    assert {row["slot"] for row in slots} <= set(range(row_totals.SLOTS + 1))


@pytest.fixture
def own_deployment() -> Iterator[Deployment]:
    """A deployment whose workers may be killed."""
    deployment = Deployment(settings={"portion_ms": 40, "restarts_per_minute_max": 1000, "worker_silent_ms": 2000,
                                      "heartbeat_ms": 400, "poll_ms": 200})  # fmt: skip
    yield deployment.start()
    deployment.close()


def test_a_worker_that_is_killed_in_a_portion_counts_nothing_twice(own_deployment: Deployment) -> None:
    project = own_deployment.new_project()
    project.imported(*map(line, range(40)))
    before = kept(project)
    with session(own_deployment) as holder:
        holder.execute("BEGIN")
        # the last thing a portion writes: all its rows are there, and nothing is committed
        holder.execute("SELECT 1 FROM row_totals WHERE project_id = %s FOR UPDATE", [project.id])
        action = project.post_import([line(no) for no in range(20, 900)])
        until(lambda: _waits_for_totals(own_deployment))
        assert kept(project) == counted(project) == before
        for pid in targets.children(own_deployment, "worker"):
            targets.kill(pid)
        holder.execute("ROLLBACK")
    result = project.finished(action)["result"]
    assert (result["created_count"], result["failed_count"]) == (860, 0)
    assert kept(project) == counted(project) == {"customers": 11, "orders": 900, "products": 7, "skus": 20}
    project.close()


def _waits_for_totals(deployment: Deployment) -> bool:
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INTO row_totals%'"
    with psycopg.connect(deployment.dsn, autocommit=True) as conn:
        return conn.execute(query).fetchone() is not None
