"""Wake-ups between processes: empty notifications that may be lost or repeated without harm.

`NOTIFY` takes a lock at commit that all databases of the server share, so it is never sent inside a
transaction that carries data: after its commit a process asks its notifier, which sends at most one
notification every 10 ms. Whoever waits polls behind it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

import psycopg
from psycopg import sql

from punchcard import log
from punchcard.db.database import Conn, connect

NOTIFY_INTERVAL_S = 0.01
RECONNECT_S = 1.0

Channel = Literal["punchcard_work", "punchcard_done"]
WORK: Channel = "punchcard_work"
DONE: Channel = "punchcard_done"

logger = log.get(__name__)


async def notify(conn: Conn, channel: Channel) -> None:
    """Send one empty notification; `conn` must not be in a transaction."""
    await conn.execute(sql.SQL("NOTIFY {}").format(sql.Identifier(channel)))


class Notifier:
    """Sends at most one notification every 10 ms, however often it is asked."""

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
            await asyncio.sleep(NOTIFY_INTERVAL_S)


class Listener:
    """Counts the notifications of one channel on a session of its own, and reconnects by itself."""

    def __init__(self, dsn: str, channel: Channel, *, part: str) -> None:
        self._dsn, self._channel, self._part = dsn, channel, part
        self._heard = asyncio.Condition()
        self.generation = 0
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
        async with self._heard:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait_for(lambda: self.generation != since), timeout_s)

    async def _run(self) -> None:
        while True:
            try:
                async with await connect(self._dsn, part=f"{self._part} listener") as conn:
                    await conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                    await self._hear()  # what came before we listened
                    async for _ in conn.notifies():
                        await self._hear()
            except psycopg.Error as error:
                logger.debug("listener_lost", cause=type(error).__name__)
            await asyncio.sleep(RECONNECT_S)

    async def _hear(self) -> None:
        async with self._heard:
            self.generation += 1
            self._heard.notify_all()
