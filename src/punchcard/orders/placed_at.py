"""When an order was really placed: a date in its metadata, under the key that a project setting names.

A date alone is midnight, and a time without an offset local, in the project's zone. Zone arithmetic is
PostgreSQL's; here only the calendar is checked, so that one impossible date does not fail a batch.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from punchcard.db.database import Conn
from punchcard.http import moments as iso_8601
from punchcard.orders.orders import SQL

parse = iso_8601.parse


class PlacedAt(NamedTuple):
    """What an order says about when it was placed: the moment, or that it cannot be understood.

    A null says neither: it takes the moment away.
    """

    moment: datetime | None
    invalid: bool


class Settings(NamedTuple):
    """Where a project's orders say when they were placed, and in which zone."""

    key: str
    timezone: str


async def settings(conn: Conn, project: str) -> Settings:
    """The project's key and zone."""
    row = await (await conn.execute(SQL.placed_at_settings, {"project_id": project})).fetchone()
    assert row is not None
    return Settings(row.ordered_at_key, row.timezone)


async def understand(conn: Conn, values: Sequence[Any], timezone: str) -> list[PlacedAt]:
    """What each value says; local times are those of the zone."""
    parsed = [parse(value) for value in values]
    local = sorted({moment for moment in parsed if moment is not None and moment.tzinfo is None})
    moments: dict[datetime | None, datetime | None] = {}
    if local:
        cursor = await conn.execute(SQL.placed_at_in_zone, {"timezone": timezone, "locals": local})
        moments = dict(zip(local, (row.moment for row in await cursor.fetchall()), strict=True))
    dates = [moments.get(date, date) for date in parsed]
    return [PlacedAt(date, value is not None and date is None) for value, date in zip(values, dates, strict=True)]
