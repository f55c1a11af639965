"""A PostgreSQL with our tables and no workers, for tests that bring their own."""

import asyncio
import shutil
from collections.abc import Iterator

import pytest

from punchcard.db import migrate
from punchcard.db.database import connect
from punchcard.db.embedded import EmbeddedServer
from tests.bulk.kinds import TABLES
from tests.deployment import open_directory


@pytest.fixture(scope="session")
def workerless() -> Iterator[str]:
    """The DSN of the server."""
    folder = open_directory()
    with EmbeddedServer(folder / "data", version=18, connections_max=40, memory_percent=2) as server:
        migrate.migrate(server.dsn)
        asyncio.run(_make_tables(server.dsn))
        yield server.dsn
    shutil.rmtree(folder)


async def _make_tables(dsn: str) -> None:
    async with await connect(dsn, part="test") as conn:
        await conn.execute(TABLES.encode())
