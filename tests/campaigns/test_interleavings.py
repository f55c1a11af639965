"""Whatever comes between portions of a campaign's jobs, and inside them: nothing is lost, doubled or left behind."""

import asyncio
import itertools
import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from psycopg.errors import LockNotAvailable

from punchcard.campaigns.campaigns import NameTaken
from punchcard.db.database import connect
from punchcard.errors import ApiError, NotFound
from tests.bulk.conftest import workerless
from tests.bulk.queue import in_loop
from tests.campaigns.lane import CampaignLane

__all__ = ["workerless"]
EXAMPLES = int(os.environ.get("PUNCHCARD_MODEL_EXAMPLES", "15"))
NAMES = ("a", "b")
GENERATION_ENDS = {f"campaign.vouchers.generation.{end}" for end in ("completed", "failed")}


class Campaign(Struct):
    """What a client knows of a campaign."""

    id: str
    expected: int = 0
    amount: int = 1
    metadata: str | None = None
    deleted: bool = False
    force: bool = False
    # jobs that were not cancelled come to their end
    generation_cancelled: bool = False
    update_cancelled: bool = False
    deletion_cancelled: bool = False


class Client:
    """Does what is asked for, where that is allowed, and remembers it."""

    def __init__(self, lane: CampaignLane) -> None:
        self.lane = lane
        self.campaigns: dict[str, Campaign] = {}
        self.all: list[Campaign] = []
        self._numbers = itertools.count(2)
        # the actions that were scheduled: whose, and what cancelling them means
        self.actions: list[tuple[str, Campaign, str]] = []

    async def act(self, what: str, name: str, number: int) -> None:
        """One request."""
        await getattr(self, f"_{what}")(name, number)

    async def _create(self, name: str, number: int) -> None:
        try:
            campaign = Campaign(await self.lane.create(name, number), expected=number)
        except NameTaken:  # by a campaign that is there, or in the bin, or just going
            assert name in self.campaigns or any(other.deleted for other in self.all)
            return
        self.campaigns[name] = campaign
        self.all.append(campaign)
        await self._note(campaign, "generation_cancelled")

    async def _note(self, campaign: Campaign, means: str) -> None:
        query = "SELECT action_id FROM campaign_jobs WHERE project_id = %s AND campaign_id = %s ORDER BY action_id"
        known = {action for action, _, _ in self.actions}
        for row in await self.lane.queue.rows(query, self.lane.project, campaign.id):
            if row.action_id not in known:
                self.actions.append((row.action_id, campaign, means))

    async def _add(self, name: str, number: int) -> None:
        campaign = self.campaigns.get(name)
        if campaign is None:
            with pytest.raises(NotFound):
                await self.lane.add(name, 1)
            return
        count = max(1, number)
        action = await self.lane.add(name if number % 2 else campaign.id, count)
        campaign.expected += count
        if count > 1:
            self.actions.append((action, campaign, "generation_cancelled"))

    async def _code(self, name: str, number: int) -> None:
        campaign = self.campaigns.get(name)
        if campaign is not None:
            await self.lane.add(campaign.id, 1, f"{campaign.id}-{next(self._numbers)}")
            campaign.expected += 1

    async def _drop(self, name: str, number: int) -> None:
        campaign = self.campaigns.get(name)
        if campaign is not None and await self.lane.drop(campaign.id, force=bool(number % 2)):
            campaign.expected -= 1

    async def _update(self, name: str, number: int) -> None:
        campaign = self.campaigns.get(name)
        if campaign is None:
            return
        if number % 2:
            campaign.amount = next(self._numbers)
            await self.lane.change(name, discount={"type": "AMOUNT", "amount_off": campaign.amount})
        elif number % 3:
            campaign.metadata = f"v{next(self._numbers)}"
            await self.lane.change(name, metadata={"k": campaign.metadata})
        else:
            campaign.metadata = None
            await self.lane.change(name, unset_metadata_fields=["k"])
        await self._note(campaign, "update_cancelled")

    async def _delete(self, name: str, number: int) -> None:
        campaign = self.campaigns.pop(name, None)
        if campaign is not None:
            campaign.deleted, campaign.force = True, bool(number % 2)
            action = await self.lane.delete(campaign.id, force=campaign.force)
            self.actions.append((action, campaign, "deletion_cancelled"))

    async def _cancel(self, name: str, number: int) -> None:
        if self.actions:
            action, campaign, means = self.actions[number % len(self.actions)]
            try:
                await self.lane.cancel(action)
            except ApiError:
                return  # it has ended
            setattr(campaign, means, True)

    async def check(self) -> None:
        """What must be once nothing is left to do."""
        for campaign in self.all:
            stored = await self.lane.vouchers(campaign.id)
            vouchers = [voucher for voucher in stored if not voucher.binned]
            if campaign.deleted:
                if not campaign.deletion_cancelled:
                    assert vouchers == []
                    assert not (campaign.force and stored)
                with pytest.raises(NotFound):
                    await self.lane.read(campaign.id)
                continue
            if campaign.generation_cancelled:
                assert len(vouchers) <= campaign.expected
            else:
                assert len(vouchers) == campaign.expected
            if not campaign.update_cancelled:
                assert {(v.amount, v.k) for v in vouchers} <= {(campaign.amount, campaign.metadata)}
            shown = await self.lane.read(campaign.id)
            assert shown.vouchers_count == len(vouchers)
            assert shown.vouchers_generation_status in {"DONE", "FAILED"}
        await self._check_totals()
        await self._check_events()

    async def _check_totals(self) -> None:
        query = (
            "SELECT resource, sum(total) FROM row_totals WHERE project_id = %s GROUP BY resource HAVING sum(total) <> 0"
        )
        totals = dict(await self.lane.queue.rows(query, self.lane.project))
        rows = await self.lane.queue.rows(
            "SELECT campaign_id, count(*) AS n FROM vouchers WHERE project_id = %s AND binned_at IS NULL"
            " GROUP BY campaign_id",
            self.lane.project,
        )
        expected = {f"vouchers/{row.campaign_id}": row.n for row in rows}
        expected |= {"vouchers": sum(expected.values()), "campaigns": len(self.campaigns)}
        assert totals == {resource: total for resource, total in expected.items() if total}
        gone = [c.id for c in self.all if c.deleted and c.force and not c.deletion_cancelled]
        for table in ("campaigns WHERE id", "campaign_jobs WHERE campaign_id"):
            query = f"SELECT count(*) FROM {table} = ANY(%s) AND project_id = %s"
            assert await self.lane.queue.value(query.encode(), gone, self.lane.project) == 0

    async def _check_events(self) -> None:
        """What happened is told once, and the sum of it is what there is."""
        query = (
            "SELECT type, campaign_id, async_action_id, (data ->> 'count')::int AS count"
            " FROM events WHERE project_id = %s"
        )
        events = await self.lane.queue.rows(query, self.lane.project)
        for campaign in self.all:
            told = Counter(event.type for event in events if event.campaign_id == campaign.id)
            assert (told["campaign.created"], told["campaign.deleted"]) == (1, campaign.deleted)
            if not campaign.deleted:
                ends = [event for event in events if event.campaign_id == campaign.id and event.type in GENERATION_ENDS]
                made = sum(end.count for end in ends) + told["voucher.created"] - told["voucher.deleted"]
                assert made == len([v for v in await self.lane.vouchers(campaign.id) if not v.binned])
        query = "SELECT id FROM async_actions WHERE project_id = %s AND type = 'CAMPAIGN.VOUCHERS_GENERATE'"
        generations = {row.id: 1 for row in await self.lane.queue.rows(query, self.lane.project)}
        for kinds in ({"campaign.vouchers.generation.started"}, GENERATION_ENDS):
            assert Counter(event.async_action_id for event in events if event.type in kinds) == generations


