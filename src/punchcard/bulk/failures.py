"""The records of a bulk request that failed: as a list, and as a file to correct and send again.

Both show each record as it was sent, byte for byte, and read by pages behind the last record seen: memory stays
flat, and while a client is slow no session is held.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import Parameter
from litestar.response import Stream
from msgspec import UNSET, Raw, Struct, UnsetType

from punchcard.bulk import downloads
from punchcard.bulk.downloads import JSON_LINES_TYPE, DownloadBroken
from punchcard.db import statements
from punchcard.db.database import Conn, Database
from punchcard.errors import ApiError, NotFound
from punchcard.http import lists
from punchcard.http.shapes import or_unset
from punchcard.settings import Settings

SQL = statements.beside(__file__)

# the key that the file adds to each record
NOTE_KEY = "import_failure"
# of a record that named somebody whose personal data had to go; the file does not have it
ERASED_RECORD, REASON_ERASED = b"{}", "Erased with its customer"
_LIST_PAGE_BYTES = 1 << 40  # a list has as many as were asked for
_RECORD_MAX = 2**31 - 1
_BEFORE_ALL = -1
_object_decoder = msgspec.json.Decoder(dict[str, Raw])


class FailuresDeleted(ApiError):
    """The failed records of this action were kept for as long as the server keeps them."""

    status = 410
    key = "failures_deleted"
    message = "Failures deleted"


class AsyncActionFailure(Struct):
    """A record that failed; `index` is its position in the request, from 0, and `record` what was sent.

    What a record is depends on the type of the action: of an `ORDERS.IMPORT` it is an order.
    """

    index: int
    source_id: str | None
    reason: str
    record: dict[str, Any]
    object: str = "async_action_failure"


class AsyncActionFailureList(Struct):
    """A page of failures, in the order of the request. `total` counts all that the action has so far.

    `failures_deleted_at` is there once they are no longer kept: `data` is empty then.
    """

    object: str
    data_ref: str
    data: list[AsyncActionFailure]
    total: int
    has_more: bool
    more_starting_after: str | UnsetType = UNSET
    failures_deleted_at: datetime | UnsetType = UNSET


class Failures(Struct, frozen=True):
    """What is known of an action's failures without reading them."""

    total: int
    finished: bool
    deleted_at: datetime | None


# ---- operations --------------------------------------------------------------------------------


async def of_action(conn: Conn, project: str, action_id: str, *, days: int) -> Failures:
    """How many failures an action has; they are kept for `days` after it finished. Raises `NotFound`."""
    parameters = {"project_id": project, "id": action_id, "days": days}
    row = await (await conn.execute(SQL.failures_of_action, parameters)).fetchone()
    if row is None:
        raise NotFound("async_action", action_id)
    return Failures(row.records_failed, row.finished, row.deleted_at if row.records_failed else None)


async def list_failures(
    conn: Conn, project: str, action_id: str, *, after: int, limit: int, days: int
) -> AsyncActionFailureList:
    """The first `limit` failures behind the record `after`. Raises `NotFound`."""
    failures = await of_action(conn, project, action_id, days=days)
    rows: list[Any] = []
    if not failures.deleted_at:
        rows = await _page(conn, project, action_id, after=after, limit=limit + 1, bytes_max=_LIST_PAGE_BYTES)
    has_more = len(rows) > limit
    return AsyncActionFailureList(
        object="list",
        data_ref="data",
        data=[_failure(row) for row in rows[:limit]],
        total=failures.total,
        has_more=has_more,
        more_starting_after=str(rows[limit - 1].record) if has_more else UNSET,
        failures_deleted_at=or_unset(failures.deleted_at),
    )


async def _page(conn: Conn, project: str, action_id: str, *, after: int, limit: int, bytes_max: int) -> list[Any]:
    parameters = {"project_id": project, "id": action_id, "after": after, "limit": limit, "bytes_max": bytes_max}
    return await (await conn.execute(SQL.failures_page, parameters, binary=True)).fetchall()


