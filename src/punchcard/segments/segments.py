"""Segments: types, creating, changing, deleting, lists, routes. Who is in them is the business of the segments lane."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.params import Parameter, QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType
from psycopg import sql

from punchcard import ids
from punchcard.db import statements
from punchcard.db.database import Conn, Database
from punchcard.errors import ApiError, InvalidPayload, NotFound
from punchcard.http import answers, filters, idempotency, lists, objects, pages
from punchcard.http.bodies import BodyBudget
from punchcard.http.filters import Condition
from punchcard.http.filters import Filter as ListFilter
from punchcard.http.shapes import Identifier, or_unset, same_json
from punchcard.segments import filters as segment_filters
from punchcard.segments import lane

SQL = statements.beside(__file__)

DYNAMIC_MAX = 100
CUSTOMERS_MAX = 20_000
NAME_LENGTH_MAX = 255
EXAMPLE = {
    "name": "Regulars",
    "type": "auto-update",
    "filter": {"junction": "and", "summary.orders.total_count": {"conditions": {"$more_than": [5]}}},
}
UPDATE_EXAMPLE = {"filter": {"summary.orders.total_count": {"conditions": {"$more_than": [9]}}}}

SegmentType: TypeAlias = Literal["static", "passive", "auto-update"]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]

# ---- types -------------------------------------------------------------------------------------


class SegmentIn(Struct):
    """A new segment: with `customers`, by their ids, a static one, with a `filter` a dynamic one."""

    name: Name
    type: SegmentType | None = None
    customers: Annotated[list[Identifier], Meta(max_length=CUSTOMERS_MAX)] | None = None
    filter: dict[str, Any] | None = None


class SegmentUpdate(Struct):
    """What is to change of a passive segment. null means absent."""

    name: Name | None = None
    filter: dict[str, Any] | None = None


class Summary(Struct):
    """Who is in a segment (ours). All changes answered before `right_until` are in the numbers.

    Days are those of the project's time zone; while `population` is IN_PROGRESS, customers who were there before the
    segment or its filter are still being looked at.
    """

    members: int
    entered_today: int
    left_today: int
    changed_at: datetime | None
    right_until: datetime
    population: str


class Segment(Struct):
    """A segment as the API shows it."""

    id: str
    name: str
    created_at: datetime
    type: SegmentType
    filter: dict[str, Any] | None
    summary: Summary
    updated_at: datetime | UnsetType = UNSET
    object: str = "segment"


class SegmentList(Struct):
    """A page of segments; under two names, because the documentation has both."""

    object: str
    data_ref: str
    data: list[Segment]
    segments: list[Segment]
    total: int
    has_more: bool


class TooManySegments(ApiError):
    """The project has as many dynamic segments as there may be."""

    key = "too_many_segments"
    message = "Too many segments"


class TooManyConditions(ApiError):
    """The filters of the project are as large together as they may be."""

    key = "too_many_conditions"
    message = "Too many conditions"


class SegmentFixed(ApiError):
    """Only passive segments can be changed: what follows from the others was decided when they were made."""

    key = "segment_not_editable"
    message = "Segment cannot be changed"


# ---- operations --------------------------------------------------------------------------------


async def create(conn: Conn, project: str, given: SegmentIn) -> Segment:
    """Make a segment. Needs a transaction. Raises `InvalidPayload`, `TooManySegments`, `NotFound`."""
    kind = _kind(given)
    segment_id = ids.new("seg")
    columns: dict[str, Any] = {"project_id": project, "id": segment_id, "name": given.name, "type": kind}
    if kind == "static":
        await conn.execute(SQL.segment_insert, {**columns, "filter": None, "last": None})
        await _fix_members(conn, project, segment_id, given.customers or [])
    else:
        await _make_room(conn, project, segment_filters.parse(given.filter))
        found = await (await conn.execute(SQL.segments_count, {"project_id": project})).fetchone()
        assert found is not None
        if found.dynamic >= DYNAMIC_MAX:
            raise TooManySegments(f"A project can have {DYNAMIC_MAX} passive and active segments: delete one first")
        columns |= {"filter": msgspec.json.encode(given.filter).decode(), "last": found.last}
        await conn.execute(SQL.segment_insert, columns)
        await lane.append_task(conn, project, lane.POPULATE, segment_id, revision=1, cause="segments.create")
    return await get_segment(conn, project, segment_id)


def _kind(given: SegmentIn) -> str:
    """The type that is given, or that follows from what is given. Raises `InvalidPayload`."""
    kind = given.type
    if kind is None:
        if given.filter is None and given.customers is None:
            raise InvalidPayload("Payload should have required property 'customers' or 'filter'")
        kind = "static" if given.filter is None else "passive"
    if kind == "static":
        if given.filter is not None:
            raise InvalidPayload("Property .filter must not be there: a static segment has customers")
        if given.customers is None:
            raise InvalidPayload("Payload should have required property 'customers'")
    else:
        if given.customers is not None:
            raise InvalidPayload("Property .customers must not be there: a dynamic segment has a filter")
        if given.filter is None:
            raise InvalidPayload("Payload should have required property 'filter'")
    return kind


async def _fix_members(conn: Conn, project: str, segment_id: str, customers: Sequence[str]) -> None:
    wanted = sorted(set(customers))
    key = {"project_id": project, "id": segment_id}
    found = await (await conn.execute(SQL.segment_members_fix, {**key, "customer_ids": wanted})).fetchall()
    if len(found) < len(wanted):
        there = {row.customer_id for row in found}
        raise NotFound("customer", next(one for one in wanted if one not in there))
    await conn.execute(SQL.segment_members_fixed, {**key, "members": len(wanted)})


async def update(conn: Conn, project: str, segment_id: str, given: SegmentUpdate) -> Segment:
    """Change a passive segment. Needs a transaction. Raises `InvalidPayload`, `NotFound`, `SegmentFixed`."""
    if given.filter is not None:
        await _make_room(conn, project, segment_filters.parse(given.filter), instead_of=segment_id)
    key = {"project_id": project, "id": segment_id}
    await conn.execute(SQL.segment_lock, key)
    row = await (await conn.execute(SQL.segment_get, key)).fetchone()
    if row is None:
        raise NotFound("segment", segment_id)
    if row.type != "passive":
        kind = "a static" if row.type == "static" else "an active"
        raise SegmentFixed(
            f"Segment {segment_id} is {kind} one; make another in its place",
            resource_id=segment_id,
            resource_type="segment",
        )
    stored = msgspec.json.decode(row.filter)
    name, wanted = given.name or row.name, stored if given.filter is None else given.filter
    moved = not same_json(wanted, stored)
    if name != row.name or moved:
        revision = row.revision + moved
        columns = {"name": name, "filter": msgspec.json.encode(wanted).decode(), "revision": revision}
        await conn.execute(SQL.segment_update, {**key, **columns})
        if moved:
            await lane.append_task(conn, project, lane.POPULATE, segment_id, revision=revision, cause="segments.update")
    return await get_segment(conn, project, segment_id)


async def _make_room(conn: Conn, project: str, given: segment_filters.Filter, *, instead_of: str | None = None) -> None:
    """Be alone with the project's filters, and see that there is room for another one. Raises `TooManyConditions`."""
    await conn.execute(SQL.segments_hold, {"project_id": project})
    conditions, values = given.conditions, given.values
    for row in await (await conn.execute(SQL.segments_filters, {"project_id": project})).fetchall():
        if row.id != instead_of:
            other = segment_filters.parse(msgspec.json.decode(row.filter))
            conditions, values = conditions + other.conditions, values + other.values
    for number, most, noun in (
        (conditions, segment_filters.PROJECT_CONDITIONS_MAX, "operators"),
        (values, segment_filters.PROJECT_VALUES_MAX, "values"),
    ):
        if number > most:
            raise TooManyConditions(
                f"The filters of a project's segments can have {most} {noun} together, not {number}"
            )


