"""How times are written: ISO 8601 in UTC with microseconds and `Z`.

Times come from PostgreSQL, so that all processes share one clock. Microseconds matter: `created_at` is a
paging cursor, and the rows of one bulk write are one microsecond apart.
"""

from datetime import UTC, datetime


def isoformat(moment: datetime) -> str:
    """`2022-09-09T09:20:01.660000Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
