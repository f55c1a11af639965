"""Campaigns as they are stored: the row, its locks, its size and its jobs.

Portions of bulk jobs never lock a campaign that requests can reach, so that no request waits for one. What they read
can change while they write, and yet no voucher keeps what it should not: `generation` says why. Requests do lock it:
who adds a voucher shares it, who changes or deletes it, or has vouchers generated, holds it alone.
"""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from psycopg.types.json import Jsonb

from punchcard.bulk import async_actions
from punchcard.bulk.jobs import WalkJob
from punchcard.db import row_totals, statements
from punchcard.db.database import Conn
from punchcard.errors import NotFound
from punchcard.http.shapes import same_json
from punchcard.vouchers import storage as vouchers
from punchcard.vouchers.codes import CodeConfig

SQL = statements.beside(__file__)

PREFIX = "camp"
GENERATION = "CAMPAIGN.VOUCHERS_GENERATE"
UPDATE = "CAMPAIGN.VOUCHERS_UPDATE"
DELETION = "CAMPAIGN.VOUCHERS_DELETE"


class Redemption(Struct, frozen=True):
    """How many times a voucher can be redeemed; none: any number of times."""

    quantity: int | None = None


class Template(Struct, frozen=True, omit_defaults=True):
    """What the vouchers of a campaign are made from, as it is stored and shown."""

    type: str
    redemption: Redemption
    code_config: CodeConfig
    is_referral_code: bool
    discount: Raw | UnsetType = UNSET
    gift: Raw | UnsetType = UNSET


class CampaignRow(Struct, frozen=True):
    """A campaign as it is stored. JSON is encoded, dates are in UTC."""

    id: str
    name: str
    description: str | None
    campaign_type: str
    type: str
    voucher: Template
    auto_join: bool
    join_once: bool
    use_voucher_metadata_schema: bool
    start_date: datetime | None
    expiration_date: datetime | None
    validity_timeframe: Raw | None
    validity_day_of_week: Raw | None
    validity_hours: Raw | None
    activity_duration_after_publishing: str | None
    category: str | None
    active: bool
    metadata: dict[str, Any]

    @property
    def metadata_schema(self) -> str:
        """Whose metadata schema the campaign and its vouchers follow."""
        return "voucher" if self.use_voucher_metadata_schema else "campaign"


class Size(Struct, frozen=True):
    """How many vouchers a campaign has, and how many that it was asked for are still to be made."""

    made: int
    asked_for: int

    @property
    def total(self) -> int:
        return self.made + self.asked_for


# ---- the row -----------------------------------------------------------------------------------


async def read(conn: Conn, project: str, campaign_id: str) -> CampaignRow | None:
    """A campaign that is not in the bin, as it is now."""
    row = await (await conn.execute(SQL.campaign_read, {"project_id": project, "id": campaign_id})).fetchone()
    return None if row is None else _row(row)


async def share(conn: Conn, project: str, key: str) -> CampaignRow:
    """A campaign by id or name, which stays as it is until the transaction ends. Raises `NotFound`."""
    row = await (await conn.execute(SQL.campaign_share, {"project_id": project, "key": key})).fetchone()
    if row is None:
        raise NotFound("campaign", key)
    return _row(row)


async def lock(conn: Conn, project: str, key: str) -> CampaignRow:
    """A campaign by id or name, which nobody else shares or locks until the transaction ends. Raises `NotFound`."""
    row = await (await conn.execute(SQL.campaign_lock, {"project_id": project, "key": key})).fetchone()
    if row is None:
        raise NotFound("campaign", key)
    return _row(row)


async def lock_for_deletion(conn: Conn, project: str, key: str) -> tuple[str, bool]:
    """The id of a campaign by id or name, locked, and whether it is in the bin: then its deletion was broken off.

    Raises `NotFound`.
    """
    parameters = {"project_id": project, "key": key, "deletion": DELETION}
    row = await (await conn.execute(SQL.campaign_lock_for_deletion, parameters)).fetchone()
    if row is None:
        raise NotFound("campaign", key)
    return row.id, row.binned


def _row(row: Any) -> CampaignRow:
    values = row._asdict()
    values["voucher"] = msgspec.json.decode(row.voucher, type=Template)
    values["metadata"] = msgspec.json.decode(row.metadata)
    return CampaignRow(**values)


async def insert(conn: Conn, project: str, campaign: CampaignRow) -> bool:
    """Write a new campaign and count it; whether its name was free."""
    parameters = {"project_id": project, **_values(campaign)}
    while True:
        # looked at first: whoever inserts a name waits for a portion that is deleting it
        if await (await conn.execute(SQL.campaign_named, parameters)).fetchone() is not None:
            return False
        if await (await conn.execute(SQL.campaign_insert, parameters)).fetchone() is not None:
            await row_totals.add(conn, project, {"campaigns": 1}, slot=row_totals.drawn_slot())
            return True


