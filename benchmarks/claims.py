"""What a turn costs a worker with few lanes and with many, a million jobs waiting, before and after much churn.

A turn is a whole round of a worker's loop, from the start of one portion to the start of the next: the list of
lanes, the lock, the claim, the portion of a job that does nothing, two commits. The real worker takes the turns.
Half of the lanes are fifo lanes, in which all the jobs wait; the others are round_robin lanes with two endless
jobs each. While portions churn, a session holds a REPEATABLE READ snapshot open, so that no row they leave behind
can be removed. A quiet place, with few jobs and no snapshot, is measured in turn with the others.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import fmean, median

import psycopg
from msgspec import Struct
from psycopg.conninfo import make_conninfo

from benchmarks import databases, empty
from benchmarks.empty import EmptyWalk, EndlessWalk
from benchmarks.figures import at, ms
from benchmarks.workers import OURS, Kind, Workers
from punchcard.bulk.jobs import Lane
from punchcard.bulk.worker import Worker
from punchcard.db.database import Conn, connect
from punchcard.settings import Settings

TABLES = ("projects", "async_actions")
ENDLESS_JOBS = 2
TURNS_SECONDS_MAX = 300.0


class Sizes(Struct):
    """Lanes, jobs that wait, portions of churn, and how many turns are measured in each of the rounds."""

    lanes: tuple[int, ...] = (10, 10_000)
    waiting: int = 1_000_000
    portions: int = 100_000
    turns: int = 300
    rounds: int = 4
    processes: int = 2
    quiet_waiting: int = 10_000


class Turns(Struct):
    """Seconds of each turn, seconds from a worker's beginning to its first turn, and what a turn touches."""

    seconds: list[float] = []
    # of those between two portions in lanes of one kind, by the kind
    by_lane: dict[str, list[float]] = {}
    first: list[float] = []
    # blocks of the queue's tables and indexes, read or found in memory, a turn; with the look for all lanes that a
    # worker begins with, shared out among its turns
    blocks: list[float] = []


class Place(Struct):
    """A database that is measured, by how many lanes and in which state."""

    what: str
    dsn: str
    lanes: int
    before: Turns
    after: Turns
    churn_seconds: float = 0.0


async def measure(dsn: str, settings: Settings, sizes: Sizes) -> list[Place]:
    """Measure all places in turn, churn all but the first, the quiet one, and measure all again."""
    quiet = Place("quiet", dsn, min(sizes.lanes), Turns(), Turns())
    places = [quiet, *(Place(f"{lanes:,} lanes", dsn, lanes, Turns(), Turns()) for lanes in sizes.lanes)]
    for number, place in enumerate(places):
        place.dsn = databases.create(dsn, f"bench_claims_{number}")
        await _fill(place, sizes.waiting if number else sizes.quiet_waiting)
    async with AsyncExitStack() as snapshots:
        for place in places[1:]:
            await snapshots.enter_async_context(_snapshot(place.dsn))
        for _ in range(sizes.rounds):
            for place in places:
                await _turns(place.dsn, settings, sizes.turns, place.before)
        for place in places[1:]:
            place.churn_seconds = await _churn(place.dsn, sizes)
        for _ in range(sizes.rounds):
            for place in places:
                await _turns(place.dsn, settings, sizes.turns, place.after)
    return places


async def _fill(place: Place, waiting: int) -> None:
    async with await connect(place.dsn, part="bench") as conn:
        projects = await empty.make_projects(conn, "lane", max(1, place.lanes // 2))
        await empty.fill(conn, EmptyWalk, projects, waiting, run="wait")
        await empty.fill(conn, EndlessWalk, projects, ENDLESS_JOBS * len(projects), run="long")
    databases.settle(place.dsn, *TABLES)


@asynccontextmanager
async def _snapshot(dsn: str) -> AsyncIterator[Conn]:
    """A session that sees the database as it is now for as long as it is there."""
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        await conn.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await conn.execute("SELECT count(*) FROM projects")
        yield conn
        await conn.rollback()


async def _churn(dsn: str, sizes: Sizes) -> float:
    """Have worker processes run portions; seconds. They need not be durable: that is not what is measured."""
    each = sizes.portions // sizes.processes
    lazy = make_conninfo(dsn, options="-c synchronous_commit=off")
    async with Workers.ready(Kind(OURS, lazy, portions=each), sizes.processes) as workers:
        began = workers.begin()
        await workers.ended()
        return time.time() - began


async def _turns(dsn: str, settings: Settings, number: int, into: Turns) -> None:
    """Have one worker take so many turns."""
    stop, starts = asyncio.Event(), list[tuple[float, str]]()

    def started(lane: bytes) -> None:
        starts.append((time.perf_counter(), lane.decode()))
        if len(starts) > number:
            stop.set()

    before = await _blocks(dsn)
    began = time.perf_counter()
    async with asyncio.timeout(TURNS_SECONDS_MAX):
        await Worker(dsn, empty.jobs(started), settings).run(stop)
    into.blocks.append((await _blocks(dsn) - before) / len(starts))
    into.first.append(starts[0][0] - began)
    for (earlier, lane), (later, next_lane) in itertools.pairwise(starts):
        into.seconds.append(later - earlier)
        if lane == next_lane:
            into.by_lane.setdefault(lane, []).append(later - earlier)


# what touches our tables; the catalogues are read by everybody who connects
_BLOCKS = b"""
SELECT sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0))::float8 AS blocks
  FROM pg_statio_user_tables
 WHERE relname IN ('async_actions', 'lane_turns', 'lane_pauses', 'async_action_cancels', 'async_action_pieces')
"""


async def _blocks(dsn: str) -> float:
    """How many blocks of the queue's tables and their indexes were touched so far; autovacuum's among them."""
    async with await connect(dsn, part="bench") as conn:
        row = await (await conn.execute(_BLOCKS)).fetchone()
    assert row is not None
    return float(row.blocks)


# ---- what is printed ---------------------------------------------------------------------------

HEADING = (
    "where",
    "turn, mean",
    "p50",
    "p99",
    "times the quiet place",
    "times before",
    "in fifo lanes",
    "in round_robin lanes",
    "blocks a turn",
    "first turn of a worker after",
)


def table(places: list[Place]) -> list[tuple[str, ...]]:
    """A turn before and after; the ratios are of means, to the quiet place at the same time and to the place before."""
    quiet = places[0]
    return [
        (
            f"{place.what}, {when}",
            ms(fmean(turns.seconds), 2),
            ms(at(turns.seconds, 0.5), 2),
            ms(at(turns.seconds, 0.99), 2),
            f"{fmean(turns.seconds) / fmean(yardstick.seconds):.2f}",
            f"{fmean(turns.seconds) / fmean(place.before.seconds):.2f}",
            *(_of_kind(turns, lane) for lane in (Lane.FIFO, Lane.ROUND_ROBIN)),
            f"{median(turns.blocks):,.0f}",
            ms(median(turns.first), 0),
        )
        for place in places
        for when, turns, yardstick in (("before", place.before, quiet.before), ("after", place.after, quiet.after))
    ]


def _of_kind(turns: Turns, lane: Lane) -> str:
    seconds = turns.by_lane.get(lane)
    return ms(fmean(seconds), 2) if seconds else ""
