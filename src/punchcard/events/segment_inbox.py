"""The inbox of the segments lane: append-only, so that writers neither wait for each other nor lose a change.

Whoever changes a customer, or anything that filters look at, appends it in the transaction of the change. Whoever does
so while the customer is locked has its rows in the order of the changes.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from punchcard.db import statements
from punchcard.db.database import Conn

SQL = statements.beside(__file__)


class Origin(Struct, frozen=True):
    """Why customers are to be placed again (`reason`, such as `orders.import`), and what led to it.

    `group_id` is the request that did; of a bulk job it is that of the action. `depth` says how many events led to it.
    """

    reason: str
    group_id: str | None = None
    async_action_id: str | None = None
    depth: int = 0


class SilentDifference(Struct):
    """The active segments that a silent change puts a customer into, and those it takes it out of."""

    enters: list[str]
    leaves: list[str]


async def append(conn: Conn, project: str, customer_ids: Iterable[str], origin: Origin) -> None:
    """Have the customers placed into segments again."""
    ids = list(customer_ids)
    if ids:
        await conn.execute(SQL.segment_inbox_append, {"customer_ids": ids, **_columns(project, origin)})


async def append_silent(conn: Conn, project: str, differences: Mapping[str, SilentDifference], origin: Origin) -> None:
    """Have customers, by their ids, placed into segments again; what the change itself comes to has no events."""
    if differences:
        arrays = {
            "customer_ids": list(differences),
            # arrays of PostgreSQL cannot have rows of different lengths
            "enters": ["\n".join(one.enters) for one in differences.values()],
            "leaves": ["\n".join(one.leaves) for one in differences.values()],
        }
        await conn.execute(SQL.segment_inbox_append_silent, {**arrays, **_columns(project, origin)})


def _columns(project: str, origin: Origin) -> dict[str, object]:
    return {
        "project_id": project,
        "cause": origin.reason,
        "group_id": origin.group_id,
        "async_action_id": origin.async_action_id,
        "depth": origin.depth,
    }
