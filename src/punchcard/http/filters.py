"""`filters[FIELD][conditions][$OPERATOR]` of a list's query, as conditions in SQL.

A value can be repeated, numbered (`[0]`, `[1]`) or a list as Python's clients write it. Of several values of `$is` one
is enough; several operators of a field must all hold; `filters[junction]` says whether all fields must.
`created_at[before]` and its kind are filters too; with `active`, `[conditions]` can be left out. Each list says which
fields it knows:

    def condition(given: Filter) -> Condition | None:      # none for a field that it does not know
        if given.field == "code":
            return given.text(sql.SQL("code"))
        return given.metadata()

    filters.narrow(rows, filters.read(query, condition, known=("code", "metadata.KEY")))
"""

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

from msgspec import Struct
from psycopg import sql

from punchcard.errors import InvalidQuery
from punchcard.http import lists, pages

VALUES_MAX = 200
# longer, it is no list that a client wrote
_LIST_LENGTH_MAX = 100_000
_INTEGER_DIGITS_MAX = 15
_INTEGER_BITS_MAX = 64
DAYS_MAX = 100_000
_METADATA = "metadata."
_PRESENCE = ("$has_value", "$is_unknown")
_OF_TEXT = ("$is", "$is_not", "$in", "$not_in", "$contains", "$not_contain", "$starts_with", "$ends_with", *_PRESENCE)
_OF_INTEGER = ("$is", "$is_not", "$in", "$not_in", "$more_than", "$less_than", "$more_than_equal", "$less_than_equal")
_OF_DATE = ("$after", "$before", "$more_than", "$less_than", *_PRESENCE)
_OF_FLAG = ("$is", "$is_not")
_STATES = {
    "$enabled": "active",
    "$disabled": "NOT active",
    "$active": "active AND coalesce(start_date <= {now}, true) AND coalesce(expiration_date > {now}, true)",
    "$expired": "expiration_date <= {now}",
    "$before_start": "start_date > {now}",
}
_COMPARISONS = {"$more_than": ">", "$less_than": "<", "$more_than_equal": ">=", "$less_than_equal": "<="}
_TESTS = {
    "$starts_with": "starts_with({column}, w.value)",
    "$ends_with": "right({column}, length(w.value)) = w.value",
    "$contains": "strpos({column}, w.value) > 0",
    "$not_contain": "strpos({column}, w.value) > 0",
}


class Condition(Struct):
    """A condition in SQL on `field`, which is the name of an index's column where that can answer it."""

    field: str
    text: sql.Composable
    parameters: dict[str, Any]


class Filters(Struct):
    """The conditions of a query; with `any_of` one that holds is enough."""

    conditions: list[Condition]
    any_of: bool = False


