"""Who is in segments: the segments of a customer, and why a customer is in a segment or not.

`GET /v1/customers?segment_id=` lists members, see `customers`; `exporting` writes them into a file.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, get
from msgspec import Struct

from punchcard.db import statements
from punchcard.db.database import Conn, Database
from punchcard.errors import NotFound
from punchcard.segments import filters, placing
from punchcard.segments.evaluating import explanation
from punchcard.segments.placing import SimpleSegment

SQL = statements.beside(__file__)

# ---- types -------------------------------------------------------------------------------------


class CustomerSegmentList(Struct):
    """All segments of a customer."""

    object: str
    data_ref: str
    data: list[SimpleSegment]
    total: int


class ConditionSeen(Struct):
    """One condition of a filter: what was wanted, the value that it saw (null for none), and whether it holds."""

    attribute: str
    operator: str
    wanted: Any
    value: Any
    holds: bool


class Explanation(Struct):
    """Why a customer is in a segment, or not (ours).

    `member` is what is stored, `matches` what the filter says now (of a static segment: the same). They can differ
    while the customer is `waiting` to be placed.
    """

    segment: SimpleSegment
    customer_id: str
    member: bool
    matches: bool
    waiting: bool
    entered_at: datetime | None
    async_action_id: str | None
    junction: str | None
    conditions: list[ConditionSeen]
    object: str = "segment_explanation"


# ---- operations --------------------------------------------------------------------------------


async def segments_of(conn: Conn, project: str, customer_id: str) -> list[SimpleSegment]:
    """The segments of a customer, by id or source id; of an id that nobody has, those that its customer would enter."""
    key = {"project_id": project, "id": customer_id}
    rows = await (await conn.execute(SQL.customer_segments, key)).fetchall()
    if rows:
        return [SimpleSegment(row.id, row.name) for row in rows if row.id is not None]
    standing = await placing.Standings().read(conn, project)
    if standing.evaluation is None:
        return []
    parameters = standing.evaluation.parameters | {"project_id": project, "now": None, "source_id": customer_id}
    row = await (await conn.execute(standing.evaluation.of_nobody(), parameters, prepare=False)).fetchone()
    assert row is not None
    segments = list(standing.segments.values())
    return [SimpleSegment(segments[no - 1].id, segments[no - 1].name) for no in row.matched]


async def explain(conn: Conn, project: str, segment_id: str, customer_id: str) -> Explanation:
    """Why a customer is in a segment, or not. Needs a transaction of its own. Raises `NotFound`."""
    # whether the customer waits and what the filter says have to be of one moment
    await conn.execute("SET LOCAL transaction_isolation = 'repeatable read'")
    key = {"project_id": project, "id": segment_id, "customer": customer_id}
    row = await (await conn.execute(SQL.segment_member, key)).fetchone()
    if row is None:
        raise NotFound("segment", segment_id)
    if row.customer_id is None:
        raise NotFound("customer", customer_id)
    member = row.entered_at is not None
    matches, junction = member, None
    conditions: list[ConditionSeen] = []
    if row.filter is not None:
        given = msgspec.json.decode(row.filter)
        matches, conditions = await _conditions(conn, project, given, row.timezone, row.customer_id)
        junction = given.get("junction", "and")
    return Explanation(
        SimpleSegment(row.id, row.name),
        row.customer_id,
        member=member,
        matches=matches,
        waiting=row.waiting,
        entered_at=row.entered_at,
        async_action_id=row.async_action_id,
        junction=junction,
        conditions=conditions,
    )


async def _conditions(
    conn: Conn, project: str, given: Any, zone: str, customer_id: str
) -> tuple[bool, list[ConditionSeen]]:
    statement, parameters, seen = explanation(filters.parse(given), zone=zone)
    parameters |= {"project_id": project, "now": None, "ids": [customer_id]}
    row = await (await conn.execute(statement, parameters, prepare=False)).fetchone()
    if row is None:
        raise NotFound("customer", customer_id)  # it was deleted meanwhile
    values: Sequence[Any] = row[3:]
    return row.holds, [
        ConditionSeen(
            one.attribute, one.operator, given[one.attribute]["conditions"][one.operator], values[2 * no],
            values[2 * no + 1],
        )
        for no, one in enumerate(seen)
    ]  # fmt: skip


# ---- handlers ----------------------------------------------------------------------------------


@get("/v1/customers/{customer_id:str}/segments", operation_id="list-customer-segments", tags=["Customers"])
async def get_customer_segments(
    request: Request,  # type: ignore[type-arg]
    project: str,
    customer_id: str,
) -> CustomerSegmentList:
    """List the segments of a customer, by id or source id.

    Of an id that nobody has: the segments that a customer with this source id, of whom nothing else is known, would
    enter.
    """
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        segments = await segments_of(conn, project, customer_id)
    return CustomerSegmentList("list", "data", segments, total=len(segments))


@get(
    "/v1/segments/{segment_id:str}/members/{customer_id:str}/explain",
    operation_id="explain-segment-member",
    tags=["Segments"],
)
async def get_explanation(
    request: Request,  # type: ignore[type-arg]
    project: str,
    segment_id: str,
    customer_id: str,
) -> Explanation:
    """Explain why a customer, by id or source id, is in a segment or not (Punchcard's own).

    Each condition of the filter with the value that it sees now and whether it holds.
    """
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        return await explain(conn, project, segment_id, customer_id)


ROUTES = [get_customer_segments, get_explanation]
