"""Placing customers into segments: what differs from what they are in is written, counted, and told.

Everything here runs in the transaction that takes the rows out of the inbox, in the lane that alone writes memberships
of dynamic segments. Rows are taken first and customers evaluated in a later statement: what changes a customer commits
together with a row, so whoever is evaluated too early is evaluated again.

Who caused a difference: the silent change that said so when it was made, else the first change of the customer that
waited, else nobody in particular, such as the clock.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct
from psycopg import sql

from punchcard import log
from punchcard.bulk.jobs import TooMuch
from punchcard.customers import events as customer_events
from punchcard.customers.customers import shown
from punchcard.db import statements
from punchcard.db.database import Conn
from punchcard.events import events
from punchcard.events.events import Cause, Event, EventSource
from punchcard.segments import filters
from punchcard.segments.evaluating import Evaluation, within

SQL = statements.beside(__file__)

ENTERED, LEFT = "customer.segment.entered", "customer.segment.left"
ACTIVE = "auto-update"
# what led to customers being placed again and is no request: the reason is the group of the events
INTERNAL = EventSource("INTERNAL")
# so many events may lead to one another: a chain that goes on could go on for ever
DEPTH_MAX = 8
STATEMENTS_KEPT = 100
# What a portion writes at most, about what takes the time it should: customers who enter and leave very many segments
# are placed a few at a time.
DIFFERENCES_MAX = 20_000
EVENTS_MAX = 2_000

logger = log.get(__name__)


class Change(Struct, frozen=True):
    """Why a customer is to be placed again. `silent` changes say what they come to, and that has no events.

    Of an `unheard` change nothing has, whatever it comes to: no customer has changed, but what all are looked at by.
    """

    customer_id: str
    cause: Cause
    silent: bool = False
    enters: frozenset[str] = frozenset()
    leaves: frozenset[str] = frozenset()
    is_deletion: bool = False
    unheard: bool = False


class SimpleSegment(Struct):
    """A segment inside the payload of an event."""

    id: str
    name: str
    object: str = "segment"


class SegmentPayload(Struct):
    """The documented payload of `customer.segment.entered` and `customer.segment.left`."""

    # of `Customer`, as it is written
    customer: Raw
    segment: SimpleSegment


class Segment(Struct, frozen=True):
    """A dynamic segment as it stands: `populated_to` and `populate_until` while not all customers are placed."""

    id: str
    name: str
    is_active: bool
    revision: int
    populated_to: str | None
    populate_until: str | None


class Standing(Struct):
    """The dynamic segments of a project, and the statement that evaluates them; none without segments."""

    zone: str
    segments: dict[str, Segment]
    evaluation: Evaluation | None


class Difference(Struct, frozen=True):
    """A customer who enters or leaves a segment, and what caused it; `silent` has no event."""

    customer_id: str
    segment_id: str
    entered: bool
    customer_created_at: datetime
    cause: Cause
    silent: bool


class Standings:
    """Reads how segments stand; remembers the statements of the projects it has read last."""

    def __init__(self) -> None:
        self._evaluations: dict[str, tuple[Any, Evaluation]] = {}

    async def read(self, conn: Conn, project: str, *, active: bool = False) -> Standing:
        """The dynamic segments of a project; or only the `active` ones."""
        rows = await (await conn.execute(SQL.segments_standing, {"project_id": project})).fetchall()
        zone = rows[0].timezone
        rows = [row for row in rows if row.id is not None and (row.type == ACTIVE or not active)]
        evaluation = self._evaluation(project, zone, rows) if rows else None
        return Standing(zone, {row.id: _segment(row) for row in rows}, evaluation)

    def _evaluation(self, project: str, zone: str, rows: Sequence[Any]) -> Evaluation:
        key = (zone, *((row.id, row.revision) for row in rows))
        known, evaluation = self._evaluations.pop(project, (None, None))
        if known != key or evaluation is None:
            evaluation = Evaluation([filters.parse(msgspec.json.decode(row.filter)) for row in rows], zone=zone)
            if len(self._evaluations) >= STATEMENTS_KEPT:
                del self._evaluations[next(iter(self._evaluations))]
        self._evaluations[project] = (key, evaluation)
        return evaluation


def _segment(row: Any) -> Segment:
    populated_to, populate_until = row.populated_to, row.populate_until
    if row.populated_revision != row.revision:
        # the population by its filter has not begun: nobody is placed
        populated_to, populate_until = "", "zzzz"
    return Segment(row.id, row.name, row.type == ACTIVE, row.revision, populated_to, populate_until)


async def place(
    conn: Conn, project: str, standings: Standings, changes: Sequence[Change], *, bounded: bool = True
) -> None:
    """Place customers who changed; all that follows from it is written. If `bounded`, raises `TooMuch`."""
    gone = [change.customer_id for change in changes if change.is_deletion]
    standing = await standings.read(conn, project)
    came_and_went: dict[str, list[int]] = {}
    if gone:
        rows = await (
            await conn.execute(SQL.customers_forget, {"project_id": project, "customer_ids": gone})
        ).fetchall()
        came_and_went |= {row.segment_id: [0, row.left] for row in rows}
    now = None
    if standing.evaluation is not None:
        now, differences = await _differences(conn, project, standing, changes)
        if bounded:
            _refuse_too_many(changes, differences, standing)
        await _write(conn, project, differences, now)
        for difference in differences:
            came_and_went.setdefault(difference.segment_id, [0, 0])[0 if difference.entered else 1] += 1
        await _note_effects(conn, project, differences)
        await _tell(conn, project, standing, differences)
    await count(conn, project, standing.zone, came_and_went, now)


async def _differences(
    conn: Conn, project: str, standing: Standing, changes: Sequence[Change]
) -> tuple[datetime | None, list[Difference]]:
    """What placing comes to, and when."""
    by_customer: dict[str, list[Change]] = {}
    for change in changes:
        by_customer.setdefault(change.customer_id, []).append(change)
    rows = await (await conn.execute(*statement_of(project, standing, list(by_customer)), prepare=False)).fetchall()
    if rows[0].due_at is not None:
        await conn.execute(SQL.segment_clock_set, {"project_id": project, "due_at": rows[0].due_at})
    return rows[0].now, [_difference(row, by_customer[row.customer_id], standing) for row in rows[1:]]


def statement_of(project: str, standing: Standing, ids: Sequence[str]) -> tuple[sql.Composed, dict[str, Any]]:
    """The statement `segments_place` for customers, and its parameters."""
    assert standing.evaluation is not None
    segments = list(standing.segments.values())
    return within(SQL.segments_place, standing.evaluation.of_ids()), standing.evaluation.parameters | {
        "project_id": project,
        "now": None,
        "ids": list(ids),
        "segment_ids": [segment.id for segment in segments],
        "populated_tos": [segment.populated_to for segment in segments],
        "populate_untils": [segment.populate_until for segment in segments],
        "has_clock": standing.evaluation.has_clock,
    }


def _refuse_too_many(changes: Sequence[Change], differences: Sequence[Difference], standing: Standing) -> None:
    """Raise `TooMuch` if so many changes come to more differences or events than one portion should write."""
    written: Counter[str] = Counter(one.customer_id for one in differences)
    told: Counter[str] = Counter(one.customer_id for one in differences if _is_told(one, standing))
    if written.total() <= DIFFERENCES_MAX and told.total() <= EVENTS_MAX:
        return
    room, events_room, seen = DIFFERENCES_MAX, EVENTS_MAX, set[str]()
    for units, change in enumerate(changes):
        if change.customer_id not in seen:
            seen.add(change.customer_id)
            room, events_room = room - written[change.customer_id], events_room - told[change.customer_id]
        if len(seen) > 1 and (room < 0 or events_room < 0):
            raise TooMuch(units)


def _is_told(one: Difference, standing: Standing) -> bool:
    """Whether a difference has an event."""
    return not one.silent and standing.segments[one.segment_id].is_active


def _difference(row: Any, changes: Sequence[Change], standing: Standing) -> Difference:
    said = [one for one in changes if row.segment_id in (one.enters if row.entered else one.leaves)]
    loud = [one for one in changes if not one.silent]
    cause, silent = Cause(INTERNAL, "placement"), False
    if said:
        cause, silent = said[-1].cause, True
    elif not standing.segments[row.segment_id].is_active:
        cause = changes[0].cause  # silent changes say nothing of segments that have no events
    elif loud:
        cause, silent = loud[0].cause, loud[0].unheard
    return Difference(row.customer_id, row.segment_id, row.entered, row.customer_created_at, cause, silent)


async def _write(conn: Conn, project: str, differences: Sequence[Difference], now: datetime | None) -> None:
    entered = [one for one in differences if one.entered]
    if entered:
        columns: dict[str, Any] = {
            "segment_ids": [one.segment_id for one in entered],
            "customer_ids": [one.customer_id for one in entered],
            "customer_created_ats": [one.customer_created_at for one in entered],
            "async_action_ids": [one.cause.async_action_id for one in entered],
        }
        await conn.execute(SQL.segment_members_insert, {"project_id": project, "now": now, **columns})
    left: dict[str, list[str]] = {}
    for one in differences:
        if not one.entered:
            left.setdefault(one.segment_id, []).append(one.customer_id)
    async with conn.pipeline():
        for segment_id, customer_ids in left.items():
            key = {"project_id": project, "segment_id": segment_id}
            await conn.execute(SQL.segment_members_delete, {**key, "customer_ids": customer_ids})


async def count(
    conn: Conn,
    project: str,
    zone: str,
    came_and_went: Mapping[str, Sequence[int]],
    now: datetime | None,
    *,
    of_the_day: bool = True,
) -> None:
    """Add to the summaries of segments: how many came, and how many went; `of_the_day`: and that they did today."""
    if came_and_went:
        columns: dict[str, Any] = {
            "segment_ids": list(came_and_went),
            "members": [entered - left for entered, left in came_and_went.values()],
            "entered": [entered if of_the_day else 0 for entered, _ in came_and_went.values()],
            "left": [left if of_the_day else 0 for _, left in came_and_went.values()],
        }
        await conn.execute(SQL.segment_summaries_add, {"project_id": project, "zone": zone, "now": now, **columns})


async def _note_effects(conn: Conn, project: str, differences: Sequence[Difference]) -> None:
    """Note what bulk jobs led to."""
    entered: Counter[tuple[str, str]] = Counter()
    left: Counter[tuple[str, str]] = Counter()
    for one in differences:
        if one.cause.async_action_id is not None:
            (entered if one.entered else left)[one.cause.async_action_id, one.segment_id] += 1
    pairs = list(dict.fromkeys([*entered, *left]))
    if pairs:
        columns: dict[str, Any] = {
            "action_ids": [action_id for action_id, _ in pairs],
            "segment_ids": [segment_id for _, segment_id in pairs],
            "entered": [entered[pair] for pair in pairs],
            "left": [left[pair] for pair in pairs],
        }
        await conn.execute(SQL.async_action_effects_add, {"project_id": project, **columns})


async def _tell(conn: Conn, project: str, standing: Standing, differences: Sequence[Difference]) -> None:
    """Write the events of active segments. Customers are held meanwhile: one that is gone has no events any more."""
    loud = [one for one in differences if _is_told(one, standing)]
    if deep := [one for one in loud if one.cause.depth + 1 > DEPTH_MAX]:
        logger.warning("chain_of_events_cut", project=project, customers=len({one.customer_id for one in deep}),
                       segments=sorted({one.segment_id for one in deep}), depth=DEPTH_MAX)  # fmt: skip
        loud = [one for one in loud if one.cause.depth + 1 <= DEPTH_MAX]
    if not loud:
        return
    key = {"project_id": project, "ids": sorted({one.customer_id for one in loud})}
    await conn.execute(SQL.customers_hold, key)
    rows = await (await conn.execute(customer_events.SQL.customers_shown, key)).fetchall()
    # written once, however many segments a customer enters
    people = {row.id: Raw(msgspec.json.encode(shown(row))) for row in rows}
    happened = []
    for one in loud:
        if (person := people.get(one.customer_id)) is not None:
            segment = standing.segments[one.segment_id]
            payload = SegmentPayload(person, SimpleSegment(segment.id, segment.name))
            event = Event(ENTERED if one.entered else LEFT, segment.id, payload, customer_id=one.customer_id)
            happened.append((msgspec.structs.replace(one.cause, depth=one.cause.depth + 1), event))
    await events.record_each(conn, project, happened)
