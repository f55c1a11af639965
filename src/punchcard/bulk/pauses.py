"""Pausing a lane: workers take no further portion of it until an operator lets them."""

from datetime import datetime

from msgspec import Struct

from punchcard.bulk.jobs import Lane
from punchcard.db import statements
from punchcard.db.database import Conn

SQL = statements.beside(__file__)


class LaneState(Struct):
    """A lane as its operator sees it; one that was never used is left out."""

    lane: str
    under_way: int
    waiting: int
    served_at: datetime | None
    paused_at: datetime | None


async def list_lanes(conn: Conn, project: str) -> list[LaneState]:
    """The lanes of a project that have been used or paused."""
    rows = await (await conn.execute(SQL.lanes_list, {"project_id": project})).fetchall()
    return [LaneState(*row) for row in rows]


async def pause(conn: Conn, project: str, lane: Lane) -> bool:
    """Pause a lane. Waits for nothing: a portion that runs ends. Whether that changed anything."""
    cursor = await conn.execute(SQL.lane_pause, {"project_id": project, "lane": lane})
    return cursor.rowcount > 0


async def resume(conn: Conn, project: str, lane: Lane) -> bool:
    """Have a lane served again; a worker notices within a poll interval. Whether that changed anything."""
    cursor = await conn.execute(SQL.lane_resume, {"project_id": project, "lane": lane})
    return cursor.rowcount > 0
