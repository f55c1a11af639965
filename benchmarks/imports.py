"""The import of 2,000 orders, from claim to commit, against a bare binary COPY of the rows it leaves.

Both run in turn, round by round, on the same server: first the import of a new project; then COPY of
exactly the rows that the import wrote, into empty copies of the same tables with the same indexes, in one
transaction. The second figure to compare with is COPY of the orders as they were sent into a table
without indexes: the least that storing them can cost.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import psycopg
from msgspec import Struct

from benchmarks import orders
from benchmarks.copying import copy_rows
from punchcard import ids
from punchcard.bulk import async_actions, claims, lanes
from punchcard.bulk.portions import run_portion
from punchcard.bulk.worker import session_options
from punchcard.db.database import Conn, connect
from punchcard.orders.imports import SHAPE, OrdersImport
from punchcard.projects import projects
from punchcard.settings import Settings

ORDERS, CUSTOMERS, PRODUCTS = 2000, 1500, 500
TABLES = ("customers", "products", "skus", "orders", "segment_inbox")
BENCH = claims.Starter("bench", "0", 10_000)


class Round(Struct):
    """Seconds of one round."""

    accept: float
    json_loads: float
    new: float
    copy_new: float
    existing: float
    copy_raw: float


async def measure(dsn: str, settings: Settings, *, rounds: int) -> list[Round]:
    """Run the rounds, after one that is not counted."""
    async with worker(dsn, settings) as ours:
        measured = [await _round(ours, dsn) for _ in range(rounds + 1)]
    return measured[1:]


class Worker(Struct, frozen=True):
    """A worker's session."""

    conn: Conn
    settings: Settings

    async def import_orders(self, project: str, records: list[bytes]) -> float:
        """Seconds from the first claim to the last commit; accepting is not part of it."""
        job = OrdersImport()
        async with self.conn.transaction():
            await async_actions.schedule(self.conn, project, job, records=records, request_id="v-bench")
        lanes_with_work = lanes.Round()
        started, number, finished = time.perf_counter(), 0, False
        while not finished:
            await lanes_with_work.read(self.conn)
            turn = lanes_with_work.next()
            while turn.lane in lanes.INBOX_LANES:  # what follows from an import is not measured here
                turn = lanes_with_work.next()
            async with lanes.held(self.conn, turn) as look:
                assert look is not None
                claim = await claims.take_turn(self.conn, turn, look, starter=BENCH, number=number)
                assert claim is not None
                finished = await run_portion(self.conn, claim, {job.type: job}, self.settings)
            number += 1
        return time.perf_counter() - started


@asynccontextmanager
async def worker(dsn: str, settings: Settings) -> AsyncIterator[Worker]:
    """A worker, without its process."""
    async with await connect(dsn, part="bench", options=session_options(settings)) as conn:
        yield Worker(conn, settings)


async def _round(ours: Worker, dsn: str) -> Round:
    project = await projects.create_project(ours.conn, "Benchmark")
    run = ids.new("run")[-8:]
    first = orders.request(ORDERS, customers=CUSTOMERS, products=PRODUCTS, run=run)
    again = orders.request(ORDERS, customers=CUSTOMERS, products=PRODUCTS, run=run, note="again")
    body = b"[" + b",".join(first) + b"]"
    new = await ours.import_orders(project, first)
    with psycopg.connect(dsn) as copier:
        copy_new = copy_rows(copier, project, TABLES)
        copy_raw = _copy_raw(copier, first)
    existing = await ours.import_orders(project, again)
    return Round(_timed_read(body), _timed_loads(body), new, copy_new, existing, copy_raw)


def _copy_raw(conn: psycopg.Connection, records: list[bytes]) -> float:
    """Seconds of COPY of the orders as they were sent, into a table without indexes."""
    conn.execute("CREATE TABLE raw_orders (body json)")
    conn.commit()
    started = time.perf_counter()
    with conn.cursor().copy("COPY raw_orders FROM STDIN") as copy:
        copy.write(b"".join(record.replace(b"\\", b"\\\\") + b"\n" for record in records))
    conn.commit()
    seconds = time.perf_counter() - started
    conn.execute("DROP TABLE raw_orders")
    conn.commit()
    return seconds


def _timed_read(body: bytes) -> float:
    started = time.perf_counter()
    SHAPE.read(body, records_max=ORDERS)
    return time.perf_counter() - started


def _timed_loads(body: bytes) -> float:
    import json  # noqa: PLC0415 - the yardstick, used nowhere else

    started = time.perf_counter()
    json.loads(body)
    return time.perf_counter() - started


def table(measured: list[Round]) -> list[tuple[str, str, str]]:
    """What is printed: what, the median, and what it is compared with."""

    def ratio(ours: str, yardstick: str) -> str:
        ratios = [getattr(one, ours) / getattr(one, yardstick) for one in measured]
        return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"

    def seconds(name: str) -> float:
        return float(median(getattr(one, name) for one in measured))

    def speed(name: str) -> str:
        return f"{seconds(name) * 1000:.0f} ms, {ORDERS / seconds(name):,.0f} orders/s"

    return [
        ("bare COPY of the final rows, same tables and indexes", f"{seconds('copy_new') * 1000:.0f} ms", "1"),
        ("COPY of the raw orders, no indexes", f"{seconds('copy_raw') * 1000:.0f} ms", ratio("copy_raw", "copy_new")),
        ("import, everything new", speed("new"), ratio("new", "copy_new")),
        ("import, everything existing and changed", speed("existing"), ratio("existing", "copy_new")),
        ("reading the request (in process), against json.loads", speed("accept"), ratio("accept", "json_loads")),
    ]
