"""Conditions that depend on the date: on which days they hold, seen from the day of what they look at.

Each holds on the days of a window around an anchor: the day itself, or each of its anniversaries. `$is_days_ago 3` of a
day holds from 3 to before 4 days behind it, `$this_month` from the beginning of its month to before the next one's. So
one rule says both whether a condition holds today and on which day it changes next: when a window begins or ends.
"""

from collections.abc import Sequence

from msgspec import Struct
from psycopg import sql

from punchcard.segments.filters import Value

# Anniversaries of the years around today: a window can reach a year and some days to either side.
_ANNIVERSARIES = sql.SQL(
    "FROM generate_series(-2, 2) AS y (no) CROSS JOIN LATERAL"
    " (SELECT ({day} + (extract(year FROM c.today) - extract(year FROM {day}) + y.no)::integer"
    " * interval '1 year')::date AS day) AS a"
)


class Windows(Struct, frozen=True):
    """From `first` to before `end` units behind the beginning of the unit that an anchor is in; none: without end.

    The anchor is the day, `years` later, or, `yearly`, every anniversary. `outside`: the condition holds on the other
    days. Of what has no day, none holds.
    """

    unit: str
    first: int | None
    end: int | None
    yearly: bool = False
    outside: bool = False
    years: int = 0

    def holds(self, day: sql.Composable) -> sql.Composable:
        """Whether the condition holds today; `day` is a date, or null."""
        inside = sql.SQL(" AND ").join(
            sql.SQL("{} {} c.today").format(self._boundary(offset, self._anchor(day)), sql.SQL(relation))
            for offset, relation in ((self.first, "<="), (self.end, ">"))
            if offset is not None
        )
        if self.yearly:
            inside = sql.SQL("EXISTS (SELECT {} WHERE {})").format(_ANNIVERSARIES.format(day=day), inside)
        if self.outside:
            inside = sql.SQL("{} IS NOT NULL AND NOT ({})").format(day, inside)
        return sql.SQL("coalesce({}, false)").format(inside)

    def changes_on(self, day: sql.Composable) -> list[sql.Composable]:
        """Days of which the first one behind today, if any, is the next on which the condition may change."""
        boundaries = [
            self._boundary(offset, self._anchor(day)) for offset in (self.first, self.end) if offset is not None
        ]
        if self.yearly:
            values = sql.SQL(", ").join(sql.SQL("({})").format(boundary) for boundary in boundaries)
            return [
                sql.SQL(
                    "(SELECT min(b.day) {} CROSS JOIN LATERAL (VALUES {}) AS b (day) WHERE b.day > c.today)"
                ).format(_ANNIVERSARIES.format(day=day), values)
            ]
        return [sql.SQL("CASE WHEN {0} > c.today THEN {0} END").format(boundary) for boundary in boundaries]

    def _anchor(self, day: sql.Composable) -> sql.Composable:
        if self.yearly:
            return sql.SQL("a.day")
        if self.years:
            return sql.SQL("({} + {} * interval '1 year')::date").format(day, sql.Literal(self.years))
        return day

    def _boundary(self, offset: int, anchor: sql.Composable) -> sql.Composable:
        if self.unit == "day":
            return sql.SQL("({} + {})").format(anchor, sql.SQL(str(offset)))
        begin = sql.SQL("date_trunc({}, {}::timestamp)").format(sql.Literal(self.unit), anchor)
        return sql.SQL("({} + {} * interval {})::date").format(
            begin, sql.SQL(str(offset)), sql.Literal(f"1 {self.unit}")
        )


_CALENDAR = {"last": 1, "this": 0, "next": -1, "yesterday": 1, "today": 0, "tomorrow": -1}


def windows_of(operator: str, values: Sequence[Value], *, yearly: bool) -> Windows | None:
    """The windows of an operator that depends on the date; none for another one.

    `yearly`: of calendar operators, as far as they have a twin for anniversaries, that one is meant.
    """
    name = operator.removeprefix("$")
    if name.endswith("_md"):
        name, yearly = name.removesuffix("_md"), True
        if values:
            return _anniversary(name, int(values[0]))  # type: ignore[arg-type]
    relation, _, unit = name.partition("_")
    if relation in _CALENDAR and unit in {"", "week", "month", "year"}:
        first = _CALENDAR[relation]
        return Windows(unit or "day", first, first + 1, yearly=yearly and unit != "year")
    return _days(name, int(values[0])) if name in _DAYS else None  # type: ignore[arg-type]


_DAYS = frozenset(
    {"more_than_ago", "less_than_ago", "more_than_future", "less_than_future", "is_days_ago", "is_days_in_future",
     "is_years_ago"}
)  # fmt: skip


def _days(name: str, days: int) -> Windows:
    match name:
        case "more_than_ago":
            return Windows("day", days + 1, None)
        case "less_than_ago":
            return Windows("day", 0, days)
        case "more_than_future":
            return Windows("day", None, -days)
        case "less_than_future":
            return Windows("day", 1 - days, 1)
        case "is_days_ago":
            return Windows("day", days, days + 1)
        case "is_days_in_future":
            return Windows("day", -days, 1 - days)
        case _:
            return Windows("day", 0, 1, years=days)


def _anniversary(name: str, days: int) -> Windows:
    match name:
        case "is_days_ago":
            return Windows("day", days, days + 1, yearly=True)
        case "is_days_in_future":
            return Windows("day", -days, 1 - days, yearly=True)
        case "is_less_days_ago":
            return Windows("day", 0, days, yearly=True)
        case "is_more_days_ago":
            return Windows("day", 0, days + 1, yearly=True, outside=True)
        case "is_less_days_in_future":
            return Windows("day", 1 - days, 1, yearly=True)
        case _:
            return Windows("day", -days, 1, yearly=True, outside=True)
