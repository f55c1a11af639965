"""Filters of segments: what a client may write, read into typed conditions. docs/reference/segment-filters.md.

`parse` checks everything that can be wrong, with its path; `compiling` makes SQL of what it returns.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from punchcard.errors import InvalidPayload

FILTER_BYTES_MAX = 32 * 1024
CLAUSES_MAX = 50
CONDITIONS_MAX = 100
VALUES_MAX = 200
# of all filters of a project together: every customer who changes is looked at by all of them, in one statement
PROJECT_CONDITIONS_MAX = 1000
PROJECT_VALUES_MAX = 20_000
NAME_LENGTH_MAX = 300
DAYS_MAX = 100_000
YEARS_MAX = 1000
# an anniversary is never further away
ANNIVERSARY_DAYS_MAX = 366
COUNT_MAX = 1_000_000
NUMBER_LENGTH_MAX = 40
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?", re.ASCII
)


class Kind(StrEnum):
    """What values an attribute has."""

    TEXT = "text"
    NUMBER = "number"
    MOMENT = "moment"
    BIRTHDAY = "birthday"
    # metadata: whatever stands there
    ANY = "any"


class Attribute(Struct, frozen=True):
    """What a filter looks at: a column of the evaluation, or, by `key`, a part of one; `source` says which."""

    name: str
    kind: Kind
    source: str
    key: str = ""


# a number, a text, a truth value, a date, a moment, or a moment without offset
Value: TypeAlias = str | bool | Decimal | date | datetime


class Condition(Struct, frozen=True):
    """An operator with its values; no value of those that take `true`."""

    operator: str
    values: tuple[Value, ...]


class Clause(Struct, frozen=True):
    """The conditions on one attribute; with `any_of` one that holds is enough."""

    attribute: Attribute
    conditions: tuple[Condition, ...]
    any_of: bool = False


class Filter(Struct, frozen=True):
    """Clauses of which all must hold; with `any_of` one that holds is enough."""

    clauses: tuple[Clause, ...]
    any_of: bool = False

    @property
    def conditions(self) -> int:
        """How many conditions there are."""
        return sum(len(clause.conditions) for clause in self.clauses)

    @property
    def values(self) -> int:
        """How many values the conditions have."""
        return sum(len(condition.values) for clause in self.clauses for condition in clause.conditions)


# ---- attributes --------------------------------------------------------------------------------

_TEXT, _NUMBER_KIND, _MOMENT_KIND = Kind.TEXT, Kind.NUMBER, Kind.MOMENT
_ADDRESS = ("city", "state", "country", "postal_code", "line_1", "line_2")
_REDEMPTIONS = (
    "total_redeemed", "total_failed", "total_succeeded", "total_rolled_back", "gift.redeemed_amount",
    "gift.amount_to_go", "loyalty_card.redeemed_points", "loyalty_card.points_to_go",
)  # fmt: skip
# attributes of things that do not exist yet
ZERO, NOTHING = "zero", "nothing"
_NAMED: dict[str, tuple[Kind, str, str]] = {
    **{name: (_TEXT, name, "") for name in ("id", "source_id", "name", "email", "phone", "description")},
    **{f"address.{part}": (_TEXT, "address", part) for part in _ADDRESS},
    "city": (_TEXT, "address", "city"),
    "birthdate": (Kind.BIRTHDAY, "birthdate", ""),
    "birthday": (Kind.BIRTHDAY, "birthday", ""),
    "created_at": (_MOMENT_KIND, "created_at", ""),
    "updated_at": (_MOMENT_KIND, "updated_at", ""),
    **{
        f"summary.orders.{name}": (_NUMBER_KIND, f"orders_{name}", "")
        for name in ("total_amount", "total_count", "average_amount", "last_order_amount")
    },
    "summary.orders.last_order_date": (_MOMENT_KIND, "orders_last_date", ""),
    "ordered_at": (_MOMENT_KIND, "orders_last_date", ""),
    **{f"summary.redemptions.{name}": (_NUMBER_KIND, ZERO, "") for name in _REDEMPTIONS},
    "loyalty.points": (_NUMBER_KIND, ZERO, ""),
    "loyalty.referred_customers": (_NUMBER_KIND, ZERO, ""),
    "publications.created_at": (_MOMENT_KIND, NOTHING, ""),
    "publications.related_object_id": (_TEXT, NOTHING, ""),
}
EVENT_COUNT, EVENT_LAST = "event_count", "event_last"
_KEYED = (
    ("metadata.", "", Kind.ANY, "metadata"),
    ("unknown_metadata.", "", Kind.ANY, "metadata"),
    ("events.", ".count", _NUMBER_KIND, EVENT_COUNT),
    ("events.", ".last_occurred_at", _MOMENT_KIND, EVENT_LAST),
    ("events.", ".created_at", _MOMENT_KIND, EVENT_LAST),
    ("loyalty_points.campaigns.", ".points", _NUMBER_KIND, NOTHING),
    ("loyalty_tiers.campaigns.", "", _TEXT, NOTHING),
)


def _attribute(name: str, path: str) -> Attribute:
    if name in _NAMED:
        return Attribute(name, *_NAMED[name])
    if name == "segments" or name.startswith("segments."):
        raise InvalidPayload(f"Property {path} cannot be filtered by: a segment must not depend on segments")
    for prefix, suffix, kind, source in _KEYED:
        key = name.removeprefix(prefix).removesuffix(suffix)
        if name == f"{prefix}{key}{suffix}" and key:
            if "\x00" in key:
                raise InvalidPayload(f"Property {_shown(path)} must not contain a NUL character")
            return Attribute(name, kind, source, key)
    keyed = (f"{prefix}…{suffix}" for prefix, suffix, *_ in _KEYED)
    raise InvalidPayload(f"Property {_shown(path)} is no known attribute; there are {', '.join([*_NAMED, *keyed])}")


# ---- operators ---------------------------------------------------------------------------------

PRESENCE = ("$has_value", "$is_unknown")
EQUALITY = ("$is", "$in", "$is_not", "$not_in")
TEXTS = ("$contains", "$not_contain", "$starts_with", "$ends_with")
COMPARISONS = ("$more_than", "$less_than", "$more_than_equal", "$less_than_equal")
COUNTS = ("$count", "$count_more", "$count_less")
LOCATIONS = ("$in_location", "$not_in_location")
MOMENTS = ("$after", "$before")
DAYS = ("$more_than_ago", "$less_than_ago", "$more_than_future", "$less_than_future", "$is_days_ago",
        "$is_days_in_future")  # fmt: skip
YEARS_AGO = "$is_years_ago"
CALENDAR = ("$yesterday", "$today", "$tomorrow", "$last_week", "$this_week", "$next_week", "$last_month",
            "$this_month", "$next_month", "$last_year", "$this_year", "$next_year")  # fmt: skip
# with the least and the greatest value
PARTS = {"$is_day_of_month": (1, 31), "$is_day": (1, 7), "$is_month": (1, 12), "$is_year": (1, 9999)}
CALENDAR_MD = tuple(f"{name}_md" for name in CALENDAR if not name.endswith("_year"))
DAYS_MD = ("$is_days_ago_md", "$is_days_in_future_md", "$is_less_days_ago_md", "$is_more_days_ago_md",
           "$is_less_days_in_future_md", "$is_more_days_in_future_md")  # fmt: skip
_DATES = (*MOMENTS, *DAYS, YEARS_AGO, *CALENDAR, *PARTS, *CALENDAR_MD, *DAYS_MD)
OPERATORS: dict[Kind, tuple[str, ...]] = {
    Kind.TEXT: (*EQUALITY, *PRESENCE, *TEXTS),
    Kind.NUMBER: (*EQUALITY, *PRESENCE, *COMPARISONS),
    Kind.MOMENT: ("$is", *PRESENCE, *_DATES),
    Kind.BIRTHDAY: ("$is", *PRESENCE, *_DATES),
    Kind.ANY: (*EQUALITY, *PRESENCE, *TEXTS, *COMPARISONS, *COUNTS, *LOCATIONS, *_DATES),
}
_FORM = "filter[field][conditions][operator][index]"


def _checked_operator(operator: str, attribute: Attribute, path: str) -> None:
    known = OPERATORS[attribute.kind]
    if operator not in known:
        every = dict.fromkeys(name for names in OPERATORS.values() for name in names)
        problem = "does not go with this attribute" if operator in every else "is no known operator"
        raise InvalidPayload(f"Property {_shown(path)} {problem} ({_FORM}); there are {', '.join(known)}")


# ---- reading -----------------------------------------------------------------------------------


def parse(given: Any, path: str = ".filter") -> Filter:
    """The filter that a request holds at `path`. Raises `InvalidPayload`."""
    if not isinstance(given, Mapping):
        raise InvalidPayload(f"Property {path} must be an object")
    if len(msgspec.json.encode(given)) > FILTER_BYTES_MAX:
        raise InvalidPayload(f"Property {path} must have at most {FILTER_BYTES_MAX} bytes")
    clauses = tuple(_clause(name, part, f"{path}.{name}") for name, part in given.items() if name != "junction")
    if not 1 <= len(clauses) <= CLAUSES_MAX:
        raise InvalidPayload(f"Property {path} must have 1 to {CLAUSES_MAX} attributes")
    found = Filter(clauses, _junction(given, path))
    if found.conditions > CONDITIONS_MAX:
        raise InvalidPayload(f"Property {path} must have at most {CONDITIONS_MAX} operators")
    return found


def _junction(given: Mapping[str, Any], path: str) -> bool:
    junction = given.get("junction", "and")
    if not isinstance(junction, str) or junction.lower() not in {"and", "or"}:
        raise InvalidPayload(f"Property {path}.junction must be one of and, or")
    return junction.lower() == "or"


def _clause(name: str, given: Any, path: str) -> Clause:
    if len(name) > NAME_LENGTH_MAX:
        raise InvalidPayload(f"Property {_shown(path)} must have a name of at most {NAME_LENGTH_MAX} characters")
    attribute = _attribute(name, path)
    if not isinstance(given, Mapping):
        raise InvalidPayload(f"Property {path} must be an object")
    for key in given:
        if key not in {"conditions", "junction"}:
            raise InvalidPayload(f"Property {_shown(f'{path}.{key}')} is not known; there are conditions, junction")
    conditions = given.get("conditions")
    if not isinstance(conditions, Mapping) or not conditions:
        raise InvalidPayload(f"Property {path}.conditions must be an object with an operator")
    read = tuple(_condition(attribute, *pair, f"{path}.conditions.{pair[0]}") for pair in conditions.items())
    return Clause(attribute, read, _junction(given, path))


def _condition(attribute: Attribute, operator: str, given: Any, path: str) -> Condition:
    _checked_operator(operator, attribute, path)
    if operator in PRESENCE:
        return Condition(operator, ())
    values = given if isinstance(given, list) else [given]
    if not 1 <= len(values) <= VALUES_MAX:
        raise InvalidPayload(f"Property {path} must have 1 to {VALUES_MAX} values")
    many = operator in {*EQUALITY, *TEXTS, *LOCATIONS} and attribute.kind not in {Kind.MOMENT, Kind.BIRTHDAY}
    if not many and len(values) > 1:
        raise InvalidPayload(f"Property {path} must have one value")
    read = (_value(attribute, operator, value, f"{path}[{no}]" if len(values) > 1 else path)
            for no, value in enumerate(values))  # fmt: skip
    if operator in CALENDAR or operator in CALENDAR_MD:
        return Condition(operator, tuple(read)[:0])
    return Condition(operator, tuple(read))


def _value(attribute: Attribute, operator: str, value: Any, path: str) -> Value:
    """A value as the operator wants it."""
    if operator in CALENDAR or operator in CALENDAR_MD:
        if value is not True and value != "true":
            raise InvalidPayload(f"Property {path} must be true")
        return True
    if operator in PARTS:
        return _integer(value, path, *PARTS[operator])
    for names, least, most in (
        (DAYS, 0, DAYS_MAX),
        ((YEARS_AGO,), 0, YEARS_MAX),
        (DAYS_MD, 0, ANNIVERSARY_DAYS_MAX),
        (COUNTS, 0, COUNT_MAX),
    ):
        if operator in names:
            return _integer(value, path, least, most)
    if operator in MOMENTS or attribute.kind in {Kind.MOMENT, Kind.BIRTHDAY}:
        return _date_or_moment(value, path)
    if operator in COMPARISONS or attribute.kind == Kind.NUMBER:
        return _number(value, path)
    if attribute.kind == Kind.ANY and operator in EQUALITY:
        return _scalar(value, path)
    return _text(value, path)


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidPayload(f"Property {path} must be string")
    if "\x00" in value:
        raise InvalidPayload(f"Property {path} must not contain a NUL character")
    return value


def _scalar(value: Any, path: str) -> Value:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value, path)
    if isinstance(value, str):
        return _text(value, path)
    raise InvalidPayload(f"Property {path} must be a text, a number, true or false")


def _number(value: Any, path: str) -> Decimal:
    found = None if isinstance(value, bool) or not isinstance(value, int | float | str) else number_of(str(value))
    if found is None:
        raise InvalidPayload(f"Property {path} must be number")
    return found


def number_of(text: str) -> Decimal | None:
    """The number that a text spells; none if it spells none, or one that nobody means."""
    if len(text) > NUMBER_LENGTH_MAX or not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        return None
    return Decimal(text)


def _integer(value: Any, path: str, least: int, most: int) -> Decimal:
    number = _number(value, path)
    if number != number.to_integral_value():
        raise InvalidPayload(f"Property {path} should be integer")
    if not least <= number <= most:
        bound, direction = (least, "lower") if number < least else (most, "higher")
        raise InvalidPayload(f"Property {path} cannot be {direction} than {bound}")
    return number.to_integral_value()


def _date_or_moment(value: Any, path: str) -> Value:
    """A date, a moment in UTC, or a moment without offset, which is the project's local time."""
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return date.fromisoformat(value)
        if isinstance(value, str) and _MOMENT.fullmatch(value):
            moment = datetime.fromisoformat(value)
            return moment.astimezone(UTC) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        pass
    raise InvalidPayload(f"Property {path} cannot be recognized as a ISO-8601 compliant date")


def _shown(path: str) -> str:
    return path.replace("\x00", "")[: 2 * NAME_LENGTH_MAX]
