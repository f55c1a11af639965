"""Segments: what placing costs an import, a pass over changed customers, a single one, and the population of a segment.

One worker in this process. The import's time is from the commit of its acceptance until its orders are in, its
customers are placed, and what follows from their events is done.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from statistics import median
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks import orders
from benchmarks.figures import at, ms, ratios
from punchcard.app import JOBS
from punchcard.bulk import async_actions, signals
from punchcard.bulk.worker import Worker
from punchcard.db.database import Conn, connect
from punchcard.events import segment_inbox
from punchcard.events.reactions import Reactions
from punchcard.events.segment_inbox import Origin
from punchcard.orders.imports import OrdersImport
from punchcard.projects import projects
from punchcard.segments import filters, segments
from punchcard.segments.evaluating import Evaluation
from punchcard.segments.lane import Placement
from punchcard.segments.segments import SegmentIn
from punchcard.settings import Settings

ORDERS = 2000
# of a hundred customers, one changes its membership
CHANGING = 100
NUMBERS = (0, 10, 100)
STORED_CUSTOMERS = """
INSERT INTO customers (project_id, id, source_id, name, email, address, metadata, created_at, orders_total_amount,
                       orders_total_count)
SELECT %(project_id)s, 'cust_' || lpad(to_hex(1600000000000 + no), 12, '0') || left(md5(no::text), 20), 'stored-' || no,
       'Customer ' || no, 'stored-' || no || '@shop.example',
       jsonb_build_object('city', 'Leeds', 'country', 'United Kingdom', 'postal_code', 'LS' || no %% 30),
       jsonb_build_object('lang', 'en', 'group', no %% 100, 'newsletter', no %% 2 = 0),
       clock_timestamp() - interval '1 day' + no * interval '1 microsecond', no %% 1000 * 100, no %% 10
  FROM generate_series(1, %(customers)s) AS no
