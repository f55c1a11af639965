"""A mapping's tables compiled for one header: functions that make an order's or an item's fields from a row.

A value that is absent (an empty cell) is None and leaves its field out; an object without any value from a column
is left out as a whole.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from punchcard.client.conversions import CellInvalid, NumberReader, Remembered, date_reader
from punchcard.client.mapping import Column, Condition, Conditions, Mapping, MappingInvalid, Value
from punchcard.errors import PunchcardError

Row = list[str]
Getter = Callable[[Row], Any]
Test = Callable[[Row], bool]

_AMOUNTS = frozenset({"price", "amount", "initial_amount", "discount_amount"})
_COUNTS = frozenset({"quantity", "discount_quantity", "initial_quantity"})
_PEOPLE = frozenset({"customer", "referrer"})
_IDS = frozenset({"id", "source_id"})
_CONTACTS = frozenset({"email", "phone", "name"})
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "below": operator.lt,
    "at_most": operator.le,
    "equals": operator.eq,
    "at_least": operator.ge,
    "above": operator.gt,
}


class ColumnsMissing(PunchcardError):
    """The file has not the columns that the mapping names."""


class Fields:
    """A mapping for the files with one header. `rounded` counts the amounts that were rounded."""

    def __init__(self, mapping: Mapping, header: Sequence[str]) -> None:
        self.rounded = 0
        self._header = header
        self._numbers = NumberReader(mapping.numbers)
        self._asked: set[int] = set()
        lines = mapping.lines
        key = [lines.order] if isinstance(lines.order, str) else lines.order or []
        self.key = [self._index(name) for name in key]
        self.same = [self._index(name) for name in lines.same]
        self.order = self._object(mapping.order, "order")
        # the cells that one line of an order may share with the next: equal ones need not be looked at again
        self.shared = _cells(sorted(self._asked))
        self.item = self._object(mapping.item, "item") if mapping.item else None
        self.skips = [(rule, self._conditions(rule.when, f"skip[{n}].when")) for n, rule in enumerate(mapping.skip)]
        self.canceled: Test | None = None
        if mapping.cancellations:
            self.canceled = self._conditions(mapping.cancellations.when, "cancellations.when")

    def _index(self, name: str) -> int:
        index = self._header.index(name)
        self._asked.add(index)
        return index

    def _has(self, value: Any) -> bool:
        """False for an optional column that is not there."""
        if not isinstance(value, Column) or not value.optional:
            return True
        return all(name in self._header for name in _names(value))

    def name(self, index: int) -> str:
        """The name of a column."""
        return self._header[index]

    # ---- objects ----

    def _object(self, table: Any, where: str) -> Getter:
        """Makes a dictionary, or None where no column has a value."""
        named = table if isinstance(table, dict) else {f.name: getattr(table, f.name) for f in _fields_of(table)}
        named = {name: value for name, value in named.items() if value is not None and self._has(value)}
        constants = {name: _constant(value, f"{where}.{name}") for name, value in named.items() if _is_constant(value)}
        getters = [(n, self._getter(value, where, n)) for n, value in named.items() if n not in constants]
        needed = _needed(set(named), where)
        telling = needed - constants.keys()
        fewest = 0 if where == "order" else 1 if where.endswith(".metadata") else len(constants) + 1

        def make(row: Row) -> dict[str, Any] | None:
            made = constants.copy()
            for name, get in getters:
                if (value := get(row)) is not None:
                    made[name] = value
            if len(made) < fewest or (needed and telling.isdisjoint(made)):
                return None
            return made

        return make

    def _getter(self, value: Any, where: str, name: str) -> Getter:
        at = f"{where}.{name}"
        if isinstance(value, str | Column):
            return self._value(value, at, None if where.endswith(".metadata") else name)
        return self._object(value, at)

    # ---- values ----

    def _value(self, value: str | Column, where: str, field: str | None) -> Getter:
        """The getter of one value; `field` is the API's field that it is for, None in metadata."""
        column = Column(column=value) if isinstance(value, str) else value
        if column.constant is not None:
            raise MappingInvalid(f"{where}: has both a column and a constant")
        convert = self._conversion(column, where, field)
        get = _getter([self._index(name) for name in _names(column)], column, convert)
        return self._counting(get) if convert == self._numbers.amount else get

    def _counting(self, get: Getter) -> Getter:
        """The amounts of a getter that gives them with whether they were rounded."""

        def amount(row: Row) -> int | None:
            found = get(row)
            if found is None:
                return None
            units: int = found[0]
            self.rounded += found[1]
            return units

        return amount

    def _conversion(self, column: Column, where: str, field: str | None) -> Callable[[str], Any] | None:
        kind = column.type or ("amount" if field in _AMOUNTS else "integer" if field in _COUNTS else "text")
        told = [column.values is not None, column.date is not None, kind != "text" and column.type is not None]
        if sum(told) > 1:
            raise MappingInvalid(f"{where}: `values`, `date` and `type` exclude each other")
        if column.otherwise is not None and column.values is None:
            raise MappingInvalid(f"{where}.otherwise: is what `values` do not name, and there are none")
        if column.zone and column.date is None:
            raise MappingInvalid(f"{where}.zone: is that of a `date`, and there is none")
        if column.values is not None:
            return _mapped(column.values, column.otherwise)
        if column.date is not None:
            return date_reader(column.date, column.zone, where)
        if kind == "amount" and self._numbers.digits is None:
            raise MappingInvalid(
                f"{where}: is an amount: say in [numbers] how many `digits` the currency has"
                " (2 makes 1250 of 12.50; 0 if the file has the smallest unit)"
            )
        converters: dict[str, Callable[[str], Any] | None] = {
            "amount": self._numbers.amount,
            "integer": self._numbers.integer,
            "number": self._numbers.number,
            "text": None,
        }
        return converters[kind]

    # ---- conditions ----

    def _conditions(self, conditions: Conditions, where: str) -> Test:
        if not conditions:
            raise MappingInvalid(f"{where}: names no column")
        tests = [
            (self._index(name), Remembered(self._condition(name, each, f"{where}.{name}")))
            for name, each in conditions.items()
        ]

        if len(tests) == 1:
            only, test_only = tests[0]
            return lambda row: test_only[row[only]]

        def test(row: Row) -> bool:
            for index, holds in tests:  # noqa: SIM110 - a generator within all() takes twice as long
                if not holds[row[index]]:
                    return False
            return True

        return test

    def _condition(self, name: str, condition: Condition, where: str) -> Callable[[str], bool]:
        tests = _text_tests(condition)
        numeric = [
            (_COMPARISONS[name], bound) for name in _COMPARISONS if (bound := getattr(condition, name)) is not None
        ]
        if not tests and not numeric:
            raise MappingInvalid(f"{where}: says nothing")

        def holds(text: str) -> bool:
            if not all(test(text) for test in tests):
                return False
            try:
                number = self._numbers.decimal(text) if numeric and text else None
            except CellInvalid as error:
                raise CellInvalid(f"{name} {error}") from None
            return all(number is not None and compare(number, bound) for compare, bound in numeric)

        return holds


