"""Lists of events are read by one index, in its order, whatever the statistics say: no list walks through the log."""

import asyncio
import functools
import itertools
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import msgspec
from psycopg.rows import namedtuple_row

from punchcard.db.database import Conn, conninfo
from punchcard.events import activity
from punchcard.events.activity import Paging, Wanted
from punchcard.events.partitions import Month
from tests.db.test_list_plans import ExplainedConnection, rows_read
from tests.db.test_plans import nodes
from tests.deployment import Deployment

ROWS = 200_000
RARE = 500
LIMIT = 100
# over a month past, which has no partition here, and those that have one
STEP = timedelta(seconds=40)
START = Month.of(datetime.now(UTC)).first - timedelta(days=20)
# Each value of a filter with how many events it leaves: many and few, and the few are the oldest or everywhere.
VALUES: dict[str, dict[str, int]] = {
    "object_id": {"object-5": 20},
    "group_id": {"v-bulk": ROWS // 2, "v-3": 10},
    "customer_id": {"guest": ROWS // 2, "c-7": 20},
    "async_action_id": {"aa_bulk": ROWS // 2},
    "type": {"customer.order.paid": ROWS - RARE, "customer.created": RARE},
}
FILL = f"""
INSERT INTO events (project_id, id, created_at, type, object_id, customer_id, group_id, async_action_id, campaign_id,
                    data, event_source)
SELECT %s, 'e' || lpad(g::text, 8, '0'), timestamptz '{START.isoformat()}' + g * interval '{STEP.seconds} seconds',
       CASE WHEN g <= {RARE} THEN 'customer.created' ELSE 'customer.order.paid' END, 'object-' || mod(g, {ROWS // 20}),
       CASE WHEN mod(g, 2) = 0 THEN 'guest' ELSE 'c-' || mod(g, {ROWS // 20}) END,
       CASE WHEN mod(g, 4) < 2 THEN 'v-bulk' ELSE 'v-' || mod(g, {ROWS // 10}) END,
       CASE WHEN mod(g, 4) < 2 THEN 'aa_bulk' END, NULL, '{{}}', '{{}}'
  FROM generate_series(1, {ROWS}) AS g
"""
MIDDLE = START + STEP * (ROWS // 2)
Listing: TypeAlias = Callable[[Conn, str], Awaitable[Any]]


def listings(*, with_dates: bool) -> dict[str, tuple[Listing, int]]:
    """Lists by each filter and each two, from each end, with dates and places; and how many rows each may read."""
    found: dict[str, tuple[Listing, int]] = {}
    single = [{name: value} for name, values in VALUES.items() for value in values]
    pairs = [left | right for left, right in itertools.combinations(single, 2) if left.keys() != right.keys()]
    spans: list[dict[str, Any]] = [
        {}, {"start": MIDDLE}, {"end": MIDDLE}, {"start": MIDDLE, "end": MIDDLE + timedelta(hours=2)},
    ]  # fmt: skip
    if not with_dates:
        spans = spans[:1]
    for chosen in ({}, *single, *pairs):
        # Of two filters, what the rarer leaves. Where that is no more than can be read, it takes a look to know it.
        most = LIMIT if len(chosen) < 2 else min(VALUES[name][value] for name, value in chosen.items())
        most = most if most < activity.FEW else 2 * LIMIT
        looks = len(chosen) * activity.FEW if len(chosen) > 1 else 0
        for span, descending, place in itertools.product(spans, (True, False), (None, MIDDLE)):
            # of two filters, or dates and a place, one direction is enough
            if (len(chosen) > 1 and (span or place)) or (not descending and (len(chosen) > 1 or (span and place))):
                continue
            wanted = msgspec.convert(chosen | span, Wanted)
            paging = Paging(LIMIT, descending, None, place)
            name = f"{chosen} {span} {descending} {place}"
            listing = functools.partial(_listed, wanted=wanted, paging=paging)
            found[name] = (listing, max(LIMIT, most) + looks)
    return found


async def _listed(conn: Conn, project: str, *, wanted: Wanted, paging: Paging) -> None:
    await activity.list_events(conn, project, wanted=wanted, paging=paging)


def test_no_list_reads_more_than_its_page(deployment_18: Deployment) -> None:
    """Or, of two filters, than what the rarer leaves, and the looks that tell which it is."""

    async def run() -> dict[str, list[str]]:
        wrong: dict[str, list[str]] = {}
        dsn = conninfo(deployment_18.dsn, part="test")
        async with await ExplainedConnection.connect(dsn, row_factory=namedtuple_row) as conn:
            project = f"plans-{uuid.uuid4()}"
            await conn.execute(FILL.encode(), [project])
            for analyzed in (False, True):
                if analyzed:
                    await conn.execute("ANALYZE events")
                # dates are found by the index whatever the statistics say
                for name, (listing, most) in listings(with_dates=not analyzed).items():
                    conn.plans = []
                    async with conn.transaction(force_rollback=True):
                        await listing(conn, project)
                    kinds = {node["Node Type"] for plan in conn.plans for node in nodes(plan)}
                    read = sum(rows_read(plan) for plan in conn.plans)
                    # and one row of each partition a statement, to begin with; nothing is sorted where dates exclude
                    # each other
                    wasteful = kinds & {"Seq Scan", "Bitmap Heap Scan", "Sort", "Incremental Sort"}
                    if (wasteful and read) or read > most + 20 * len(conn.plans):
                        wrong[f"{name} {analyzed}"] = [*sorted(kinds), str(read)]
            await conn.rollback()
        return wrong

    assert asyncio.run(run()) == {}
