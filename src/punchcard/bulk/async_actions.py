"""Async actions: how a bulk request is accepted, and how its progress is read.

Accepting inserts the action and its payload in one transaction and touches no row that a portion could
hold, so it never waits for one.
"""

import asyncio
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Request, get
from litestar.params import Parameter
from msgspec import UNSET, Raw, Struct, UnsetType
from psycopg import sql

from punchcard import ids
from punchcard.bulk.jobs import Job, WalkJob
from punchcard.bulk.signals import Listener
from punchcard.db import statements
from punchcard.db.database import Conn, Database
from punchcard.errors import NotFound
from punchcard.http import lists

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
    result: dict[str, Any] | UnsetType = UNSET


class AsyncActionList(Struct):
    """A page of actions, newest first, without their results."""

    object: str
    data_ref: str
    async_actions: list[AsyncAction]
    has_more: bool


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
    conn: Conn, project: str, job: Job, *, records: Sequence[Record], request_id: str, dry_run: bool = False
) -> str:
    """Store a bulk request with its records and return the action's id. Runs after `conn` commits."""
    # what a dry run's portions have planned is not stored: they would all begin at the first record
    portion = max(1, len(records)) if dry_run else job.portion_records
    action_id = await _insert(
        conn, project, job, request_id, records_total=len(records), portion_records=portion, dry_run=dry_run
    )
    if records:
        async with conn.cursor() as cursor, cursor.copy(_COPY_PIECES) as copy:
            copy.set_types(_PIECE_TYPES)
            for first, count, body in cut_into_pieces(records):
                await copy.write_row((project, action_id, first, count, body))
    return action_id


async def schedule_walk(conn: Conn, project: str, job: WalkJob, *, rows_estimate: int, request_id: str) -> str:
    """Have a job walk stored rows, about so many, once `conn` commits. Returns the action's id."""
    portion = job.portion_records
    return await _insert(
        conn, project, job, request_id, records_total=rows_estimate, portion_records=portion, dry_run=False
    )


async def _insert(conn: Conn, project: str, job: Job, request_id: str, **columns: Any) -> str:
    action_id = ids.new("aa")
    row = {"project_id": project, "id": action_id, "type": job.type, "lane": job.lane, "request_id": request_id}
    while await (await conn.execute(SQL.async_action_insert, {**row, **columns})).fetchone() is None:
        pass
    return action_id


def cut_into_pieces(records: Sequence[Record]) -> Iterator[tuple[int, int, bytes]]:
    """First record, number of records and JSON array of each piece; a record over the limit is a piece alone."""
    first, size = 0, 0
    for index, record in enumerate(records):
        if size and size + len(record) > PIECE_BYTES_MAX:
            yield first, index - first, _array(records[first:index])
            first, size = index, 0
        size += len(record) + 1
    if records:
        yield first, len(records) - first, _array(records[first:])


def _array(records: Sequence[Record]) -> bytes:
    separated = (part for record in records for part in (b",", record))
    next(separated, None)
    return b"".join((b"[", *separated, b"]"))  # one copy: a piece can be as large as a body


async def get_action(conn: Conn, project: str, action_id: str) -> AsyncAction:
    """One action with its result. Raises `NotFound`."""
    row = await (await conn.execute(SQL.async_action_get, {"project_id": project, "id": action_id})).fetchone()
    if row is None:
        raise NotFound("async_action", action_id)
    action = _action(row)
    action.records_total, action.records_processed = row.records_total, row.records_next
    action.records_failed, action.counts = row.records_failed, msgspec.json.decode(row.counts)
    if row.result is not None:
        action.result = row.result
    if row.finished_at is None:
        await _place_in_queue(conn, project, row, action)
    return action


async def _place_in_queue(conn: Conn, project: str, row: Any, action: AsyncAction) -> None:
    """How many come before an action, and for how long: what is under way and what has arrived before it."""
    parameters = {"project_id": project, "lane": row.lane, "seq": row.seq, "limit": QUEUE_LOOK_MAX}
    before = await (await conn.execute(SQL.async_action_queue, parameters)).fetchone()
    assert before is not None
    action.position = 0 if row.started_at else 1 + before.waiting
    if before.actions >= QUEUE_LOOK_MAX:
        action.position_is_minimum = True
    elif before.record_us is not None:
        records = before.records + row.records_total - row.records_next
        action.estimated_seconds_left = math.ceil(records * before.record_us / 1_000_000)


async def list_actions(
    conn: Conn, project: str, *, before: datetime, limit: int, internal: bool = False
) -> AsyncActionList:
    """The newest `limit` actions scheduled before `before`; those of types that are ours alone if `internal`."""
    parameters = {"project_id": project, "before": before, "limit": limit + 1}
    parameters |= {"internal": internal, "prefix": INTERNAL_PREFIX}
    rows = await (await conn.execute(SQL.async_action_list, parameters)).fetchall()
    return AsyncActionList("list", "async_actions", [_action(row) for row in rows[:limit]], has_more=len(rows) > limit)


def _action(row: Any) -> AsyncAction:
    finished = row.finished_at is not None
    progress = 100 if finished else min(99, row.records_next * 100 // max(1, row.records_total))
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
) -> AsyncAction:
    """Get an async action.

    Its result is there once it is finished; until then its `position` in the queue (0 under way, 1 the next) and, as
    far as it can be known, an estimate of the time left.
    """
    database: Database = request.app.state.database
    listener: Listener = request.app.state.done_listener
    deadline = asyncio.get_running_loop().time() + wait
    while True:
        heard = listener.generation
        async with database.connection() as conn:
            action = await get_action(conn, project, async_action_id)
        remaining = deadline - asyncio.get_running_loop().time()
        if action.operation_status != "UNKNOWN" or remaining <= 0 or listener.released:
            return action
        await listener.wait(heard, min(remaining, WAIT_POLL_S))


ROUTES = [get_async_actions, get_async_action]
