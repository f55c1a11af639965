"""From a filter to SQL: a condition on a row of `evaluating`, and the dates on which it may change by itself.

Pure: what is not in the filter and not in the row is not looked at. The row is called `c` and has, beside the
customer's columns, `today`, the date in the project's time zone, which is the parameter `zone`. Filters can depend on
the clock by this date alone, so they change when a day begins there and at no other moment.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import sql

from punchcard.segments import filters
from punchcard.segments.filters import Attribute, Clause, Condition, Filter, Kind, Value, number_of
from punchcard.segments.windows import Windows, windows_of

_FALSE, _TRUE = sql.SQL("false"), sql.SQL("true")
# What PostgreSQL takes for a date or a moment without an error. A day must exist: the cast of another one would fail
# the whole statement, and nothing older than 16 can ask first.
_YEAR = r"(?!0000)[0-9]{4}"
_LEAP = r"(?!0000)(?:[0-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAY = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    rf"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP}-02-29)"
)
_TIME = r"[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
_OFFSET = r"(?:Z|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9])"
_MOMENT_SHOWN = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
_IS_DATE = sql.Literal(rf"^{_DAY}$")
_IS_LOCAL = sql.Literal(rf"^{_DAY}{_TIME}$")
_IS_MOMENT = sql.Literal(rf"^{_DAY}{_TIME}{_OFFSET}$")


class Parameters:
    """The parameters of a statement that holds compiled filters, and what is computed once however often it is used:
    the totals `e` of custom events, and of attributes that are compared as dates the moments `m` and the days `d`.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.events: set[str] = set()
        self.moments: dict[tuple[str, str], tuple[str, sql.Composable]] = {}

    def add(self, value: Any) -> sql.Composable:
        """The placeholder of a value."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return sql.Placeholder(name)

    def total(self, event: str, table: str) -> sql.Composable:
        """What the table `totals` or `lasts` has under a custom event, as text."""
        self.events.add(event)
        return sql.SQL("(e.{} ->> {}::text)").format(sql.Identifier(table), self.add(event))

    def date(self, attribute: Attribute, moment: Callable[[], sql.Composable]) -> str:
        """The name of an attribute's columns in `m` and `d`; `moment` makes the former's."""
        key = (attribute.source, attribute.key)
        if key not in self.moments:
            self.moments[key] = (f"at_{len(self.moments)}", moment())
        return self.moments[key][0]


class Compiled(Struct):
    """A condition in SQL, and dates (perhaps null) of which the first later than today is the first it can change
    on."""

    holds: sql.Composable
    changes_on: list[sql.Composable]


class Seen(Struct):
    """One condition by itself: what it looks at, as JSON, and whether it holds."""

    attribute: str
    operator: str
    value: sql.Composable
    holds: sql.Composable


def compiled(given: Filter, parameters: Parameters) -> Compiled:
    """A filter as SQL; never null."""
    changes: list[sql.Composable] = []
    parts = []
    for clause in given.clauses:
        made = [_condition(clause.attribute, condition, parameters) for condition in clause.conditions]
        for one in made:
            changes += one.changes_on
        parts.append(_joined([one.holds for one in made], any_of=clause.any_of))
    return Compiled(_joined(parts, any_of=given.any_of), changes)


def taken_apart(given: Filter, parameters: Parameters) -> list[Seen]:
    """Each condition of a filter by itself."""
    return [
        Seen(clause.attribute.name, condition.operator, _shown_value(clause, parameters),
             _condition(clause.attribute, condition, parameters).holds)
        for clause in given.clauses
        for condition in clause.conditions
    ]  # fmt: skip


def _joined(parts: Sequence[sql.Composable], *, any_of: bool) -> sql.Composable:
    return sql.SQL("({})").format(sql.SQL(" OR " if any_of else " AND ").join(parts))


# ---- attributes --------------------------------------------------------------------------------


def _column(attribute: Attribute, parameters: Parameters) -> sql.Composable:
    """The value of an attribute: text, numeric, timestamptz, date or jsonb."""
    source, key = attribute.source, attribute.key
    if source == filters.ZERO:
        return sql.SQL("0::bigint")
    if source == filters.NOTHING:
        kinds = {Kind.TEXT: "text", Kind.NUMBER: "bigint", Kind.MOMENT: "timestamptz"}
        return sql.SQL("NULL::{}").format(sql.SQL(kinds[attribute.kind]))
    if source == filters.EVENT_COUNT:
        return sql.SQL("coalesce({}::numeric, 0)").format(parameters.total(key, "totals"))
    if source == filters.EVENT_LAST:
        return sql.SQL("{}::timestamptz").format(parameters.total(key, "lasts"))
    if source == "address":
        return sql.SQL("(c.address ->> {})").format(sql.Literal(key))
    if source == "metadata":
        return _metadata(key, parameters)
    return sql.SQL("c.{}").format(sql.Identifier(source))


def _metadata(key: str, parameters: Parameters) -> sql.Composable:
    whole = sql.SQL("c.metadata -> {}::text").format(parameters.add(key))
    if "." in key:
        nested = sql.SQL("c.metadata #> {}::text[]").format(parameters.add(key.split(".")))
        there = sql.SQL("jsonb_exists(c.metadata, {}::text)").format(parameters.add(key))
        whole = sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(there, whole, nested)
    return sql.SQL("nullif({}, 'null'::jsonb)").format(whole)


def _shown_value(clause: Clause, parameters: Parameters) -> sql.Composable:
    column = _column(clause.attribute, parameters)
    if clause.attribute.kind == Kind.MOMENT:  # as in all other answers
        column = sql.SQL("to_char({} AT TIME ZONE 'UTC', {})").format(column, sql.Literal(_MOMENT_SHOWN))
    return sql.SQL("to_jsonb({})").format(column)


def _moment(attribute: Attribute, parameters: Parameters) -> sql.Composable:
    """The moment of an attribute: of a date, the one its day begins at."""
    name = parameters.date(attribute, lambda: _read_moment(attribute, parameters))
    return sql.SQL("m.{}").format(sql.Identifier(name))


def _read_moment(attribute: Attribute, parameters: Parameters) -> sql.Composable:
    column = _column(attribute, parameters)
    if attribute.kind == Kind.BIRTHDAY:
        return beginning(column)
    if attribute.kind == Kind.MOMENT:
        return column
    text = sql.SQL("CASE WHEN jsonb_typeof({0}) = 'string' THEN {0} #>> '{{}}' END").format(column)
    return sql.SQL(
        "(SELECT CASE WHEN t.value ~ {} THEN {} WHEN t.value ~ {} THEN t.value::timestamp AT TIME ZONE %(zone)s"
        " WHEN t.value ~ {} THEN t.value::timestamptz END FROM (SELECT {} AS value OFFSET 0) AS t)"
    ).format(_IS_DATE, beginning(sql.SQL("t.value::date")), _IS_LOCAL, _IS_MOMENT, text)


def beginning(day: sql.Composable) -> sql.Composable:
    """The first instant of a day in the zone. Where clocks are set back at midnight, its first hour comes twice."""
    return sql.SQL(
        "(SELECT CASE WHEN ((m.at - interval '1 hour') AT TIME ZONE %(zone)s)::date = m.day"
        " THEN m.at - interval '1 hour' ELSE m.at END"
        " FROM (SELECT b.day, b.day::timestamp AT TIME ZONE %(zone)s AS at"
        " FROM (SELECT {} AS day OFFSET 0) AS b OFFSET 0) AS m)"
    ).format(day)


def _day(attribute: Attribute, parameters: Parameters) -> sql.Composable:
    """The day of an attribute in the project's time zone."""
    if attribute.kind == Kind.BIRTHDAY:
        return _column(attribute, parameters)
    name = parameters.date(attribute, lambda: _read_moment(attribute, parameters))
    return sql.SQL("d.{}").format(sql.Identifier(name))


