"""The log's months: made ahead, dropped when they are old, and never in the way of those who write and read."""

import asyncio
import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from punchcard.bulk.retention import ROWS_MAX, Sweeper
from punchcard.bulk.worker import session_options
from punchcard.db import migrate
from punchcard.db.database import Conn, connect, conninfo
from punchcard.events import events, partitions
from punchcard.events.events import Cause, Event, EventSource
from punchcard.events.partitions import Month
from punchcard.settings import load
from tests.deployment import PUNCHCARD, Deployment, Project, until

TEMPLATE = "log_template"
HERE = Month.of(datetime.now(UTC))
AHEAD = [HERE, HERE.next, HERE.next.next]
PARTITIONS = "SELECT relname FROM pg_class JOIN pg_inherits ON oid = inhrelid WHERE inhparent = 'events'::regclass"
LATEST = datetime(9998, 12, 31)  # noqa: DTZ001 - as hypothesis takes it
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


def database(server: str, name: str) -> str:
    return urlsplit(server)._replace(path=f"/{name}").geturl() if "://" in server else server


@pytest.fixture
def dsn(deployment: Deployment) -> Iterator[str]:
    """The DSN of a new database that has been migrated and has no months, and no workers."""
    name = f"log_{uuid.uuid4().hex}"
    with psycopg.connect(deployment.dsn, autocommit=True) as conn:
        if conn.execute("SELECT FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone() is None:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
            migrate.migrate(database(deployment.dsn, TEMPLATE))
        copied = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(TEMPLATE))
        conn.execute(copied)
        yield database(deployment.dsn, name)
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def conn(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of that database."""
    with psycopg.connect(conninfo(dsn, part="test"), autocommit=True) as session:
        yield session


def months(conn: psycopg.Connection[Any]) -> list[str]:
    """The partitions but the default one."""
    return sorted(row[0] for row in conn.execute(PARTITIONS.encode()).fetchall() if row[0] != "events_default")


def made(dsn: str) -> None:
    """Make partitions as a sweep does."""

    async def run() -> None:
        async with session(dsn) as conn:
            await partitions.make_ahead(conn)

    asyncio.run(run())


def forgotten(dsn: str, days: int) -> None:
    """Delete what is old as a sweep does."""

    async def run() -> None:
        async with session(dsn) as conn:
            await partitions.forget(conn, days)

    asyncio.run(run())


@contextlib.asynccontextmanager
async def session(dsn: str) -> AsyncIterator[Conn]:
    async with await connect(dsn, part="retention", options=session_options(load(environment={}))) as conn:
        yield conn


def record(dsn: str, project: str, count: int = 1) -> None:
    async def run() -> None:
        async with await connect(dsn, part="test") as conn, conn.transaction():
            written = [Event("customer.updated", "cust_1", {}, customer_id="cust_1")] * count
            await events.record(conn, project, Cause(EventSource("API"), "v-1"), written)

    asyncio.run(run())


def put(conn: psycopg.Connection[Any], project: str, at: datetime, count: int = 1) -> None:
    """Events of a moment, each with an entry in the outbox and among the failures."""
    conn.execute(
        "WITH new AS (INSERT INTO events (project_id, id, created_at, type, object_id, data, event_source, group_id)"
        " SELECT %(project)s, 'ev' || gen_random_uuid(), %(at)s, 'voucher.updated', 'v', '{}', '{}', 'v-1'"
        " FROM generate_series(1, %(count)s) RETURNING id, created_at),"
        " failed AS (INSERT INTO event_failures (project_id, event_id, event_created_at, reason)"
        " SELECT %(project)s, id, created_at, 'why' FROM new)"
        " INSERT INTO event_outbox (project_id, event_id, event_created_at, accepted_xid)"
        " SELECT %(project)s, id, created_at, '1' FROM new",
        {"project": project, "at": at, "count": count},
    )


def counted(conn: psycopg.Connection[Any], table: str, project: str) -> int:
    counting = sql.SQL("SELECT count(*) FROM {} WHERE project_id = %s").format(sql.Identifier(table))
    row = conn.execute(counting, [project]).fetchone()
    assert row is not None
    return int(row[0])


# ---- made ahead --------------------------------------------------------------------------------


def test_a_server_that_starts_has_this_month_and_the_next_two(project: Project) -> None:
    with psycopg.connect(project.deployment.dsn) as conn:
        assert months(conn) == [month.partition for month in AHEAD]
        record(project.deployment.dsn, project.id)
        assert counted(conn, HERE.partition, project.id) == 1


def test_migrating_by_hand_makes_them_too(deployment_18: Deployment) -> None:
    name = f"log_{uuid.uuid4().hex}"
    with psycopg.connect(deployment_18.dsn, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        dsn = database(deployment_18.dsn, name)
        run = subprocess.run(
            [*PUNCHCARD, "migrate"], env=os.environ | {"DATABASE_URL": dsn}, check=False, capture_output=True
        )
        assert run.returncode == 0, run.stderr
        with psycopg.connect(dsn) as conn:
            assert months(conn) == [month.partition for month in AHEAD]
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_a_worker_makes_and_drops_them(dsn: str, conn: psycopg.Connection[Any]) -> None:
    conn.execute("CREATE TABLE events_2001_01 PARTITION OF events FOR VALUES FROM ('2001-01-01') TO ('2001-02-01')")
    environment = os.environ | {"DATABASE_URL": dsn, "PUNCHCARD_RETENTION_SWEEP_SECONDS": "1"}
    worker = subprocess.Popen([*PUNCHCARD, "worker"], env=environment, stderr=subprocess.DEVNULL)
    try:
        until(lambda: months(conn) == [month.partition for month in AHEAD])
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)


def test_a_month_is_as_the_table_it_belongs_to(dsn: str, conn: psycopg.Connection[Any]) -> None:
    made(dsn)
    assert months(conn) == [month.partition for month in AHEAD]
    made(dsn)
    assert months(conn) == [month.partition for month in AHEAD]
    for partition in ("events_default", *months(conn)):
        bounds = "SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass AND indisvalid"
        assert conn.execute(bounds.encode(), [partition]).fetchone() == (8,), partition
        target = "SELECT attstattarget FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'project_id'"
        assert conn.execute(target.encode(), [partition]).fetchone() == (0,), partition
    record(dsn, "here")
    for month in AHEAD:
        put(conn, "ahead", month.first)
        put(conn, "ahead", month.next.first - timedelta(microseconds=1))
        assert counted(conn, month.partition, "ahead") == 2
    assert counted(conn, HERE.partition, "here") == 1
    assert counted(conn, "events_default", "here") == 0


def test_a_month_that_has_begun_in_the_default_partition_stays_there(dsn: str, conn: psycopg.Connection[Any]) -> None:
    """The workers were away for long."""
    record(dsn, "here", 3)
    made(dsn)
    record(dsn, "here", 2)
    assert months(conn) == [month.partition for month in AHEAD[1:]]
    assert counted(conn, "events_default", "here") == counted(conn, "events", "here") == 5


def test_of_several_that_make_them_at_once_none_fails(dsn: str, conn: psycopg.Connection[Any]) -> None:
    async def run() -> None:
        async with contextlib.AsyncExitStack() as stack:
            sessions = [await stack.enter_async_context(session(dsn)) for _ in range(4)]
            await asyncio.gather(*(partitions.make_ahead(each) for each in sessions))

    asyncio.run(run())
    made(dsn)  # what one of them gave up waiting for
    assert months(conn) == [month.partition for month in AHEAD]


# ---- others at the same time -------------------------------------------------------------------

WAITING_WRITE = """
INSERT INTO events (project_id, id, created_at, type, object_id, data, event_source, group_id)
SELECT 'slow', 'ev', clock_timestamp(), 'voucher.updated', 'v', '{}', '{}', 'v-1' FROM pg_advisory_xact_lock(7)
"""


def test_a_statement_that_writes_meanwhile_goes_well(dsn: str, conn: psycopg.Connection[Any]) -> None:
    """It has chosen between the partitions that there were when it began."""
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted"
    with psycopg.connect(dsn, autocommit=True) as writer, ThreadPoolExecutor() as threads:
        conn.execute("SELECT pg_advisory_lock(7)")
        writing = threads.submit(writer.execute, WAITING_WRITE.encode())
        until(lambda: conn.execute(waiting.encode()).fetchone() == (1,))
        made(dsn)
        there = months(conn)
        conn.execute("SELECT pg_advisory_unlock(7)")
        writing.result()
    assert there == []
    made(dsn)
    assert months(conn) == [month.partition for month in AHEAD[1:]]
    assert counted(conn, "events", "slow") == 1


@pytest.mark.parametrize("statement", ["SELECT count(*) FROM events", "LOCK TABLE events IN ROW EXCLUSIVE MODE"])
def test_who_uses_the_log_is_not_held_up(dsn: str, conn: psycopg.Connection[Any], statement: str) -> None:
    """Making and dropping give up, and come again with the next sweep."""
    old = "CREATE TABLE events_2001_01 PARTITION OF events FOR VALUES FROM ('2001-01-01') TO ('2001-02-01')"
    conn.execute(old.encode())
    with psycopg.connect(dsn) as user:
        user.execute(statement.encode())
        made(dsn)
        forgotten(dsn, 730)
        assert months(conn) == ["events_2001_01"]
        assert conn.execute(WAITING.encode()).fetchone() == (0,)
        user.execute("SELECT count(*) FROM events")
        user.execute("INSERT INTO event_totals (project_id, type, total) VALUES ('here', 'x', 1)")
    made(dsn)
    forgotten(dsn, 730)
    assert months(conn) == [month.partition for month in AHEAD]


def test_a_reader_that_then_writes_wins(dsn: str, conn: psycopg.Connection[Any]) -> None:
    """Each waits for the other: the one who makes partitions gives up before PostgreSQL looks for deadlocks."""
    held = (
        "SELECT count(*) FROM pg_locks"
        " WHERE relation = 'events'::regclass AND mode = 'ShareRowExclusiveLock' AND granted"
    )
    with psycopg.connect(dsn) as user, ThreadPoolExecutor() as threads:
        user.execute("SELECT count(*) FROM events")
        making = threads.submit(made, dsn)
        until(lambda: conn.execute(held.encode()).fetchone() == (1,) or making.done())
        user.execute(WAITING_WRITE.encode())
        making.result()
    assert counted(conn, "events", "slow") == 1


# ---- dropped when they are old -----------------------------------------------------------------


def test_whole_months_are_forgotten(dsn: str, conn: psycopg.Connection[Any]) -> None:
    made(dsn)
    now = datetime.now(UTC)
    # so that the horizon lies in the month before this one
    days = now.day + 1
    before = Month.of(HERE.first - timedelta(days=1))
    old = Month.of(before.first - timedelta(days=1))
    for month in (before, old):
        bounds = sql.SQL("CREATE TABLE {} PARTITION OF events FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(month.partition), sql.Literal(month.first), sql.Literal(month.next.first)
        )
        conn.execute(bounds)
    for project in ("one", "two"):
        conn.execute("INSERT INTO projects (id, name) VALUES (%s, 'Test')", [project])
        put(conn, project, before.first)
        put(conn, project, before.first - timedelta(microseconds=1))
    older = Month.of(old.first - timedelta(days=1))
    put(conn, "one", older.first, 2 * ROWS_MAX + 1)
    put(conn, "two", older.first, 1)
    forgotten(dsn, 0)
    assert [counted(conn, "events", project) for project in ("one", "two")] == [2 * ROWS_MAX + 3, 3]
    forgotten(dsn, days)
    assert months(conn) == [month.partition for month in (before, *AHEAD)]
    for table in ("events", "event_failures"):
        assert [counted(conn, table, project) for project in ("one", "two")] == [1, 1], table
    assert counted(conn, "events_default", "one") == 0
    assert [counted(conn, "event_outbox", project) for project in ("one", "two")] == [2 * ROWS_MAX + 3, 3]


def test_a_sweep_does_both_and_goes_on(dsn: str, conn: psycopg.Connection[Any]) -> None:
    settings = load(environment={}, arguments={"events_days": 1})
    put(conn, "here", datetime(2001, 1, 1, tzinfo=UTC))
    conn.execute("INSERT INTO projects (id, name) VALUES ('here', 'Test')")
    options = session_options(settings)
    swept = asyncio.run(Sweeper(dsn, settings, options=options, sweeps=[partitions.sweep(settings)]).sweep())
    assert swept is not None
    assert swept.nothing
    assert months(conn) == [month.partition for month in AHEAD]
    assert counted(conn, "events", "here") == 0


# ---- months ------------------------------------------------------------------------------------


@given(moment=st.datetimes(timezones=st.just(UTC), max_value=LATEST))
def test_months_follow_each_other(moment: datetime) -> None:
    month = Month.of(moment)
    assert month.first <= moment < month.next.first
    assert month.next.first - month.first <= timedelta(days=31)
    assert Month.named(month.partition) == month
    assert Month.of(month.next.first - timedelta(microseconds=1)) == month
    assert month < month.next