"""


class Sizes(Struct):
    """Rounds; customers stored in the projects of the passes; how many single changes; whose population is measured."""

    rounds: int = 7
    stored: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    changed: int = 2000
    single: int = 400
    populations: int = 3


class Figures(Struct):
    """Seconds: of imports by number of segments, of passes by customers stored, of single changes, of populations and
    of the same by hand, selected alone and inserted too."""

    imports: dict[int, list[float]]
    passes: dict[int, list[float]]
    singles: list[float]
    populations: list[float]
    selected: list[float]
    inserted: list[float]


def filter_of(no: int) -> dict[str, Any]:
    """The filter of the segment with a number: a tenth of them hold for a customer, one by a group that can change."""
    return {
        "metadata.group": {"conditions": {"$is": no % 100}},
        "address.country": {"conditions": {"$in": ["United Kingdom", "Ireland"]}},
        "email": {"conditions": {"$ends_with": "@shop.example"}},
    } if no % 10 else {
        "address.postal_code": {"conditions": {"$is": f"LS{no % 30}"}},
        "summary.orders.total_count": {"conditions": {"$more_than_equal": 0}},
    }  # fmt: skip


async def measure(dsn: str, settings: Settings, sizes: Sizes) -> Figures:
    """Run everything, one after the other; what is compared takes turns."""
    figures = Figures({}, {}, [], [], [], [])
    async with await connect(dsn, part="bench") as conn:
        for round_no in range(sizes.rounds + 1):
            for number in NUMBERS:
                seconds = await _import(dsn, settings, conn, number)
                if round_no:
                    figures.imports.setdefault(number, []).append(seconds)
        stored = {customers: await _stored(conn, customers) for customers in sizes.stored}
        async with _working(dsn, settings):
            for project in stored.values():
                await _segments(conn, project, 10)
                await _emptied(conn, project)
            await conn.execute("VACUUM (ANALYZE) customers, segment_members")
            for round_no in range(sizes.rounds + 1):
                for customers, project in stored.items():
                    seconds = await _pass(conn, project, sizes.changed)
                    if round_no:
                        figures.passes.setdefault(customers, []).append(seconds)
            middle = stored[sizes.stored[1]]
            for _ in range(sizes.single):
                figures.singles.append(await _single(conn, middle))
                await asyncio.sleep(random.uniform(0.03, 0.09))
        for _ in range(sizes.populations):
            await _populate(dsn, settings, conn, stored[sizes.stored[-1]], figures)
    return figures


# ---- an import ---------------------------------------------------------------------------------


async def _import(dsn: str, settings: Settings, conn: Conn, number: int) -> float:
    """Seconds of an import of orders of customers who are there, in a project with so many segments."""
    project = await projects.create_project(conn, "Bench")
    await _segments(conn, project, number)
    job = OrdersImport()
    async with _working(dsn, settings):
        await _schedule(conn, project, job, _records("first"))
        await _emptied(conn, project)
        began = time.perf_counter()
        await _schedule(conn, project, job, _records("second"))
        await _emptied(conn, project)
        return time.perf_counter() - began


def _records(run: str) -> list[bytes]:
    """New orders of the same customers, of whom some come into another group with the second."""
    made = []
    for no, record in enumerate(orders.request(ORDERS, customers=ORDERS, products=500, run=run)):
        order = msgspec.json.decode(record)
        group = no % 100 if run == "first" or no % CHANGING else (no // CHANGING + 1) % 100
        order["customer"] = {
            **order["customer"], "source_id": f"customer-{no}",
            "metadata": {"lang": "en", "group": group, "newsletter": no % 2 == 0},
        }  # fmt: skip
        made.append(msgspec.json.encode(order))
    return made


async def _schedule(conn: Conn, project: str, job: OrdersImport, records: list[bytes]) -> None:
    async with conn.transaction():
        await async_actions.schedule(conn, project, job, records=records, request_id="v-bench")
    await signals.notify(conn, signals.WORK)


async def _segments(conn: Conn, project: str, number: int) -> None:
    for no in range(number):
        async with conn.transaction():
            given = SegmentIn(f"Segment {no}", "auto-update", None, filter_of(no))
            await segments.create(conn, project, given)


# ---- passes ------------------------------------------------------------------------------------


async def _stored(conn: Conn, customers: int) -> str:
    project = await projects.create_project(conn, "Bench")
    await conn.execute(STORED_CUSTOMERS.encode(), {"project_id": project, "customers": customers})
    await conn.execute("VACUUM (ANALYZE) customers")
    return project


async def _pass(conn: Conn, project: str, changed: int) -> float:
    """Seconds until so many customers, drawn from all, are placed again, of whom one in a hundred moves."""
    rows = await (
        await conn.execute(
            "SELECT id FROM customers WHERE project_id = %s AND source_id = ANY("
            " SELECT 'stored-' || 1 + floor(random() * (SELECT count(*) FROM customers WHERE project_id = %s))::bigint"
            " FROM generate_series(1, %s))",
            [project, project, 2 * changed],
        )
    ).fetchall()
    ids = [row.id for row in rows][:changed]
    async with conn.transaction():
        await conn.execute(
            "UPDATE customers SET metadata = metadata || jsonb_build_object('group', floor(random() * 10))"
            " WHERE project_id = %s AND id = ANY(%s)",
            [project, ids[: len(ids) // CHANGING]],
        )
        await segment_inbox.append(conn, project, ids, Origin("bench", group_id="v-bench"))
    began = time.perf_counter()
    await signals.notify(conn, signals.WORK)
    await _emptied(conn, project)
    return time.perf_counter() - began


async def _single(conn: Conn, project: str) -> float:
    """Seconds from the commit of a change to that of the membership."""
    row = await (
        await conn.execute(
            "UPDATE customers SET metadata = metadata || jsonb_build_object('group', floor(random() * 10))"
            " WHERE project_id = %s AND source_id = %s RETURNING id",
            [project, f"stored-{random.randint(1, 10_000)}"],
        )
    ).fetchone()
    assert row is not None
    await segment_inbox.append(conn, project, [row.id], Origin("bench", group_id="v-bench"))
    began = time.perf_counter()
    await signals.notify(conn, signals.WORK)
    query = "SELECT count(*) FROM (SELECT FROM segment_inbox WHERE project_id = %s LIMIT 1) AS i"
    while (await (await conn.execute(query, [project])).fetchone()) != (0,):  # noqa: ASYNC110 - workers say nothing
        await asyncio.sleep(0)
    return time.perf_counter() - began


# ---- population --------------------------------------------------------------------------------


async def _populate(dsn: str, settings: Settings, conn: Conn, project: str, figures: Figures) -> None:
    """A new segment, and the same by hand: its condition over all customers, and its members into a table."""
    given = {
        "address.postal_code": {"conditions": {"$is": "LS7"}},
        "metadata.group": {"conditions": {"$less_than": 50}},
    }
    evaluation = Evaluation([filters.parse(given)], zone="UTC")
    everybody: dict[str, Any] = {"project_id": project, "now": None, "after": "", "until": "zzzz", "limit": 10**9}
    parameters = evaluation.parameters | everybody
    began = time.perf_counter()
    await conn.execute(
        b"SELECT count(*) FROM (" + evaluation.of_range().as_bytes(conn) + b") AS e WHERE matched <> '{}'", parameters
    )
    figures.selected.append(time.perf_counter() - began)
    await conn.execute("CREATE TABLE by_hand (LIKE segment_members INCLUDING ALL)")
    began = time.perf_counter()
    await conn.execute(
        b"INSERT INTO by_hand (project_id, segment_id, customer_id, customer_created_at, entered_at)"
        b" SELECT %(project_id)s, 'seg_by_hand', id, created_at, now FROM ("
        + evaluation.of_range().as_bytes(conn)
        + b") AS e WHERE matched <> '{}'",
        parameters,
    )
    figures.inserted.append(time.perf_counter() - began)
    await conn.execute("DROP TABLE by_hand")
    async with _working(dsn, settings):
        began = time.perf_counter()
        async with conn.transaction():
            segment = await segments.create(conn, project, SegmentIn("All", "passive", None, given))
        await signals.notify(conn, signals.WORK)
        await _emptied(conn, project)
        figures.populations.append(time.perf_counter() - began)
        async with conn.transaction():
            await segments.remove(conn, project, segment.id)
        await _emptied(conn, project)


# ---- common ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _working(dsn: str, settings: Settings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    jobs = {job.type: job for job in JOBS}
    task = asyncio.create_task(Worker(dsn, jobs, settings, inboxes=[Placement(), Reactions()]).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def _emptied(conn: Conn, project: str) -> None:
    """Return when nothing of a project waits any more."""
    query = (
        "SELECT NOT EXISTS (SELECT FROM async_actions WHERE project_id = %s AND finished_at IS NULL)"
        " AND NOT EXISTS (SELECT FROM segment_inbox WHERE project_id = %s)"
        " AND NOT EXISTS (SELECT FROM event_outbox WHERE project_id = %s)"
    )
    while (await (await conn.execute(query, [project] * 3)).fetchone()) != (True,):  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.002)


HEADING = ("what", "median", "relative")


def table(figures: Figures) -> list[tuple[str, str, str]]:
    """What is printed."""

    def row(what: str, found: list[float], yardstick: list[float]) -> tuple[str, str, str]:
        return what, ms(median(found)), ratios(found, yardstick)

    rows = [row(f"import, {number} segments", found, figures.imports[0]) for number, found in figures.imports.items()]
    first = next(iter(figures.passes.values()))
    rows += [row(f"pass, {stored:,} customers stored", found, first) for stored, found in figures.passes.items()]
    return [
        *rows,
        ("change to membership, p50", ms(at(figures.singles, 0.5)), ""),
        ("change to membership, p99", ms(at(figures.singles, 0.99)), ""),
        row("by hand: SELECT of the condition", figures.selected, figures.selected),
        row("by hand: INSERT of the members too", figures.inserted, figures.selected),
        row("population", figures.populations, figures.selected),
    ]
