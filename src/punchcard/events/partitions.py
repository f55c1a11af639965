"""The log's partitions: one a calendar month (UTC), made ahead of time and dropped when its events are too old.

They are made at the start and by the workers' sweeps. What no month takes goes to the default partition, so nothing
depends on them but the price of forgetting: a month is dropped in a moment, rows are deleted in portions.
See docs/decisions/0017.
"""

import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from psycopg import errors as pg
from psycopg import sql

from punchcard import log
from punchcard.bulk import retention
from punchcard.db import statements
from punchcard.db.database import Conn, connect, deadline
from punchcard.settings import Settings

SQL = statements.beside(__file__)

MONTHS_AHEAD = 2
# 64 bits of a hash, as lanes have them
LOCK = int.from_bytes(hashlib.blake2b(b"event-partitions", digest_size=8).digest(), "big", signed=True)
# How long others wait behind us for the log. Less than PostgreSQL's deadlock_timeout (1 s): in a circle of waits
# it is always this transaction that gives up.
LOCK_MS = 300
# how long reading the default partition may keep writers waiting
STATEMENT_MS = 1000
LINK_S = 10.0

logger = log.get(__name__)


class Month(Struct, frozen=True, order=True):
    """A calendar month in UTC."""

    year: int
    month: int

    @classmethod
    def of(cls, moment: datetime) -> "Month":
        """The month of a moment."""
        utc = moment.astimezone(UTC)
        return cls(utc.year, utc.month)

    @classmethod
    def named(cls, partition: str) -> "Month | None":
        """The month of a partition; none of the default one."""
        match = re.fullmatch(r"events_(\d{4})_(\d\d)", partition)
        return cls(int(match[1]), int(match[2])) if match else None

    @property
    def partition(self) -> str:
        return f"events_{self.year:04}_{self.month:02}"

    @property
    def first(self) -> datetime:
        """The moment it begins at."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def next(self) -> "Month":
        return Month(self.year + self.month // 12, self.month % 12 + 1)


async def make_ahead(conn: Conn) -> None:
    """Give the current month and the next ones partitions, as far as they have none.

    What cannot be had now, because others are using the log, is tried again by the next sweep. A month of which the
    default partition has events already is left to it.
    """
    there = await retention.fetch_one(conn, SQL.partitions_there)
    month = Month.of(there.now)
    for _ in range(1 + MONTHS_AHEAD):
        if month.partition not in there.names:
            await _make(conn, month)
        month = month.next


async def prepare(dsn: str) -> None:
    """Make partitions ahead in a database that has just been migrated."""
    async with await connect(dsn, part="migrate") as conn:
        await make_ahead(conn)


async def _make(conn: Conn, month: Month) -> None:
    span = {"first": month.first, "next": month.next.first}
    name = sql.Identifier(month.partition)
    async with _changing(conn, month):
        there = await retention.fetch_one(conn, SQL.partitions_there)
        defaulted = await retention.fetch_one(conn, SQL.partitions_defaulted, **span)
        if month.partition in there.names or defaulted.found:
            return
        await conn.execute(sql.SQL("CREATE TABLE {} (LIKE events INCLUDING ALL)").format(name))
        await conn.execute(sql.SQL("ALTER TABLE {} ALTER COLUMN project_id SET STATISTICS 0").format(name))
        # No writer is in the middle of a statement that would put an event of the month into the default partition,
        # and those that come later see the new one.
        await conn.execute("LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE")
        attach = sql.SQL("ALTER TABLE events ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})")
        await conn.execute(attach.format(name, sql.Literal(month.first), sql.Literal(month.next.first)))
        logger.info("partition_made", partition=month.partition)


async def forget(conn: Conn, days: int) -> None:
    """Delete the events of months that ended `days` ago, and their failures; 0 keeps them for ever."""
    if not days:
        return
    there = await retention.fetch_one(conn, SQL.partitions_there)
    oldest = Month.of(there.now - timedelta(days=days))
    for month in sorted(filter(None, map(Month.named, there.names))):
        if month < oldest:
            async with _changing(conn, month):
                await conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(month.partition)))
                logger.info("partition_dropped", partition=month.partition)
    await _delete_before(conn, oldest.first)


async def _delete_before(conn: Conn, before: datetime) -> None:
    """Delete in portions what is in no partition that could be dropped."""
    after = ""
    while projects := await retention.fetch_all(
        conn, SQL.events_retention_projects, after=after, limit=retention.PROJECTS_A_PAGE, before=before
    ):
        for project in projects:
            for found, statement in (
                (project.has_events, SQL.events_default_delete),
                (project.has_failures, SQL.event_failures_delete),
            ):
                if found:
                    await retention.delete(conn, statement, retention.ROWS_MAX, project_id=project.id, before=before)
        after = projects[-1].id


@contextlib.asynccontextmanager
async def _changing(conn: Conn, month: Month) -> AsyncIterator[None]:
    """A transaction that changes partitions. While the log is in use by others, it gives up and changes nothing."""
    try:
        async with deadline(conn, LINK_S), conn.transaction():
            await conn.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_MS)))
            await conn.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(STATEMENT_MS)))
            await conn.execute(SQL.partitions_lock, {"lock": LOCK})
            yield
    except (pg.LockNotAvailable, pg.QueryCanceled, pg.CheckViolation) as error:
        # the last one: an event of the month has just come into the default partition
        logger.info("partition_postponed", partition=month.partition, cause=type(error).__name__)


def sweep(settings: Settings) -> retention.Sweep:
    """What the workers' sweeps do for the log."""

    async def run(conn: Conn) -> None:
        await make_ahead(conn)
        await forget(conn, settings.events_days)

    return run
