"""Silent changes: customers are placed by them, and nobody is told.

A silent change says itself what it puts customers into and takes them out of, evaluated before and behind it in its own
transaction. So a loud change of the same customer, before or after, keeps its own events and gets none of these: the
state that the lane sees later no longer tells one from the other. Only active segments have events, and their filters
do not change; while a silent change is committed, none is added.
"""

from collections.abc import Iterable, Mapping

from punchcard.db import statements
from punchcard.db.database import Conn, StaleRead
from punchcard.events import segment_inbox
from punchcard.events.segment_inbox import Origin, SilentDifference
from punchcard.segments.placing import Standing, Standings

SQL = statements.beside(__file__)


class SilentChange:
    """A change of customers that is about to be made: `begin` before it, `append` behind it."""

    def __init__(self, standing: Standing, before: Mapping[str, frozenset[int]]) -> None:
        self._standing, self._before = standing, before

    @classmethod
    async def begin(cls, conn: Conn, project: str, customer_ids: Iterable[str]) -> "SilentChange":
        """Note which active segments customers fit who are held; those who are not there yet fit none."""
        standing = await Standings().read(conn, project, active=True)
        return cls(standing, await _matched(conn, project, standing, customer_ids))

    async def append(self, conn: Conn, project: str, customer_ids: Iterable[str], origin: Origin) -> None:
        """Have the customers placed again, silently as far as the change goes.

        Raises `StaleRead` if there are other segments by now, of which the change could not say what it comes to.
        """
        await conn.execute(SQL.segments_keep, {"project_id": project})
        # in a statement of its own: it sees what was waited for
        rows = await (await conn.execute(SQL.segments_active, {"project_id": project})).fetchall()
        if {row.id for row in rows} != set(self._standing.segments):
            raise StaleRead
        ids = list(customer_ids)
        now = await _matched(conn, project, self._standing, ids)
        segments, nothing = list(self._standing.segments), frozenset[int]()
        differences = {}
        for customer_id in ids:
            before, after = self._before.get(customer_id, nothing), now.get(customer_id, nothing)
            differences[customer_id] = SilentDifference(
                [segments[no - 1] for no in sorted(after - before)], [segments[no - 1] for no in sorted(before - after)]
            )
        await segment_inbox.append_silent(conn, project, differences, origin)


async def _matched(
    conn: Conn, project: str, standing: Standing, customer_ids: Iterable[str]
) -> dict[str, frozenset[int]]:
    """The numbers of the segments that each customer fits."""
    if standing.evaluation is None:
        return {}
    parameters = standing.evaluation.parameters | {"project_id": project, "now": None, "ids": list(customer_ids)}
    rows = await (await conn.execute(standing.evaluation.of_ids(), parameters, prepare=False)).fetchall()
    return {row.id: frozenset(row.matched) for row in rows}
