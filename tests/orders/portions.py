"""Portions of an import one by one: between two of them a test does what can happen there."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from punchcard.bulk import claims, lanes
from punchcard.bulk.portions import run_portion
from punchcard.db.database import Conn, connect
from punchcard.orders.imports import OrdersImport
from punchcard.settings import Settings
from tests.bulk.queue import Queue, claimed, quick

PORTIONS_MAX = 400


class Importer:
    """A worker's part of an import, without its loop."""

    def __init__(self, queue: Queue, conn: Conn, job: Any = None, settings: Settings | None = None) -> None:
        self.queue, self.conn, self.job = queue, conn, job or OrdersImport()
        self.settings = settings or quick(portion_ms=5000, portion_slow_ms=9000)
        self.worker = 0
        self.size: int | None = None
        # how many portions were begun
        self.portions = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, dsn: str, job: Any = None, settings: Settings | None = None) -> AsyncIterator["Importer"]:
        async with Queue.opened(dsn) as queue, await connect(dsn, part="test") as conn:
            yield cls(queue, conn, job, settings)

    async def schedule(self, orders: Sequence[Any], *, size: int | None = None) -> str:
        """Accept orders. Each portion takes `size` of them, if that is given."""
        self.size = size
        return await self.queue.schedule(self.job, [msgspec.json.encode(order) for order in orders])

    async def portion(self) -> bool:
        """One portion. Whether that finished the action."""
        if self.size is not None:
            await self.conn.execute(
                "UPDATE async_actions SET portion_records = %s WHERE project_id = %s AND finished_at IS NULL",
                [self.size, self.queue.project],
            )
        turn = lanes.LaneTurn(self.queue.project, self.job.lane, None)
        started = await self.queue.value("SELECT extract(epoch FROM pg_postmaster_start_time())::text")
        starter = claims.Starter(f"worker_{self.worker}", started, 3000)
        claim = await claimed(self.conn, turn, starter=starter, number=self.portions)
        assert claim is not None
        self.portions += 1
        return await run_portion(self.conn, claim, {self.job.type: self.job}, self.settings)

    async def rest(self) -> None:
        """All portions that are left."""
        for _ in range(PORTIONS_MAX):
            if await self.portion():
                return
        raise AssertionError("the action did not end")

    async def imported(self, orders: Sequence[Any], *, size: int | None = None) -> dict[str, Any]:
        """Import orders; the result."""
        action = await self.schedule(orders, size=size)
        await self.rest()
        return msgspec.json.decode((await self.queue.action(action)).result, type=dict[str, Any])

    async def killed(self) -> None:
        """The worker is gone with all that it had in memory, and another one takes over."""
        self.worker += 1

    async def by_source(self, table: str, columns: str) -> dict[Any, Any]:
        query = f"SELECT source_id, {columns} FROM {table} WHERE project_id = %s"
        found = await self.queue.rows(query.encode(), self.queue.project)
        return {row[0]: tuple(row[1:]) if len(row) > 2 else row[1] for row in found}


def product(source_id: str = "p", **values: Any) -> dict[str, Any]:
    """An item that writes its product to the catalogue."""
    return {"source_id": source_id, "quantity": 1, "product": {"source_id": source_id, "override": True, **values}}


def bare(source_id: str = "p") -> dict[str, Any]:
    """An item that only names its product."""
    return {"source_id": source_id, "related_object": "product", "quantity": 1}
