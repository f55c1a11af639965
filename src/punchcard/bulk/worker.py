"""The worker: takes the lane whose turn it is, runs one portion, and again.

It has two sessions. One holds lane locks and runs portions; the other reports that the worker is alive,
hears notifications, and ends the sessions of workers that have gone silent: a frozen process or a host
without power keeps its session, and with it its lane, until somebody ends it.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
import structlog
from msgspec import Struct
from psycopg import errors as pg

from punchcard import ids, log
from punchcard.bulk import claims, lanes, signals
from punchcard.bulk.inboxes import InboxPortion
from punchcard.bulk.jobs import Inbox, Job
from punchcard.bulk.portions import LaneLost, cancel, run_portion
from punchcard.bulk.retention import Sweep, Sweeper
from punchcard.db import statements
from punchcard.db.database import PLANS, Conn, connect, deadline, session_limits
from punchcard.settings import Settings

SQL = statements.beside(__file__)

BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 15.0
# beyond what PostgreSQL allows a portion's statements: then the link itself is dead
PORTION_LINK_MARGIN_S = 10.0
SESSION_STATEMENT_S = 10.0
# how long a worker that leaves tries to reach the database once more
GOODBYE_S = 3.0
PORTION_WORK_MEM_KB = 32 * 1024
# How long rows may gather in an inbox that was empty a moment ago: a portion of one costs hardly less than one of many.
GATHER_S = 0.025

logger = log.get(__name__)


class Trouble(Struct, frozen=True):
    """A failure that is being retried: what it was, and when (monotonic) after how long a pause."""

    cause: str
    backoff_s: float
    until: float

    @classmethod
    def after(cls, error: Exception, before: "Trouble | None") -> "Trouble":
        """The next trouble, with twice the pause of the one `before`."""
        state = getattr(error, "sqlstate", None)
        cause = f"{type(error).__name__}{f' ({state})' if state else ''}"
        backoff_s = min(BACKOFF_MAX_S, 2 * before.backoff_s if before else BACKOFF_MIN_S)
        return cls(cause, backoff_s, time.monotonic() + backoff_s)


class Worker:
    """One worker process. `run` returns when `stop` is set and the portion in hand has ended."""

    def __init__(
        self,
        dsn: str,
        jobs: Mapping[str, Job],
        settings: Settings,
        *,
        inboxes: Sequence[Inbox] = (),
        sweeps: Sequence[Sweep] = (),
    ) -> None:
        self._dsn, self._jobs, self._settings = dsn, jobs, settings
        self._inboxes: dict[str, Inbox] = {inbox.lane: inbox for inbox in inboxes}
        self._sweeper = Sweeper(dsn, settings, options=session_options(settings), sweeps=sweeps)
        self.id = ids.new("worker")
        self._numbers = itertools.count()
        self._conn: Conn | None = None
        self._starter = claims.Starter(self.id, "", settings.worker_silent_ms)
        self._unwithdrawn: claims.Withdrawal | None = None
        # lanes whose last portion failed here, and the session's own trouble
        self._resting: dict[lanes.Place, Trouble] = {}
        self._session_trouble: Trouble | None = None
        # lanes whose inbox we have just emptied, and until when we leave them alone (monotonic)
        self._gathering: dict[lanes.Place, float] = {}
        self._woken = asyncio.Event()
        self._round = lanes.Round(self.id, silent_ms=settings.worker_silent_ms)
        self._done = signals.Debt(signals.DONE)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        pulse = asyncio.create_task(self._pulse_forever())
        waker = asyncio.create_task(self._wake_on(stop))
        sweeping = asyncio.create_task(self._sweeper.run_forever())
        logger.info("worker_started", worker=self.id)
        try:
            while not stop.is_set():
                self._woken.clear()
                if not await self._turn():
                    await self._rest()
        finally:
            for task in (pulse, waker, sweeping):
                task.cancel()
            await asyncio.gather(pulse, waker, sweeping, return_exceptions=True)
            await self._leave()
            logger.info("worker_stopped", worker=self.id)

    @property
    def trouble(self) -> str | None:
        """What is being retried now, for /readyz."""
        if self._session_trouble:
            return self._session_trouble.cause
        return next((trouble.cause for trouble in self._resting.values()), None)

    # ---- portions ----

    async def _turn(self) -> bool:
        """Serve one lane. False when there is nothing to do now."""
        try:
            conn = await self._session()
            if not self._round:
                await self._read_round(conn)
            worth_another_look = False
            while self._round and not worth_another_look:
                worth_another_look = await self._serve(conn, self._round.next())
            async with deadline(conn, SESSION_STATEMENT_S):
                await self._done.pay(conn, all_of_it=not worth_another_look)
        except Exception as error:
            self._session_trouble = self._note_trouble(error, self._session_trouble)
            # whatever state it is in: closing it lets go of its lane lock
            await self._drop_session()
            return False
        self._session_trouble = None
        # the lanes of others were not looked at if ours gave us something to do
        return worth_another_look or self._round.has_served

    async def _read_round(self, conn: Conn) -> None:
        async with deadline(conn, SESSION_STATEMENT_S):
            await self._round.read(conn)
        # other workers have ended the trouble of lanes that no longer have work
        waiting, now = self._round.known, time.monotonic()
        self._resting = {
            place: trouble for place, trouble in self._resting.items() if place in waiting or trouble.until > now
        }
        self._gathering = {place: until for place, until in self._gathering.items() if until > now}

    async def _serve(self, conn: Conn, turn: lanes.LaneTurn) -> bool:
        """Run a portion of the lane. False when it has none for us; true also when others make progress there."""
        trouble = self._resting.get(turn.place)
        now = time.monotonic()
        if (trouble is not None and trouble.until > now) or self._gathering.get(turn.place, now) > now:
            return False
        async with (
            deadline(conn, self._settings.worker_statement_ms / 1000 + PORTION_LINK_MARGIN_S),
            lanes.held(conn, turn) as look,
        ):
            if look is None:
                return False
            if look.turn != turn.turn:  # another worker has served it since the list was read: others come first
                return True
            if look.cancels:
                await self._cancel(conn, turn)
                return True
            if turn.lane in lanes.INBOX_LANES:
                return not look.paused and await self._work_off(conn, turn, look)
            claim = None if look.paused else await self._claim(conn, turn, look)
            if claim is None:
                return False
            self._round.has_served = True
            with structlog.contextvars.bound_contextvars(async_action_id=claim.id):
                await self._portion(conn, claim, turn.place)
        return True

    async def _claim(self, conn: Conn, turn: lanes.LaneTurn, look: Any) -> claims.Claim | None:
        """The action that gets the portion."""
        claim = await claims.take_turn(conn, turn, look, starter=self._starter, number=next(self._numbers))
        if claim is None:
            self._round.forget(turn.place)
        return claim

    async def _work_off(self, conn: Conn, turn: lanes.LaneTurn, look: Any) -> bool:
        """Run a portion of a lane that works off an inbox. False when there is nothing in it."""
        inbox = self._inboxes.get(turn.lane)
        if inbox is None:
            self._round.forget(turn.place)
            return False
        portion = InboxPortion(conn, turn, look, inbox, self._settings)
        try:
            if not await portion.run(starter=self._starter, number=next(self._numbers)):
                self._round.forget(turn.place)
                return False
        except LaneLost:
            logger.warning("lane_lost")
        except Exception as error:
            self._resting[turn.place] = self._note_trouble(error, self._resting.get(turn.place))
            self._unwithdrawn = portion.withdrawal(halved=_took_too_long(error, conn))
            await self._withdraw(conn)
        else:
            self._resting.pop(turn.place, None)
            if portion.for_actions:
                self._done.owe()
            if portion.emptied:
                self._gathering[turn.place] = time.monotonic() + GATHER_S
        self._round.has_served = True
        return True

    async def _cancel(self, conn: Conn, turn: lanes.LaneTurn) -> None:
        """End the actions of the lane that are asked to; one that cannot be ended now is tried again later."""
        try:
            for action_id, claim in await claims.cancelled(conn, turn):
                async with conn.transaction():
                    if claim is not None:
                        await cancel(conn, claim, self._jobs, self._settings)
                    key = {"project_id": turn.project, "lane": turn.lane, "id": action_id}
                    await conn.execute(lanes.SQL.async_action_cancel_delete, key)
                if claim is not None:
                    logger.info("action_cancelled", async_action_id=action_id, type=claim.type)
                    self._done.owe()
        except Exception as error:
            if conn.broken:
                raise
            self._resting[turn.place] = self._note_trouble(error, self._resting.get(turn.place))
        else:
            self._resting.pop(turn.place, None)

    async def _portion(self, conn: Conn, claim: claims.Claim, place: lanes.Place) -> None:
        start = {"project_id": claim.project, "id": claim.id, "started_by": claim.started_by}
        self._unwithdrawn = lanes.SQL.async_action_withdraw_start, start | {"portion_records": claim.portion_records}
        try:
            finished = await run_portion(conn, claim, self._jobs, self._settings)
        except LaneLost:
            logger.warning("lane_lost")
            self._unwithdrawn = None
            return
        except Exception as error:
            self._resting[place] = self._note_trouble(error, self._resting.get(place))
            if _took_too_long(error, conn):
                half = max(1, claim.records_at_hand // 2)
                self._unwithdrawn = lanes.SQL.async_action_withdraw_start, start | {"portion_records": half}
            await self._withdraw(conn)
            return
        self._unwithdrawn = None
        self._resting.pop(place, None)
        if finished:
            logger.info("action_finished", type=claim.type, records=claim.records_total)
            self._done.owe()

    async def _withdraw(self, conn: Conn) -> None:
        """Take our start mark back: the portion failed, and the worker is well."""
        if self._unwithdrawn and not conn.broken:
            await conn.execute(*self._unwithdrawn)
            self._unwithdrawn = None

    @staticmethod
    def _note_trouble(error: Exception, before: Trouble | None) -> Trouble:
        trouble = Trouble.after(error, before)
        expected = isinstance(error, psycopg.Error | OSError)
        logger.warning("portion_retried", cause=trouble.cause, exc_info=None if expected else error)
        return trouble

    async def _rest(self) -> None:
        """Wait for a notification, at most one poll interval, or until a failed portion may be tried again."""
        if self._session_trouble:
            # also when somebody wakes us: a database in trouble is not asked more often
            await asyncio.sleep(BACKOFF_MIN_S)
            timeout_s = self._session_trouble.backoff_s
        else:
            now = time.monotonic()
            ends = [*self._gathering.values(), *(trouble.until for trouble in self._resting.values())]
            pauses = [end - now for end in ends if end > now]
            timeout_s = min([self._settings.poll_ms / 1000, *pauses])
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), timeout_s)

    # ---- sessions ----

    async def _session(self) -> Conn:
        if self._conn is None or self._conn.closed:
            self._conn = await connect(self._dsn, part="worker", options=session_options(self._settings))
            # perhaps another server, or one that has lost the last transactions: what we know of its lanes is void
            self._round = lanes.Round(self.id, silent_ms=self._settings.worker_silent_ms)
            await self._register(self._conn)
        return self._conn

    async def _register(self, conn: Conn) -> None:
        """Name the new session as ours, end the one we had before, and take back a mark it could not."""
        async with deadline(conn, SESSION_STATEMENT_S):
            row = await (await conn.execute(SQL.postmaster_start)).fetchone()
            assert row is not None
            self._starter = claims.Starter(self.id, row.started, self._settings.worker_silent_ms)
            await conn.execute(SQL.worker_end_own_session, {"id": self.id})
            await conn.execute(SQL.worker_register, {"id": self.id})
            await self._withdraw(conn)

    async def _drop_session(self) -> None:
        if self._conn is not None:
            await self._conn.close()
            self._conn = None

    async def _leave(self) -> None:
        """Say goodbye, on a new session if ours is lost: a start mark left behind would count as a death."""
        with contextlib.suppress(psycopg.Error, OSError, TimeoutError):
            conn = await asyncio.wait_for(self._session(), GOODBYE_S)
            async with deadline(conn, SESSION_STATEMENT_S):
                await self._withdraw(conn)
                await self._done.pay(conn, all_of_it=True)
                await conn.execute(SQL.worker_delete, {"id": self.id})
        await self._drop_session()

    # ---- pulse ----

    async def _pulse_forever(self) -> None:
        """Report for as long as the worker runs. A new session is tried at once when one is lost, then every second."""
        while True:
            began = time.monotonic()
            try:
                async with await connect(self._dsn, part=claims.pulse_name(self.id)) as conn:
                    await conn.execute(f"LISTEN {signals.WORK}".encode())
                    self._woken.set()
                    await self._pulse(conn)
            except Exception as error:
                expected = isinstance(error, psycopg.Error | OSError)
                logger.warning("pulse_lost", cause=type(error).__name__, exc_info=None if expected else error)
            await asyncio.sleep(max(0.0, began + signals.RECONNECT_S - time.monotonic()))

    async def _pulse(self, conn: Conn) -> None:
        heartbeat_s = self._settings.heartbeat_ms / 1000
        while True:
            async with deadline(conn, SESSION_STATEMENT_S):
                await conn.execute(SQL.worker_seen, {"id": self.id, "trouble": self.trouble})
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


def _took_too_long(error: Exception, conn: Conn) -> bool:
    """Whether a portion may have failed because it was too much for the limits of its session."""
    return isinstance(error, pg.QueryCanceled) or conn.broken


def session_options(settings: Settings) -> dict[str, str | int]:
    """What PostgreSQL ends by itself for a worker that is gone: statements, waits and links; its memory and plans."""
    return {
        **session_limits(
            statement_ms=settings.worker_statement_ms,
            lock_ms=settings.worker_lock_ms,
            idle_in_transaction_ms=settings.worker_idle_in_transaction_ms,
            link_ms=settings.worker_silent_ms,
        ),
        "idle_session_timeout": settings.worker_silent_ms,
        # what a portion sends as arrays fits, and is not spilled to disk on the way
        "work_mem": PORTION_WORK_MEM_KB,
        **PLANS,
    }