REQUESTS = st.tuples(
    st.sampled_from(["create", "add", "add", "code", "drop", "update", "update", "delete", "cancel"]),
    st.sampled_from(NAMES),
    st.integers(0, 9),
)
STEPS = st.one_of(
    st.tuples(st.just("request"), REQUESTS, st.none()),
    # a portion of some size, and what happens after its plan and before its commit
    st.tuples(st.just("portion"), st.integers(1, 4), st.tuples(st.none() | REQUESTS, st.none() | REQUESTS)),
)


async def run(dsn: str, steps: list[Any]) -> None:
    async with CampaignLane.opened(dsn) as lane:
        client = Client(lane)
        for name in NAMES:
            await client.act("create", name, 7)
        for kind, what, inside in steps:
            if kind == "request":
                await client.act(*what)
                continue
            for when, request in zip(("planned", "written"), inside, strict=True):
                if request is not None:

                    async def happen(request: Any = request) -> None:
                        await client.act(*request)

                    setattr(lane, when, happen)
            await lane.portion(what)
            lane.planned = lane.written = None
        await lane.rest()
        await client.check()


@given(steps=st.lists(STEPS, max_size=25))
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)  # fmt: skip
def test_requests_between_and_inside_portions(workerless: str, steps: list[Any]) -> None:
    asyncio.run(run(workerless, steps))


