"""Migrations: all of them make schema.sql; repeated, at the same time, or killed they do no harm."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import pq, sql

from punchcard.db import migrate
from punchcard.db.embedded import EmbeddedServer
from punchcard.db.embedded.server import STOP_SECONDS
from tests.conftest import POSTGRES_15
from tests.deployment import PUNCHCARD, open_directory, until
from tests.house.schema import SCHEMA, schema_of
from tests.house.source import MIGRATIONS, Sql, named_statements

VERSIONS = ["18", "16", *(["15"] if os.environ.get(POSTGRES_15) else [])]
PROCESSES = 4


@pytest.fixture(scope="module")
def server_18() -> Iterator[str]:
    """The DSN of an embedded PostgreSQL 18 with nothing in it."""
    yield from _embedded(18)


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of a server, once for each version of PostgreSQL."""
    if request.param == "16":
        yield from _embedded(16)
    else:
        yield request.getfixturevalue("postgres_15" if request.param == "15" else "server_18")


def _embedded(version: int) -> Iterator[str]:
    folder = open_directory()
    one = EmbeddedServer(folder / "data", version=version, connections_max=40, memory_percent=1)
    one.start()
    yield one.dsn
    one.stop(STOP_SECONDS)
    shutil.rmtree(folder)


@pytest.fixture
def empty(server_18: str) -> Iterator[str]:
    """The DSN of a new database."""
    with new_database(server_18, "fresh") as dsn:
        yield dsn


@pytest.fixture(scope="module")
def migrated(server: str) -> Iterator[str]:
    """The DSN of a migrated database, for tests that only look."""
    with new_database(server, "looked_at") as dsn:
        assert migrate.migrate(dsn)
        yield dsn


@contextmanager
def new_database(server: str, name: str) -> Iterator[str]:
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def run(dsn: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PUNCHCARD_")}
    return subprocess.Popen(
        [*PUNCHCARD, "migrate"],
        env=environment | {"DATABASE_URL": dsn},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_all_migrations_make_the_schema(migrated: str) -> None:
    with psycopg.connect(migrated) as conn:
        assert schema_of(conn) == SCHEMA.read_text(), "run `python -m tests.house.schema` and read the difference"


def test_a_second_run_changes_nothing(migrated: str) -> None:
    assert migrate.migrate(migrated) == []


def test_many_processes_at_once_apply_each_migration_once(empty: str) -> None:
    processes = [run(empty) for _ in range(PROCESSES)]
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES, said
    names = [migration.id for migration in migrate.all_migrations()]
    assert sorted(out for out, _ in said) == [f"applied {', '.join(names)}\n"] + ["nothing to apply\n"] * (
        PROCESSES - 1
    )


def test_killed_in_the_middle_leaves_nothing_half_done(empty: str) -> None:
    with psycopg.connect(empty) as blocker:
        # the last table that the first migration makes: the process waits for us with most of its work done
        blocker.execute("CREATE TABLE segment_inbox ()")
        process = run(empty)
        with psycopg.connect(empty, autocommit=True) as watcher:
            until(lambda: _waits_for_a_lock(watcher))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            blocker.rollback()
            until(lambda: not _other_sessions(watcher))
            assert watcher.execute("SELECT to_regclass('projects')").fetchone() == (None,)
    assert migrate.migrate(empty)
    with psycopg.connect(empty) as conn:
        assert schema_of(conn) == SCHEMA.read_text()


def _waits_for_a_lock(watcher: psycopg.Connection[tuple[object, ...]]) -> bool:
    waiting = "SELECT FROM pg_stat_activity WHERE application_name = 'punchcard migrate' AND wait_event_type = 'Lock'"
    return watcher.execute(waiting).fetchone() is not None


def _other_sessions(watcher: psycopg.Connection[tuple[object, ...]]) -> bool:
    others = "SELECT FROM pg_stat_activity WHERE application_name = 'punchcard migrate'"
    return watcher.execute(others).fetchone() is not None


def test_waiting_for_another_migration_ends_when_told(empty: str) -> None:
    with psycopg.connect(empty) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [migrate.LOCK_KEY])
        asked = iter([False, False, True])
        assert migrate.migrate(empty, lambda: next(asked)) == []
    assert migrate.migrate(empty)


def test_files_are_numbered_and_say_before_or_after_the_deploy() -> None:
    names = [file.name for file in sorted(MIGRATIONS.glob("*.sql"))]
    assert names
    for number, name in enumerate(names, 1):
        assert re.fullmatch(rf"{number:04}_(pre|post)_[a-z0-9_]+\.sql", name), name


def test_migrations_wait_for_locks_only_a_moment() -> None:
    """A migration that waits for a lock holds up everybody who comes after it in the queue for that lock."""
    for file in MIGRATIONS.glob("*.sql"):
        assert re.search(r"^SET LOCAL lock_timeout = '\d+m?s';$", file.read_text(), re.MULTILINE), file.name


@pytest.mark.parametrize("statement", named_statements(), ids=lambda statement: statement.name)
def test_statement_is_understood_by_this_version(migrated: str, statement: Sql) -> None:
    """The server parses and plans every statement against the schema: names and types fit, nothing is too new."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    text = re.sub(r"(?<!:):(\w+)", number, statement.bare)
    with psycopg.connect(migrated) as conn:
        result = conn.pgconn.prepare(b"", text.encode())
        state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        assert result.status == pq.ExecStatus.COMMAND_OK or state == "42P18", result.error_message.decode()
