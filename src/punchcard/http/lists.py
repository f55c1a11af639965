"""Lists: `limit`, `page`, `order` and date cursors, as the documented lists take them."""

import re
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from litestar.params import Parameter
from psycopg import sql

from punchcard.errors import InvalidQuery

LIMIT_DEFAULT = 10
_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
Limit: TypeAlias = Annotated[int, Parameter(ge=1, le=100, description="How many records a page holds.")]
Page: TypeAlias = Annotated[int, Parameter(ge=1, le=100, description="Which page, from 1.")]
Page99: TypeAlias = Annotated[int, Parameter(ge=1, le=99, description="Which page, from 1.")]


def moment(text: str, name: str) -> datetime:
    """An ISO 8601 date or date-time of a query; without a zone it is UTC. Raises `InvalidQuery`."""
    if "T" in text:
        text = text.replace(" ", "+")  # a `+` that was not percent-encoded arrives as a space
    try:
        if not _ISO_8601.fullmatch(text):
            raise ValueError
        parsed = datetime.fromisoformat(text)
        # in UTC, so that a moment outside the calendar is found here and not by the database
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidQuery(f"Property .{name} cannot be recognized as a ISO-8601 compliant date") from None


def ordering(text: str | None, allowed: tuple[str, ...], default: str) -> tuple[str, bool]:
    """The column of an `order` parameter and whether it is descending (`-`). Raises `InvalidQuery`."""
    text = text or default
    column = text.removeprefix("-")
    if column not in allowed:
        choices = ", ".join(f"{sign}{name}" for name in allowed for sign in ("", "-"))
        raise InvalidQuery(f"Property .order must be one of {choices}")
    return column, text.startswith("-")


def sort_key(column: str) -> sql.Composable:
    """What to sort by for a `column`. What was never updated counts as updated when it was made."""
    return sql.SQL("coalesce(updated_at, created_at)") if column == "updated_at" else sql.Identifier(column)
