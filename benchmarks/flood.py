"""The mix of `fairness` on the real queue: worker processes, short portions, jobs sent as they arrive."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct

from benchmarks import databases, empty
from benchmarks.empty import Pause
from benchmarks.fairness import FLOODS, Arrival, Mix, Pair, Served, sum_up
from benchmarks.workers import OURS, Kind, Workers
from punchcard.bulk import async_actions, signals
from punchcard.db.database import Conn, connect

LOOK_S = 0.05
RUN_SECONDS_MAX = 120.0
WARM_S = 0.5
BEGINS_IN_S = 0.2


class Sizes(Struct):
    """The mix of a run, how many jobs flood the queue, and how many pairs of runs there are."""

    mix: Mix = Mix(jobs=400, load=0.5, portion_s=0.02)
    flood: int = 5000
    rounds: int = 3
    # jobs that tell how long a turn takes
    jobs_tried: int = 400


class Measured(Struct):
    """Pairs of runs, and seconds of a turn when all lanes have work."""

    pairs: list[Pair]
    turn_s: float


async def measure(dsn: str, sizes: Sizes) -> Measured:
    """Find out how long a turn takes, and run the pairs."""
    queue = _Queue(databases.create(dsn, "bench_flood"), sizes.mix)
    turn_s = await queue.turn_seconds(sizes.jobs_tried)
    mix = msgspec.structs.replace(sizes.mix, turn_s=turn_s)
    pairs = []
    for seed in range(sizes.rounds):
        calm, flooded = [await queue.run(mix.arrivals(seed), flood) for flood in (0, sizes.flood)]
        pairs.append(Pair(sum_up(calm, mix.workers), sum_up(flooded, mix.workers)))
    return Measured(pairs, turn_s)


_SERVED = b"""
SELECT project_id, id, extract(epoch FROM created_at)::float8 AS created,
       extract(epoch FROM started_at)::float8 AS started, extract(epoch FROM finished_at)::float8 AS finished
  FROM async_actions
 WHERE finished_at IS NOT NULL
 ORDER BY started_at
"""
_OTHERS_LEFT = b"SELECT FROM async_actions WHERE finished_at IS NULL AND project_id <> %(flooding)s LIMIT 1"


class _Queue:
    """A database with the mix's projects; emptied for each run."""

    def __init__(self, dsn: str, mix: Mix) -> None:
        self._dsn, self._mix = dsn, mix
        self._projects: list[str] = []
        self._pause = Pause(lambda _: None)

    async def turn_seconds(self, jobs: int) -> float:
        """How long a turn takes a worker that always finds another lane with work."""
        async with accepting(self._dsn) as (conn, _):
            await self._empty(conn)
            await self._fill(conn, self._projects[1:], jobs)
            async with Workers.ready(Kind(OURS, self._dsn), self._mix.workers) as workers:
                workers.begin()
                await self._others_done(conn, workers)
            served = await self._served(conn, {})
        return (served[-1].ended - served[0].started) * self._mix.workers / len(served)

    async def run(self, arrivals: list[Arrival], flood: int) -> list[Served]:
        """Send the jobs at their moments; all portions until the last job of the others has ended."""
        async with accepting(self._dsn) as (conn, notifier):
            await self._empty(conn)
            await self._fill(conn, self._projects[FLOODS : FLOODS + 1], flood)
            async with Workers.ready(Kind(OURS, self._dsn), self._mix.workers) as workers:
                workers.begin()
                await asyncio.sleep(WARM_S)
                committed = await self._send(conn, notifier, arrivals)
                await self._others_done(conn, workers)
            return await self._served(conn, committed)

    async def _send(self, conn: Conn, notifier: signals.Notifier, arrivals: list[Arrival]) -> dict[str, float]:
        """When each action was committed, in seconds since 1970."""
        began, committed = time.time() + BEGINS_IN_S, dict[str, float]()
        for arrival in arrivals:
            await asyncio.sleep(max(0.0, began + arrival.at - time.time()))
            records = [b"%.4f" % arrival.seconds]
            async with conn.transaction():
                action = await async_actions.schedule(
                    conn, self._projects[arrival.project], self._pause, records=records, request_id="v-bench"
                )
            committed[action] = time.time()
            notifier.ask()
        return committed

    async def _empty(self, conn: Conn) -> None:
        await conn.execute("TRUNCATE projects, lane_turns CASCADE")
        self._projects = await empty.make_projects(conn, "mix", self._mix.projects)

    async def _fill(self, conn: Conn, projects: list[str], jobs: int) -> None:
        record = b"%.4f" % self._mix.portion_s
        await empty.fill(conn, Pause, projects, jobs, run="fill", record=record)
        databases.settle(self._dsn, "projects", "async_actions", "async_action_pieces")

    async def _others_done(self, conn: Conn, workers: Workers) -> None:
        async with asyncio.timeout(RUN_SECONDS_MAX):
            while True:
                assert workers.are_well(), "a worker has ended"
                left = await conn.execute(_OTHERS_LEFT, {"flooding": self._projects[FLOODS]})
                if await left.fetchone() is None:
                    return
                await asyncio.sleep(LOOK_S)

    async def _served(self, conn: Conn, committed: dict[str, float]) -> list[Served]:
        """All portions; what was there before the run arrived when it was made."""
        served, ended = list[Served](), dict[str, float]()
        for row in await (await conn.execute(_SERVED)).fetchall():
            arrived = min(committed.get(row.id, row.created), row.started)
            ready = max(arrived, ended.get(row.project_id, 0.0))
            ended[row.project_id] = row.finished
            number = self._projects.index(row.project_id)
            served.append(Served(number, arrived, ready, row.started, row.finished))
        return served


@asynccontextmanager
async def accepting(dsn: str) -> AsyncIterator[tuple[Conn, signals.Notifier]]:
    """A session that accepts jobs, and the notifier of an API process beside it."""
    async with await connect(dsn, part="bench") as conn, await connect(dsn, part="bench") as notifying:
        notifier = signals.Notifier(lambda: signals.notify(notifying, signals.WORK))
        notifier.start()
        try:
            yield conn, notifier
        finally:
            await notifier.stop()