class Filter(Struct):
    """One filter of a query: `values` has one at least. `name` is its placeholder, `written` what the client wrote.

    Each method is the condition for a column of one type. Raises `InvalidQuery`.
    """

    field: str
    operator: str
    values: list[str]
    name: str
    written: str

    def text(self, column: sql.Composable) -> Condition:
        """What a text is, or has in it."""
        self.require(_OF_TEXT)
        if self.operator in _PRESENCE:
            return self._presence(column)
        wanted = sql.SQL("{}::text[]").format(self._placeholder)
        if self.operator not in _TESTS:
            return self._condition(self._among(column, wanted), self.values)
        holds = sql.SQL(_TESTS[self.operator]).format(column=column)
        found = sql.SQL("EXISTS (SELECT FROM unnest({}) AS w (value) WHERE {})").format(wanted, holds)
        return self._condition(
            sql.SQL("NOT {}").format(found) if self.operator == "$not_contain" else found, self.values
        )

    def date(self, column: sql.Composable, *, own: sql.Composable | None = None) -> Condition:
        """When a moment is: before or after another, or more or less than some days ago, which none to come is.

        `own` is what is there or not, where `column` is an expression that always is.
        """
        self.require(_OF_DATE)
        if self.operator in _PRESENCE:
            return self._presence(own or column)
        if self.operator in {"$before", "$after"}:
            relation = sql.SQL("<" if self.operator == "$before" else ">")
            moment = lists.moment(self.values[-1], self.written)
            return self._condition(sql.SQL("{} {} {}").format(column, relation, self._placeholder), moment)
        now = datetime.now(UTC)
        ago = now - timedelta(days=self._days())
        if self.operator == "$more_than":
            return self._condition(sql.SQL("{} < {}").format(column, self._placeholder), ago)
        until = sql.Placeholder(f"{self.name}_now")
        since = sql.SQL("{} > {} AND {} <= {}").format(column, self._placeholder, column, until)
        return Condition(self.field, sql.SQL("({})").format(since), {self.name: ago, f"{self.name}_now": now})

    def integer(self, column: sql.Composable) -> Condition:
        """What a count is."""
        self.require(_OF_INTEGER)
        numbers = [self._number(value) for value in self.values]
        wanted = sql.SQL("{}::bigint[]").format(self._placeholder)
        if self.operator in _COMPARISONS:
            holds: sql.Composable = sql.SQL("{} {} ALL ({})").format(
                column, sql.SQL(_COMPARISONS[self.operator]), wanted
            )
        else:
            holds = self._among(column, wanted)
        return self._condition(holds, numbers)

    def flag(self, column: sql.Composable) -> Condition:
        """Whether something is so."""
        self.require(_OF_FLAG)
        return self._condition(
            sql.SQL("{} = {}").format(column, self._placeholder), self._is_true() == (self.operator == "$is")
        )

    def state(self, states: Mapping[str, LiteralString] = _STATES) -> Condition:
        """Whether something is in a state, by default whether it is in force: `false` asks for what is not.

        Each operator is a state. The default ones are of what has `active`, `start_date` and `expiration_date`.
        """
        self.require(tuple(states))
        holds: sql.Composable = sql.SQL("coalesce({}, false)").format(
            sql.SQL(states[self.operator]).format(now=self._placeholder)
        )
        if self.values[-1] and not self._is_true():
            holds = sql.SQL("NOT {}").format(holds)
        return self._condition(holds, datetime.now(UTC))

    def metadata(self) -> Condition | None:
        """What stands in metadata under the key of `metadata.KEY`, as text; none for another field."""
        key = self.field.removeprefix(_METADATA)
        if key in ("", self.field):
            return None
        column = sql.SQL("metadata ->> {}").format(sql.Placeholder(f"{self.name}_key"))
        condition = self.text(column)
        condition.parameters[f"{self.name}_key"] = key
        return condition

    def require(self, known: Sequence[str]) -> None:
        """Raise `InvalidQuery` unless the operator is a known one."""
        if self.operator not in known:
            raise InvalidQuery(f"Property .{self.written} has an unknown operator; there are {', '.join(known)}")

    def _number(self, value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) <= _INTEGER_DIGITS_MAX):
            raise InvalidQuery(f"Property .{self.written} should be integer")
        return int(value)

    def _days(self) -> int:
        days = self._number(self.values[-1])
        if days > DAYS_MAX:
            raise InvalidQuery(f"Property .{self.written} cannot be higher than {DAYS_MAX}")
        return days

    def _is_true(self) -> bool:
        value = self.values[-1].lower()
        if value not in {"true", "false"}:
            raise InvalidQuery(f"Property .{self.written} must be true or false")
        return value == "true"

    @property
    def _placeholder(self) -> sql.Composable:
        return sql.Placeholder(self.name)

    def _condition(self, text: sql.Composable, parameter: Any) -> Condition:
        return Condition(self.field, text, {self.name: parameter})

    def _presence(self, column: sql.Composable) -> Condition:
        test = sql.SQL("({}) IS NULL" if self.operator == "$is_unknown" else "({}) IS NOT NULL").format(column)
        return Condition(self.field, test, {})

    def _among(self, column: sql.Composable, wanted: sql.Composable) -> sql.Composable:
        """What has no value is none of the values."""
        found = sql.SQL("{} = ANY ({})").format(column, wanted)
        return found if self.operator in {"$is", "$in"} else sql.SQL("({}) IS NOT TRUE").format(found)


