"""When an order was really placed: a date in its metadata, under the key that a project setting names.

A date alone is midnight, and a time without an offset local, in the project's zone. Zone arithmetic is
PostgreSQL's; here only the calendar is checked, so that one impossible date does not fail a batch.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from punchcard.db.database import Conn
from punchcard.orders.orders import SQL

_ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d(?:\.\d{1,6})?)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)


def parse(value: Any) -> datetime | None:
    """The date or date-time, without zone where it states none; none if it is not ISO 8601 or not in the calendar."""
    if not isinstance(value, str) or not _ISO_8601.fullmatch(value):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed
    except (ValueError, OverflowError):
        return None


async def resolve(
    conn: Conn, project: str, metadatas: Sequence[Mapping[str, Any] | None]
) -> list[tuple[bool, datetime | None]]:
    """For each metadata: whether it holds the project's key, and the moment (none where the value is invalid)."""
    settings = await (await conn.execute(SQL.placed_at_settings, {"project_id": project})).fetchone()
    assert settings is not None
    key = settings.ordered_at_key
    parsed = [parse(metadata[key]) if metadata and key in metadata else None for metadata in metadatas]
    local = {moment for moment in parsed if moment is not None and moment.tzinfo is None}
    moments: dict[datetime, datetime] = {}
    if local:
        ordered = sorted(local)
        parameters = {"timezone": settings.timezone, "locals": ordered}
        rows = await (await conn.execute(SQL.placed_at_in_zone, parameters)).fetchall()
        moments = dict(zip(ordered, (row.moment for row in rows), strict=True))
    return [
        (bool(metadata) and key in (metadata or {}), moment if moment is None or moment.tzinfo else moments[moment])
        for metadata, moment in zip(metadatas, parsed, strict=True)
    ]
