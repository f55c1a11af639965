"""Export of a segment's members: a job that walks them, and whose reports are the files (ours).

Members are walked by their ids, so one who enters or leaves meanwhile is in the file or not, and nobody is twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import Request, Response, post
from msgspec import Struct

from punchcard.bulk import async_actions
from punchcard.bulk.async_actions import Scheduled
from punchcard.bulk.jobs import Failure, Lane, Outcome, Stretch
from punchcard.db.database import Conn
from punchcard.http import idempotency
from punchcard.http.answers import request_id_of
from punchcard.segments import members, segments

FIRST_PORTION_RECORDS = 2000
_COLUMNS = ("id", "source_id", "name", "email", "phone", "created_at", "entered_at", "async_action_id")


class Export(Struct):
    """Whose members are exported."""

    segment_id: str


class Plan(Struct):
    """What a portion writes into the report."""

    outcome: Outcome


class MembersExport:
    """The job behind `POST /v1/segments/{id}/members/export`."""

    type = f"{async_actions.INTERNAL_PREFIX}SEGMENT_MEMBERS_EXPORT"
    lane = Lane.ROUND_ROBIN
    portion_records = FIRST_PORTION_RECORDS
    report_columns = _COLUMNS

    async def plan(self, conn: Conn, project: str, stretch: Stretch) -> Plan:
        """Read the next members. The cursor is the id of the one before them."""
        rows = await _next(conn, project, stretch)
        report = [
            (row.customer_id, row.source_id, row.name, row.email, row.phone, msgspec.to_builtins(row.created_at),
             msgspec.to_builtins(row.entered_at), row.async_action_id)
            for row in _there(rows)
        ]  # fmt: skip
        return Plan(Outcome(len(report), cursor=_cursor(rows, stretch), report=report))

    async def skip(self, conn: Conn, project: str, stretch: Stretch, reason: str) -> Outcome:
        """Leave a member out, and say so."""
        rows = await _next(conn, project, stretch)
        failures = [Failure(stretch.first_record, row.customer_id, reason, b"{}") for row in _there(rows)]
        return Outcome(0, failures, cursor=_cursor(rows, stretch))

    def outcome(self, plan: Plan) -> Outcome:
        return plan.outcome

    async def lock(self, conn: Conn, project: str, plan: Plan) -> None:
        """Nothing: an export changes nothing."""

    async def write(self, conn: Conn, project: str, plan: Plan) -> None:
        """Nothing but the report, which is written with the progress."""

    def report_of_failure(self, failure: Failure) -> Sequence[Any]:
        """A line with the id alone."""
        return (failure.source_id, *(None for _ in _COLUMNS[1:]))

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        """How many members are in the files."""
        return {"message": f"{done} member(s) exported, {failed} failed.", "done_count": done, "failed_count": failed}


async def _next(conn: Conn, project: str, stretch: Stretch) -> Sequence[Any]:
    parameters = {
        "project_id": project,
        "segment_id": msgspec.convert(stretch.parameters, Export).segment_id,
        "after": stretch.cursor or "",
        "limit": stretch.rows_max,
    }
    return await (await conn.execute(members.SQL.segment_members_stretch, parameters)).fetchall()


def _there(rows: Sequence[Any]) -> list[Any]:
    """Members who are not deleted: these are in no file, and their memberships end soon."""
    return [row for row in rows if row.created_at is not None]


def _cursor(rows: Sequence[Any], stretch: Stretch) -> str | None:
    """Behind which member the next portion begins; none when there can be no more."""
    return rows[-1].customer_id if len(rows) == stretch.rows_max else None


async def schedule(conn: Conn, project: str, segment_id: str, request_id: str) -> Scheduled:
    """Have the members of a segment exported. Raises `NotFound`."""
    segment = await segments.get_segment(conn, project, segment_id)
    parameters: Mapping[str, Any] = msgspec.to_builtins(Export(segment_id))
    action_id = await async_actions.schedule_walk(
        conn, project, MembersExport(), rows_estimate=segment.summary.members, request_id=request_id,
        parameters=parameters,
    )  # fmt: skip
    return Scheduled(action_id)


@post(
    "/v1/segments/{segment_id:str}/members/export",
    status_code=202,
    operation_id="export-segment-members",
    tags=["Segments"],
)
async def post_export(
    request: Request,  # type: ignore[type-arg]
    project: str,
    segment_id: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Scheduled]:
    """Export the members of a segment (Punchcard's own).

    The result of the async action has links to the files, CSV and JSON Lines.
    """
    key = idempotency.checked(request, idempotency_key)
    once = await idempotency.once(request, project, key, b"")
    if (repeated := await once.repeated()) is not None:
        return repeated
    request_id = request_id_of(request)

    async def act(conn: Conn) -> Scheduled:
        return await schedule(conn, project, segment_id, request_id)

    answer = await once.take_effect(act)
    request.app.state.work_notifier.ask()
    return answer


ROUTES = [post_export]
