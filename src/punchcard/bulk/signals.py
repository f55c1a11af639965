"""Wake-ups between processes: empty notifications that may be lost or repeated without harm.

`NOTIFY` takes a lock at commit that all databases of the server share, so it is never sent inside a
transaction that carries data: after its commit a process asks its notifier, which sends at most one
notification every 10 ms. Whoever waits polls behind it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

import psycopg
from psycopg import sql

from punchcard import log
from punchcard.db.database import Conn, connect

NOTIFY_INTERVAL_S = 0.01
# Each notification has every worker look for work, which costs two of them as much as 100 orders a second cost the API.
ASKED_INTERVAL_S = 0.04
HEAR_INTERVAL_S = 0.05
RECONNECT_S = 1.0

Channel = Literal["punchcard_work", "punchcard_done"]
WORK: Channel = "punchcard_work"
DONE: Channel = "punchcard_done"

logger = log.get(__name__)


async def notify(conn: Conn, channel: Channel) -> None:
    """Send one empty notification; `conn` must not be in a transaction."""
    await conn.execute(sql.SQL("NOTIFY {}").format(sql.Identifier(channel)))


class Notifier:
    """Sends a notification at once, and then at most one every 40 ms, however often it is asked."""

    def __init__(self, send: Callable[[], Awaitable[None]]) -> None:
        self._send = send
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Have a notification sent soon."""
        self._asked.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._send()
            except Exception as error:
                logger.debug("notification_lost", cause=type(error).__name__)
            await asyncio.sleep(ASKED_INTERVAL_S)


class Debt:
    """Notifications owed by a session that is busy with other things: it pays between them, once for many.

    For a process whose one session is the only one that may send: a `Notifier` would send into its transactions.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._owed = False
        self._paid_at = -NOTIFY_INTERVAL_S

    def owe(self) -> None:
        """Have a notification sent when the session is free."""
        self._owed = True

    async def pay(self, conn: Conn, *, all_of_it: bool = False) -> None:
        """Send what is owed, unless the last notification is not yet 10 ms old and more are likely to come."""
        if self._owed and (all_of_it or time.monotonic() - self._paid_at >= NOTIFY_INTERVAL_S):
            self._owed, self._paid_at = False, time.monotonic()
            await notify(conn, self._channel)


class Listener:
    """Counts the notifications of one channel on a session of its own, and reconnects by itself.

    Every waiter that is woken asks the database: a burst of notifications wakes them twenty times a second at most.
    """

    def __init__(self, dsn: str, channel: Channel, *, part: str) -> None:
        self._dsn, self._channel, self._part = dsn, channel, part
        # of this generation: set when the next one begins
        self._heard = asyncio.Event()
        self.generation = 0
        self.released = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def wait(self, since: int, timeout_s: float) -> None:
        """Return once something was heard after `since` (an earlier `generation`), at the latest after `timeout_s`."""
        if self.generation == since and not self.released:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), timeout_s)

    def release(self) -> None:
        """Have nobody wait from now on: the process is about to stop."""
        self.released = True
        self._hear()

    async def _run(self) -> None:
        while True:
            try:
                async with await connect(self._dsn, part=f"{self._part} listener") as conn:
                    await conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                    await self._listen(conn)
            except Exception as error:
                expected = isinstance(error, psycopg.Error | OSError)
                level = logging.DEBUG if expected else logging.WARNING
                logger.log(level, "listener_lost", cause=type(error).__name__, exc_info=None if expected else error)
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self, conn: Conn) -> None:
        while True:
            self._hear()  # first what came before we listened
            await asyncio.sleep(HEAR_INTERVAL_S)
            async for _ in conn.notifies(stop_after=1):  # all that have come meanwhile
                pass

    def _hear(self) -> None:
        self.generation += 1
        self._heard.set()
        self._heard = asyncio.Event()
