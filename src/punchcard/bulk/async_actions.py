"""Async actions: how a bulk request is accepted, and how its progress is read.

Accepting inserts the action and its payload in one transaction and touches no row that a portion could
hold, so it never waits for one.
"""

import asyncio
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Request, Response, get, post
from litestar.params import Parameter
from msgspec import UNSET, Raw, Struct, UnsetType
from psycopg import sql
from psycopg.types.json import Jsonb

from punchcard import ids
from punchcard.bulk import pieces
from punchcard.bulk.jobs import PORTION_US, Job, Lane, WalkJob
from punchcard.bulk.reports import Links
from punchcard.bulk.signals import Listener
from punchcard.db import statements
from punchcard.db.database import Conn, Database
from punchcard.errors import ApiError, NotFound
from punchcard.http import idempotency, lists

SQL = statements.beside(__file__)

WAIT_SECONDS_MAX = 30
WAIT_POLL_S = 1.0
# how many actions in front of one are looked at to tell its position
QUEUE_LOOK_MAX = 1000
# Types that are not documented begin so. Clients that are generated from the documented description hold the types in
# a closed list and fail on any other: a list of actions must not have one unless it is asked for.
INTERNAL_PREFIX = "PUNCHCARD."
# true or false, and none of the other words that the framework takes for them
Flag: TypeAlias = Literal["true", "false"]
PIECE_BYTES_MAX = 1024 * 1024
_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)


class Scheduled(Struct):
    """The answer to every bulk request."""

    async_action_id: str


class SegmentEffect(Struct):
    """How many customers a job put into a segment and took out of it; without a name the segment is gone."""

    id: str
    name: str | None
    entered: int
    left: int
    object: str = "segment"


class Effects(Struct):
    """What follows from the customers that a job has changed: DONE when all of them have been placed into segments."""

    status: str
    segments: list[SegmentEffect]


class AsyncAction(Struct, omit_defaults=True):
    """A bulk job. `progress` is 0 to 100; `processing_time` is in milliseconds."""

    id: str
    type: str
    status: str
    operation_status: str
    created_at: datetime
    updated_at: datetime
    request_id: str
    progress: int
    processing_time: int
    object: str
    # ours: true of a dry run, left out otherwise
    dry_run: bool | UnsetType = UNSET
    # ours, and only in the answer about one action, as all that follow: records of the request, of which so many were
    # looked at, and so many of these failed; what became of the others, by the names of the kind of job
    records_total: int | UnsetType = UNSET
    records_processed: int | UnsetType = UNSET
    records_failed: int | UnsetType = UNSET
    counts: dict[str, int] | UnsetType = UNSET
    # until it is finished: 0 under way, 1 the next in its lane; `position_is_minimum` when so many wait that the
    # others were not looked at
    position: int | UnsetType = UNSET
    position_is_minimum: bool | UnsetType = UNSET
    # until it is finished, as far as it can be known: for the records before it in its lane and its own
    estimated_seconds_left: int | UnsetType = UNSET
    # only while true: an operator has stopped its lane; somebody has asked for its end
    lane_paused: bool | UnsetType = UNSET
    cancel_requested: bool | UnsetType = UNSET
    result: dict[str, Any] | UnsetType = UNSET
    # of a job that changes customers, a dry run excepted
    effects: Effects | UnsetType = UNSET


class AsyncActionList(Struct):
    """A page of actions, newest first, without their results."""

    object: str
    data_ref: str
    async_actions: list[AsyncAction]
    has_more: bool


class ActionFinished(ApiError):
    """The action has ended: there is nothing left to cancel."""

    status = 409
    key = "async_action_finished"
    message = "Async action finished"


class ActionNotCancellable(ApiError):
    """The action is Punchcard's own: it brings what is stored in line with a setting, and half of that would stay."""

    status = 409
    key = "async_action_not_cancellable"
    message = "Async action not cancellable"


# ---- operations --------------------------------------------------------------------------------


# JSON; a slice of the request's body is as good as a copy of it, and costs no memory
Record: TypeAlias = bytes | Raw

# COPY, because it sends at the pace at which the server reads: a statement's parameters would be held a
# second time by the connection, which never gives that memory back
_COPY_PIECES = sql.SQL(
    "COPY async_action_pieces (project_id, action_id, first_record, records, body) FROM STDIN (FORMAT BINARY)"
)
_PIECE_TYPES = ["text", "text", "int4", "int4", "bytea"]


