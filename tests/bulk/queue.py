"""The queue as a test drives it: a PostgreSQL with our tables, workers in this process, actions of any kind."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, ParamSpec

import msgspec

from punchcard.bulk import async_actions, claims, lanes, signals
from punchcard.bulk.jobs import Inbox
from punchcard.bulk.worker import Worker
from punchcard.db.database import Conn, connect
from punchcard.projects import projects
from punchcard.settings import Settings, load
from tests.bulk.kinds import Record, encoded

P = ParamSpec("P")
TEST_SECONDS_MAX = 240.0
WAIT_SECONDS = 100.0


def in_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an asynchronous test."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def limited() -> None:
            await asyncio.wait_for(test(*args, **kwargs), TEST_SECONDS_MAX)

        asyncio.run(limited())

    return run


def quick(**changes: object) -> Settings:
    """Settings with short intervals."""
    return load(environment={}, arguments={"poll_ms": 100, "heartbeat_ms": 200, "worker_silent_ms": 3000} | changes)


class Queue:
    """One project's queue on a test database."""

    def __init__(self, dsn: str, conn: Conn, project: str) -> None:
        self.dsn, self.conn, self.project = dsn, conn, project

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, dsn: str) -> AsyncIterator["Queue"]:
        """The queue of a new project; what other tests left unfinished is gone."""
        async with await connect(dsn, part="test") as conn:
            await conn.execute("DELETE FROM async_actions WHERE finished_at IS NULL")
            await conn.execute("DELETE FROM event_outbox")
            yield cls(dsn, conn, await projects.create_project(conn, "Test"))

    async def sibling(self) -> "Queue":
        """The queue of another new project."""
        return Queue(self.dsn, self.conn, await projects.create_project(self.conn, "Test"))

    async def schedule(self, job: Any, given: Sequence[Record | bytes], *, conn: Conn | None = None) -> str:
        """Accept a request as the API does, without the wake-up."""
        bodies = [r if isinstance(r, bytes) else encoded([r])[0] for r in given]
        if conn is not None:
            return await async_actions.schedule(conn, self.project, job, records=bodies, request_id="test")
        async with self.conn.transaction():
            return await async_actions.schedule(self.conn, self.project, job, records=bodies, request_id="test")

    async def schedule_all(self, job: Any, requests: Sequence[Sequence[Record | bytes]]) -> list[str]:
        """Accept requests, all at once."""
        async with self.conn.transaction():
            return [await self.schedule(job, given, conn=self.conn) for given in requests]

    async def drop(self, given: Sequence[Record], *, conn: Conn | None = None) -> None:
        """Put records into the outbox of events, for a lane that works off that."""
        await (conn or self.conn).execute(
            "INSERT INTO event_outbox (project_id, event_id, event_created_at, accepted_xid)"
            " SELECT %s, u.body, now(), x.xid FROM (SELECT pg_current_xact_id() AS xid) AS x,"
            " unnest(%s::text[]) WITH ORDINALITY AS u (body, no) ORDER BY u.no",
            [self.project, [body.decode() for body in encoded(given)]],
        )

    async def notify(self) -> None:
        await signals.notify(self.conn, signals.WORK)

    async def rows(self, query: Any, *parameters: Any) -> list[Any]:
        return list(await (await self.conn.execute(query, parameters)).fetchall())

    async def value(self, query: Any, *parameters: Any) -> Any:
        """The first column of the first row; none without a row."""
        found = await self.rows(query, *parameters)
        return found[0][0] if found else None

    async def action(self, action_id: str) -> Any:
        """The action's row."""
        found = await self.rows(
            "SELECT * FROM async_actions WHERE project_id = %s AND id = %s", self.project, action_id
        )
        return found[0]

    async def emptied(self, query: str, *parameters: Any) -> None:
        """Wait until a query counts nothing any more."""

        async def is_empty() -> bool:
            return bool(await self.value(query, *parameters) == 0)

        await until(is_empty)

    async def finished(self, action_id: str) -> dict[str, Any]:
        """The result of an action once it is done."""
        await until(lambda: self._is_done(action_id))
        return await self.result(action_id)

    async def result(self, action_id: str) -> dict[str, Any]:
        """The result of an action that has ended."""
        return msgspec.json.decode((await self.action(action_id)).result, type=dict[str, Any])

    async def _is_done(self, action_id: str) -> bool:
        return bool((await self.action(action_id)).status == "DONE")

    async def numbers(self, action: str = "a") -> list[int]:
        """The records of the test's job that were written."""
        query = "SELECT n FROM tried_records WHERE project_id = %s AND action = %s ORDER BY n"
        return [row.n for row in await self.rows(query, self.project, action)]

    @contextlib.asynccontextmanager
    async def working(
        self, job: Any = None, settings: Settings | None = None, *, inbox: Inbox | None = None
    ) -> AsyncIterator[Worker]:
        """A worker in this process; it must end by itself, and leave no row behind."""
        jobs = {} if job is None else {job.type: job}
        worker = Worker(self.dsn, jobs, settings or quick(), inboxes=[] if inbox is None else [inbox])
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await asyncio.wait_for(task, WAIT_SECONDS)
        assert await self.value("SELECT count(*) FROM workers WHERE id = %s", worker.id) == 0

    async def session_of(self, worker: Worker) -> int:
        """The server process of the session that runs the worker's portions."""
        found: list[int] = []

        async def look() -> bool:
            pid = await self.value(
                "SELECT w.backend_pid FROM workers AS w JOIN pg_stat_activity AS a ON a.pid = w.backend_pid"
                " AND a.backend_start = w.backend_start WHERE w.id = %s",
                worker.id,
            )
            found.extend([pid] if pid else [])
            return bool(found)

        await until(look)
        return found[0]


async def claimed(conn: Conn, turn: lanes.LaneTurn, *, starter: claims.Starter, number: int) -> claims.Claim | None:
    """Take the lane's next turn as a worker does, and let go of the lane."""
    async with lanes.held(conn, turn) as look:
        assert look is not None, "another session holds the lane"
        return await claims.take_turn(conn, turn, look, starter=starter, number=number)


async def until(condition: Callable[[], Awaitable[object]], seconds: float = WAIT_SECONDS) -> None:
    """Wait for a condition; fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)
