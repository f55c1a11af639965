"""Deletion of a campaign's vouchers: the long job that puts all of them into the bin, or with force removes them.

The campaign itself is in the bin from the moment its deletion was asked for. `generation` says why no voucher comes
behind the walk.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from punchcard.bulk.jobs import Failure, Lane, Outcome, Stretch
from punchcard.campaigns import storage
from punchcard.db import row_totals, statements
from punchcard.db.database import Conn, StaleRead
from punchcard.vouchers import storage as vouchers

SQL = statements.beside(__file__)

FIRST_PORTION_RECORDS = 2000
START = datetime(1, 1, 2, tzinfo=UTC)


class Deletion(Struct):
    """Whose vouchers go; with `force` for good."""

    campaign_id: str
    force: bool


class Plan(Struct):
    """The vouchers that a portion deletes, and whether they are the last."""

    deletion: Deletion
    versions: dict[str, str]
    # so many of them are not in the bin yet
    counted: int
    outcome: Outcome


class VouchersDeletion:
    """The job behind `DELETE /v1/campaigns/{id}`."""

    type = storage.DELETION
    lane = Lane.ROUND_ROBIN
    portion_records = FIRST_PORTION_RECORDS

    async def plan(self, conn: Conn, project: str, stretch: Stretch) -> Plan:
        """Read the next vouchers. The cursor is when the one before them was created."""
        deletion = msgspec.convert(stretch.parameters, Deletion)
        rows = await _next(conn, project, deletion, stretch)
        versions = {row.id: row.version for row in rows}
        counted = sum(row.counted for row in rows)
        return Plan(deletion, versions, counted, Outcome(len(rows), cursor=cursor(rows, stretch)))

    async def skip(self, conn: Conn, project: str, stretch: Stretch, reason: str) -> Outcome:
        """Leave a voucher as it is."""
        rows = await _next(conn, project, msgspec.convert(stretch.parameters, Deletion), stretch)
        failures = [Failure(stretch.first_record, row.id, reason, b"{}") for row in rows]
        return Outcome(0, failures, cursor=cursor(rows, stretch))

    def outcome(self, plan: Plan) -> Outcome:
        return plan.outcome

    async def lock(self, conn: Conn, project: str, plan: Plan) -> None:
        await vouchers.lock(conn, project, plan.versions)

    async def write(self, conn: Conn, project: str, plan: Plan) -> None:
        """Delete the vouchers, and with the last of them and force the campaign. Totals come last."""
        deletion = plan.deletion
        if not await vouchers.lock(conn, project, plan.versions):
            raise StaleRead
        statement = SQL.campaign_vouchers_delete if deletion.force else SQL.campaign_vouchers_bin
        await conn.execute(statement, {"project_id": project, "ids": list(plan.versions)})
        totals = dict.fromkeys(("vouchers", vouchers.total_of(deletion.campaign_id)), -plan.counted)
        await row_totals.add(conn, project, totals, slot=row_totals.SLOT_OF_IMPORTS)

    async def conclude(
        self, conn: Conn, project: str, action_id: str, parameters: Mapping[str, Any], *, succeeded: bool
    ) -> None:
        """With force the campaign goes too, unless vouchers of it are left."""
        deletion = msgspec.convert(parameters, Deletion)
        await storage.end_job(conn, project, action_id, deletion.campaign_id, succeeded=succeeded)
        if deletion.force and succeeded:
            key = {"project_id": project, "campaign_id": deletion.campaign_id}
            if await (await conn.execute(SQL.campaign_vouchers_left, key)).fetchone() is None:
                await storage.delete(conn, project, deletion.campaign_id)

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        """The documented result."""
        return storage.result("Deleted", done, failed)


async def _next(conn: Conn, project: str, deletion: Deletion, stretch: Stretch) -> Sequence[Any]:
    parameters = {
        "project_id": project,
        "campaign_id": deletion.campaign_id,
        "force": deletion.force,
        "after": behind(stretch),
        "limit": stretch.rows_max,
    }
    return await (await conn.execute(SQL.campaign_vouchers_to_delete, parameters)).fetchall()


def behind(stretch: Stretch) -> datetime:
    """Behind which `created_at` a portion begins."""
    return START if stretch.cursor is None else datetime.fromisoformat(stretch.cursor)


def cursor(rows: Sequence[Any], stretch: Stretch) -> str | None:
    """Behind which voucher the next portion begins; none when there can be no more."""
    return rows[-1].created_at.isoformat() if len(rows) == stretch.rows_max else None
