"""When an order was really placed: a date in its metadata, under the key that a project setting names.

A date alone is midnight, and a time without an offset local, in the project's zone. Zone arithmetic is
PostgreSQL's; here only the calendar is checked, so that one impossible date does not fail a batch.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from punchcard.db.database import Conn
from punchcard.orders.orders import SQL

_ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d(?:[.,]\d{1,12})?)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)


class PlacedAt(NamedTuple):
    """What an order says about when it was placed: the moment, or that it cannot be understood.

    A null says neither: it takes the moment away.
    """

    moment: datetime | None
    invalid: bool


def parse(value: Any) -> datetime | None:
    """The date or date-time, without zone where it states none; none if it is not ISO 8601 or not in the calendar."""
    if not isinstance(value, str) or not _ISO_8601.fullmatch(value):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed
    except (ValueError, OverflowError):
        return None


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
