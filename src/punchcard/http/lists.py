"""Lists: `limit`, `page`, `order` and date cursors, as the documented lists take them."""

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from litestar.params import Parameter

from punchcard.errors import InvalidQuery

LIMIT_DEFAULT = 10
Limit: TypeAlias = Annotated[int, Parameter(ge=1, le=100, description="How many records a page holds.")]
Page: TypeAlias = Annotated[int, Parameter(ge=1, le=100, description="Which page, from 1.")]
Page99: TypeAlias = Annotated[int, Parameter(ge=1, le=99, description="Which page, from 1.")]


def moment(text: str, name: str) -> datetime:
    """An ISO 8601 date or date-time of a query; without a zone it is UTC. Raises `InvalidQuery`."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidQuery(f"Property .{name} cannot be recognized as a ISO-8601 compliant date") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def ordering(text: str | None, allowed: tuple[str, ...], default: str) -> tuple[str, bool]:
    """The column of an `order` parameter and whether it is descending (`-`). Raises `InvalidQuery`."""
    text = text or default
    column = text.removeprefix("-")
    if column not in allowed:
        choices = ", ".join(f"{sign}{name}" for name in allowed for sign in ("", "-"))
        raise InvalidQuery(f"Property .order must be one of {choices}")
    return column, text.startswith("-")