def same(left: CampaignRow, right: CampaignRow) -> bool:
    """Whether two rows say the same, however their JSON is written."""
    return same_json(*(msgspec.json.decode(msgspec.json.encode(row)) for row in (left, right)))


async def update(conn: Conn, project: str, campaign: CampaignRow) -> None:
    """Write a campaign that is locked."""
    await conn.execute(SQL.campaign_update, {"project_id": project, **_values(campaign)})


def _values(campaign: CampaignRow) -> dict[str, Any]:
    values = msgspec.structs.asdict(campaign)
    for name in ("validity_timeframe", "validity_day_of_week", "validity_hours"):
        values[name] = None if values[name] is None else Jsonb(values[name])
    return values | {"voucher": Jsonb(campaign.voucher), "metadata": Jsonb(campaign.metadata)}


async def bin_(conn: Conn, project: str, campaign_id: str) -> datetime:
    """Put a campaign that is locked into the bin: from now on it answers nobody and gets no voucher. When that was."""
    row = await (await conn.execute(SQL.campaign_bin, {"project_id": project, "id": campaign_id})).fetchone()
    assert row is not None
    await row_totals.add(conn, project, {"campaigns": -1}, slot=row_totals.drawn_slot())
    binned_at: datetime = row.binned_at
    return binned_at


async def delete(conn: Conn, project: str, campaign_id: str) -> None:
    """Remove a campaign that is in the bin and all that is known of it but its vouchers: there are none any more."""
    key = {"project_id": project, "id": campaign_id}
    await conn.execute(SQL.campaign_delete, key)
    await conn.execute(SQL.campaign_jobs_delete, key)
    await conn.execute(SQL.campaign_total_delete, {"project_id": project, "resource": vouchers.total_of(campaign_id)})


# ---- its vouchers and jobs ---------------------------------------------------------------------


async def size(conn: Conn, project: str, campaign_id: str) -> Size:
    """How many vouchers a campaign has and gets."""
    key = {"project_id": project, "id": campaign_id, "resource": vouchers.total_of(campaign_id)}
    row = await (await conn.execute(SQL.campaign_size, {**key, "generation": GENERATION})).fetchone()
    assert row is not None
    return Size(row.made, row.asked_for)


async def schedule(
    conn: Conn,
    project: str,
    job: WalkJob,
    parameters: Struct,
    *,
    campaign_id: str,
    vouchers_count: int,
    request_id: str,
) -> str:
    """Have a job do something with about so many vouchers of a campaign. Returns the action's id.

    `parameters` are kept as JSON, in which the campaign stands as `campaign_id`.
    """
    action_id = await async_actions.schedule_walk(
        conn,
        project,
        job,
        rows_estimate=vouchers_count,
        request_id=request_id,
        parameters=msgspec.to_builtins(parameters),
    )
    row = {"project_id": project, "campaign_id": campaign_id, "action_id": action_id, "type": job.type}
    asked_for = vouchers_count if job.type == GENERATION else 0
    await conn.execute(SQL.campaign_job_insert, {**row, "vouchers": asked_for})
    return action_id


async def end_job(conn: Conn, project: str, action_id: str, campaign_id: str, *, succeeded: bool) -> None:
    """Note that a job of a campaign, which may be gone, has come to its end."""
    parameters = {"project_id": project, "campaign_id": campaign_id, "action_id": action_id, "succeeded": succeeded}
    await conn.execute(SQL.campaign_job_end, parameters)


async def forget_job(conn: Conn, project: str, action_id: str, campaign_id: str) -> None:
    """A job that left nothing to be known of it has come to its end."""
    key = {"project_id": project, "campaign_id": campaign_id, "action_id": action_id}
    await conn.execute(SQL.campaign_job_delete, key)


async def broken_off(conn: Conn, project: str, campaign_id: str, kind: str) -> list[Raw]:
    """What the jobs of a type that failed or were cancelled were to do, as JSON; they are forgotten with that."""
    parameters = {"project_id": project, "id": campaign_id, "type": kind}
    rows = await (await conn.execute(SQL.campaign_jobs_failed_delete, parameters)).fetchall()
    return [row.parameters for row in rows]


def result(verb: str, done: int, failed: int) -> dict[str, Any]:
    """The documented result of a campaign's jobs: "Generated 2 vouchers." """
    ours = {"failed_count": failed} if failed else {}
    return {"message": f"{verb} {done} vouchers.", "done_count": done, **ours}
