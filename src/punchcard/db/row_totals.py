"""How many rows a project has in each table, kept by those who write them: a list's total costs no count.

A total is spread over slots, which are rows of `row_totals`. A writer adds to one slot, in the transaction of its rows
and as the last thing it writes: counter rows come after all others in the order of locks, and are held only until the
commit. Imports of a project run one by one and share a slot; writers that may run at the same time draw theirs.
"""

import random
from collections.abc import Mapping

from punchcard.db import statements
from punchcard.db.database import Conn

SQL = statements.beside(__file__)

SLOT_OF_IMPORTS = 0
SLOTS = 16


def drawn_slot() -> int:
    """A slot for a writer that others may run beside."""
    return random.randint(1, SLOTS)  # noqa: S311 - no secret


async def add(conn: Conn, project: str, added: Mapping[str, int], *, slot: int) -> None:
    """Add to the totals of some resources; a negative number for rows that were deleted."""
    changes = {resource: number for resource, number in added.items() if number}
    if changes:
        columns = {"resources": list(changes), "added": list(changes.values())}
        await conn.execute(SQL.row_totals_add, {"project_id": project, "slot": slot, **columns})


async def total(conn: Conn, project: str, resource: str) -> int:
    """How many rows of a resource the project has."""
    row = await (await conn.execute(SQL.row_totals_get, {"project_id": project, "resource": resource})).fetchone()
    assert row is not None
    return int(row.total)