async def schedule(
    conn: Conn,
    project: str,
    job: Job,
    *,
    records: Sequence[Record],
    request_id: str,
    parameters: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> str:
    """Store a bulk request with its records, and what came beside them, and return the action's id.

    Runs after `conn` commits.
    """
    # what a dry run's portions have planned is not stored: they would all begin at the first record
    portion = max(1, len(records)) if dry_run else job.portion_records
    action_id = await _insert(
        conn, project, job, request_id, parameters, records_total=len(records), portion_records=portion, dry_run=dry_run
    )
    if records:
        async with conn.cursor() as cursor, cursor.copy(_COPY_PIECES) as copy:
            copy.set_types(_PIECE_TYPES)
            for first, count, body in cut_into_pieces(records):
                await copy.write_row((project, action_id, first, count, body))
    return action_id


async def schedule_walk(
    conn: Conn,
    project: str,
    job: WalkJob,
    *,
    rows_estimate: int,
    request_id: str,
    parameters: Mapping[str, Any] | None = None,
) -> str:
    """Have a job walk rows, about so many, once `conn` commits. Returns the action's id."""
    portion = job.portion_records
    return await _insert(
        conn, project, job, request_id, parameters, records_total=rows_estimate, portion_records=portion, dry_run=False
    )


async def _insert(
    conn: Conn, project: str, job: Job, request_id: str, parameters: Mapping[str, Any] | None, **columns: Any
) -> str:
    action_id = ids.new("aa")
    row: dict[str, Any] = {"project_id": project, "id": action_id, "type": job.type, "lane": job.lane}
    row["request_id"], row["parameters"] = request_id, None if parameters is None else Jsonb(parameters)
    while await (await conn.execute(SQL.async_action_insert, {**row, **columns})).fetchone() is None:
        pass
    return action_id


def cut_into_pieces(records: Sequence[Record]) -> Iterator[tuple[int, int, bytes]]:
    """First record, number of records and JSON array of each piece; a record over the limit is a piece alone."""
    for first, end in pieces.cut(records, PIECE_BYTES_MAX):
        yield first, end - first, _array(records[first:end])


def _array(records: Sequence[Record]) -> bytes:
    separated = (part for record in records for part in (b",", record))
    next(separated, None)
    return b"".join((b"[", *separated, b"]"))  # one copy: a piece can be as large as a body


async def get_action(
    conn: Conn, project: str, action_id: str, links: Links | None = None, placing: Collection[str] = ()
) -> AsyncAction:
    """One action with its result, in which `links` to its reports are put; with its effects, if its type is one of
    those that have customers placed. Raises `NotFound`."""
    row = await (await conn.execute(SQL.async_action_get, {"project_id": project, "id": action_id})).fetchone()
    if row is None:
        raise NotFound("async_action", action_id)
    action = _action(row)
    action.records_total, action.records_processed = row.records_total, row.records_next
    action.records_failed, action.counts = row.records_failed, msgspec.json.decode(row.counts)
    if row.result is not None:
        action.result = row.result if links is None else links.added(row.result, project, row)
    if row.finished_at is None:
        await _place_in_queue(conn, project, row, action)
    if row.type in placing and not row.dry_run:
        action.effects = await _effects(conn, project, row)
    return action


async def _effects(conn: Conn, project: str, row: Any) -> Effects:
    # after the action was read: with its end, all that waits was there
    key = {"project_id": project, "id": row.id}
    found = await (await conn.execute(SQL.async_action_effects, key)).fetchall()
    pending = row.finished_at is None or found[0].waiting
    segments = [SegmentEffect(one.segment_id, one.name, one.entered, one.left) for one in found if one.segment_id]
    return Effects("PENDING" if pending else "DONE", segments)


async def _place_in_queue(conn: Conn, project: str, row: Any, action: AsyncAction) -> None:
    """How many come before an action, and for how long: what is under way and what has arrived before it."""
    records = row.records_total - row.records_next
    before = await (
        await conn.execute(
            SQL.async_action_queue,
            {
                "project_id": project,
                "lane": row.lane,
                "id": row.id,
                "seq": row.seq,
                "limit": QUEUE_LOOK_MAX,
                "records": records,
                "rotating": row.lane == Lane.ROUND_ROBIN,
            },
        )
    ).fetchone()
    assert before is not None
    action.position = 0 if row.started_at else 1 + before.waiting
    action.lane_paused, action.cancel_requested = before.paused or UNSET, before.cancel_requested or UNSET
    if before.actions >= QUEUE_LOOK_MAX:
        action.position_is_minimum = True
    elif before.record_us is not None and not before.paused:
        portions_us, records_us = (before.actions + 1) * PORTION_US, (before.records + records) * before.record_us
        action.estimated_seconds_left = math.ceil((portions_us + records_us) / 1_000_000)


async def cancel_action(conn: Conn, project: str, action_id: str) -> AsyncAction:
    """Ask for the end of an action. Raises `NotFound`, `ActionFinished`, `ActionNotCancellable`."""
    row = await (await conn.execute(SQL.async_action_get, {"project_id": project, "id": action_id})).fetchone()
    if row is not None:
        if row.finished_at is not None:
            raise ActionFinished(
                f"Async action {action_id} has ended already", resource_id=action_id, resource_type="async_action"
            )
        if row.type.startswith(INTERNAL_PREFIX):
            raise ActionNotCancellable(
                f"An action of the type {row.type} has to come to its end",
                resource_id=action_id,
                resource_type="async_action",
            )
        await conn.execute(SQL.async_action_cancel_insert, {"project_id": project, "lane": row.lane, "id": action_id})
    return await get_action(conn, project, action_id)


async def list_actions(
    conn: Conn, project: str, *, before: datetime, limit: int, internal: bool = False
) -> AsyncActionList:
    """The newest `limit` actions scheduled before `before`; those of types that are ours alone if `internal`."""
    parameters = {"project_id": project, "before": before, "limit": limit + 1}
    parameters |= {"internal": internal, "prefix": INTERNAL_PREFIX}
    rows = await (await conn.execute(SQL.async_action_list, parameters)).fetchall()
    return AsyncActionList("list", "async_actions", [_action(row) for row in rows[:limit]], has_more=len(rows) > limit)


def _action(row: Any) -> AsyncAction:
    # of what has failed or was cancelled, how far it came
    progress = 100 if row.status == "DONE" else min(99, row.records_next * 100 // max(1, row.records_total))
    began = row.started_at or row.now
    return AsyncAction(
        id=row.id,
        type=row.type,
        status=row.status,
        operation_status=row.operation_status,
        created_at=row.created_at,
        updated_at=row.updated_at,
        request_id=row.request_id,
        progress=progress,
        processing_time=max(0, round(((row.finished_at or row.now) - began).total_seconds() * 1000)),
        object="async_action",
        dry_run=row.dry_run or UNSET,
    )


# ---- handlers ----------------------------------------------------------------------------------


@get("/v1/async-actions", operation_id="list-async-actions", tags=["Async Actions"])
async def get_async_actions(
    request: Request,  # type: ignore[type-arg]
    project: str,
    limit: lists.Limit = lists.LIMIT_DEFAULT,
    end_date: Annotated[str | None, Parameter(description="Only actions created before this ISO 8601 date.")] = None,
    internal: Annotated[
        Flag, Parameter(description="Also actions of types that are Punchcard's own (`PUNCHCARD.…`).")
    ] = "false",
) -> AsyncActionList:
    """List async actions, newest first."""
    before = lists.moment(end_date, "end_date") if end_date else _END_OF_TIME
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await list_actions(conn, project, before=before, limit=limit, internal=internal == "true")


@get("/v1/async-actions/{async_action_id:str}", operation_id="get-async-action", tags=["Async Actions"])
async def get_async_action(
    request: Request,  # type: ignore[type-arg]
    project: str,
    async_action_id: str,
    wait: Annotated[
        int,
        Parameter(
            ge=0,
            le=WAIT_SECONDS_MAX,
            description="Answer when the action is finished, at most this many seconds later.",
        ),
    ] = 0,
    wait_for: Annotated[
        Literal["result", "effects"],
        Parameter(description="`effects`: with `wait`, answer when its effects are DONE as well."),
    ] = "result",
) -> AsyncAction:
    """Get an async action.

    Its result is there once it is finished; until then its `position` in the queue (0 under way, 1 the next) and, as
    far as it can be known, an estimate of the time left. Its `effects` (Punchcard's own) are PENDING until all
    customers that it changed have been placed into segments.
    """
    database: Database = request.app.state.database
    listener: Listener = request.app.state.done_listener
    deadline = asyncio.get_running_loop().time() + wait
    while True:
        heard = listener.generation
        async with database.connection() as conn:
            state = request.app.state
            action = await get_action(conn, project, async_action_id, state.report_links, state.placing_types)
        remaining = deadline - asyncio.get_running_loop().time()
        if _is_awaited(action, wait_for) or remaining <= 0 or listener.released:
            return action
        await listener.wait(heard, min(remaining, WAIT_POLL_S))


def _is_awaited(action: AsyncAction, wait_for: str) -> bool:
    """Whether what was waited for has come."""
    if action.operation_status == "UNKNOWN":
        return False
    return wait_for == "result" or not isinstance(action.effects, Effects) or action.effects.status == "DONE"


@post(
    "/v1/async-actions/{async_action_id:str}/cancel",
    status_code=202,
    operation_id="cancel-async-action",
    tags=["Async Actions"],
)
async def post_cancel(
    request: Request,  # type: ignore[type-arg]
    project: str,
    async_action_id: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[AsyncAction]:
    """Cancel an async action (Punchcard's own).

    It ends soon: with the `operation_status` FAILED and the reason in its result. What it has done before stays.
    """
    key = idempotency.checked(request, idempotency_key)
    once = await idempotency.once(request, project, key, b"")
    if (repeated := await once.repeated()) is not None:
        return repeated

    async def act(conn: Conn) -> AsyncAction:
        return await cancel_action(conn, project, async_action_id)

    answer = await once.take_effect(act)
    request.app.state.work_notifier.ask()
    return answer


ROUTES = [get_async_actions, get_async_action, post_cancel]