# ---- conditions --------------------------------------------------------------------------------


def _condition(attribute: Attribute, condition: Condition, parameters: Parameters) -> Compiled:
    operator = condition.operator
    clock = windows_of(operator, condition.values, yearly=attribute.kind == Kind.BIRTHDAY)
    if clock is not None:
        return _by_clock(clock, _day(attribute, parameters))
    return Compiled(_plain(attribute, condition, parameters), [])


def _by_clock(windows: Windows, day: sql.Composable) -> Compiled:
    return Compiled(windows.holds(day), windows.changes_on(day))


def _plain(attribute: Attribute, condition: Condition, parameters: Parameters) -> sql.Composable:
    operator, values = condition.operator, condition.values
    if operator in filters.PRESENCE:
        test = sql.SQL("({} IS NULL)" if operator == "$is_unknown" else "({} IS NOT NULL)")
        return test.format(_column(attribute, parameters))
    if operator in filters.LOCATIONS:
        return _TRUE if operator == "$not_in_location" else _FALSE  # there are none yet
    if operator in filters.PARTS:
        return _part_of_date(operator, values[0], _day(attribute, parameters), parameters)
    if operator in filters.MOMENTS or attribute.kind in {Kind.MOMENT, Kind.BIRTHDAY}:
        return _compared_moment(attribute, operator, values[0], parameters)
    column = _column(attribute, parameters)
    if operator in filters.COUNTS:
        return _count(column, operator, values[0], parameters)
    if operator in filters.COMPARISONS:
        return _comparison(attribute.kind, column, operator, values[0], parameters)
    if operator in filters.TEXTS:
        holds = _text(attribute.kind, column, operator, values, parameters)
        return sql.SQL("NOT {}").format(holds) if operator == "$not_contain" else holds
    holds = _equality(attribute.kind, column, values, parameters)
    return sql.SQL("NOT {}").format(holds) if operator in {"$is_not", "$not_in"} else holds


def _surely(condition: sql.Composable) -> sql.Composable:
    """A condition that does not hold where there is nothing to look at."""
    return sql.SQL("coalesce({}, false)").format(condition)


