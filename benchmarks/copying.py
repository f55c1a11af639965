"""A bare COPY of rows that are stored: what everything that writes rows is compared with."""

import time
from collections.abc import Sequence

import psycopg
from psycopg import sql


def copy_rows(conn: psycopg.Connection, project: str, tables: Sequence[str]) -> float:
    """Seconds of a bare COPY of the project's rows into empty copies of their tables, with the commit."""
    rows: dict[str, bytes] = {}
    for table in tables:
        source = sql.SQL("COPY (SELECT * FROM {} WHERE project_id = {}) TO STDOUT (FORMAT BINARY)")
        with conn.cursor().copy(source.format(sql.Identifier(table), project)) as copy:
            rows[table] = b"".join(bytes(part) for part in copy)
        new = sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)")
        conn.execute(new.format(sql.Identifier(f"bare_{table}"), sql.Identifier(table)))
    conn.commit()
    started = time.perf_counter()
    for table in tables:
        target = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(sql.Identifier(f"bare_{table}"))
        with conn.cursor().copy(target) as copy:
            copy.write(rows[table])
    conn.commit()
    seconds = time.perf_counter() - started
    for table in tables:
        conn.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(f"bare_{table}")))
    conn.commit()
    return seconds