async def remove(conn: Conn, project: str, segment_id: str) -> None:
    """Delete a segment; nobody is said to have left it. Needs a transaction. Raises `NotFound`."""
    key = {"project_id": project, "id": segment_id}
    if await (await conn.execute(SQL.segment_delete, key)).fetchone() is None:
        raise NotFound("segment", segment_id)
    await lane.append_task(conn, project, lane.FORGET, segment_id, cause="segments.delete")


async def get_segment(conn: Conn, project: str, segment_id: str) -> Segment:
    """One segment. Raises `NotFound`."""
    right_until = await _right_until(conn, project)
    row = await (await conn.execute(SQL.segment_get, {"project_id": project, "id": segment_id})).fetchone()
    if row is None:
        raise NotFound("segment", segment_id)
    return _shown(row, right_until)


async def _right_until(conn: Conn, project: str) -> datetime:
    """The moment before which all changes are in what is read next: to be read before the numbers."""
    row = await (await conn.execute(SQL.segments_right_until, {"project_id": project})).fetchone()
    assert row is not None
    moment: datetime = row.moment
    return moment


def _shown(row: Any, right_until: datetime) -> Segment:
    summary = Summary(
        members=row.members,
        entered_today=row.entered_today,
        left_today=row.left_today,
        changed_at=row.changed_at,
        right_until=right_until,
        population="IN_PROGRESS" if row.populating else "DONE",
    )
    return Segment(row.id, row.name, row.created_at, row.type, row.filter, summary, updated_at=or_unset(row.updated_at))


# ---- the list ----------------------------------------------------------------------------------

