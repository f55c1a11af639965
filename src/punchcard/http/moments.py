"""Moments as clients write them: ISO 8601, a date alone or with a time, with a zone or without."""

import re
from datetime import UTC, datetime
from typing import Any

_ISO_8601 = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d(?:[.,]\d{1,12})?)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)


def parse(value: Any) -> datetime | None:
    """The date or date-time, without zone where it states none; none if it is not ISO 8601 or not in the calendar."""
    if not isinstance(value, str) or not _ISO_8601.fullmatch(value):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        # in UTC, so that a moment outside the calendar is found here and not by the database
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed
    except (ValueError, OverflowError):
        return None


def in_utc(value: Any) -> datetime | None:
    """As `parse`; what states no zone is in UTC."""
    moment = parse(value)
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
