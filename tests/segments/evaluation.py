"""What filters of segments mean, by docs/reference/segment-filters.md: slow, plain, and with nothing of the server.

`holds` is the judge of the compiled filters, so each operator is a function of its own that does what its sentence in
the reference says. Those of dates are in `evaluation_dates`.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from tests.segments import evaluation_dates as dates
from tests.segments.evaluation_dates import When, when

Filter = dict[str, Any]


@dataclass
class Customer:
    """All that filters look at. Moments have an offset; `metadata` is as JSON decodes it."""

    id: str
    created_at: datetime
    source_id: str | None = None
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    description: str | None = None
    address: dict[str, str] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    birthdate: date | None = None
    birthday: date | None = None
    updated_at: datetime | None = None
    orders_total_amount: int = 0
    orders_total_count: int = 0
    orders_last_amount: int | None = None
    last_order_date: datetime | None = None
    # how often each custom event happened, and when last
    events: dict[str, tuple[int, datetime]] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A customer's value as an operator sees it, and when and where it is looked at."""

    kind: str
    value: Any
    today: date
    zone: ZoneInfo


def holds(wanted: Filter, customer: Customer, *, today: date, zone: ZoneInfo) -> bool:
    """Whether the customer fits the filter on a day."""
    answers = []
    for name, attribute in wanted.items():
        if name != "junction":
            kind, value = attribute_of(customer, name)
            answers.append(_attribute_holds(attribute, Seen(kind, value, today, zone)))
    return _joined(wanted, answers)


def next_change(wanted: Filter, customer: Customer, *, today: date, zone: ZoneInfo, days: int) -> date | None:
    """The first of the next so many days on which the answer is another one."""
    answer = holds(wanted, customer, today=today, zone=zone)
    for ahead in range(1, days + 1):
        day = today + timedelta(ahead)
        if holds(wanted, customer, today=day, zone=zone) != answer:
            return day
    return None


def _attribute_holds(attribute: dict[str, Any], seen: Seen) -> bool:
    answers = [fits(seen, operator, listed(given)) for operator, given in attribute["conditions"].items()]
    return _joined(attribute, answers)


def _joined(where: dict[str, Any], answers: list[bool]) -> bool:
    if where.get("junction", "and") == "or":
        return any(answers)
    return all(answers)


def listed(given: Any) -> list[Any]:
    """A value that stands alone is a list of one."""
    return given if isinstance(given, list) else [given]


FIT_WITHOUT_VALUE = {"$is_unknown", "$is_not", "$not_in", "$not_contain", "$not_in_location"}
PRESENCE = {"$has_value": True, "$is_unknown": False}


def fits(seen: Seen, operator: str, values: list[Any]) -> bool:
    """Whether a value fits one operator."""
    if seen.value is None:
        return operator in FIT_WITHOUT_VALUE
    if operator in PRESENCE:
        return PRESENCE[operator]
    of_dates = seen.kind in {"birthday", "moment"}
    if operator in OF_VALUES and not (operator == "$is" and of_dates):
        return OF_VALUES[operator](seen.value, values)
    if operator.endswith("_location"):
        return operator == "$not_in_location"  # there are none yet
    date_or_moment = when(seen.value, seen.zone)
    return date_or_moment is not None and _fits_date(date_or_moment, seen, operator, values[0])


def _fits_date(value: When, seen: Seen, operator: str, wanted: Any) -> bool:
    if operator in dates.OF_MOMENTS:
        other = when(wanted, seen.zone)
        assert other is not None
        return dates.OF_MOMENTS[operator](value, other)
    if operator in dates.OF_DAYS:
        return dates.OF_DAYS[operator](value.day, seen.today, whole(wanted))
    yearly = operator.endswith("_md") or (seen.kind == "birthday" and operator in dates.SAME_AS_MD)
    if not yearly:
        return dates.OF_PERIODS[operator](value.day, seen.today)
    around = dates.anniversaries(value.day, seen.today)
    if operator in dates.OF_ANNIVERSARIES:
        return dates.OF_ANNIVERSARIES[operator](around, seen.today, whole(wanted))
    in_period = dates.OF_PERIODS[operator.removesuffix("_md")]
    return any(in_period(anniversary, seen.today) for anniversary in around)


# ---- attributes --------------------------------------------------------------------------------

TEXTS = ("id", "source_id", "name", "email", "phone", "description")
ADDRESS_LINES = ("city", "state", "country", "postal_code", "line_1", "line_2")
REDEMPTIONS = ("total_redeemed", "total_failed", "total_succeeded", "total_rolled_back", "gift.redeemed_amount",
               "gift.amount_to_go", "loyalty_card.redeemed_points", "loyalty_card.points_to_go")  # fmt: skip
ORDER_NUMBERS = ("total_amount", "total_count", "average_amount", "last_order_amount")
# the type of each attribute with a name of its own
KINDS = {
    **dict.fromkeys(TEXTS, "text"),
    "city": "text",
    **{f"address.{line}": "text" for line in ADDRESS_LINES},
    "birthdate": "birthday",
    "birthday": "birthday",
    "created_at": "moment",
    "updated_at": "moment",
    **{f"summary.orders.{name}": "number" for name in ORDER_NUMBERS},
    "summary.orders.last_order_date": "moment",
    "ordered_at": "moment",
    **{f"summary.redemptions.{name}": "number" for name in REDEMPTIONS},
    "loyalty.points": "number",
    "loyalty.referred_customers": "number",
    "publications.related_object_id": "text",
    "publications.created_at": "moment",
}


