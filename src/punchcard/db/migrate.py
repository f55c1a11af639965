"""Migrations: numbered plain-SQL files, run by yoyo under an advisory lock.

`NNNN_pre_name.sql` adds and runs before a deploy, `NNNN_post_name.sql` removes and runs after it.
"""

import contextlib
import functools
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import psycopg
import yoyo
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri

from punchcard import log
from punchcard.db.database import Conn, conninfo
from punchcard.db.embedded.processes import never
from punchcard.errors import PunchcardError
from punchcard.ids import new

LOCK_KEY = 0x70756E6368  # "punch": one key for all processes that migrate this database
LOCK_LOOK_S = 0.1
LOCK_REPORT_S = 10.0
SERVER_VERSION_MIN = 150_000
REQUIRED_ENCODING = "UTF8"

logger = log.get(__name__)


class ServerUnsuitable(PunchcardError):
    """The PostgreSQL server is too old or its database has the wrong encoding."""


class _OneTransaction(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """yoyo on one session.

    By itself it runs a migration on a second session and marks it on the first: a crash between the two
    leaves a migration applied and unmarked. Here both are one transaction.
    """

    def __init__(self, session: psycopg.Connection[Any]) -> None:
        self._session = session
        super().__init__(parse_uri("postgresql+psycopg:///unused"), "_yoyo_migration")

    def connect(self, dburi: Any) -> psycopg.Connection[Any]:
        return self._session

    @contextlib.contextmanager
    def copy(self) -> Iterator["_OneTransaction"]:
        yield self

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
        # yoyo would ask for the host's full name, which can wait on a name server
        return {
            "id": new("log"),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": "punchcard",
            "hostname": "",
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }


def migrate(dsn: str, stop_requested: Callable[[], bool] = never) -> list[str]:
    """Apply what is missing and return the names applied. All or nothing; safe to run from many processes.

    While another process migrates, this one waits; it returns early when a stop is requested meanwhile.
    """
    with psycopg.connect(conninfo(dsn, part="migrate"), autocommit=True) as session:
        _refuse_unsuitable(session)
        if not _locked(session, stop_requested):
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            backend = _OneTransaction(session)
            backend.init_database()
            backend.break_lock()  # of a process that was killed: we hold the real lock
            backend.ensure_internal_schema_updated()
            missing = backend.to_apply(all_migrations())
            if missing:
                with backend.transaction():
                    backend.apply_migrations(missing)
    names = [migration.id for migration in missing]
    if names:
        logger.info("migrated", migrations=names)
    return names


def _locked(session: psycopg.Connection[Any], stop_requested: Callable[[], bool]) -> bool:
    """Take the lock of all who migrate; false when a stop was requested before."""
    reported = time.monotonic()
    while True:
        row = session.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone()
        if row is not None and row[0]:
            return True
        if stop_requested():
            return False
        if time.monotonic() - reported >= LOCK_REPORT_S:
            reported = time.monotonic()
            logger.warning("migration_awaited", reason="another process migrates this database")
        time.sleep(LOCK_LOOK_S)


def all_migrations() -> Any:
    """The migrations shipped with this version, in order."""
    return yoyo.read_migrations(str(resources.files("punchcard.db").joinpath("migrations")))


def _refuse_unsuitable(session: psycopg.Connection[Any]) -> None:
    if session.info.server_version < SERVER_VERSION_MIN:
        raise ServerUnsuitable(
            f"PostgreSQL 15 or newer is needed; this server is {session.info.server_version // 10000}"
        )
    row = session.execute("SHOW server_encoding").fetchone()
    if row is None or row[0] != REQUIRED_ENCODING:
        raise ServerUnsuitable(f"The database must be encoded in UTF8, not in {row[0] if row else 'unknown'}")


async def is_current(conn: Conn) -> bool:
    """Whether all migrations of this version are applied."""
    table = await (await conn.execute("SELECT to_regclass('_yoyo_migration') IS NOT NULL AS there")).fetchone()
    if table is None or not table.there:
        return False
    rows = await (await conn.execute("SELECT migration_id FROM _yoyo_migration")).fetchall()
    return _names() <= {row.migration_id for row in rows}


@functools.cache
def _names() -> frozenset[str]:
    return frozenset(migration.id for migration in all_migrations())
