"""Retention: what was kept for a time is deleted after it.

Idempotency keys, payloads, failed records and reports have each a time of their own (settings). A sweep goes through
the projects and deletes what is due, a few hundred rows a statement and each statement a transaction of one
project: nothing waits long for it and no snapshot gets old. What belongs to an action is deleted first and
marked as deleted after it, so a sweep that is cut off is continued by the next one.

It runs beside a worker's portions, on a session that is opened for each sweep. All workers try; the one that
gets the lock sweeps.
"""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
import psycopg
from msgspec import Struct

from punchcard import log
from punchcard.db import statements
from punchcard.db.database import Conn, connect, deadline
from punchcard.settings import Settings

SQL = statements.beside(__file__)

# 64 bits of a hash, as lanes have them
LOCK = int.from_bytes(hashlib.blake2b(b"retention", digest_size=8).digest(), "big", signed=True)
FIRST_SWEEP_S = 5.0
RETRY_S = 10.0
STATEMENT_S = 20.0
PROJECTS_A_PAGE = 500
ACTIONS_A_PAGE = 200
ROWS_MAX = 500
# a piece of payload is up to a megabyte, a row of a report a quarter of that
PIECES_MAX = 50

Sweep: TypeAlias = Callable[[Conn], Awaitable[None]]

logger = log.get(__name__)
_jitter = random.SystemRandom()


class Kept(Struct, frozen=True):
    """What is kept with an action: statements that find actions for which it is due, delete it, and mark it deleted."""

    name: str
    due: bytes
    delete: bytes
    deleted: bytes
    rows_max: int


KEPT = (
    Kept(
        "pieces",
        due=SQL.retention_pieces_due,
        delete=SQL.retention_pieces_delete,
        deleted=SQL.retention_pieces_deleted,
        rows_max=PIECES_MAX,
    ),
    Kept(
        "failures",
        due=SQL.retention_failures_due,
        delete=SQL.retention_failures_delete,
        deleted=SQL.retention_failures_deleted,
        rows_max=ROWS_MAX,
    ),
    Kept(
        "reports",
        due=SQL.retention_reports_due,
        delete=SQL.retention_reports_delete,
        deleted=SQL.retention_reports_deleted,
        rows_max=PIECES_MAX,
    ),
)


class Swept(Struct):
    """What a sweep deleted, in rows; `actions` is of how many actions."""

    keys: int = 0
    pieces: int = 0
    failures: int = 0
    reports: int = 0
    actions: int = 0

    @property
    def nothing(self) -> bool:
        """It found nothing to do."""
        return not (self.keys or self.actions)


class Sweeper:
    """Deletes what is due, now and then. `options` are what PostgreSQL limits on its sessions.

    `sweeps` are what other packages have to do at such times; they come first.
    """

    def __init__(
        self, dsn: str, settings: Settings, *, options: Mapping[str, str | int], sweeps: Sequence[Sweep] = ()
    ) -> None:
        self._dsn, self._settings, self._options, self._sweeps = dsn, settings, options, sweeps

    async def run_forever(self) -> None:
        """Sweep soon, and then at intervals, at other moments than other workers."""
        interval_s = float(self._settings.retention_sweep_seconds)
        pause_s = min(FIRST_SWEEP_S, interval_s)
        while True:
            await asyncio.sleep(_jitter.uniform(pause_s / 2, pause_s))
            try:
                swept = await self.sweep()
                pause_s = interval_s
            except Exception as error:
                expected = isinstance(error, psycopg.Error | OSError)
                logger.warning("sweep_lost", cause=type(error).__name__, exc_info=None if expected else error)
                pause_s = min(RETRY_S, interval_s)
                continue
            if swept is not None and not swept.nothing:
                logger.info("swept", **msgspec.structs.asdict(swept))

    async def sweep(self) -> Swept | None:
        """Delete what is due now. None when another worker is at it."""
        async with await connect(self._dsn, part="retention", options=self._options) as conn:
            tried = await fetch_one(conn, SQL.retention_try_lock, lock=LOCK)
            if not tried.locked:
                return None
            try:
                for sweep in self._sweeps:
                    await sweep(conn)
                return await self._sweep(conn)
            finally:
                with contextlib.suppress(psycopg.Error):  # it goes with the session at the latest
                    await fetch_one(conn, SQL.retention_unlock, lock=LOCK)

    async def _sweep(self, conn: Conn) -> Swept:
        settings, swept = self._settings, Swept()
        horizons = await fetch_one(
            conn,
            SQL.retention_horizons,
            idempotency_hours=settings.idempotency_hours,
            payload_days=settings.payload_days,
            failures_days=settings.failures_days,
            report_days=settings.report_days,
        )
        after = ""
        while projects := await fetch_all(
            conn, SQL.retention_projects, after=after, limit=PROJECTS_A_PAGE, **horizons._asdict()
        ):
            for project in projects:
                if project.has_keys:
                    swept.keys += await delete(
                        conn, SQL.retention_keys_delete, ROWS_MAX, project_id=project.id, before=horizons.keys_before
                    )
                for kept in KEPT:
                    if getattr(project, f"has_{kept.name}"):
                        before = getattr(horizons, f"{kept.name}_before")
                        await _empty(conn, project.id, kept, before, swept)
            after = projects[-1].id
        return swept


async def _empty(conn: Conn, project: str, kept: Kept, before: datetime, swept: Swept) -> None:
    """Delete what is kept with the actions of a project that finished before a moment."""
    due = {"project_id": project, "before": before, "limit": ACTIONS_A_PAGE}
    while actions := await fetch_all(conn, kept.due, **due):
        for action in actions:
            key = {"project_id": project, "id": action.id}
            rows = await delete(conn, kept.delete, kept.rows_max, **key)
            setattr(swept, kept.name, getattr(swept, kept.name) + rows)
            await execute(conn, kept.deleted, key)
            swept.actions += 1


async def delete(conn: Conn, statement: bytes, limit: int, **parameters: Any) -> int:
    """Repeat a statement that deletes at most `limit` rows until it finds fewer; how many it deleted in all."""
    deleted = 0
    while True:
        rows = (await execute(conn, statement, {**parameters, "limit": limit})).rowcount
        deleted += rows
        if rows < limit:
            return deleted


async def fetch_one(conn: Conn, statement: bytes, **parameters: Any) -> Any:
    """The row of a statement that has one."""
    return await (await execute(conn, statement, parameters)).fetchone()


async def fetch_all(conn: Conn, statement: bytes, **parameters: Any) -> list[Any]:
    """The rows of a statement."""
    return await (await execute(conn, statement, parameters)).fetchall()


async def execute(conn: Conn, statement: bytes, parameters: Mapping[str, Any]) -> psycopg.AsyncCursor[Any]:
    """Run a statement; one that gets no answer in time fails as on a lost connection."""
    async with deadline(conn, STATEMENT_S):
        return await conn.execute(statement, parameters)
