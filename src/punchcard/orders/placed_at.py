"""When an order was really placed: a date in its metadata, under the key that a project setting names.

A date alone is midnight, and a time without an offset local, in the project's zone. Zone arithmetic is
PostgreSQL's; here only the calendar is checked, so that one impossible date does not fail a batch.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from punchcard.db.database import Conn
from punchcard.orders.orders import SQL

_ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d(?:[.,]\d{1,12})?)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)


class PlacedAt(NamedTuple):
    """What an order says about when it was placed: whether anything, the moment, and whether it cannot be understood.

    A null takes the moment away, and is not invalid.
    """

    given: bool
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


async def resolve(conn: Conn, project: str, metadatas: Sequence[Mapping[str, Any] | None]) -> list[PlacedAt]:
    """What each metadata says under the project's key."""
    settings = await (await conn.execute(SQL.placed_at_settings, {"project_id": project})).fetchone()
    assert settings is not None
    key = settings.ordered_at_key
    values = [metadata.get(key) if metadata else None for metadata in metadatas]
    parsed = [parse(value) for value in values]
    local = {moment for moment in parsed if moment is not None and moment.tzinfo is None}
    moments: dict[datetime | None, datetime | None] = {}
    if local:
        ordered = sorted(local)
        parameters = {"timezone": settings.timezone, "locals": ordered}
        rows = await (await conn.execute(SQL.placed_at_in_zone, parameters)).fetchall()
        moments = dict(zip(ordered, (row.moment for row in rows), strict=True))
    answers = []
    for metadata, value, found in zip(metadatas, values, parsed, strict=True):
        moment = moments.get(found, found)
        answers.append(PlacedAt(bool(metadata) and key in (metadata or {}), moment, value is not None and not moment))
    return answers
