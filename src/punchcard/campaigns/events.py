"""The events of campaigns and of the generation of their vouchers: payloads, and when they are written.

The jobs that bring a campaign's change or deletion to its vouchers write none, and generation writes none for each
voucher: what it has come to stands in one event.
"""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from punchcard.db import statements
from punchcard.db.database import Conn
from punchcard.events import events
from punchcard.events.events import Cause, Event
from punchcard.vouchers.events import SimpleCampaign, simple_campaign
from punchcard.vouchers.vouchers import Voucher

SQL = statements.beside(__file__)

CREATED, UPDATED, DELETED = "campaign.created", "campaign.updated", "campaign.deleted"
ENABLED, DISABLED = "campaign.enabled", "campaign.disabled"
VOUCHERS_ADDED = "campaign.vouchers.added"
GENERATION_STARTED = "campaign.vouchers.generation.started"
GENERATION_COMPLETED = "campaign.vouchers.generation.completed"
GENERATION_FAILED = "campaign.vouchers.generation.failed"

# ---- payloads: `campaign` is as the API shows one, or as other objects' payloads do -------------


class CampaignCreated(Struct):
    campaign: Struct
    created_at: datetime


class CampaignChanged(Struct):
    campaign: Struct


class CampaignDeleted(Struct):
    campaign: Struct
    deleted_at: datetime


class GoneCampaign(Struct):
    """What is left to say of a campaign that was deleted for good."""

    id: str
    object: str = "campaign"


class VouchersAdded(Struct):
    """So many vouchers were added to a campaign that was there before."""

    campaign: SimpleCampaign | GoneCampaign
    count: int
    added_at: datetime


class GenerationStarted(Struct):
    """So many vouchers are to be made."""

    campaign: SimpleCampaign | GoneCampaign
    count: int
    started_at: datetime


class GenerationCompleted(Struct):
    """So many vouchers were made."""

    campaign: SimpleCampaign | GoneCampaign
    count: int
    completed_at: datetime


class GenerationFailed(Struct):
    """So many vouchers were made before it failed or was cancelled: they stay."""

    campaign: SimpleCampaign | GoneCampaign
    count: int
    failed_at: datetime


# ---- operations --------------------------------------------------------------------------------


async def record(conn: Conn, project: str, cause: Cause, kind: str, campaign_id: str, payload: Struct) -> None:
    """Write an event about a campaign, in the transaction of its cause."""
    await events.record(conn, project, cause, [Event(kind, campaign_id, payload, campaign_id=campaign_id)])


async def simple(conn: Conn, project: str, campaign_id: str) -> SimpleCampaign | GoneCampaign:
    """A campaign as payloads about its vouchers show it."""
    return await simple_campaign(conn, project, campaign_id) or GoneCampaign(campaign_id)


async def record_added(conn: Conn, project: str, cause: Cause, voucher: Voucher) -> None:
    """One voucher was added to a campaign that was there before."""
    assert voucher.campaign_id is not None
    payload = VouchersAdded(await simple(conn, project, voucher.campaign_id), 1, voucher.created_at)
    await record(conn, project, cause, VOUCHERS_ADDED, voucher.campaign_id, payload)


async def record_start(conn: Conn, project: str, cause: Cause, campaign_id: str, action_id: str, count: int) -> None:
    """A generation of so many vouchers was accepted."""
    action = await _action(conn, project, action_id)
    payload = GenerationStarted(await simple(conn, project, campaign_id), count, action.created_at)
    await record(conn, project, of_action(cause, action_id), GENERATION_STARTED, campaign_id, payload)


async def record_end(
    conn: Conn, project: str, cause: Cause, campaign_id: str, action_id: str, *, succeeded: bool, first: bool
) -> None:
    """A generation has come to its end, in the transaction that says so. `first`: it was for a new campaign."""
    campaign, action = await simple(conn, project, campaign_id), await _action(conn, project, action_id)
    made, at = action.records_done, action.finished_at
    found: list[tuple[str, Struct]] = []
    if made and not first:
        found.append((VOUCHERS_ADDED, VouchersAdded(campaign, made, at)))
    if succeeded:
        found.append((GENERATION_COMPLETED, GenerationCompleted(campaign, made, at)))
    else:
        found.append((GENERATION_FAILED, GenerationFailed(campaign, made, at)))
    about = [Event(kind, campaign_id, payload, campaign_id=campaign_id) for kind, payload in found]
    await events.record(conn, project, of_action(cause, action_id), about)


async def _action(conn: Conn, project: str, action_id: str) -> Any:
    row = await (await conn.execute(SQL.generation_action, {"project_id": project, "id": action_id})).fetchone()
    assert row is not None
    return row


def of_action(cause: Cause, action_id: str) -> Cause:
    """The cause of what a bulk job does that a request had scheduled."""
    return msgspec.structs.replace(cause, async_action_id=action_id)
