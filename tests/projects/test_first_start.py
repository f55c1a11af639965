"""The first start of an empty database: one set of credentials, whatever crashes in between."""

import asyncio
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.db import migrate
from punchcard.db.database import connect
from punchcard.db.embedded import DataDirectoryUnusable, EmbeddedServer
from punchcard.http.tokens import token_hash
from punchcard.projects import projects
from punchcard.projects.projects import CredentialsMissing, ProjectMissing
from tests.deployment import open_directory


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    folder = open_directory()
    with EmbeddedServer(folder / "data", version=18, connections_max=20, memory_percent=1) as one:
        yield one
    shutil.rmtree(folder)


@pytest.fixture
def dsn(server: EmbeddedServer) -> str:
    """A migrated database without projects."""
    migrate.migrate(server.dsn)

    async def clear() -> None:
        async with await connect(server.dsn, part="test") as conn:
            await conn.execute("TRUNCATE projects CASCADE")

    asyncio.run(clear())
    return server.dsn


class Crash(Exception):
    """The power went."""


def bootstrap(dsn: str, directory: Path, *, crash: bool = False) -> None:
    """What `serve` does at its start; with `crash` it ends before the database has committed."""

    async def run() -> None:
        async with await connect(dsn, part="test") as conn, conn.transaction():
            await projects.bootstrap(conn, directory)
            if crash:
                raise Crash

    asyncio.run(run())


def count(dsn: str, table: bytes) -> int:
    async def run() -> int:
        async with await connect(dsn, part="test") as conn:
            row = await (await conn.execute(b"SELECT count(*) AS n FROM " + table)).fetchone()
            assert row is not None
            return int(row.n)

    return asyncio.run(run())


def test_one_project_with_a_key_pair_of_each_kind(dsn: str, tmp_path: Path) -> None:
    bootstrap(dsn, tmp_path)
    assert (count(dsn, b"projects"), count(dsn, b"api_keys")) == (1, 3)
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["credentials.json"]


def test_crash_between_file_and_database_keeps_the_credentials(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        bootstrap(dsn, tmp_path, crash=True)
    assert count(dsn, b"projects") == 0
    shown = projects.read_credentials(tmp_path)
    bootstrap(dsn, tmp_path)
    assert projects.read_credentials(tmp_path) == shown
    assert (count(dsn, b"projects"), count(dsn, b"api_keys")) == (1, 3)


def test_crash_while_the_file_is_written_leaves_no_half_of_it(dsn: str, tmp_path: Path) -> None:
    (tmp_path / ".credentials.json.new").write_text('{"project_id": "pr')
    bootstrap(dsn, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["credentials.json"]
    assert projects.read_credentials(tmp_path).project_id.startswith("proj_")


def test_a_database_with_projects_is_left_alone(dsn: str, tmp_path: Path) -> None:
    bootstrap(dsn, tmp_path)
    (tmp_path / "credentials.json").unlink()
    bootstrap(dsn, tmp_path)
    assert (count(dsn, b"projects"), count(dsn, b"api_keys")) == (1, 3)
    with pytest.raises(CredentialsMissing, match="punchcard keys create"):
        projects.read_credentials(tmp_path)


def test_processes_that_start_at_once_make_one_project(dsn: str, tmp_path: Path) -> None:
    async def one() -> None:
        async with await connect(dsn, part="test") as conn, conn.transaction():
            await projects.bootstrap(conn, tmp_path)

    async def all_at_once() -> None:
        await asyncio.gather(*(one() for _ in range(5)))

    asyncio.run(all_at_once())
    assert (count(dsn, b"projects"), count(dsn, b"api_keys")) == (1, 3)


def test_damaged_file_is_named_and_not_replaced(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text("{}")
    with pytest.raises(CredentialsMissing, match="is damaged"):
        bootstrap(dsn, tmp_path)
    assert (tmp_path / "credentials.json").read_text() == "{}"
    assert count(dsn, b"projects") == 0


def test_directory_that_takes_no_file(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryUnusable, match="Cannot use"):
        bootstrap(dsn, tmp_path / "missing")
    assert count(dsn, b"projects") == 0


def test_key_of_an_unknown_project_is_refused(dsn: str) -> None:
    async def run() -> None:
        async with await connect(dsn, part="test") as conn, conn.transaction():
            await projects.create_key(conn, "proj_none", name="x")

    with pytest.raises(ProjectMissing, match="No project has the id proj_none"):
        asyncio.run(run())


def test_tokens_are_stored_hashed(dsn: str, tmp_path: Path) -> None:
    bootstrap(dsn, tmp_path)

    async def stored() -> list[bytes]:
        async with await connect(dsn, part="test") as conn:
            return [bytes(row.token_hash) for row in await (await conn.execute("SELECT * FROM api_keys")).fetchall()]

    token = projects.read_credentials(tmp_path).application_token
    hashes = asyncio.run(stored())
    assert token_hash(token) in hashes
    assert not any(token.encode() in value for value in hashes)
