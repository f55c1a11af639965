"""Verification: evaluates every membership anew, in portions, and reports where what is stored differs.

It writes nothing. To repair, it asks the lane, which alone writes memberships: customers are placed again, silently,
because what should have had events is long past.
"""

from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct

from punchcard.db import statements
from punchcard.db.database import Conn
from punchcard.events import segment_inbox
from punchcard.events.segment_inbox import Origin, SilentDifference
from punchcard.segments import lane
from punchcard.segments.evaluating import Evaluation, within
from punchcard.segments.placing import Standings

SQL = statements.beside(__file__)

CUSTOMERS_A_PORTION = 5000
REASON = "segments.verify"
_LAST = "zzzz"

# kinds of differences
MISSING, WRONG, NO_SEGMENT, NO_CUSTOMER, NOT_DUE = "missing", "wrong", "of no segment", "of no customer", "not due"
MISCOUNTED, CLOCK_LATE, STALLED = "miscounted", "clock late", "stalled"
_TEXTS = {
    MISSING: "customer {customer_id} fits segment {segment_id} and is not in it",
    WRONG: "customer {customer_id} is in segment {segment_id} and does not fit it",
    NO_SEGMENT: "customer {customer_id} is in segment {segment_id}, which does not exist",
    NO_CUSTOMER: "customer {customer_id}, who does not exist, is in segment {segment_id}",
    NOT_DUE: "customer {customer_id} will not be looked at on the day on which it may enter or leave a segment",
    MISCOUNTED: "segment {segment_id} has another number of members than its summary says",
    STALLED: "segment {segment_id} is not populated to its end, and nobody goes on with it",
    CLOCK_LATE: "the lane wakes later than the first customer has to be looked at",
}


class Difference(Struct, frozen=True):
    """Something that is stored and should be otherwise."""

    kind: str
    customer_id: str | None = None
    segment_id: str | None = None

    def __str__(self) -> str:
        return _TEXTS[self.kind].format(customer_id=self.customer_id, segment_id=self.segment_id)


async def verify(conn: Conn, project: str) -> AsyncIterator[list[Difference]]:
    """The differences of a project, portion by portion; each portion is a statement of its own."""
    after, standings = "", Standings()
    while after != _LAST:
        after, differences = await _portion(conn, project, standings, after)
        yield differences
    key = {"project_id": project}
    miscounted = await (await conn.execute(SQL.segments_verify_counts, key)).fetchall()
    late = await (await conn.execute(SQL.segments_verify_clock, key)).fetchall()
    stalled = await (await conn.execute(SQL.segments_verify_populations, key)).fetchall()
    yield [
        *(Difference(MISCOUNTED, segment_id=row.segment_id) for row in miscounted),
        *(Difference(STALLED, segment_id=row.id) for row in stalled),
        *(Difference(CLOCK_LATE) for _ in late),
    ]


async def _portion(conn: Conn, project: str, standings: Standings, after: str) -> tuple[str, list[Difference]]:
    async with conn.transaction():
        # how segments stand and the statement that compares have to be of one moment
        await conn.execute("SET LOCAL transaction_isolation = 'repeatable read'")
        standing = await standings.read(conn, project)
        evaluation = standing.evaluation or Evaluation([], zone=standing.zone)
        segments = list(standing.segments.values())
        parameters = evaluation.parameters | {
            "project_id": project,
            "now": None,
            "after": after,
            "until": _LAST,
            "limit": CUSTOMERS_A_PORTION,
            "segment_ids": [segment.id for segment in segments],
            "populated_tos": [segment.populated_to for segment in segments],
            "populate_untils": [segment.populate_until for segment in segments],
            "populated": all(segment.populated_to is None for segment in segments),
        }
        statement = within(SQL.segments_verify, evaluation.of_range())
        rows: list[Any] = await (await conn.execute(statement, parameters, prepare=False)).fetchall()
    found = sorted(rows[1:], key=lambda row: (row.customer_id, row.segment_id or ""))
    return rows[0].customer_id, [Difference(row.kind, row.customer_id, row.segment_id) for row in found]


async def repair(conn: Conn, project: str, differences: list[Difference]) -> None:
    """Have the lane put right what differs. Needs a transaction."""
    by_customer: dict[str, SilentDifference] = {}
    for one in differences:
        if one.kind in {MISSING, WRONG, NOT_DUE} and one.customer_id is not None:
            mine = by_customer.setdefault(one.customer_id, SilentDifference([], []))
            if one.segment_id is not None:
                (mine.enters if one.kind == MISSING else mine.leaves).append(one.segment_id)
    await segment_inbox.append_silent(conn, project, by_customer, Origin(REASON))
    gone = dict.fromkeys(one.customer_id for one in differences if one.kind == NO_CUSTOMER)
    await segment_inbox.append(conn, project, [one for one in gone if one is not None], Origin(lane.DELETION))
    tasks = {NO_SEGMENT: lane.FORGET, MISCOUNTED: lane.COUNT}
    for task, segment_id in dict.fromkeys(
        (tasks[one.kind], one.segment_id) for one in differences if one.kind in tasks
    ):
        await lane.append_task(conn, project, task, segment_id, cause=REASON)
    stalled = [one.segment_id for one in differences if one.kind == STALLED]
    for row in await (await conn.execute(SQL.segments_verify_populations, {"project_id": project})).fetchall():
        if row.id in stalled:
            await lane.append_task(conn, project, lane.POPULATE, row.id, revision=row.revision, cause=REASON)
    if any(one.kind == CLOCK_LATE for one in differences):
        await conn.execute(SQL.segment_clock_advance, {"project_id": project})
