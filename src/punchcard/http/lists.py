"""Lists: the parameters of their queries, in all documented spellings. What is read for them is in `pages`."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import Parameter, QueryParameter
from msgspec import Struct

from punchcard.errors import ApiError, InvalidQuery
from punchcard.http import moments

LIMIT_DEFAULT = 10
PAGE_MAX = 100
CUSTOMERS_PAGE_MAX = 99
Limit: TypeAlias = Annotated[int, Parameter(ge=1, le=100, description="How many records a page holds.")]
# beyond the maximum there is an error of its own: see `check_page`
Page: TypeAlias = Annotated[int, Parameter(ge=1, schema_extra={"maximum": PAGE_MAX}, description="Which page, from 1.")]
CustomersPage: TypeAlias = Annotated[
    int, Parameter(ge=1, schema_extra={"maximum": CUSTOMERS_PAGE_MAX}, description="Which page, from 1.")
]


class PageOverLimit(ApiError):
    """A page further back than a list goes. The documented error of such lists; a cursor goes all the way."""

    key = "page_over_limit"

    def __init__(self, page_max: int) -> None:
        self.message = f"Listing resource above {page_max} page is not supported"
        super().__init__(f"Property .page cannot be higher than {page_max}")


class CursorUnknown(ApiError):
    """A cursor that names nothing in this project."""

    key = "invalid_or_expired_cursor"
    message = "Invalid or expired cursor"


def check_page(page: int, page_max: int) -> None:
    """Raises `PageOverLimit`."""
    if page > page_max:
        raise PageOverLimit(page_max)


def ordering(text: str | None, allowed: tuple[str, ...], default: str) -> tuple[str, bool]:
    """The field of an `order` parameter and whether it is descending (`-`). Raises `InvalidQuery`."""
    text = text or default
    field = text.removeprefix("-")
    if field not in allowed:
        choices = ", ".join(f"{sign}{name}" for name in allowed for sign in ("", "-"))
        raise InvalidQuery(f"Property .order must be one of {choices}")
    return field, text.startswith("-")


def text_of(value: str | None, name: str) -> str | None:
    """A text to compare with; an empty one is none. Raises `InvalidQuery`."""
    if value and "\x00" in value:  # PostgreSQL could not even be asked
        raise InvalidQuery(f"Property .{name} must not contain a NUL character")
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        raise InvalidQuery(f"Property .{name} must have characters that can be encoded in UTF-8") from None
    return value or None


# ---- moments -----------------------------------------------------------------------------------

# Python's clients write a list of one as its repr
_LIST_OF_ONE = re.compile(r"""\[\s*(?:'([^']*)'|"([^"]*)")\s*\]""")


def moment(text: str, name: str) -> datetime:
    """An ISO 8601 date or date-time of a query; without a zone it is UTC. Raises `InvalidQuery`."""
    if "T" in text:
        text = text.replace(" ", "+")  # a `+` that was not percent-encoded arrives as a space
    found = moments.in_utc(text)
    if found is None:
        raise InvalidQuery(f"Property .{name} cannot be recognized as a ISO-8601 compliant date")
    return found


class DateCondition(Struct, frozen=True):
    """Rows whose `field` (`created_at` …) lies before or after `moment`."""

    field: str
    relation: Literal["<", ">", "<=", ">="]
    moment: datetime


class Dates(Struct, frozen=True):
    """The date filters of a query; with `any_of` (`filters[junction]=or`) one that holds is enough."""

    conditions: tuple[DateCondition, ...] = ()
    any_of: bool = False


DatesGiven: TypeAlias = NamedDependency[Dates]
_JUNCTION = "filters[junction]"
_RELATIONS: dict[str, Literal["<", ">"]] = {"before": "<", "after": ">", "$before": "<", "$after": ">"}
_NAME = re.compile(r"(?:(?P<first>[^\[\]]+)|\[(?P<leading>[^\[\]]+)\])(?P<more>(?:\[[^\[\]]*\])*)")


