"""The same empty jobs in the queue of `procrastinate`, which ours is compared with.

A lane is a `lock` there: of the jobs with one lock at most one runs, in the order of arrival.
"""

import json
from collections.abc import Callable
from typing import Any

import procrastinate
from procrastinate.jobs import Job
from procrastinate.tasks import Task

from punchcard.db.database import Conn

TABLES = ("procrastinate_jobs", "procrastinate_events")
QUEUE = "bench"
DONE = b"SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing') LIMIT 1"
LAST_END = b"SELECT extract(epoch FROM max(at)) AS at FROM procrastinate_events WHERE type = 'succeeded'"
EMPTY = b"TRUNCATE procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers"

POOL_MIN, POOL_MAX = 3, 10


class Empty:
    """An application with one task that does nothing but tell `started` its number."""

    def __init__(self, dsn: str, *, concurrency: int = 1, started: Callable[[bytes], None] | None = None) -> None:
        # a session to fetch, one to listen, and one for each job that ends meanwhile, within reason
        size = min(POOL_MAX, max(POOL_MIN, concurrency + 2))
        self.app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                # as it has them by itself: ours are others, for the whole process
                json_loads=json.loads,
                json_dumps=json.dumps,
                conninfo=dsn,
                min_size=size,
                max_size=size,
            )
        )

        @self.app.task(name="empty", queue=QUEUE)
        async def empty(number: int) -> None:
            if started is not None:
                started(str(number).encode())

        self._task: Task[..., Any, Any] = empty

    async def create_tables(self) -> None:
        await self.app.schema_manager.apply_schema_async()

    async def defer(self, conn: Conn, numbers: range, *, lanes: int) -> None:
        """Defer jobs of these numbers in the transaction of `conn`, in the lanes in turn."""
        jobs = [self._job(number, lanes) for number in numbers]
        await self.app.job_manager.batch_defer_jobs_async(jobs=jobs, connection=conn)

    def _job(self, number: int, lanes: int) -> Job:
        return self._task.configure(lock=f"lane-{number % lanes}").make_new_job(number=number)
