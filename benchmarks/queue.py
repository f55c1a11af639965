"""Empty jobs in many lanes and in one, against `procrastinate` on the same server with as many worker processes.

A lane is a project of ours and a lock of theirs. Both work in turn, round by round: the jobs wait, the
processes are ready, and what counts is the time from their beginning to the end of the last job. How many
jobs a process of theirs runs at a time is tried first, and the best is taken; in one lane it is one.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Protocol

import msgspec
import psycopg
from msgspec import Struct

from benchmarks import databases, empty, machine, procrastinate_jobs
from benchmarks.empty import EmptyRequest
from benchmarks.figures import at, ms, ratios
from benchmarks.procrastinate_jobs import Empty
from benchmarks.workers import OURS, PROCRASTINATE, Kind, Workers
from punchcard import ids
from punchcard.bulk import async_actions, signals
from punchcard.db.database import Conn, connect

LOOK_S = 0.05
JOBS_SECONDS_MAX = 120.0
IDLE_S = 0.02


class Sizes(Struct):
    """How many jobs wait in how many lanes and in one, how many are sent one by one, and what is tried."""

    lanes: int = 1000
    jobs: int = 3000
    jobs_of_one_lane: int = 500
    single_jobs: int = 200
    processes: int = 2
    jobs_tried: int = 1500
    concurrencies: tuple[int, ...] = (1, 4, 10, 30)
    rounds: int = 3


class Drained(Struct):
    """Jobs a second, and the processor time of a job: in the workers and in the server, in seconds."""

    rate: float
    worker_s: float
    server_s: float


class Figures(Struct):
    """What was drained by queue and round, from many lanes and from one; seconds from commit to start by queue."""

    lanes: dict[str, list[Drained]] = {}
    one_lane: dict[str, list[Drained]] = {}
    starts: dict[str, list[float]] = {}
    # jobs a second by the concurrency that was tried
    tried: dict[int, float] = {}


class Queue(Protocol):
    """What is asked of either queue; each has a database of its own."""

    name: str

    async def fill(self, number: int, lanes: int) -> None:
        """Empty it, and let so many jobs wait."""

    async def last_end(self) -> float | None:
        """When the last job ended, in seconds since 1970; none while there are any left."""

    async def send(self, number: int) -> float:
        """Send one job; when its commit was sent."""

    def kind(self, *, stamps: bool = False) -> Kind:
        """Its worker processes."""


async def measure(dsn: str, sizes: Sizes) -> Figures:
    """Find the best setting for procrastinate, then run the rounds."""
    figures = Figures()
    async with _Ours.opened(dsn) as ours, _Theirs.opened(dsn) as theirs:
        for concurrency in sizes.concurrencies if len(sizes.concurrencies) > 1 else ():
            theirs.concurrency = concurrency
            figures.tried[concurrency] = (await _drained(theirs, sizes.jobs_tried, sizes.lanes, sizes)).rate
        theirs.concurrency = max(sizes.concurrencies, key=lambda one: figures.tried.get(one, 0.0))
        both: tuple[Queue, Queue] = (ours, theirs)
        for _ in range(sizes.rounds):
            for queue in both:
                many = await _drained(queue, sizes.jobs, sizes.lanes, sizes)
                figures.lanes.setdefault(queue.name, []).append(many)
                if sizes.jobs_of_one_lane:
                    one = await _drained(queue, sizes.jobs_of_one_lane, 1, sizes)
                    figures.one_lane.setdefault(queue.name, []).append(one)
        for queue in both:
            figures.starts[queue.name] = await _starts(queue, sizes)
    return figures


async def _drained(queue: Queue, jobs: int, lanes: int, sizes: Sizes) -> Drained:
    """Let so many jobs wait, and see how fast they are done."""
    await queue.fill(jobs, lanes)
    kind = queue.kind() if lanes > 1 else msgspec.structs.replace(queue.kind(), concurrency=1)
    with psycopg.connect(kind.dsn, autocommit=True) as conn:
        async with Workers.ready(kind, sizes.processes) as workers:
            server_s = machine.server_seconds(conn)
            began = workers.begin()
            ended = await _end(queue, workers, look_s=LOOK_S)
            server_s = machine.server_seconds(conn) - server_s
    return Drained(jobs / (ended - began), workers.processor_s / jobs, server_s / jobs)


async def _end(queue: Queue, workers: Workers, *, look_s: float) -> float:
    """When the last job ended, once none is left."""
    async with asyncio.timeout(JOBS_SECONDS_MAX):
        while True:
            assert workers.are_well(), "a worker has ended"
            if (ended := await queue.last_end()) is not None:
                return ended
            await asyncio.sleep(look_s)


async def _starts(queue: Queue, sizes: Sizes) -> list[float]:
    """Seconds from commit to start of single jobs, each sent when the one before it has ended, after ten."""
    await queue.fill(0, 1)
    found = []
    async with Workers.ready(queue.kind(stamps=True), sizes.processes) as workers:
        workers.begin()
        for number in range(sizes.single_jobs + 10):
            sent = await queue.send(number)
            async with asyncio.timeout(JOBS_SECONDS_MAX):
                found.append(await workers.start_of(number) - sent)
            await _end(queue, workers, look_s=IDLE_S)
            await asyncio.sleep(IDLE_S)
    return found[10:]


# ---- ours --------------------------------------------------------------------------------------

_LEFT = b"SELECT FROM async_actions WHERE finished_at IS NULL LIMIT 1"
_LAST_END = b"SELECT extract(epoch FROM max(finished_at))::float8 AS at FROM async_actions"


class _Ours:
    name = OURS

    def __init__(self, dsn: str, conn: Conn, notifier: signals.Notifier) -> None:
        self._dsn, self._conn, self._notifier = dsn, conn, notifier
        self._projects: list[str] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, dsn: str) -> AsyncIterator["_Ours"]:
        own = databases.create(dsn, "bench_ours")
        async with await connect(own, part="bench") as conn, await connect(own, part="bench") as notifying:
            # as an API process has it
            notifier = signals.Notifier(lambda: signals.notify(notifying, signals.WORK))
            notifier.start()
            yield cls(own, conn, notifier)
            await notifier.stop()

    async def fill(self, number: int, lanes: int) -> None:
        await self._conn.execute("TRUNCATE projects CASCADE")
        self._projects = await empty.make_projects(self._conn, "lane", lanes)
        await empty.fill(self._conn, EmptyRequest, self._projects, number, run="fill")
        databases.settle(self._dsn, "projects", "async_actions", "async_action_pieces")

    async def last_end(self) -> float | None:
        return await _last_end(self._conn, _LEFT, _LAST_END)

    async def send(self, number: int) -> float:
        async with self._conn.transaction():
            await async_actions.schedule(
                self._conn, self._projects[0], _SENT, records=[b"%d" % number], request_id=ids.new("v")
            )
            sent = time.time()
        self._notifier.ask()
        return sent

    def kind(self, *, stamps: bool = False) -> Kind:
        return Kind(OURS, self._dsn, stamps=stamps)


_SENT = EmptyRequest(lambda _: None)


# ---- procrastinate -----------------------------------------------------------------------------


class _Theirs:
    name = PROCRASTINATE

    def __init__(self, dsn: str, conn: Conn, jobs: Empty) -> None:
        self._dsn, self._conn, self._jobs = dsn, conn, jobs
        self.concurrency = 1

    @classmethod
    @asynccontextmanager
    async def opened(cls, dsn: str) -> AsyncIterator["_Theirs"]:
        own = databases.create(dsn, "bench_procrastinate", migrated=False)
        jobs = Empty(own)
        async with jobs.app.open_async(), await connect(own, part="bench") as conn:
            await jobs.create_tables()
            yield cls(own, conn, jobs)

    async def fill(self, number: int, lanes: int) -> None:
        await self._conn.execute(procrastinate_jobs.EMPTY)
        async with self._conn.transaction():
            await self._jobs.defer(self._conn, range(number), lanes=lanes)
        databases.settle(self._dsn, *procrastinate_jobs.TABLES)

    async def last_end(self) -> float | None:
        return await _last_end(self._conn, procrastinate_jobs.DONE, procrastinate_jobs.LAST_END)

    async def send(self, number: int) -> float:
        async with self._conn.transaction():
            await self._jobs.defer(self._conn, range(number, number + 1), lanes=1)
            return time.time()

    def kind(self, *, stamps: bool = False) -> Kind:
        return Kind(PROCRASTINATE, self._dsn, concurrency=self.concurrency, stamps=stamps)


async def _last_end(conn: Conn, left: bytes, last_end: bytes) -> float | None:
    if await (await conn.execute(left)).fetchone() is not None:
        return None
    row = await (await conn.execute(last_end)).fetchone()
    assert row is not None
    return float(row.at)


# ---- what is printed ---------------------------------------------------------------------------

HEADING = ("what", "jobs a second", "times procrastinate's", "processor time of a job: workers", "server")


def table(figures: Figures, sizes: Sizes) -> list[tuple[str, ...]]:
    """Medians of the rounds, and the ratio to procrastinate's rate in the same round."""
    return [
        (f"{what}, {queue}", *_row(by_queue[queue], by_queue[PROCRASTINATE]))
        for what, by_queue in ((f"{sizes.lanes:,} lanes", figures.lanes), ("one lane", figures.one_lane))
        for queue in (PROCRASTINATE, OURS)
        if queue in by_queue
    ]


def _row(ours: list[Drained], theirs: list[Drained]) -> tuple[str, ...]:
    rates = [one.rate for one in ours]
    return (
        f"{median(rates):,.0f}",
        "1" if ours is theirs else ratios(rates, [one.rate for one in theirs]),
        ms(median(one.worker_s for one in ours), 2),
        ms(median(one.server_s for one in ours), 2),
    )


START_HEADING = ("from commit to start, idle", "p50", "p99")


def start_table(figures: Figures) -> list[tuple[str, str, str]]:
    """Of single jobs, one at a time."""
    return [(queue, ms(at(found, 0.5)), ms(at(found, 0.99))) for queue, found in figures.starts.items()]


def tried(figures: Figures) -> str:
    """What was tried for procrastinate."""
    rates = ", ".join(f"{concurrency}: {rate:,.0f}" for concurrency, rate in figures.tried.items())
    return f"Jobs a second by `concurrency` of procrastinate's workers: {rates}; the best was taken."
