"""The worker: takes the lane whose turn it is, runs one portion, and again.

It has two sessions. One holds lane locks and runs portions; the other reports that the worker is alive,
hears notifications, and ends the sessions of workers that have gone silent: a frozen process or a host
without power keeps its session, and with it its lane, until somebody ends it.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Mapping
from typing import Any

import psycopg
import structlog

from punchcard import ids, log
from punchcard.bulk import lanes, signals
from punchcard.bulk.jobs import Job
from punchcard.bulk.portions import LaneLost, run_portion
from punchcard.db import statements
from punchcard.db.database import Conn, connect, deadline
from punchcard.settings import Settings

SQL = statements.beside(__file__)

BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 15.0
# beyond what PostgreSQL allows a portion's statements: then the link itself is dead
PORTION_LINK_MARGIN_S = 10.0
SESSION_STATEMENT_S = 10.0

logger = log.get(__name__)


class Worker:
    """One worker process. `run` returns when `stop` is set and the portion in hand has ended."""

    def __init__(self, dsn: str, jobs: Mapping[str, Job], settings: Settings) -> None:
        self._dsn, self._jobs, self._settings = dsn, jobs, settings
        self.id = ids.new("worker")
        self._numbers = itertools.count()
        self._conn: Conn | None = None
        self._postmaster = ""
        self._trouble: str | None = None
        self._unwithdrawn: dict[str, Any] | None = None
        self._backoff_s = 0.0
        self._resting: dict[tuple[str, str], float] = {}
        self._woken = asyncio.Event()
        self._round = lanes.Round()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        pulse = asyncio.create_task(self._pulse_forever())
        waker = asyncio.create_task(self._wake_on(stop))
        logger.info("worker_started", worker=self.id)
        try:
            while not stop.is_set():
                self._woken.clear()
                if not await self._turn():
                    await self._rest()
        finally:
            for task in (pulse, waker):
                task.cancel()
            await asyncio.gather(pulse, waker, return_exceptions=True)
            await self._leave()
            logger.info("worker_stopped", worker=self.id)

    # ---- portions ----

    async def _turn(self) -> bool:
        """Serve one lane. False when there is nothing to do now."""
        try:
            conn = await self._session()
            if not self._round:
                async with deadline(conn, SESSION_STATEMENT_S):
                    await self._round.read(conn)
            served = False
            while self._round and not served:
                served = await self._serve(conn, self._round.next())
        except Exception as error:
            self._note_trouble(error)
            return False
        return served

    async def _serve(self, conn: Conn, turn: lanes.LaneTurn) -> bool:
        place = (turn.project, turn.lane)
        if self._resting.get(place, 0.0) > time.monotonic():
            return False
        async with (
            deadline(conn, self._settings.worker_statement_ms / 1000 + PORTION_LINK_MARGIN_S),
            lanes.held(conn, turn) as ours,
        ):
            if not ours:
                return False
            mark = f"{self.id}/{self._postmaster}/{next(self._numbers)}"
            claim = await lanes.claim_head(conn, turn, mark=mark, own_marks=f"{self.id}/{self._postmaster}/")
            if claim is None:
                return False
            with structlog.contextvars.bound_contextvars(async_action_id=claim.id):
                await self._portion(conn, claim, place)
        return True

    async def _portion(self, conn: Conn, claim: lanes.Claim, place: tuple[str, str]) -> None:
        self._unwithdrawn = {
            "project_id": claim.project,
            "id": claim.id,
            "started_by": claim.started_by,
            "portion_records": claim.portion_records,
        }
        try:
            finished = await run_portion(conn, claim, self._jobs, self._settings)
        except LaneLost:
            logger.warning("lane_lost")
            self._unwithdrawn = None
            return
        except Exception as error:
            self._note_trouble(error)
            if isinstance(error, psycopg.errors.QueryCanceled) or conn.broken:  # perhaps too much for its time limit
                self._unwithdrawn["portion_records"] = max(1, claim.portion_records // 2)
            self._resting[place] = time.monotonic() + self._backoff_s
            await self._withdraw(conn)
            return
        self._unwithdrawn = None
        self._resting.pop(place, None)
        self._trouble, self._backoff_s = None, 0.0
        if finished:
            logger.info("action_finished", type=claim.type, records=claim.records_total)
            await signals.notify(conn, signals.DONE)

    async def _withdraw(self, conn: Conn) -> None:
        """Take our start mark back: the portion failed, and the worker is well."""
        if self._unwithdrawn and not conn.broken:
            await conn.execute(SQL_QUEUE.async_action_withdraw_start, self._unwithdrawn)
            self._unwithdrawn = None

    def _note_trouble(self, error: Exception) -> None:
        state = getattr(error, "sqlstate", None)
        trouble = f"{type(error).__name__}{f' ({state})' if state else ''}"
        expected = isinstance(error, psycopg.Error | OSError)
        logger.warning("portion_retried", cause=trouble, exc_info=None if expected else error)
        self._trouble = trouble
        self._backoff_s = min(BACKOFF_MAX_S, max(BACKOFF_MIN_S, self._backoff_s * 2))

    async def _rest(self) -> None:
        """Wait for a notification, at most one poll interval or the back-off."""
        timeout_s = self._settings.poll_ms / 1000
        if self._backoff_s:
            timeout_s = min(timeout_s, self._backoff_s) if self._conn and not self._conn.broken else self._backoff_s
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), timeout_s)

    # ---- sessions ----

    async def _session(self) -> Conn:
        if self._conn is None or self._conn.closed:
            self._conn = None
            options = {
                "statement_timeout": self._settings.worker_statement_ms,
                "lock_timeout": self._settings.worker_lock_ms,
                "idle_in_transaction_session_timeout": self._settings.worker_idle_in_transaction_ms,
                "idle_session_timeout": self._settings.worker_silent_ms,
                "client_connection_check_interval": 5000,
                "tcp_keepalives_idle": 5,
                "tcp_keepalives_interval": 2,
                "tcp_keepalives_count": 3,
                "tcp_user_timeout": self._settings.worker_silent_ms,
            }
            conn = await connect(self._dsn, part="worker", options=options)
            async with deadline(conn, SESSION_STATEMENT_S):
                row = await (await conn.execute(SQL.postmaster_start)).fetchone()
                assert row is not None
                self._postmaster = row.started
                await conn.execute(SQL.worker_end_own_session, {"id": self.id})
                await conn.execute(SQL.worker_register, {"id": self.id})
                self._conn = conn
                await self._withdraw(conn)
        return self._conn

    async def _leave(self) -> None:
        with contextlib.suppress(psycopg.Error, OSError):
            if self._conn and not self._conn.broken:
                async with deadline(self._conn, SESSION_STATEMENT_S):
                    await self._conn.execute(SQL.worker_delete, {"id": self.id})
                    await self._conn.close()

    # ---- pulse ----

    async def _pulse_forever(self) -> None:
        while True:
            try:
                async with await connect(self._dsn, part="worker pulse") as conn:
                    await conn.execute(f"LISTEN {signals.WORK}".encode())
                    self._woken.set()
                    await self._pulse(conn)
            except (psycopg.Error, OSError) as error:
                logger.debug("pulse_lost", cause=type(error).__name__)
            await asyncio.sleep(self._settings.poll_ms / 1000)

    async def _pulse(self, conn: Conn) -> None:
        heartbeat_s = self._settings.heartbeat_ms / 1000
        while True:
            async with deadline(conn, SESSION_STATEMENT_S):
                await conn.execute(SQL.worker_seen, {"id": self.id, "trouble": self._trouble})
                parameters = {"id": self.id, "silent_ms": self._settings.worker_silent_ms}
                for row in await (await conn.execute(SQL.workers_end_silent, parameters)).fetchall():
                    logger.warning("silent_worker_ended", silent_worker=row.id)
                await conn.execute(SQL.workers_forget)
            beat = time.monotonic() + heartbeat_s
            while (remaining := beat - time.monotonic()) > 0:
                async for _ in conn.notifies(timeout=remaining, stop_after=1):
                    self._woken.set()

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._woken.set()


SQL_QUEUE = lanes.SQL
