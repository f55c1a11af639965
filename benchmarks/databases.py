"""Further databases on the server that is measured, so that what one benchmark leaves is in no other's way."""

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from punchcard.db import migrate


def create(dsn: str, name: str, *, migrated: bool = True) -> str:
    """The DSN of a new database; one of that name from an earlier run is dropped."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    new = make_conninfo(dsn, dbname=name)
    if migrated:
        migrate.migrate(new)
    return new


def settle(dsn: str, *tables: str) -> None:
    """What the server would do some time later, and in the middle of a measurement, it does now."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        for table in tables:
            conn.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(table)))
        conn.execute("CHECKPOINT")