_TEXTS = {"id": sql.SQL("id"), "name": sql.SQL("name"), "type": sql.SQL("type")}
FIELDS = (*_TEXTS, "created_at", "junction")
_ANY = (
    "`filters[FIELD][conditions][$OPERATOR]=VALUE`, and `filters[junction]=and` or `or`. Fields: "
    + ", ".join(f"`{field}`" for field in FIELDS)
    + "."
)


def _condition(given: ListFilter) -> Condition | None:
    if given.field in _TEXTS:
        return given.text(_TEXTS[given.field])
    return given.date(sql.SQL("created_at")) if given.field == "created_at" else None


async def list_segments(
    conn: Conn, project: str, *, limit: int, page: int, order: str | None, query: Sequence[tuple[str, str]]
) -> SegmentList:
    """A page of segments, newest first by default. Needs a transaction."""
    _, descending = lists.ordering(order, ("created_at",), "-created_at")
    rows = pages.Rows(SQL.segments_list, {"project_id": project})
    wanted = [
        value for name, text in query if lists.path_of(name)[0] == "ids" for value in filters.values_of(text, "ids")
    ]
    if wanted:
        rows.where("id", sql.SQL("id = ANY(%(ids)s)"), ids=[lists.text_of(one, "ids") for one in wanted])
    filters.narrow(rows, filters.read(query, _condition, known=FIELDS))
    right_until = await _right_until(conn, project)
    found = await rows.page(conn, pages.BY_CREATION, descending=descending, limit=limit, page=page)
    segments = [_shown(row, right_until) for row in found.rows]
    total = await rows.count(conn)
    return SegmentList("list", "data", segments, segments, total=total, has_more=found.has_more)


# ---- handlers ----------------------------------------------------------------------------------

_new = msgspec.json.Decoder(SegmentIn)
_change = msgspec.json.Decoder(SegmentUpdate)


@post(
    "/v1/segments",
    status_code=200,
    operation_id="create-segment",
    tags=["Segments"],
    responses=answers.NAMED_NOT_FOUND,
)
async def post_segment(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Segment]:
    """Create a segment.

    A static one has the given `customers` (ids, at most 20,000) for ever. A passive one follows its `filter`; of an
    active one (`auto-update`) customers who enter and leave have events. Those who fit the filter from the start enter
    without. A project has at most 100 passive and active segments. Without a `type`, a filter makes it passive.
    """
    key = idempotency.checked(request, idempotency_key)
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_object(request) as body:
        once = await idempotency.once(request, project, key, body)
        if (repeated := await once.repeated()) is not None:
            return repeated
        given = objects.read(body, _new)

    async def act(conn: Conn) -> Segment:
        return await create(conn, project, given)

    answer = await once.take_effect(act)
    request.app.state.work_notifier.ask()
    return answer


@put("/v1/segments/{segment_id:str}", operation_id="update-segment", tags=["Segments"])
async def put_segment(request: Request, project: str, segment_id: str) -> Segment:  # type: ignore[type-arg]
    """Change a passive segment (Punchcard's own): its name, or its filter.

    With another filter the segment is populated anew, and keeps its members until each is looked at.
    """
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_object(request) as body:
        given = objects.read(body, _change)
    database: Database = request.app.state.database

    async def act(conn: Conn) -> Segment:
        return await update(conn, project, segment_id, given)

    segment = await database.settle(act)
    request.app.state.work_notifier.ask()
    return segment


@delete("/v1/segments/{segment_id:str}", operation_id="delete-segment", tags=["Segments"])
async def delete_segment(request: Request, project: str, segment_id: str) -> None:  # type: ignore[type-arg]
    """Delete a segment. Nobody is said to have left it."""
    database: Database = request.app.state.database

    async def act(conn: Conn) -> None:
        await remove(conn, project, segment_id)

    await database.settle(act)
    request.app.state.work_notifier.ask()


@get("/v1/segments/{segment_id:str}", operation_id="get-segment", tags=["Segments"])
async def get_segment_by_id(request: Request, project: str, segment_id: str) -> Segment:  # type: ignore[type-arg]
    """Get a segment."""
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await get_segment(conn, project, segment_id)


@get("/v1/segments", operation_id="list-segments", tags=["Segments"])
async def get_segments(
    request: Request,  # type: ignore[type-arg]
    project: str,
    limit: lists.Limit = lists.LIMIT_DEFAULT,
    page: lists.Page = 1,
    order: Annotated[str | None, Parameter(description="created_at; `-` for descending.")] = None,
    wanted: Annotated[
        list[str] | None, QueryParameter(name="ids[]", description="Only segments with one of these ids.")
    ] = None,
    any_filter: Annotated[str | None, QueryParameter(name="filters", description=_ANY)] = None,
) -> SegmentList:
    """List segments, newest first."""
    lists.check_page(page, lists.PAGE_MAX)
    query = tuple(request.query_params.multi_items())
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        return await list_segments(conn, project, limit=limit, page=page, order=order, query=query)


ROUTES = [post_segment, put_segment, delete_segment, get_segment_by_id, get_segments]
