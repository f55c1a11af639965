"""The reactions lane: how fast it works off a full outbox, and how long one event waits from commit to commit."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

from msgspec import Struct

from benchmarks.figures import at, ms
from punchcard.bulk import signals
from punchcard.bulk.worker import Worker
from punchcard.db.database import Conn, connect
from punchcard.events import events
from punchcard.events.events import Cause, Event, EventSource
from punchcard.events.reactions import Reactions
from punchcard.projects import projects
from punchcard.settings import Settings

CAUSE = Cause(EventSource("INTERNAL"), "bench")
BATCH = 1000


class Sizes(Struct):
    """How many events fill the outbox, in how many rounds, and how many are sent one by one, now and then."""

    events: int = 50_000
    rounds: int = 5
    single: int = 500


class Figures(Struct):
    """Events a second by round, and seconds from commit to commit of single ones."""

    rates: list[float]
    waits: list[float]


async def measure(dsn: str, settings: Settings, sizes: Sizes) -> Figures:
    """Run the rounds with one worker in this process."""
    figures = Figures([], [])
    async with await connect(dsn, part="bench") as conn:
        project = await projects.create_project(conn, "Bench")
        for _ in range(sizes.rounds):
            for _ in range(sizes.events // BATCH):
                await _record(conn, project, BATCH)
            began = time.perf_counter()
            async with _working(dsn, settings):
                await _emptied(conn, project, 0.01)
            figures.rates.append(sizes.events / (time.perf_counter() - began))
        async with _working(dsn, settings):
            for _ in range(sizes.single):
                await _record(conn, project, 1)
                began = time.perf_counter()
                await signals.notify(conn, signals.WORK)
                await _emptied(conn, project, 0)
                figures.waits.append(time.perf_counter() - began)
                await asyncio.sleep(random.uniform(0.03, 0.09))
    return figures


async def _record(conn: Conn, project: str, count: int) -> None:
    data = {"customer": {"id": "cust_1", "name": "Ann", "object": "customer"}}
    made = [Event("customer.updated", f"cust_{no % 100}", data, customer_id=f"cust_{no % 100}") for no in range(count)]
    async with conn.transaction():
        await events.record(conn, project, CAUSE, made)


async def _emptied(conn: Conn, project: str, pause: float) -> None:
    query = "SELECT count(*) FROM (SELECT FROM event_outbox WHERE project_id = %s LIMIT 1) AS o"
    while (await (await conn.execute(query, [project])).fetchone()) != (0,):  # noqa: ASYNC110 - workers say nothing
        await asyncio.sleep(pause)


@contextlib.asynccontextmanager
async def _working(dsn: str, settings: Settings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(Worker(dsn, {}, settings, inboxes=[Reactions()]).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


def table(figures: Figures) -> list[tuple[str, str]]:
    """What is printed."""
    rates = sorted(figures.rates)
    return [
        ("events a second, one worker", f"{rates[len(rates) // 2]:,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})"),
        ("commit to reaction, p50", ms(at(figures.waits, 0.5))),
        ("commit to reaction, p99", ms(at(figures.waits, 0.99))),
    ]
