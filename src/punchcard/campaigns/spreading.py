"""Spreading an update: the long job that gives the vouchers of a campaign what has changed of it.

Vouchers that are published or redeemed keep what was promised. The values are those that the campaign has when a
portion is planned, and not those of the request that had the job scheduled: of two updates the later one wins,
whichever of their jobs comes to a voucher last. `generation` says why no voucher keeps old values.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import Struct

from punchcard.bulk.jobs import Failure, Lane, Outcome, Stretch
from punchcard.campaigns import inheritance, storage
from punchcard.campaigns.deletion import behind, cursor
from punchcard.campaigns.generation import REASON_DELETED
from punchcard.campaigns.inheritance import Changes, Overrides
from punchcard.campaigns.storage import CampaignRow
from punchcard.db import statements
from punchcard.db.database import Conn, StaleRead
from punchcard.vouchers import storage as vouchers

SQL = statements.beside(__file__)

FIRST_PORTION_RECORDS = 1000


class Spread(Struct):
    """Whose vouchers change, and what of them."""

    campaign_id: str
    changes: Changes


class Plan(Struct):
    """The vouchers that a portion changes, and what they get."""

    versions: dict[str, str]
    columns: dict[str, Any]
    outcome: Outcome


class VouchersUpdate:
    """The job behind `PUT /v1/campaigns/{id}`."""

    type = storage.UPDATE
    lane = Lane.ROUND_ROBIN
    portion_records = FIRST_PORTION_RECORDS

    async def plan(self, conn: Conn, project: str, stretch: Stretch) -> Plan:
        """Read the campaign and its next vouchers. The cursor is when the one before them was created."""
        spread = msgspec.convert(stretch.parameters, Spread)
        campaign = await storage.read(conn, project, spread.campaign_id)
        if campaign is None:
            return Plan({}, {}, Outcome(0, ends=REASON_DELETED))
        rows = await _next(conn, project, spread, stretch)
        versions = {row.id: row.version for row in rows}
        outcome = Outcome(len(rows), cursor=cursor(rows, stretch))
        return Plan(versions, _columns(campaign, spread.changes), outcome)

    async def skip(self, conn: Conn, project: str, stretch: Stretch, reason: str) -> Outcome:
        """Leave a voucher as it is."""
        rows = await _next(conn, project, msgspec.convert(stretch.parameters, Spread), stretch)
        failures = [Failure(stretch.first_record, row.id, reason, b"{}") for row in rows]
        return Outcome(0, failures, cursor=cursor(rows, stretch))

    def outcome(self, plan: Plan) -> Outcome:
        return plan.outcome

    async def lock(self, conn: Conn, project: str, plan: Plan) -> None:
        await vouchers.lock(conn, project, plan.versions)

    async def write(self, conn: Conn, project: str, plan: Plan) -> None:
        """Write what has changed."""
        if not plan.versions:
            return
        if not await vouchers.lock(conn, project, plan.versions):
            raise StaleRead
        first = await vouchers.clock(conn, project)
        nows = [first + timedelta(microseconds=no) for no in range(len(plan.versions))]
        parameters = {"project_id": project, "ids": list(plan.versions), "nows": nows, **plan.columns}
        await conn.execute(SQL.campaign_vouchers_update, parameters)

    async def conclude(
        self, conn: Conn, project: str, action_id: str, parameters: Mapping[str, Any], *, succeeded: bool
    ) -> None:
        if succeeded:
            await storage.forget_job(conn, project, action_id, parameters["campaign_id"])
        else:
            await storage.end_job(conn, project, action_id, parameters["campaign_id"], succeeded=False)

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        """The documented result."""
        return storage.result("Updated", done, failed)


async def _next(conn: Conn, project: str, spread: Spread, stretch: Stretch) -> Sequence[Any]:
    parameters = {
        "project_id": project,
        "campaign_id": spread.campaign_id,
        "after": behind(stretch),
        "limit": stretch.rows_max,
    }
    return await (await conn.execute(SQL.campaign_vouchers_to_update, parameters)).fetchall()


def _columns(campaign: CampaignRow, changes: Changes) -> dict[str, Any]:
    """What vouchers get: all that they could, and which of it they do."""
    now = msgspec.structs.asdict(inheritance.attributes(campaign, Overrides()))
    fields = (*inheritance.COLUMNS, *inheritance.TEMPLATE)
    columns = {name: _text(now[name]) for name in fields}
    metadata = {key: campaign.metadata[key] for key in changes.metadata_keys if key in campaign.metadata}
    return columns | {
        "fields": list(changes.fields),
        "metadata": msgspec.json.encode(metadata).decode(),
        "metadata_keys": list(changes.metadata_keys),
    }


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