def read(
    query: Iterable[tuple[str, str]], condition: Callable[[Filter], Condition | None], *, known: Sequence[str]
) -> Filters:
    """The filters among the parameters of a query; others are not looked at.

    `condition` is none for a field that the list does not have, and `known` names those that it has. Raises
    `InvalidQuery`: without a filter that we do not know, the answer would hold what was to be left out.
    """
    found: dict[tuple[str, str], Filter] = {}
    any_of = False
    for name, value in query:
        match lists.path_of(name):
            case ["filters", "junction"]:
                any_of = _junction(value)
                continue
            case ["filters", field, "conditions", operator, *index] if len(index) <= 1:
                pass
            # as it is described for campaigns
            case ["filters", "active" as field, operator] if operator.startswith("$"):
                pass
            case ["filters", *_]:
                raise _unknown(name, known)
            case ["created_at" | "updated_at" as field, "before" | "after" as relation]:
                operator = f"${relation}"
            case _:
                continue
        given = found.setdefault((field, operator), Filter(field, operator, [], f"filter_{len(found)}", _shown(name)))
        given.values += values_of(value, given.written)
    conditions = []
    for given in found.values():
        if given.operator in {"$before", "$after"} and not given.values[-1]:
            continue  # an empty date is none
        _check_values(given)
        made = condition(given)
        if made is None:
            raise _unknown(given.written, known)
        conditions.append(made)
    return Filters(conditions, any_of)


def narrow(rows: pages.Rows, filters: Filters) -> None:
    """Only rows that pass the filters."""
    if not filters.any_of:
        for condition in filters.conditions:
            rows.where(condition.field, condition.text, **condition.parameters)
    elif filters.conditions:
        parameters: dict[str, Any] = {}
        for condition in filters.conditions:
            parameters |= condition.parameters
        joined = sql.SQL(" OR ").join(condition.text for condition in filters.conditions)
        rows.where("filters", sql.SQL("({})").format(joined), **parameters)


def values_of(value: str, name: str) -> list[str]:
    """The values that a parameter holds: several if it is a list as Python writes it. Raises `InvalidQuery`."""
    if value.startswith("[") and value.endswith("]") and len(value) < _LIST_LENGTH_MAX:
        try:
            listed = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return [value]
        if isinstance(listed, list) and listed:
            return [_text(element, name) for element in listed]
    return [value]


def _text(element: object, name: str) -> str:
    """An element of a list as it would be written alone."""
    plain = isinstance(element, str | float | None)
    if not plain and not (isinstance(element, int) and element.bit_length() <= _INTEGER_BITS_MAX):
        raise InvalidQuery(f"Property .{name} must list texts, or numbers of at most {_INTEGER_BITS_MAX} bits")
    return str(element)


def _check_values(given: Filter) -> None:
    if len(given.values) > VALUES_MAX:
        raise InvalidQuery(f"Property .{given.written} must have at most {VALUES_MAX} values")
    for text in (given.field, *given.values):
        lists.text_of(text, given.written)


def _junction(value: str) -> bool:
    if value.lower() not in {"and", "or", ""}:
        raise InvalidQuery("Property .filters[junction] must be one of and, or")
    return value.lower() == "or"


def _unknown(name: str, known: Sequence[str]) -> InvalidQuery:
    form = "filters[FIELD][conditions][$OPERATOR]"
    return InvalidQuery(f"Property .{_shown(name)} is no known filter; there is {form} of {', '.join(known)}")


def _shown(name: str) -> str:
    return name.replace("\x00", "")[:200]
