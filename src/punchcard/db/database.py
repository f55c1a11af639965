"""Connections and transactions.

One request or one portion is one transaction; only the edges (`http`, `bulk.worker`, `cli`) open one.
A connection returns JSON columns as `msgspec.Raw`, so that stored JSON is served without being parsed.
"""

import asyncio
import contextlib
import os
import random
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec
import psycopg
from psycopg import errors as pg
from psycopg.conninfo import make_conninfo
from psycopg.rows import namedtuple_row
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from punchcard.errors import PunchcardError, Unavailable

Conn: TypeAlias = psycopg.AsyncConnection[Any]

POOL_WAIT_S = 10.0
CONNECT_TIMEOUT_S = 10
API_STATEMENT_TIMEOUT_MS = 30_000
# nothing that a request locks is locked for longer than a portion takes
API_LOCK_TIMEOUT_MS = 10_000
# between two statements of a request nothing is waited for but the event loop
API_IDLE_IN_TRANSACTION_MS = 15_000
API_LINK_DEAD_MS = 10_000
CONNECTION_CHECK_MS = 5000
API_REQUEST_DATABASE_S = 35.0
# A link that went dead is noticed by the kernel after idle + interval x count seconds.
KEEPALIVES = {"keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "3", "tcp_user_timeout": "10000"}
PROXY_ROUNDS = 3
PROXY_ADVICE = (
    "The database address leads to a proxy that pools transactions (such as PgBouncer with"
    " pool_mode=transaction). Use the server's own address, or session pooling."
)

set_json_loads(msgspec.Raw)
set_json_dumps(msgspec.json.encode)


# The type of a jsonb column in a binary COPY whose values are made by `jsonb`: bytes go to the server as they are.
JSONB = "bytea"


def jsonb(text: bytes) -> bytes:
    """JSON as a binary COPY carries it into a jsonb column: a version number, then the text."""
    return b"\x01" + text


class StaleRead(Exception):
    """What was read has changed before it was locked: read again."""


# Sessions of the API and of workers plan the statements they repeat once: all of them find rows by their keys, and
# none needs a table whole. Without statistics the planner takes what is newer than a transaction for a third of all
# rows. And no statement is worth compiling. Lists, whose plans depend on what is asked, are planned each time.
PLANS: dict[str, str | int] = {"plan_cache_mode": "auto", "enable_seqscan": "off", "jit": "off"}
# What a transaction ends with when others wrote the same rows, or new ones with the same keys: another run can go well.
OVERTAKEN = (StaleRead, pg.UniqueViolation, pg.DeadlockDetected, pg.SerializationFailure)
# it is run again at once, and then after these pauses, which are drawn so that two do not meet again
_PAUSES_S = (0.0, 0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
ResultT = TypeVar("ResultT")


async def settled(run: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Run a transaction, and again when it was overtaken. Raises `Unavailable` if it always is."""
    cause: Exception | None = None
    for pause in _PAUSES_S:
        try:
            return await run()
        except OVERTAKEN as error:
            cause = error
            await asyncio.sleep(pause * random.random())  # noqa: S311 - no secret
    raise Unavailable("Others change the same objects all the time") from cause


class PoolingProxy(PunchcardError):
    """The database address leads to a proxy that pools transactions; locks and LISTEN need a session of their own."""


def conninfo(dsn: str, *, part: str, options: Mapping[str, str | int] | None = None) -> str:
    """The DSN with what all our sessions set: name, keepalives, UTC, and server settings from `options`."""
    given = psycopg.conninfo.conninfo_to_dict(dsn)
    # a plan that was right for an empty table would be kept while it grows
    settings = {"timezone": "UTC", "plan_cache_mode": "force_custom_plan", **(options or {})}
    ours = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return make_conninfo(
        dsn,
        **{name: value for name, value in KEEPALIVES.items() if name not in given},
        connect_timeout=given.get("connect_timeout") or CONNECT_TIMEOUT_S,
        application_name=f"punchcard {part}",
        options=f"{given.get('options') or ''} {ours}".strip(),
    )


async def connect(dsn: str, *, part: str, options: Mapping[str, str | int] | None = None) -> Conn:
    """One session outside any pool, in autocommit mode."""
    return await psycopg.AsyncConnection.connect(
        conninfo(dsn, part=part, options=options), autocommit=True, row_factory=namedtuple_row
    )


async def lock_as_read(conn: Conn, statement: bytes, project: str, versions: Mapping[str, str]) -> bool:
    """Lock rows by a `..._lock` statement; whether all are there and still have the versions they were read at."""
    if not versions:
        return True
    ids = sorted(versions)
    parameters = {"project_id": project, "ids": ids, "versions": [versions[row_id] for row_id in ids]}
    row = await (await conn.execute(statement, parameters)).fetchone()
    return row is not None and row.same == len(ids)


def session_limits(*, statement_ms: int, lock_ms: int, idle_in_transaction_ms: int, link_ms: int) -> dict[str, int]:
    """What PostgreSQL ends by itself: statements, waits and links of a process that is no longer there."""
    return {
        "statement_timeout": statement_ms,
        "lock_timeout": lock_ms,
        "idle_in_transaction_session_timeout": idle_in_transaction_ms,
        "client_connection_check_interval": CONNECTION_CHECK_MS,
        "tcp_keepalives_idle": 5,
        "tcp_keepalives_interval": 2,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": link_ms,
    }


class Database:
    """A pool of sessions for one API process."""

    def __init__(self, dsn: str, *, pool_max: int) -> None:
        self.dsn = dsn
        limits = session_limits(
            statement_ms=API_STATEMENT_TIMEOUT_MS,
            lock_ms=API_LOCK_TIMEOUT_MS,
            idle_in_transaction_ms=API_IDLE_IN_TRANSACTION_MS,
            link_ms=API_LINK_DEAD_MS,
        )
        # no idle_session_timeout: sessions of a pool may be idle
        self._pool: AsyncConnectionPool[Conn] = AsyncConnectionPool(
            conninfo(dsn, part="api", options={**limits, **PLANS}),
            min_size=1,
            max_size=pool_max,
            timeout=POOL_WAIT_S,
            # so that a restart of PostgreSQL does not cost one failed request a session
            check=_check,
            kwargs={"autocommit": True, "row_factory": namedtuple_row},
            open=False,
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Conn]:
        """A session for single statements. Raises `Unavailable` when the database does not answer."""
        try:
            async with self._pool.connection() as conn, deadline(conn, API_REQUEST_DATABASE_S):
                yield conn
        except PoolTimeout:
            raise Unavailable("The database is not reachable or too busy") from None
        except (pg.DeadlockDetected, pg.SerializationFailure):
            raise
        except psycopg.OperationalError as error:
            raise Unavailable("The database did not answer") from error

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Conn]:
        """A session with a transaction that commits when the block ends without an error."""
        async with self.connection() as conn, conn.transaction():
            yield conn

    async def settle(self, act: Callable[[Conn], Awaitable[ResultT]], *, alone: bool = False) -> ResultT:
        """Run `act` in a transaction, and again in a new one when it was overtaken. Raises `Unavailable`.

        What stands `alone` opens no transaction: `act` has effects by one statement, or opens one itself.
        """

        async def run() -> ResultT:
            async with self.connection() if alone else self.transaction() as conn:
                return await act(conn)

        return await settled(run)


async def _check(conn: Conn) -> None:
    """Raise if the session is gone. An idle one has nothing to say, unless its server is no more: only then ask it."""
    if select.select([conn.fileno()], [], [], 0)[0]:
        await AsyncConnectionPool.check_connection(conn)


@contextlib.asynccontextmanager
async def deadline(conn: Conn, seconds: float) -> AsyncIterator[None]:
    """Cut the session's link after `seconds`: the statement that waits then fails as on a lost connection.

    A link that went silent gives no error by itself, and cancelling politely would wait on the same link.
    """
    timer = asyncio.get_running_loop().call_later(seconds, cut, conn)
    try:
        yield
    finally:
        timer.cancel()


def cut(conn: Conn) -> None:
    """Shut the session's socket down without a goodbye."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(conn.fileno())) as link:
        link.shutdown(socket.SHUT_RDWR)


async def refuse_pooling_proxy(dsn: str) -> None:
    """Raise `PoolingProxy` when a session does not keep its own server process between transactions."""
    try:
        homes = await _homes(dsn)
    except psycopg.OperationalError as error:
        # a session has settings of its own; such a proxy refuses them unless told to drop them
        if "unsupported startup parameter" in str(error):
            raise PoolingProxy(PROXY_ADVICE) from error
        raise
    if homes != (1, 1):
        raise PoolingProxy(PROXY_ADVICE)


async def _homes(dsn: str) -> tuple[int, int]:
    """How many server processes each of two sessions has seen, with transactions open in turns; 0 for shared ones."""
    async with await connect(dsn, part="check") as first, await connect(dsn, part="check") as second:
        of_first, of_second = {await _backend_pid(first)}, {await _backend_pid(second)}
        for _ in range(PROXY_ROUNDS):
            async with first.transaction():
                of_first.add(await _backend_pid(first))
                async with second.transaction():
                    of_second.add(await _backend_pid(second))
                    of_first.add(await _backend_pid(first))
            of_second.add(await _backend_pid(second))
            of_first.add(await _backend_pid(first))
    return (0, 0) if of_first & of_second else (len(of_first), len(of_second))


async def _backend_pid(conn: Conn) -> int:
    row = await (await conn.execute("SELECT pg_backend_pid() AS pid")).fetchone()
    assert row is not None
    return int(row.pid)
