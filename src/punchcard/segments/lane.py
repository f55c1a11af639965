"""The segments lane: works off the inbox, and alone writes who is in dynamic segments.

Most rows ask for a customer to be placed. Others are tasks, each alone in its portion: to populate a segment, to place
the customers whose time has come, or everybody, to forget a segment, to count its members. A task that is not done goes
to the end of the inbox, so that changes come in between.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from punchcard.bulk.jobs import Lane, Rows, Worked
from punchcard.db.database import Conn
from punchcard.events.events import Cause
from punchcard.segments import filters, placing
from punchcard.segments.evaluating import Evaluation, within
from punchcard.segments.placing import INTERNAL, SQL, Change, Standings

DELETION = "customers.delete"
PLACE, POPULATE, CLOCK, EVERYBODY = "place", "populate", "clock", "everybody"
FORGET, COUNT = "forget", "count"


class Placement:
    """The inbox of the segments lane."""

    lane = Lane.SEGMENTS
    portion_rows = 2000

    def __init__(self) -> None:
        self._standings = Standings()
        self._tasks: dict[str, Callable[[Conn, str, Any, int], Awaitable[int]]] = {
            POPULATE: self._populate,
            CLOCK: self._place_due,
            EVERYBODY: self._place_everybody,
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
        elif not after:
            await self._place_late(conn, project, segment.id, until)
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

    async def _place_late(self, conn: Conn, project: str, segment_id: str, until: str) -> None:
        """Place customers who came when the segment was being made: if they were placed before it could be seen, they
        do not wait any more, and are not among those whom it is populated with."""
        _, settled = await _settled(conn, project, after=until, limit=None)
        if settled:
            cause, only = Cause(INTERNAL, POPULATE), frozenset({segment_id})
            changes = [Change(customer_id, cause, silent=True, enters=only, leaves=only) for customer_id in settled]
            await placing.place(conn, project, self._standings, changes, bounded=False)

    async def _place_due(self, conn: Conn, project: str, row: Any, limit: int) -> int:
        """Place customers whose time has come, and have the lane wake for those whose time comes next."""
        due = await (await conn.execute(SQL.segment_due_take, {"project_id": project, "limit": limit})).fetchall()
        if due:
            cause = Cause(INTERNAL, CLOCK)
            await placing.place(conn, project, self._standings, [Change(one.customer_id, cause) for one in due])
        if len(due) == limit:
            await append_task(conn, project, CLOCK, None, cause=row.cause, accepted_at=row.accepted_at)
        else:
            first = await (await conn.execute(SQL.segment_due_first, {"project_id": project})).fetchone()
            if first is not None and first.due_at is not None:
                await conn.execute(SQL.segment_clock_set, {"project_id": project, "due_at": first.due_at})
        return max(1, len(due))

    async def _place_everybody(self, conn: Conn, project: str, row: Any, limit: int) -> int:
        """Place the next customers silently: what all of them are looked at by has changed, such as the time zone.

        Not those who wait: what their own changes come to must not be lost in this.
        """
        held, settled = await _settled(conn, project, after=row.reached or "", limit=limit)
        if settled:
            cause = Cause(INTERNAL, row.cause)
            changes = [Change(customer_id, cause, unheard=True) for customer_id in settled]
            await placing.place(conn, project, self._standings, changes)
        if len(held) == limit:
            await append_task(conn, project, EVERYBODY, cause=row.cause, reached=held[-1])
        return max(1, len(held))

    async def _forget(self, conn: Conn, project: str, row: Any, limit: int) -> int:
        """Remove the members of a segment that is gone."""
        key = {"project_id": project, "segment_id": row.segment_id}
        gone = (await conn.execute(SQL.segment_members_forget, {**key, "limit": limit})).rowcount
        if gone == limit:
            await append_task(conn, project, FORGET, row.segment_id, cause=row.cause)
        else:
            await conn.execute(SQL.segment_forget, key)
        return max(1, gone)

    async def _count(self, conn: Conn, project: str, row: Any, limit: int) -> int:
        """Count the members of a segment anew."""
        await conn.execute(SQL.segment_count, {"project_id": project, "segment_id": row.segment_id})
        return limit


async def _settled(conn: Conn, project: str, *, after: str, limit: int | None) -> tuple[list[str], list[str]]:
    """The next customers, held, and those among them who do not wait to be placed."""
    key = {"project_id": project, "after": after, "limit": limit}
    held = [row.id for row in await (await conn.execute(SQL.segment_customers_hold, key)).fetchall()]
    # in a statement of its own: who was waited for has a row by now
    parameters = {"project_id": project, "ids": held}
    rows = await (await conn.execute(SQL.segment_customers_waiting, parameters)).fetchall()
    waiting = {row.customer_id for row in rows}
    return held, [customer_id for customer_id in held if customer_id not in waiting]


async def append_task(
    conn: Conn,
    project: str,
    task: str,
    segment_id: str | None = None,
    *,
    cause: str,
    revision: int | None = None,
    reached: str | None = None,
    accepted_at: datetime | None = None,
) -> None:
    """Have the lane do a task, once the transaction has committed."""
    columns: dict[str, Any] = {"task": task, "segment_id": segment_id, "revision": revision, "cause": cause}
    columns |= {"reached": reached, "accepted_at": accepted_at}
    await conn.execute(SQL.segment_task_append, {"project_id": project, **columns})


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
