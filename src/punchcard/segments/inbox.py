"""The inbox of the segment lane: append-only, so that writers neither wait for each other nor lose a change."""

from collections.abc import Iterable

from punchcard.db import statements
from punchcard.db.database import Conn

SQL = statements.beside(__file__)


async def append(conn: Conn, project: str, customer_ids: Iterable[str], *, cause: str) -> None:
    """Have the customers placed into segments again, because of `cause` (such as `orders.import`)."""
    ids = list(customer_ids)
    if ids:
        await conn.execute(SQL.segment_inbox_append, {"project_id": project, "customer_ids": ids, "cause": cause})
