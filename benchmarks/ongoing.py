"""Orders one by one: `POST /v1/orders` against `/healthz` of the same server and against a bare client of the database.

The bare client commits the same rows, events and outbox included: it reads nothing, checks nothing and computes
nothing. Server, load and database share the machine; each load is one process. What is measured takes turns, so that
ratios are of the same minutes.
"""

import asyncio
import random
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
from msgspec import Struct

from benchmarks import load, orders
from benchmarks.figures import at, ms, ratios
from benchmarks.load import Measured, Plan
from punchcard import ids
from punchcard.db.database import connect
from tests.deployment import Deployment, Project

HEALTH, BARE, ORDER = "GET /healthz", "bare client", "POST /v1/orders"
CONNECTIONS = (1, 16, 64)
RUN = "shop"


class Sizes(Struct):
    """How long each load lasts, how often, and what is there."""

    seconds: float = 4.0
    rounds: int = 3
    customers: int = 1000
    products: int = 500
    # of an import that runs meanwhile
    orders: int = 2000


class BarePlan(Struct):
    """What a bare client does: so many sessions commit the rows of an order of the project for so long."""

    dsn: str
    project: str
    connections: int
    seconds: float


class Figures(Struct):
    """What was measured, round by round: by number of connections and what was asked; and beside imports."""

    idle: dict[int, dict[str, list[Measured]]]
    # of 16 connections: alone, and while imports of the same customers and products run
    beside_imports: list[tuple[Measured, Measured]]
    imports: int


def measure(deployment: Deployment, sizes: Sizes) -> Figures:
    """Fill a new project and run the rounds."""
    project = deployment.new_project()
    stored = orders.request(sizes.customers, customers=sizes.customers, products=sizes.products, run=RUN)
    project.imported(*(msgspec.json.decode(one) for one in stored))
    idle: dict[int, dict[str, list[Measured]]] = {
        connections: {what: [] for what in (HEALTH, BARE, ORDER)} for connections in CONNECTIONS
    }
    for _ in range(sizes.rounds):
        for connections, measured in idle.items():
            measured[HEALTH].append(load.run(Plan(deployment.port, "/healthz", {}, connections, sizes.seconds)))
            measured[ORDER].append(load.run(_orders_plan(project, sizes, connections)))
            measured[BARE].append(run_bare(BarePlan(deployment.dsn, project.id, connections, sizes.seconds)))
    pairs, imports = [], 0
    for _ in range(sizes.rounds):
        alone = load.run(_orders_plan(project, sizes, 16))
        beside, count = _beside_imports(project, sizes)
        pairs.append((alone, beside))
        imports += count
    project.close()
    return Figures(idle, pairs, imports)


def _orders_plan(project: Project, sizes: Sizes, connections: int) -> Plan:
    keys = {"x-app-id": project.application_id, "x-app-token": project.application_token}
    draw, run = random.Random(), ids.new("run")[-10:]
    bodies = [_body(f"{run}-{no}", draw, sizes) for no in range(int(sizes.seconds * 3000))]
    return Plan(project.deployment.port, "/v1/orders", keys, connections, sizes.seconds, bodies)


def _body(source_id: str, draw: random.Random, sizes: Sizes) -> str:
    items = [
        {
            "source_id": f"{RUN}-product-{draw.randrange(sizes.products):05d}",
            "related_object": "product",
            "quantity": draw.randrange(1, 4),
            "price": draw.randrange(500, 900),
        }
        for _ in range(orders.ITEMS)
    ]
    order = {
        "source_id": source_id,
        "status": "PAID",
        "metadata": {"channel": "web"},
        "customer": {"source_id": f"{RUN}-customer-{draw.randrange(sizes.customers):06d}"},
        "items": items,
    }
    return msgspec.json.encode(order).decode()


def _beside_imports(project: Project, sizes: Sizes) -> tuple[Measured, int]:
    """Orders while imports of the same customers and products run one after the other; how many were done meanwhile."""
    over, done = threading.Event(), [0]

    def import_all() -> None:
        no = 0
        while not over.is_set():
            no += 1
            made = orders.request(
                sizes.orders, customers=sizes.customers, products=sizes.products, run=RUN, note=f"{ids.new('x')}-{no}"
            )
            action = project.post_import(b"[" + b",".join(made) + b"]")
            result = project.finished(action)["result"]
            assert result["failed_count"] == 0, result
            done[0] += 1

    importing = threading.Thread(target=import_all)
    importing.start()
    measured = load.run(_orders_plan(project, sizes, 16))
    over.set()
    importing.join()
    return measured, done[0]


# ---- the bare client ---------------------------------------------------------------------------