def dates_of(query: Iterable[tuple[str, str]], fields: tuple[str, ...]) -> Dates:
    """The date filters among the parameters of a query. Raises `InvalidQuery`.

    `created_at[before]`, `[created_at][before]`, `filters[created_at][conditions][$before]`, the same with `[0]`, and
    `[filters][created_at]…` are one parameter; given several times, the last counts. Other parameters are not looked
    at, but a filter that we do not know is refused: without it the answer would hold what was to be left out.
    """
    found: dict[tuple[str, str], DateCondition] = {}
    any_of = False
    for name, value in query:
        steps = path_of(name)
        shown = steps[0] + "".join(f"[{step}]" for step in steps[1:])
        match steps:
            case ["filters", "junction"]:
                any_of = _junction(value)
            case ["filters", field, "conditions", relation, *index] if (
                field in fields and relation in {"$before", "$after"} and index in ([], ["0"], [""])
            ):
                _add(found, field, _RELATIONS[relation], value, shown)
            case ["filters", *_]:
                known = ", ".join(f"filters[{field}][conditions][$before|$after][0]" for field in fields)
                raise InvalidQuery(f"Property .{shown} is no known filter; there are {known}")
            case [field, "before" | "after" as relation] if field in fields:
                _add(found, field, _RELATIONS[relation], value, shown)
    return Dates(tuple(found.values()), any_of)


def path_of(name: str) -> list[str]:
    """`[a][b][c]` and `a[b][c]` are the path a, b, c; a name of another form is its only step."""
    match = _NAME.fullmatch(name)
    if match is None:
        return [name]
    return [match["leading"] or match["first"], *re.findall(r"\[([^\[\]]*)\]", match["more"])]


def _junction(value: str) -> bool:
    if value.lower() not in {"and", "or", ""}:
        raise InvalidQuery(f"Property .{_JUNCTION} must be one of and, or")
    return value.lower() == "or"


def _add(
    found: dict[tuple[str, str], DateCondition], field: str, relation: Literal["<", ">"], value: str, name: str
) -> None:
    found.pop((field, relation), None)
    if value:
        one = _LIST_OF_ONE.fullmatch(value)
        text = (one[1] or one[2] or "") if one else value
        found[field, relation] = DateCondition(field, relation, moment(text, name))


# ---- for the handlers --------------------------------------------------------------------------

_ALSO = (
    "An ISO 8601 date, in UTC if it has no zone; the moment itself is left out."
    " Also as `filters[FIELD][conditions][$before]` or `[$after]`, and with `[0]`."
)
# declared so that the description has them; their spellings are many, so they are read from the query itself
CreatedBefore: TypeAlias = Annotated[str | None, QueryParameter(name="created_at[before]", description=_ALSO)]
CreatedAfter: TypeAlias = Annotated[str | None, QueryParameter(name="created_at[after]", description=_ALSO)]
UpdatedBefore: TypeAlias = Annotated[str | None, QueryParameter(name="updated_at[before]", description=_ALSO)]
UpdatedAfter: TypeAlias = Annotated[str | None, QueryParameter(name="updated_at[after]", description=_ALSO)]
OrderedBefore: TypeAlias = Annotated[str | None, QueryParameter(name="ordered_at[before]", description=_ALSO)]
OrderedAfter: TypeAlias = Annotated[str | None, QueryParameter(name="ordered_at[after]", description=_ALSO)]
Junction: TypeAlias = Annotated[
    str | None,
    QueryParameter(
        name=_JUNCTION, description="`or`: one of the date filters is enough. `and`, the default: all must hold."
    ),
]
StartDate: TypeAlias = Annotated[
    str | None, Parameter(description="Only what was created at this ISO 8601 date or later.")
]
EndDate: TypeAlias = Annotated[
    str | None, Parameter(description="Only what was created at this ISO 8601 date or earlier.")
]


async def dates(
    request: Request,  # type: ignore[type-arg]
    project: str,  # so that keys are checked first
    created_before: CreatedBefore = None,
    created_after: CreatedAfter = None,
    updated_before: UpdatedBefore = None,
    updated_after: UpdatedAfter = None,
    junction: Junction = None,
) -> Dates:
    """A handler's `dates`: filters by creation and last update. Raises `InvalidQuery`."""
    return dates_of(request.query_params.multi_items(), ("created_at", "updated_at"))


async def order_dates(
    request: Request,  # type: ignore[type-arg]
    project: str,
    created_before: CreatedBefore = None,
    created_after: CreatedAfter = None,
    updated_before: UpdatedBefore = None,
    updated_after: UpdatedAfter = None,
    ordered_before: OrderedBefore = None,
    ordered_after: OrderedAfter = None,
    junction: Junction = None,
) -> Dates:
    """As `dates`, and by when an order was placed."""
    return dates_of(request.query_params.multi_items(), ("created_at", "updated_at", "ordered_at"))