def columns_of(mapping: Mapping) -> list[str]:
    """The columns that a mapping needs, without those it calls optional.

    Raises `MappingInvalid` for what no header could make right.
    """
    Fields(mapping, _Names(has_all=True))
    names = _Names(has_all=False)
    Fields(mapping, names)
    return list(dict.fromkeys(names.asked))


class _Names(Sequence[str]):
    """A header that finds every column, and notes which ones were asked for; it says that it has them, or not."""

    def __init__(self, *, has_all: bool) -> None:
        self.asked: list[str] = []
        self._has_all = has_all

    def __contains__(self, value: object) -> bool:
        return self._has_all

    def index(self, value: Any, start: int = 0, stop: int = 0) -> int:
        self.asked.append(value)
        return 0

    def __getitem__(self, at: Any) -> Any:
        return self.asked[at]

    def __len__(self) -> int:
        return len(self.asked)


def _fields_of(table: Any) -> list[msgspec.structs.FieldInfo]:
    return [field for field in msgspec.structs.fields(table) if field.name != "once"]


def _names(column: Column) -> list[str]:
    return [column.column] if isinstance(column.column, str) else column.column or []


def _is_constant(value: Any) -> bool:
    return isinstance(value, bool | int) or (isinstance(value, Column) and value.column is None)


def _constant(value: bool | int | Column, where: str) -> Any:
    if not isinstance(value, Column):
        return value
    if value.constant is None:
        raise MappingInvalid(f"{where}: names neither a column nor a constant")
    if value != Column(constant=value.constant):
        raise MappingInvalid(f"{where}: a constant is not converted")
    return value.constant


def _needed(named: set[str], where: str) -> frozenset[str]:
    """Which fields tell a person: without any of them an import would make a nameless customer of every order."""
    if where.rpartition(".")[2] not in _PEOPLE:
        return frozenset()
    needed = frozenset((_IDS & named) or (_CONTACTS & named))
    if not needed:
        raise MappingInvalid(f"{where}: a customer is told by source_id, id, email, phone or name")
    return needed


def _cells(indexes: list[int]) -> Callable[[Row], Any]:
    """Some cells, to be compared."""
    return operator.itemgetter(*indexes) if indexes else lambda row: None


def _getter(indexes: list[int], column: Column, convert: Callable[[str], Any] | None) -> Getter:
    """Joins the cells and converts their text."""
    values = Remembered(lambda text: _converted(text, column, convert))
    if len(indexes) != 1:
        return lambda row: values[" ".join(row[index] for index in indexes if row[index])]
    [only] = indexes
    if convert or column.required or column.remove_prefix or column.remove_suffix:
        return lambda row: values[row[only]]
    return lambda row: row[only] or None


def _converted(text: str, column: Column, convert: Callable[[str], Any] | None) -> Any:
    bare = text.removeprefix(column.remove_prefix).removesuffix(column.remove_suffix).strip()
    if not bare and not (column.values and "" in column.values):
        if column.required:
            raise CellInvalid(f"{' '.join(_names(column))} is missing")
        return None
    try:
        return convert(bare) if convert else bare
    except CellInvalid as error:
        raise CellInvalid(f"{' '.join(_names(column))} {error}") from None


def _mapped(values: dict[str, str | int | bool], otherwise: Value | None) -> Callable[[str], Any]:
    def look_up(text: str) -> Any:
        found = values.get(text, otherwise)
        if found is None:
            raise CellInvalid(f"is {text!r}, which the mapping's `values` do not name")
        return found

    return look_up


def _text_tests(condition: Condition) -> list[Callable[[str], bool]]:
    tests: list[Callable[[str], bool]] = []
    if condition.is_ is not None:
        wanted = {condition.is_} if isinstance(condition.is_, str) else set(condition.is_)
        tests.append(lambda text: text in wanted)
    if condition.is_not is not None:
        unwanted = {condition.is_not} if isinstance(condition.is_not, str) else set(condition.is_not)
        tests.append(lambda text: text not in unwanted)
    if (beginning := condition.begins_with) is not None:
        tests.append(lambda text: text.startswith(beginning))
    if (no_beginning := condition.not_begins_with) is not None:
        tests.append(lambda text: not text.startswith(no_beginning))
    if (empty := condition.empty) is not None:
        tests.append(lambda text: (not text) == empty)
    return tests
