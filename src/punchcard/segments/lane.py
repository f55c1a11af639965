"""The segments lane: works off the inbox, and alone writes who is in dynamic segments.

Most rows ask for a customer to be placed. Others are tasks, each alone in its portion: to populate a segment, to place
the customers whose time has come, to forget a segment, to count its members. A task that is not done goes to the end of
the inbox, so that changes come in between.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from punchcard.bulk.jobs import Lane, Rows, Worked
from punchcard.db.database import Conn
from punchcard.events.events import Cause
from punchcard.segments import filters, placing
from punchcard.segments.evaluating import Evaluation, within
from punchcard.segments.placing import INTERNAL, SQL, Change, Standings

DELETION = "customers.delete"
PLACE, POPULATE, CLOCK, FORGET, COUNT = "place", "populate", "clock", "forget", "count"


class Placement:
    """The inbox of the segments lane."""

    lane = Lane.SEGMENTS
    portion_rows = 2000

    def __init__(self) -> None:
        self._standings = Standings()
        self._tasks: dict[str, Callable[[Conn, str, Any, int], Awaitable[int]]] = {
            POPULATE: self._populate,
            CLOCK: self._place_due,
            FORGET: self._forget,
            COUNT: self._count,
        }

    async def waiting(self, conn: Conn, project: str, *, floor: int, limit: int) -> Rows:
        """The first customers to be placed, or a task, which may do as much as there may be customers."""
        parameters = {"project_id": project, "floor": floor, "limit": limit}
        async with conn.pipeline():
            await conn.execute(SQL.segment_clock_strike, {"project_id": project})
            found = await conn.execute(SQL.segment_inbox_waiting, parameters)
        seqs: list[int] = []
        for row in await found.fetchall():
            if row.task != PLACE:
                return Rows(seqs, len(seqs)) if seqs else Rows([row.seq], limit)
            seqs.append(row.seq)
        return Rows(seqs, len(seqs))

    async def work_off(self, conn: Conn, project: str, rows: Rows) -> Worked:
        """Take rows out, and place customers or do the task."""
        parameters = {"project_id": project, "seqs": list(rows.seqs)}
        taken = await (await conn.execute(SQL.segment_inbox_take, parameters)).fetchall()
        if not taken:
            return Worked(0, 0)
        if taken[0].task != PLACE:
            return Worked(len(taken), await self._tasks[taken[0].task](conn, project, taken[0], rows.units))
        await placing.place(conn, project, self._standings, _changes(taken))
        for_actions = any(row.async_action_id is not None for row in taken)
        return Worked(len(taken), len(taken), for_actions=for_actions)

    async def set_aside(self, conn: Conn, project: str, seq: int, reason: str) -> None:
        """Keep a row that could not be worked off among the failures."""
        await conn.execute(SQL.segment_set_aside, {"project_id": project, "seq": seq, "reason": reason})

    # ---- tasks: how much work each was ----

    async def _populate(self, conn: Conn, project: str, row: Any, limit: int) -> int:
        """Place the next customers of a segment by its filter; silently."""
        key = {"project_id": project, "segment_id": row.segment_id}
        segment = await (await conn.execute(SQL.segment_population, key)).fetchone()
        if segment is None or segment.revision != row.revision:
            return 1  # it is gone, or has another filter by now, which has a task of its own
        after, until = segment.populated_to, segment.populate_until
        if segment.populated_revision != segment.revision or after is None:
            after, until = "", segment.last
        evaluation = Evaluation([filters.parse(msgspec.json.decode(segment.filter))], zone=segment.timezone)
        statement = within(SQL.segment_populate, evaluation.of_range())
        columns = {**key, "after": after, "until": until, "limit": limit}
        parameters = evaluation.parameters | columns | {"now": None}
        done = await (await conn.execute(statement, parameters, prepare=False)).fetchone()
        assert done is not None
        ended = done.customers < limit
        reached = {**key, "revision": segment.revision, "ended": ended, "to": done.to, "until": until}
        await conn.execute(SQL.segment_populated, reached)
        if done.entered or done.left:
            came_and_went = {row.segment_id: [done.entered, done.left]}
            await placing.count(conn, project, segment.timezone, came_and_went, done.now, of_the_day=False)
        if done.due_at is not None:
            await conn.execute(SQL.segment_clock_set, {"project_id": project, "due_at": done.due_at})
        if not ended:
            await append_task(conn, project, row.task, row.segment_id, revision=row.revision, cause=row.cause)
        return max(1, int(done.customers))

    async def _place_due(self, conn: Conn, project: str, row: Any, limit: int) -> int:
        """Place customers whose time has come, and have the lane wake for those whose time comes next."""
        due = await (await conn.execute(SQL.segment_due_take, {"project_id": project, "limit": limit})).fetchall()
        if due:
            cause = Cause(INTERNAL, CLOCK)
            await placing.place(conn, project, self._standings, [Change(one.customer_id, cause) for one in due])
        if len(due) == limit:
            await append_task(conn, project, CLOCK, None, revision=None, cause=row.cause)
        else:
            first = await (await conn.execute(SQL.segment_due_first, {"project_id": project})).fetchone()
            if first is not None and first.due_at is not None:
                await conn.execute(SQL.segment_clock_set, {"project_id": project, "due_at": first.due_at})
        return max(1, len(due))

    async def _forget(self, conn: Conn, project: str, row: Any, limit: int) -> int:
        """Remove the members of a segment that is gone."""
        key = {"project_id": project, "segment_id": row.segment_id}
        gone = (await conn.execute(SQL.segment_members_forget, {**key, "limit": limit})).rowcount
        if gone == limit:
            await append_task(conn, project, FORGET, row.segment_id, revision=None, cause=row.cause)
        else:
            await conn.execute(SQL.segment_forget, key)
        return max(1, gone)

    async def _count(self, conn: Conn, project: str, row: Any, limit: int) -> int:
        """Count the members of a segment anew."""
        await conn.execute(SQL.segment_count, {"project_id": project, "segment_id": row.segment_id})
        return limit


async def append_task(
    conn: Conn, project: str, task: str, segment_id: str | None, *, revision: int | None, cause: str
) -> None:
    """Have the lane do a task, once the transaction has committed."""
    columns = {"task": task, "segment_id": segment_id, "revision": revision, "cause": cause}
    await conn.execute(SQL.segment_task_append, {"project_id": project, **columns})


async def populate_all(conn: Conn, project: str, *, cause: str) -> None:
    """Have all dynamic segments populated anew: what all of them look at has changed, such as the time zone."""
    rows = await (await conn.execute(SQL.segments_revise, {"project_id": project})).fetchall()
    for row in rows:
        await append_task(conn, project, POPULATE, row.id, revision=row.revision, cause=cause)


def _changes(taken: Sequence[Any]) -> list[Change]:
    """Why customers are to be placed, from rows of the inbox."""
    causes: dict[tuple[Any, ...], Cause] = {}
    changes = []
    for row in taken:
        key = (row.group_id or row.request_id or row.cause, row.async_action_id, row.depth)
        if (cause := causes.get(key)) is None:
            cause = causes[key] = Cause(INTERNAL, *key)
        changes.append(
            Change(
                row.customer_id,
                cause,
                silent=row.silent,
                enters=frozenset(row.enters or ()),
                leaves=frozenset(row.leaves or ()),
                is_deletion=row.cause == DELETION,
            )
        )
    return changes