# ---- single interleavings ----------------------------------------------------------------------


@in_loop
async def test_a_code_that_was_taken_after_the_plan(workerless: str) -> None:
    """The portion that wanted it draws another one."""
    async with CampaignLane.opened(workerless) as lane:
        digits = {"pattern": "#", "charset": "01234"}
        voucher = {"discount": {"type": "AMOUNT", "amount_off": 1}, "code_config": digits}
        first = await lane.create("a", 2, voucher=voucher)
        other = await lane.create("b", 0)

        async def take() -> None:
            for code in "012":
                await lane.add(other, 1, code)

        lane.planned = take
        await lane.rest()
        codes = {voucher.code for voucher in await lane.vouchers(first)}
        assert codes == {"3", "4"}
        assert (await lane.read(first)).vouchers_generation_status == "DONE"


@in_loop
async def test_a_deletion_that_is_cancelled_leaves_the_campaign_in_the_bin(workerless: str) -> None:
    async with CampaignLane.opened(workerless) as lane:
        campaign = await lane.create("a", 10)
        await lane.rest()
        action = await lane.delete(campaign, force=True)
        await lane.portion(4)
        await lane.cancel(action)
        await lane.rest()
        assert len(await lane.vouchers(campaign)) == 6
        with pytest.raises(NotFound):
            await lane.read(campaign)
        with pytest.raises(ApiError):
            await lane.create("a", 0)


@in_loop
async def test_a_generation_of_a_campaign_that_was_deleted(workerless: str) -> None:
    async with CampaignLane.opened(workerless) as lane:
        campaign = await lane.create("a", 10)
        await lane.portion(4)
        action = (await lane.queue.rows("SELECT id FROM async_actions WHERE project_id = %s", lane.project))[0].id
        await lane.delete(campaign, force=True)
        await lane.rest()
        ended = await lane.queue.action(action)
        assert (ended.status, ended.operation_status) == ("FAILED", "FAILED")
        assert b'"The campaign was deleted"' in bytes(ended.result)
        assert await lane.vouchers(campaign) == []


async def added_beside(lane: CampaignLane, campaign: str) -> None:
    """Add a voucher while another transaction has added one.

    The two wait for each other where they draw the same slot of the totals, one time in sixteen: then draw again.
    """
    for _ in range(20):
        try:
            await lane.add(campaign, 1)
        except LockNotAvailable as error:
            if "row_totals" not in str(error):
                raise
        else:
            return
    pytest.fail("20 additions waited for the slot of another")


@in_loop
async def test_who_changes_or_deletes_a_campaign_waits_for_those_who_add_to_it(workerless: str) -> None:
    """Else a voucher could be made from what the campaign was, behind the job that looks for such vouchers."""
    async with CampaignLane.opened(workerless) as lane, await connect(workerless, part="test") as other:
        campaign = await lane.create("a", 0)
        async with other.transaction():
            await lane.add(campaign, 1, conn=other)
            await added_beside(lane, campaign)  # these share it
            with pytest.raises(LockNotAvailable):
                await lane.change(campaign, category="Other")
            with pytest.raises(LockNotAvailable):
                await lane.delete(campaign, force=True)
        await lane.delete(campaign, force=True)
        await lane.rest()
        assert await lane.vouchers(campaign) == []