def attribute_of(customer: Customer, name: str) -> tuple[str, Any]:
    """The type of an attribute and the customer's value, None where there is none."""
    first, _, rest = name.partition(".")
    if first in {"metadata", "unknown_metadata"}:
        return "any", under(customer.metadata, rest)
    if first == "events":
        event, _, what = rest.rpartition(".")
        count, last_at = customer.events.get(event, (0, None))
        return ("number", count) if what == "count" else ("moment", last_at)
    if first == "loyalty_points":
        return "number", None
    if first == "loyalty_tiers":
        return "text", None
    return KINDS[name], _named(customer, name)


def _named(customer: Customer, name: str) -> Any:
    if name == "city" or name.startswith("address."):
        return (customer.address or {}).get(name.removeprefix("address."))
    if name in {"ordered_at", "summary.orders.last_order_date"}:
        return customer.last_order_date
    if name.startswith("summary.orders."):
        return _of_orders(customer)[name.removeprefix("summary.orders.")]
    if name.startswith(("summary.redemptions.", "loyalty.")):
        return 0
    if name.startswith("publications."):
        return None
    return getattr(customer, name)


def _of_orders(customer: Customer) -> dict[str, int]:
    total, count = customer.orders_total_amount, customer.orders_total_count
    return {
        "total_amount": total,
        "total_count": count,
        # to the nearest whole, halves up, as customers show it
        "average_amount": math.floor(Fraction(total, count) + Fraction(1, 2)) if count else 0,
        "last_order_amount": customer.orders_last_amount or 0,
    }


def under(metadata: dict[str, Any], key: str) -> Any:
    """What stands under a key. Dots lead into objects and, by position, arrays, unless the whole is a key."""
    if key in metadata:
        return metadata[key]
    value: Any = metadata
    for part in key.split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return None
    return value


# ---- values ------------------------------------------------------------------------------------

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def number(value: Any) -> Decimal | None:
    """A number, or the number that a text of a filter writes; none if it is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return Decimal(str(value))
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return Decimal(value)
    return None


def whole(value: Any) -> int:
    found = number(value)
    assert found is not None
    assert found == int(found)
    return int(found)


# ---- operators of values -----------------------------------------------------------------------


def same(value: Any, wanted: Any) -> bool:
    """Whether a customer's value, or an element of it, is a value of the filter."""
    if isinstance(value, bool):
        return wanted is value or wanted == ("true" if value else "false")
    if isinstance(value, int | float):
        return number(wanted) is not None and number(wanted) == number(value)
    if isinstance(value, str):
        return isinstance(wanted, str) and value == wanted
    return False


def is_one_of(value: Any, values: list[Any]) -> bool:
    elements = value if isinstance(value, list) else [value]
    return any(same(element, wanted) for element in elements for wanted in values)


def is_none_of(value: Any, values: list[Any]) -> bool:
    return not is_one_of(value, values)


def contains(value: Any, values: list[Any]) -> bool:
    if isinstance(value, list):
        return is_one_of(value, values)
    return isinstance(value, str) and any(wanted in value for wanted in values)


def contains_none(value: Any, values: list[Any]) -> bool:
    return not contains(value, values)


def starts_with(value: Any, values: list[Any]) -> bool:
    return isinstance(value, str) and any(value.startswith(wanted) for wanted in values)


def ends_with(value: Any, values: list[Any]) -> bool:
    return isinstance(value, str) and any(value.endswith(wanted) for wanted in values)


def _compared(value: Any, values: list[Any]) -> int | None:
    """-1, 0 or 1 as a number is less than the wanted one, the same, or more; None for what is no number."""
    if isinstance(value, str):
        return None
    left, right = number(value), number(values[0])
    if left is None or right is None:
        return None
    return (left > right) - (left < right)


def more_than(value: Any, values: list[Any]) -> bool:
    return _compared(value, values) == 1


def less_than(value: Any, values: list[Any]) -> bool:
    return _compared(value, values) == -1


def more_than_equal(value: Any, values: list[Any]) -> bool:
    return _compared(value, values) in {0, 1}


def less_than_equal(value: Any, values: list[Any]) -> bool:
    return _compared(value, values) in {-1, 0}


def count(value: Any, values: list[Any]) -> bool:
    return isinstance(value, list) and len(value) == whole(values[0])


def count_more(value: Any, values: list[Any]) -> bool:
    return isinstance(value, list) and len(value) > whole(values[0])


def count_less(value: Any, values: list[Any]) -> bool:
    return isinstance(value, list) and len(value) < whole(values[0])


OF_VALUES: dict[str, Callable[[Any, list[Any]], bool]] = {
    "$is": is_one_of,
    "$in": is_one_of,
    "$is_not": is_none_of,
    "$not_in": is_none_of,
    "$contains": contains,
    "$not_contain": contains_none,
    "$starts_with": starts_with,
    "$ends_with": ends_with,
    "$more_than": more_than,
    "$less_than": less_than,
    "$more_than_equal": more_than_equal,
    "$less_than_equal": less_than_equal,
    "$count": count,
    "$count_more": count_more,
    "$count_less": count_less,
}
