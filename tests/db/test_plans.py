"""Rows are found by their keys, whatever the statistics say about a project."""

import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import pytest

from punchcard.customers import customers
from punchcard.db.database import conninfo
from punchcard.orders import orders
from punchcard.products import products
from tests.deployment import Deployment

ROWS = 5000
SHAPES = {
    "customers": "id, source_id, created_at",
    "products": "id, source_id, created_at",
    "skus": "id, source_id, created_at, product_id",
    "orders": "id, source_id, created_at, status, amount, total_amount",
}
MORE = {"customers": "", "products": "", "skus": ", 'p'", "orders": ", 'PAID', 1, 1"}
KEYS = [f"key-{no}" for no in range(0, ROWS, 40)]


@pytest.fixture
def conn(deployment: Deployment) -> Iterator[psycopg.Connection[Any]]:
    """A session that sees an old project, which the statistics know, and a new one, which they do not."""
    with psycopg.connect(conninfo(deployment.dsn, part="test"), autocommit=True) as session, session.transaction():
        old, new = (f"plans-{name}-{uuid.uuid4()}" for name in ("old", "new"))
        for project in (old, new):
            for table, columns in SHAPES.items():
                session.execute(
                    f"INSERT INTO {table} (project_id, {columns})"
                    f" SELECT %s, 'key-' || g, 'source-' || g, now() + g * interval '1 microsecond'{MORE[table]}"
                    f" FROM generate_series(1, {ROWS}) AS g".encode(),
                    (project,),
                )
                if project == old:
                    session.execute(f"ANALYZE {table}".encode())
        session.execute("SELECT set_config('test.project', %s, true)", (new,))
        yield session
        raise psycopg.Rollback


STATEMENTS = [
    customers.SQL.customers_resolve, customers.SQL.customers_lock, customers.SQL.customer_get,
    products.SQL.products_resolve, products.SQL.products_lock, products.SQL.product_get,
    products.SQL.skus_resolve, products.SQL.skus_lock, products.SQL.sku_get,
    orders.SQL.orders_resolve, orders.SQL.orders_lock, orders.SQL.order_get,
]  # fmt: skip


def test_a_project_that_is_newer_than_the_statistics_is_not_read_whole(conn: psycopg.Connection[Any]) -> None:
    project = conn.execute("SELECT current_setting('test.project')").fetchone()
    assert project is not None
    parameters = {"project_id": project[0], "ids": KEYS, "source_ids": KEYS, "versions": KEYS, "id": KEYS[1]}
    for statement in STATEMENTS:
        row = conn.execute(b"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + statement, parameters).fetchone()
        assert row is not None
        plan = msgspec.json.decode(row[0]) if isinstance(row[0], msgspec.Raw) else row[0]
        read = list(nodes(plan[0]["Plan"]))
        assert all(node.get("Rows Removed by Filter", 0) <= 1 for node in read), statement
        assert all(node["Node Type"] != "Seq Scan" for node in read), statement


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All nodes of a plan."""
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)