_TEMPLATE = """
SELECT o.customer_id, o.items::text AS items, o.metadata::text AS metadata, o.amount, o.total_amount,
       e.data::text AS data, e.event_source::text AS event_source
  FROM orders AS o JOIN events AS e ON e.project_id = o.project_id AND e.object_id = o.id
 WHERE o.project_id = %s ORDER BY o.created_at DESC LIMIT 1
"""
_CUSTOMERS = "SELECT id FROM customers WHERE project_id = %s"
_ORDER = """
INSERT INTO orders (project_id, id, source_id, status, customer_id, amount, total_amount, items_amount, items, metadata,
                    created_at, async_action_id)
VALUES (%s, %s, %s, 'PAID', %s, %s, %s, %s, %s, %s, clock_timestamp() - random() * interval '300 days', NULL)
"""
_SUMMARY = """
UPDATE customers SET orders_total_amount = orders_total_amount + %s, orders_total_count = orders_total_count + 1,
       orders_last_id = %s, orders_last_amount = %s, orders_last_date = clock_timestamp(), async_action_id = NULL
 WHERE project_id = %s AND id = %s
"""
_TOTAL = """
INSERT INTO row_totals AS t (project_id, resource, slot, total) VALUES (%s, 'orders', %s, 1)
    ON CONFLICT (project_id, resource, slot) DO UPDATE SET total = t.total + 1
"""
_INBOX = "INSERT INTO segment_inbox (project_id, customer_id, cause, group_id) VALUES (%s, %s, 'bare', 'bare')"
_EVENT = """
INSERT INTO events (project_id, id, created_at, type, object_id, customer_id, data, event_source, group_id)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'bare')
"""
_OUTBOX = """
INSERT INTO event_outbox (project_id, event_id, event_created_at, accepted_xid)
VALUES (%s, %s, %s, pg_current_xact_id())
"""


def run_bare(plan: BarePlan) -> Measured:
    """Carry out a bare plan in a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.ongoing"],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(answer.stdout, type=Measured)


async def _carry_out(plan: BarePlan) -> Measured:
    async with await connect(plan.dsn, part="bench") as conn:
        template = await (await conn.execute(_TEMPLATE.encode(), [plan.project])).fetchone()
        rows = await (await conn.execute(_CUSTOMERS.encode(), [plan.project])).fetchall()
    customers, took = [row.id for row in rows], list[float]()
    sessions = [
        await connect(plan.dsn, part="bench", options={"plan_cache_mode": "auto"}) for _ in range(plan.connections)
    ]
    began = time.perf_counter()
    end = began + plan.seconds
    await asyncio.gather(*[_commit_all(session, plan, template, customers, end, took) for session in sessions])
    measured = Measured(took, time.perf_counter() - began, [])
    for session in sessions:
        await session.close()
    return measured


async def _commit_all(
    conn: psycopg.AsyncConnection[Any],
    plan: BarePlan,
    template: Any,
    customers: list[str],
    end: float,
    took: list[float],
) -> None:
    conn.prepare_threshold = 0
    while (began := time.perf_counter()) < end:
        await _commit_one(conn, plan.project, template, random.choice(customers))
        took.append(time.perf_counter() - began)


async def _commit_one(conn: psycopg.AsyncConnection[Any], project: str, template: Any, customer: str) -> None:
    order, now = ids.new("ord"), datetime.now(UTC)
    async with conn.transaction():
        amount = template.amount
        values = [project, order, order, customer, amount, amount, amount, template.items, template.metadata]
        await conn.execute(_ORDER.encode(), values)
        await conn.execute(_SUMMARY.encode(), [amount, order, amount, project, customer])
        await conn.execute(_INBOX.encode(), [project, customer])
        for kind in ("customer.order.created", "customer.order.paid"):
            event = ids.new("evcus")
            await conn.execute(
                _EVENT.encode(),
                [project, event, now, kind, order, customer, template.data, template.event_source],
            )
            await conn.execute(_OUTBOX.encode(), [project, event, now])
        await conn.execute(_TOTAL.encode(), [project, random.randint(1, 16)])


# ---- what is printed ---------------------------------------------------------------------------


HEADING = ("what, connections", "rate", "p50", "p99", "of the slower of health and bare")


def table(figures: Figures) -> list[tuple[str, ...]]:
    """Rate, p50 and p99 by connections; the ratio is to the slower of the two yardsticks in the same round."""
    rows: list[tuple[str, ...]] = []
    for connections, measured in figures.idle.items():
        slower = [min(health.rate, bare.rate) for health, bare in zip(measured[HEALTH], measured[BARE], strict=True)]
        for what, rounds in measured.items():
            found = [seconds for one in rounds for seconds in one.requests]
            rate = sorted(one.rate for one in rounds)[len(rounds) // 2]
            ratio = ratios([one.rate for one in rounds], slower)
            rows.append((f"{what}, {connections}", f"{rate:,.0f}/s", ms(at(found, 0.5)), ms(at(found, 0.99)), ratio))
    return rows


BESIDE_HEADING = ("16 connections", "p99", "times alone", "refused")


def beside_table(figures: Figures) -> list[tuple[str, str, str, str]]:
    """p99 of orders while imports run, against the same alone."""
    alone = [at(one.requests, 0.99) for one, _ in figures.beside_imports]
    beside = [at(other.requests, 0.99) for _, other in figures.beside_imports]
    refused = [text for _, other in figures.beside_imports for text in other.refused]
    middle = len(alone) // 2
    return [
        ("alone", ms(sorted(alone)[middle]), "1", "0"),
        ("while imports run", ms(sorted(beside)[middle]), ratios(beside, alone), str(len(refused))),
    ]


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=BarePlan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_carry_out(given))))