def _equality(kind: Kind, column: sql.Composable, values: Sequence[Value], parameters: Parameters) -> sql.Composable:
    if kind == Kind.ANY:
        wanted = parameters.add(_as_json(values))
        # of an array, one element is enough; nothing else contains a scalar but itself
        return _surely(sql.SQL("{} @> ANY ({}::text[]::jsonb[])").format(column, wanted))
    if kind == Kind.NUMBER:
        return _surely(sql.SQL("{} = ANY ({}::numeric[])").format(column, parameters.add(list(values))))
    return _surely(sql.SQL("{} = ANY ({}::text[])").format(column, parameters.add(list(values))))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _as_json(values: Sequence[Value]) -> list[str]:
    """The JSON scalars that fit any of the values: a text can spell a number or a truth value."""
    found = []
    for value in values:
        if isinstance(value, bool):
            found.append(_json(value))
        elif isinstance(value, Decimal):
            found.append(str(value))
        elif isinstance(value, str):
            found.append(_json(value))
            if value in {"true", "false"}:
                found.append(value)
            if (number := number_of(value)) is not None:
                found.append(str(number))
    return found


_TESTS: dict[str, Callable[[sql.Composable, sql.Composable], sql.Composable]] = {
    "$contains": lambda text, part: sql.SQL("strpos({}, {}::text) > 0").format(text, part),
    "$not_contain": lambda text, part: sql.SQL("strpos({}, {}::text) > 0").format(text, part),
    "$starts_with": lambda text, part: sql.SQL("starts_with({}, {}::text)").format(text, part),
    "$ends_with": lambda text, part: sql.SQL("right({0}, length({1}::text)) = {1}::text").format(text, part),
}


def _text(
    kind: Kind, column: sql.Composable, operator: str, values: Sequence[Value], parameters: Parameters
) -> sql.Composable:
    text = column if kind == Kind.TEXT else sql.SQL("({} #>> '{{}}')").format(column)
    test = _TESTS[operator]
    if len(values) == 1:
        holds = test(text, parameters.add(values[0]))
    else:
        holds = sql.SQL("EXISTS (SELECT FROM unnest({}::text[]) AS w (part) WHERE {})").format(
            parameters.add(list(values)), test(text, sql.SQL("w.part"))
        )
    if kind == Kind.ANY:
        among: sql.Composable = _FALSE
        if operator in {"$contains", "$not_contain"}:
            among = _equality(kind, column, values, parameters)
        holds = sql.SQL("CASE jsonb_typeof({}) WHEN 'string' THEN {} WHEN 'array' THEN {} END").format(
            column, holds, among
        )
    return _surely(holds)


_RELATIONS = {
    "$more_than": ">", "$less_than": "<", "$more_than_equal": ">=", "$less_than_equal": "<=", "$count": "=",
    "$count_more": ">", "$count_less": "<", "$after": ">", "$before": "<", "$is": "=",
}  # fmt: skip


def _comparison(
    kind: Kind, column: sql.Composable, operator: str, value: Value, parameters: Parameters
) -> sql.Composable:
    number = column
    if kind == Kind.ANY:
        number = sql.SQL("CASE WHEN jsonb_typeof({0}) = 'number' THEN ({0})::numeric END").format(column)
    relation = sql.SQL(_RELATIONS[operator])
    return _surely(sql.SQL("{} {} {}::numeric").format(number, relation, parameters.add(value)))


def _count(column: sql.Composable, operator: str, value: Value, parameters: Parameters) -> sql.Composable:
    length = sql.SQL("CASE WHEN jsonb_typeof({0}) = 'array' THEN jsonb_array_length({0}) END").format(column)
    return _surely(sql.SQL("{} {} {}::numeric").format(length, sql.SQL(_RELATIONS[operator]), parameters.add(value)))


def _part_of_date(operator: str, value: Value, day: sql.Composable, parameters: Parameters) -> sql.Composable:
    part = {"$is_day_of_month": "day", "$is_day": "isodow", "$is_month": "month", "$is_year": "year"}[operator]
    return _surely(sql.SQL("extract({} FROM {}) = {}::numeric").format(sql.SQL(part), day, parameters.add(value)))


def _compared_moment(attribute: Attribute, operator: str, value: Value, parameters: Parameters) -> sql.Composable:
    if operator == "$is" and not isinstance(value, datetime):
        return _surely(sql.SQL("{} = {}::date").format(_day(attribute, parameters), parameters.add(value)))
    assert isinstance(value, date)
    given = parameters.add(value)
    if not isinstance(value, datetime):
        moment = beginning(sql.SQL("{}::date").format(given))
    elif value.tzinfo:
        moment = sql.SQL("{}::timestamptz").format(given)
    else:
        moment = sql.SQL("({}::timestamp AT TIME ZONE %(zone)s)").format(given)
    relation = sql.SQL(_RELATIONS[operator])
    return _surely(sql.SQL("{} {} {}").format(_moment(attribute, parameters), relation, moment))
