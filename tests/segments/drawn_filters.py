"""Filters drawn for customers: over every attribute and operator, with values made of what the customers have, so that
they often hit or just miss.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.segments import evaluation_dates as dates
from tests.segments.drawn import EVENTS, METADATA_KEYS, Place, Random, customers, date_as_text, day_about, place, text
from tests.segments.evaluation import KINDS, Customer, Filter, attribute_of, number
from tests.segments.evaluation_dates import When, anniversaries, when

# ---- attributes and operators ------------------------------------------------------------------

KEYS = [*filter(None, METADATA_KEYS), "missing", "list.0", "list.1", "list.0.b", "k.b", "a.b.b", "a.", "deep.b.c"]
_OF_EVENTS = [f"events.{event}" for event in [*EVENTS, "never"]]
NAMES = {
    "text": ["loyalty_tiers.campaigns.camp_1"],
    "number": ["loyalty_points.campaigns.A b.points", *[f"{event}.count" for event in _OF_EVENTS]],
    "moment": [f"{event}.{last}" for event in _OF_EVENTS for last in ("last_occurred_at", "created_at")],
    "birthday": [],
    "any": [*[f"metadata.{key}" for key in KEYS], "unknown_metadata.k", "unknown_metadata.when"],
}
for _name, _kind in KINDS.items():
    NAMES[_kind].append(_name)
OFTEN = {
    "text": ["name"],
    "number": ["summary.orders.average_amount", "events.cart.count"],
    "moment": ["created_at", "ordered_at"],
    "birthday": ["birthdate"],
    "any": ["metadata.when", "metadata.list", "metadata.k"],
}
PRESENCE = ["$has_value", "$is_unknown"]
EQUALITY = ["$is", "$in", "$is_not", "$not_in"]
PARTS_OF_TEXT = ["$contains", "$not_contain", "$starts_with", "$ends_with"]
COMPARISONS = ["$more_than", "$less_than", "$more_than_equal", "$less_than_equal"]
COUNTS = ["$count", "$count_more", "$count_less"]
LOCATIONS = ["$in_location", "$not_in_location"]
PERIODS = [*dates.OF_PERIODS, *[f"{operator}_md" for operator in sorted(dates.SAME_AS_MD)]]
OF_DATES = ["$after", "$before", *dates.OF_DAYS, *PERIODS, *dates.OF_ANNIVERSARIES]
OPERATORS = {
    "text": [PRESENCE, EQUALITY, PARTS_OF_TEXT],
    "number": [PRESENCE, EQUALITY, COMPARISONS],
    "moment": [[*PRESENCE, "$is"], OF_DATES, OF_DATES, OF_DATES],
    "birthday": [[*PRESENCE, "$is"], OF_DATES, OF_DATES, OF_DATES],
    "any": [PRESENCE, EQUALITY, PARTS_OF_TEXT, COMPARISONS, COUNTS, LOCATIONS, *[OF_DATES] * 6],
}
DEPEND_ON_DATE = {*dates.OF_DAYS, *PERIODS, *dates.OF_ANNIVERSARIES} - {*dates.PARTS}


def operators_in(wanted: Filter) -> list[str]:
    return [operator for name, part in wanted.items() if name != "junction" for operator in part["conditions"]]


def depends_on_date(wanted: Filter) -> bool:
    return not DEPEND_ON_DATE.isdisjoint(operators_in(wanted))


# ---- values ------------------------------------------------------------------------------------


APART = [timedelta(0), timedelta(0), timedelta(microseconds=1), timedelta(microseconds=-1), timedelta(minutes=-30),
         timedelta(hours=1), timedelta(hours=-1)]  # fmt: skip
SCALARS: list[str | float] = [5, "5", True, "", 0.1]


@dataclass(frozen=True)
class Had:
    """What the customers have under one attribute; of arrays their elements too."""

    draw: Random
    where: Place
    kind: str
    values: list[Any]

    def value(self, operator: str) -> Any:
        """One value for an operator."""
        if operator in PRESENCE:
            return self.draw.choice([True, None, False, "x", {}])
        if operator in PERIODS:
            return self.draw.choice([True, "true"])
        if operator in COUNTS:
            return self.draw.choice([0, 1, 2, 3, "1", 2.0])
        if operator in LOCATIONS:
            return "loc_1"
        if operator in {"$after", "$before"} or (operator == "$is" and self.kind in {"moment", "birthday"}):
            return self.moment()
        if operator in OF_DATES:
            return self.days(operator)
        if operator in COMPARISONS or self.kind == "number":
            return self.number()
        if operator in PARTS_OF_TEXT:
            return self.part()
        return self.scalar() if self.kind == "any" else self.text()

    def scalar(self) -> Any:
        """A value of metadata, perhaps written in another way."""
        own = [value for value in self.values if isinstance(value, str | int | float)]
        value = self.draw.mostly(own, SCALARS)
        form = self.draw.randrange(4)
        if form == 1 and isinstance(value, bool):
            return "true" if value else "false"
        if form == 1 and isinstance(value, int | float):
            return str(value)
        found = number(value)
        return _as_float(found) if form == 2 and found is not None else value

    def text(self) -> str:
        own = [value for value in self.values if isinstance(value, str)]
        return self.draw.mostly(own, [text(self.draw)])

    def part(self) -> str:
        """A piece of a text, or, for arrays, an element as text."""
        elements = [value for value in self.values if isinstance(value, int | float)]
        if elements and self.draw.randrange(3) == 0:
            element = self.draw.choice(elements)
            return str(element).lower() if isinstance(element, bool) else str(element)
        whole = self.text()
        start = self.draw.choice([0, 0, self.draw.randrange(len(whole) + 1)])
        end = self.draw.choice([len(whole), self.draw.randrange(start, len(whole) + 1)])
        return whole[start:end]

    def number(self) -> Any:
        own = [value for value in self.values if isinstance(value, int | float) and not isinstance(value, bool)]
        value: float = self.draw.mostly(own, [0, 5, 100]) + self.draw.choice([0, 0, 1, -1, 0.5])
        return self.draw.choice([value, str(value)])

    def _whens(self) -> list[When]:
        found = [when(value, self.where.zone) for value in self.values]
        return [one for one in found if one is not None]

    def moment(self) -> str:
        """A date or moment: one that a customer has, its day, or another one."""
        found = self._whens()
        if not found or self.draw.randrange(4) == 0:
            return date_as_text(self.draw, self.where)
        chosen = self.draw.choice(found)
        moment = chosen.moment + self.draw.choice(APART)
        local: datetime = moment.astimezone(self.where.zone).replace(tzinfo=None)
        return self.draw.choice([chosen.day.isoformat(), moment.isoformat(), local.isoformat()])

    def days(self, operator: str) -> Any:
        """A number of days or years, or a part of a date, that is right for one of the customers, or nearly."""
        day = self.draw.mostly([one.day for one in self._whens()], [day_about(self.draw, self.where)])
        value, least, greatest = self._right(operator, day)
        value += self.draw.choice([0, 0, 0, 1, -1])
        value = min(max(self.draw.mostly([value], [value, 0, 1, 366]), least), greatest)
        return self.draw.choice([value, value, str(value), float(value)])

    def _right(self, operator: str, day: date) -> tuple[int, int, int]:
        """The value that is right for a day, or near it, the least and the greatest one that there may be."""
        today = self.where.today
        parts = {"$is_day_of_month": (day.day, 1, 31), "$is_month": (day.month, 1, 12), "$is_year": (day.year, 1, 9999),
                 "$is_day": (day.isoweekday(), 1, 7), "$is_years_ago": (today.year - day.year, 0, 1000)}  # fmt: skip
        if operator in parts:
            return parts[operator]
        if operator not in dates.OF_ANNIVERSARIES:
            return abs((today - day).days), 0, 100_000
        away = [(today - anniversary).days for anniversary in anniversaries(day, today)]
        if "_ago_" in operator:
            return min(days for days in away if days >= 0), 0, 366
        return min(-days for days in away if days <= 0), 0, 366


def _as_float(value: Decimal) -> float:
    return float(value) if abs(value) < 2**53 else int(value)


# ---- filters -----------------------------------------------------------------------------------

JUNCTIONS: list[dict[str, Any]] = [{}, {}, {"junction": "and"}, {"junction": "or"}]


def one_filter(draw: Random, customers_there: list[Customer], where: Place) -> Filter:
    """A filter over what the customers have, mostly of one condition: of several few hit."""
    wanted: Filter = {}
    for _ in range(draw.choice([1, 1, 1, 1, 2, 3])):
        kind = draw.choice(["any", "any", "any", "birthday", "birthday", "moment", "moment", "number", "text"])
        name = draw.mostly(OFTEN[kind], NAMES[kind])
        wanted[name] = {"conditions": _conditions(draw, name, kind, customers_there, where), **draw.choice(JUNCTIONS)}
    return wanted | draw.choice(JUNCTIONS)


def _conditions(draw: Random, name: str, kind: str, customers_there: list[Customer], where: Place) -> dict[str, Any]:
    values = [attribute_of(customer, name)[1] for customer in customers_there]
    elements = [element for value in values if isinstance(value, list) for element in value]
    had = Had(draw, where, kind, [value for value in (*values, *elements) if value is not None])
    conditions = {}
    for _ in range(draw.choice([1, 1, 1, 2])):
        operator = draw.choice(draw.choice(OPERATORS[kind]))
        many = operator in {*EQUALITY, *PARTS_OF_TEXT, *LOCATIONS} and kind not in {"moment", "birthday"}
        several = [had.value(operator) for _ in range(draw.choice([1, 1, 2, 3]) if many else 1)]
        conditions[operator] = several[0] if len(several) == 1 and draw.randrange(2) else several
    return conditions


@dataclass(frozen=True)
class Case:
    """Filters over customers at a moment."""

    place: Place
    customers: list[Customer]
    filters: list[Filter]


CUSTOMERS, FILTERS = 12, 24


def case(seed: int) -> Case:
    draw = Random(seed)
    where = place(draw)
    there = customers(draw, where, CUSTOMERS)
    return Case(where, there, [one_filter(draw, there, where) for _ in range(FILTERS)])
