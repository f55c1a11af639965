"""Redating: all stored orders learn anew when they were placed, because the project's key or zone has changed.

A walk over the orders of a project, in the order of their ids. Rows that stay as they are are neither written nor
locked. `updated_at` stays too: it says when what a client sent was last changed, and a list by it would else begin
with the whole history. So does `async_action_id`, for the same reason. Whoever writes orders beside the lane has to
share-lock the project's row while it relies on key and zone (`placed_at_settings`): a change of them then waits for
it, and the walk that follows sees what it wrote.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from punchcard.bulk.async_actions import INTERNAL_PREFIX
from punchcard.bulk.jobs import Failure, Lane, Outcome, Stretch
from punchcard.db import row_totals, statements
from punchcard.db.database import Conn, StaleRead
from punchcard.events import segment_inbox
from punchcard.events.segment_inbox import Origin
from punchcard.orders import placed_at

SQL = statements.beside(__file__)

CAUSE = "orders.redating"
FIRST_PORTION_RECORDS = 1000
RESOURCE = "orders"


class Redated(Struct, frozen=True):
    """An order whose date changes; `version` is that of the row that was read, `customer_id` whose order it is."""

    id: str
    version: str
    customer_id: str | None
    ordered_at: datetime | None


class Plan(Struct):
    """What a portion will write, and what its rows came to; `action_id` is that of the async action."""

    changed: list[Redated]
    outcome: Outcome
    action_id: str

    @property
    def customers(self) -> list[str]:
        """Whose orders change."""
        return sorted({order.customer_id for order in self.changed if order.customer_id is not None})


class OrdersRedating:
    """The job behind a change of `ordered_at_key` or `timezone`."""

    type = f"{INTERNAL_PREFIX}ORDERS_REDATING"
    lane = Lane.FIFO
    portion_records = FIRST_PORTION_RECORDS
    places_customers = True

    async def plan(self, conn: Conn, project: str, stretch: Stretch) -> Plan:
        """Read the next orders and what their metadata says now."""
        where = await placed_at.settings(conn, project)
        rows = await _next(conn, project, stretch, where.key)
        dates = await placed_at.understand(conn, [row.value for row in rows], where.timezone)
        changed = [
            Redated(row.id, row.version, row.customer_id, date.moment)
            for row, date in zip(rows, dates, strict=True)
            if date.moment != row.ordered_at
        ]
        counts = {"updated": len(changed), "unchanged": len(rows) - len(changed)}
        if invalid := sum(date.invalid for date in dates):
            counts["invalid_ordered_at"] = invalid
        return Plan(changed, Outcome(len(rows), counts=counts, cursor=_cursor(rows, stretch)), stretch.action_id)

    async def skip(self, conn: Conn, project: str, stretch: Stretch, reason: str) -> Outcome:
        """Leave an order as it is."""
        rows = await _next(conn, project, stretch, "")
        failures = [Failure(stretch.first_record, row.source_id, reason, b"{}") for row in rows]
        return Outcome(0, failures, cursor=_cursor(rows, stretch))

    def outcome(self, plan: Plan) -> Outcome:
        return plan.outcome

    async def lock(self, conn: Conn, project: str, plan: Plan) -> None:
        """Lock what the plan would change, changed meanwhile or not."""
        await _lock(conn, project, plan)

    async def write(self, conn: Conn, project: str, plan: Plan) -> None:
        """Write the dates, and the last orders of the customers. Locks in the one order: customers, orders."""
        if not plan.changed:
            return
        if not await _lock(conn, project, plan):
            raise StaleRead
        columns = {
            "ids": [order.id for order in plan.changed],
            "ordered_ats": [order.ordered_at for order in plan.changed],
        }
        await conn.execute(SQL.orders_redate, {"project_id": project, **columns})
        await conn.execute(SQL.customers_settle_last_order, {"project_id": project, "ids": plan.customers})
        await segment_inbox.append(conn, project, plan.customers, Origin(CAUSE, async_action_id=plan.action_id))

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        """What the walk came to, in the words of an import's result."""
        updated = counts.get("updated", 0)
        return {
            "message": f"Looked at {done + failed} order(s): {updated} got another ordered_at, {failed} failed.",
            "failed": failures,
            "done_count": done,
            "failed_count": failed,
            "updated_count": updated,
            "unchanged_count": counts.get("unchanged", 0),
            "invalid_ordered_at_count": counts.get("invalid_ordered_at", 0),
        }


async def rows_estimate(conn: Conn, project: str) -> int:
    """About how many orders a walk will look at."""
    return max(0, await row_totals.total(conn, project, RESOURCE))


async def _next(conn: Conn, project: str, stretch: Stretch, key: str) -> Sequence[Any]:
    parameters = {"project_id": project, "after": stretch.cursor or "", "limit": stretch.rows_max, "key": key}
    return await (await conn.execute(SQL.orders_after, parameters)).fetchall()


def _cursor(rows: Sequence[Any], stretch: Stretch) -> str | None:
    """Behind which order the next portion begins; none when there can be no more."""
    return rows[-1].id if len(rows) == stretch.rows_max else None


async def _lock(conn: Conn, project: str, plan: Plan) -> bool:
    """Lock the customers, then the orders that change; whether the orders are as they were read."""
    await conn.execute(SQL.redating_lock_customers, {"project_id": project, "ids": plan.customers})
    versions = {order.id: order.version for order in plan.changed}
    cursor = await conn.execute(SQL.redating_lock_orders, {"project_id": project, "ids": sorted(versions)})
    return {row.id: row.version for row in await cursor.fetchall()} == versions
