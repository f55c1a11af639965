"""The reactions lane: works off the outbox of events, in the order of each customer, each event exactly once.

What follows from events happens here, in the transaction that takes them out: so far they are counted by type.
"""

from punchcard.bulk.jobs import Lane, Rows, Worked
from punchcard.db import statements
from punchcard.db.database import Conn

SQL = statements.beside(__file__)


class Reactions:
    """The inbox of the reactions lane."""

    lane = Lane.REACTIONS
    portion_rows = 500

    async def waiting(self, conn: Conn, project: str, *, floor: int, limit: int) -> Rows:
        """The first events in the outbox."""
        parameters = {"project_id": project, "floor": floor, "limit": limit}
        found = await (await conn.execute(SQL.event_outbox_waiting, parameters)).fetchall()
        return Rows([row.seq for row in found], len(found))

    async def work_off(self, conn: Conn, project: str, rows: Rows) -> Worked:
        """Take events out of the outbox and count them."""
        parameters = {"project_id": project, "seqs": list(rows.seqs)}
        taken = await (await conn.execute(SQL.event_outbox_take, parameters)).fetchall()
        totals: dict[str, int] = {}
        for row in taken:
            # none of an event that retention has dropped before its turn came
            if row.type is not None:
                totals[row.type] = totals.get(row.type, 0) + 1
        if totals:
            columns = {"types": list(totals), "added": list(totals.values())}
            await conn.execute(SQL.event_totals_add, {"project_id": project, **columns})
        return Worked(len(taken), len(taken))

    async def set_aside(self, conn: Conn, project: str, seq: int, reason: str) -> None:
        """Keep an event that nothing could follow from among the failures."""
        await conn.execute(SQL.event_set_aside, {"project_id": project, "seq": seq, "reason": reason})
