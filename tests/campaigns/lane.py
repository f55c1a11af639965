"""The lane of a project's campaigns, portion by portion: a test has its say between two of them, and inside one."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from punchcard.bulk import async_actions, claims, lanes
from punchcard.bulk.jobs import Lane
from punchcard.bulk.portions import cancel, run_portion
from punchcard.campaigns import additions, campaigns
from punchcard.campaigns.additions import Asked
from punchcard.campaigns.deletion import VouchersDeletion
from punchcard.campaigns.generation import VouchersGeneration
from punchcard.campaigns.inheritance import Overrides
from punchcard.campaigns.requests import CampaignIn, CampaignUpdate
from punchcard.campaigns.spreading import VouchersUpdate
from punchcard.db.database import Conn, connect
from punchcard.events.events import Cause, EventSource
from punchcard.vouchers import changes
from punchcard.vouchers.vouchers import Voucher
from tests.bulk.queue import Queue, claimed, quick

# far enough for those who add one voucher to share the campaign
VOUCHERS_MAX = 20_000
CAUSE = Cause(EventSource("API"), "test")
Act = Callable[[], Awaitable[None]]


class CampaignLane:
    """A worker's part and a client's part, each on a session of its own."""

    def __init__(self, queue: Queue, conn: Conn, client: Conn) -> None:
        self.queue, self._conn, self._client = queue, conn, client
        self.project = queue.project
        self._settings = quick(portion_ms=5000, portion_slow_ms=9000)
        self._portions = 0
        # what happens after the next plan, before it is written; when it is written, before it is committed; and after
        # that, when the job has noted its end
        self.planned: Act | None = None
        self.written: Act | None = None
        self.concluded: Act | None = None
        jobs = (VouchersGeneration(), VouchersUpdate(), VouchersDeletion())
        self._jobs: dict[str, Any] = {job.type: Interrupted(job, self) for job in jobs}

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, dsn: str) -> AsyncIterator["CampaignLane"]:
        limits = {"lock_timeout": 500}  # nothing that a client does waits for a portion
        async with (
            Queue.opened(dsn) as queue,
            await connect(dsn, part="test") as conn,
            await connect(dsn, part="test", options=limits) as client,
        ):
            yield cls(queue, conn, client)

    # ---- what clients do ----

    async def create(self, name: str, count: int, **fields: Any) -> str:
        """A new campaign that is to get so many vouchers; its id."""
        voucher = {"discount": {"type": "AMOUNT", "amount_off": 1}, "code_config": {"length": 12}}
        given = msgspec.convert({"name": name, "vouchers_count": count, "voucher": voucher, **fields}, CampaignIn)
        async with self._client.transaction():
            made = await campaigns.create(self._client, self.project, given, CAUSE, vouchers_max=VOUCHERS_MAX)
        return made.id

    async def add(self, campaign: str, count: int, code: str | None = None, *, conn: Conn | None = None) -> str:
        """Add vouchers, perhaps on another session, in the transaction open there; the id of action or voucher."""
        client = conn or self._client
        async with client.transaction():
            added = await additions.add_to(
                client, self.project, campaign, Asked(count, Overrides(), code), CAUSE, vouchers_max=VOUCHERS_MAX
            )
        return added.id if isinstance(added, Voucher) else added.async_action_id

    async def change(self, campaign: str, **fields: Any) -> None:
        given = msgspec.convert(fields, CampaignUpdate)
        async with self._client.transaction():
            await campaigns.update(self._client, self.project, campaign, given, CAUSE)

    async def delete(self, campaign: str, *, force: bool) -> str:
        async with self._client.transaction():
            scheduled = await campaigns.remove(self._client, self.project, campaign, CAUSE, force=force)
        return scheduled.async_action_id

    async def drop(self, campaign: str, *, force: bool) -> bool:
        """Delete the first voucher that nobody holds; whether there is one."""
        async with self._client.transaction():
            query = (
                "SELECT id FROM vouchers WHERE project_id = %s AND campaign_id = %s AND binned_at IS NULL"
                " ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED"
            )
            found = await (await self._client.execute(query, [self.project, campaign])).fetchone()
            if found is not None:
                await changes.remove(self._client, self.project, found.id, CAUSE, force=force)
        return found is not None

    async def cancel(self, action: str) -> None:
        async with self._client.transaction():
            await async_actions.cancel_action(self._client, self.project, action)

    async def read(self, campaign: str) -> Any:
        return await campaigns.get_campaign(self._client, self.project, campaign)

    # ---- what a worker does ----

    async def portion(self, size: int = 3) -> bool:
        """The lane's next turn: its portion takes `size` records. Whether there was anything to do."""
        await self.queue.conn.execute(
            "UPDATE async_actions SET portion_records = %s WHERE project_id = %s AND finished_at IS NULL",
            [size, self.project],
        )
        turn = lanes.LaneTurn(self.project, Lane.ROUND_ROBIN, None)
        started = await self.queue.value("SELECT extract(epoch FROM pg_postmaster_start_time())::text")
        async with lanes.held(self._conn, turn) as look:
            assert look is not None
            for action, claim in await claims.cancelled(self._conn, turn):
                async with self._conn.transaction():
                    if claim is not None:
                        await cancel(self._conn, claim, self._jobs, self._settings)
                    key = {"project_id": self.project, "lane": Lane.ROUND_ROBIN, "id": action}
                    await self._conn.execute(lanes.SQL.async_action_cancel_delete, key)
        starter = claims.Starter("worker", started, 3000)
        claim = await claimed(self._conn, turn, starter=starter, number=self._portions)
        self._portions += 1
        if claim is None:
            return False
        await run_portion(self._conn, claim, self._jobs, self._settings)
        return True

    async def rest(self, size: int = 50) -> None:
        """All that is left to do."""
        while await self.portion(size):
            pass

    # ---- what there is ----

    async def vouchers(self, campaign: str) -> list[Any]:
        """All vouchers of a campaign, in the bin or not."""
        return await self.queue.rows(
            "SELECT code, (discount ->> 'amount_off')::int AS amount, metadata ->> 'k' AS k, binned_at IS NOT NULL AS"
            " binned FROM vouchers WHERE project_id = %s AND campaign_id = %s",
            self.project, campaign,
        )  # fmt: skip


class Interrupted:
    """A job in the middle of whose portions something else happens."""

    def __init__(self, job: Any, lane: CampaignLane) -> None:
        self._job, self._lane = job, lane

    def __getattr__(self, name: str) -> Any:
        return getattr(self._job, name)

    async def conclude(self, *args: Any, **named: Any) -> None:
        await self._job.conclude(*args, **named)
        await self._happen("concluded")

    async def skip(self, *args: Any) -> Any:
        return await self._job.skip(*args)

    async def plan(self, *args: Any) -> Any:
        plan = await self._job.plan(*args)
        await self._happen("planned")
        return plan

    async def write(self, *args: Any) -> None:
        await self._job.write(*args)
        await self._happen("written")

    async def _happen(self, when: str) -> None:
        act: Act | None = getattr(self._lane, when)
        setattr(self._lane, when, None)
        if act is not None:
            await act()