def _failure(row: Any) -> AsyncActionFailure:
    sent: Any = Raw(row.body)  # typed for the description
    return AsyncActionFailure(row.record, row.source_id, row.reason, sent)


async def file_of(database: Database, project: str, action_id: str, failures: Failures) -> AsyncIterator[bytes]:
    """All failures as JSON Lines, by pages."""
    after, count = _BEFORE_ALL, 0
    with downloads.breaking_off(action_id):
        while True:
            async with database.connection() as conn:
                rows = await _page(
                    conn, project, action_id, after=after, limit=downloads.PAGE_ROWS, bytes_max=downloads.PAGE_BYTES
                )
            if not rows:
                break
            after, count = rows[-1].record, count + len(rows)
            page = b"".join(line_of(row.record, row.reason, row.body) for row in rows if row.reason != REASON_ERASED)
            rows.clear()  # while the client is slow, the page is held once
            yield page
            del page
        if count < failures.total:
            raise DownloadBroken(
                f"Only {count} of the {failures.total} failures of action {action_id} were still there"
            )


def line_of(index: int, reason: str, record: bytes) -> bytes:
    """One line of the file: a record (a JSON object) with what is wrong with it in front, the rest as it was sent."""
    if f'"{NOTE_KEY}"'.encode() in record:  # came from such a file: of two notes readers would take the old one
        fields = _object_decoder.decode(record)
        if fields.pop(NOTE_KEY, None) is not None:
            record = msgspec.json.encode(fields)
    # no text can hold a raw end of line: between values it means nothing
    record = record.replace(b"\r", b" ").replace(b"\n", b" ").strip()
    note = msgspec.json.encode({NOTE_KEY: {"index": index, "reason": reason}})
    rest = record[1:].lstrip()
    return b"%b%b%b\n" % (note[:-1], b"" if rest == b"}" else b",", rest)


# ---- handlers ----------------------------------------------------------------------------------


@get(
    "/v1/async-actions/{async_action_id:str}/failures",
    operation_id="list-async-action-failures",
    tags=["Async Actions"],
)
async def get_failures(
    request: Request,  # type: ignore[type-arg]
    project: str,
    async_action_id: str,
    limit: lists.Limit = lists.LIMIT_DEFAULT,
    starting_after_id: Annotated[
        int | None,
        Parameter(ge=0, le=_RECORD_MAX, description="Cursor: the `index` of the last one seen."),
    ] = None,
) -> AsyncActionFailureList:
    """List the records of an async action that failed.

    They come in the order of the request, each as it was sent. While the action runs, more may come. Once they are no
    longer kept, the list is empty and `failures_deleted_at` says since when.
    """
    database: Database = request.app.state.database
    settings: Settings = request.app.state.settings
    after = _BEFORE_ALL if starting_after_id is None else starting_after_id
    async with database.connection() as conn:
        return await list_failures(
            conn, project, async_action_id, after=after, limit=limit, days=settings.failures_days
        )


@get(
    "/v1/async-actions/{async_action_id:str}/failures.jsonl",
    operation_id="download-async-action-failures",
    tags=["Async Actions"],
    media_type=JSON_LINES_TYPE,
)
async def get_failures_file(request: Request, project: str, async_action_id: str) -> Stream:  # type: ignore[type-arg]
    """Download the records of an async action that failed.

    A file of JSON Lines: each line is a record as it was sent, with one more key in front, `import_failure`, which
    has its `index` in the request and the `reason`. Correct the records and import them: the key is ignored. Once
    they are no longer kept, the answer is 410.
    """
    database: Database = request.app.state.database
    settings: Settings = request.app.state.settings
    async with database.connection() as conn:
        failures = await of_action(conn, project, async_action_id, days=settings.failures_days)
    if failures.deleted_at:
        raise FailuresDeleted(
            f"The {failures.total} failures of this action were kept until {failures.deleted_at:%F %T}Z"
        )
    return Stream(
        file_of(database, project, async_action_id, failures),
        media_type=JSON_LINES_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{async_action_id}.failures.jsonl"'},
    )


ROUTES = [get_failures, get_failures_file]
