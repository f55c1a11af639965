"""When and where filters are looked at, and customers with awkward values, drawn at random from a seed.

Not by hypothesis value by value: what decides is how many filters meet how many customers, and a seed gives hundreds of
times as many in the same time. What fails is small without shrinking: one filter and one customer.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from tests.segments.evaluation import ADDRESS_LINES, Customer
from tests.segments.evaluation_dates import DAY, begins, in_year

T = TypeVar("T")


class Random(random.Random):
    """Draws from lists, the first more often than the others."""

    def mostly(self, *ranked: Sequence[T]) -> T:
        """Something of the first list in half of the cases, of the second in a quarter, and so on."""
        for several in ranked[:-1]:
            if several and self.random() < 0.5:
                return self.choice(several)
        return self.choice(ranked[-1])

    def maybe(self, value: T) -> T | None:
        return value if self.randrange(3) else None


# ---- when and where ----------------------------------------------------------------------------

# leap days, ends of months and years, turns of weeks
DAYS = [date(2024, 2, 29), date(2024, 2, 28), date(2024, 3, 1), date(2023, 2, 28), date(2023, 3, 1), date(2023, 12, 31),
        date(2024, 1, 1), date(2024, 12, 30), date(2025, 1, 31), date(2025, 3, 30), date(2025, 6, 30),
        date(2026, 11, 22)]  # fmt: skip
# zones, and days on which they are hard
ZONES: dict[str, list[date]] = {
    "UTC": [],
    "Europe/Warsaw": [date(2018, 3, 25), date(2018, 10, 28)],
    # midnight does not exist; the hour before midnight comes twice
    "America/Sao_Paulo": [date(2018, 11, 4), date(2019, 2, 16), date(2019, 2, 17)],
    # midnight does not exist; midnight comes twice
    "America/Havana": [date(2018, 3, 11), date(2018, 11, 4)],
    "Atlantic/Azores": [date(2018, 3, 25), date(2018, 10, 28)],
    "Australia/Lord_Howe": [date(2018, 4, 1), date(2018, 10, 7)],
    "Asia/Kathmandu": [],
    "Pacific/Kiritimati": [],
    # a day does not exist
    "Pacific/Apia": [date(2011, 12, 29), date(2011, 12, 31)],
}
AROUND_MIDNIGHT = [timedelta(microseconds=-1), timedelta(0), timedelta(microseconds=1), timedelta(minutes=30),
                   timedelta(hours=1), timedelta(hours=1, microseconds=-1), timedelta(hours=2), timedelta(hours=12),
                   timedelta(hours=22, minutes=30), timedelta(hours=23, minutes=30)]  # fmt: skip


@dataclass(frozen=True)
class Place:
    """When and where filters are looked at."""

    zone: ZoneInfo
    now: datetime

    @property
    def today(self) -> date:
        return self.now.astimezone(self.zone).date()


def place(draw: Random) -> Place:
    """A zone and a moment, often a hard one."""
    name = draw.choice([*ZONES])
    zone = ZoneInfo(name)
    some_days = [date(2015, 1, 1) + draw.randrange(6000) * DAY]
    day = draw.mostly(ZONES[name], DAYS, some_days)
    return Place(zone, begins(day, zone) + draw.choice(AROUND_MIDNIGHT))


# ---- days and moments of customers -------------------------------------------------------------

NEAR = [
    0,
    1,
    -1,
    2,
    -2,
    6,
    -6,
    7,
    -7,
    8,
    -8,
    14,
    -14,
    27,
    28,
    29,
    30,
    31,
    -28,
    -29,
    -30,
    -31,
    365,
    -365,
    366,
    -366,
    367,
]
FIXED_DAYS = [date(1996, 2, 29), date(2000, 2, 29), date(1904, 2, 29), date(2096, 2, 29), date(1999, 2, 28),
              date(1999, 3, 1), date(1985, 12, 31), date(1985, 1, 1), date(1, 2, 3), date(9998, 12, 31),
              date(1918, 9, 16), date(1850, 6, 1)]  # fmt: skip


def day_about(draw: Random, where: Place) -> date:
    """A day near today, in this year or another, or a day that is hard whenever it is."""
    near = where.today + draw.choice(NEAR) * DAY
    month_end = (where.today.replace(day=1) + draw.choice([0, 31, 62, -31]) * DAY).replace(day=1) - DAY
    hard = [day + draw.choice([-1, 0, 1]) * DAY for day in ZONES[where.zone.key]]
    anniversary = in_year(near, draw.choice([1970, 1996, 1999, 2000, 2030]))
    day = draw.mostly([near], [anniversary, *hard], [month_end], FIXED_DAYS)
    if begins(day, where.zone).astimezone(where.zone).date() != day:
        return where.today  # the zone left this day out, and nothing says which day it is then
    return day


def moment_about(draw: Random, where: Place) -> datetime:
    return begins(day_about(draw, where), where.zone) + draw.choice(AROUND_MIDNIGHT)


# ---- values ------------------------------------------------------------------------------------

TEXTS = ["", "a", "A", "ab", "Łódź", "lodz", "O'Brien", 'say "hi"', "50%", "100% of %s", "a_b", "back\\slash", "\\'",
         "\\", "%(v1)s", "$1", "{}", "{0}", "ann@example.com", "5", "5.0", "+5", "1e3", "-1", "true", "false", "null",
         "日本語", "é", "e\u0301", "😀", "İ", "ß", " 5", "line\nbreak", "--", ";", "[]", '"5"', "NaN",
         "Infinity"]  # fmt: skip
NO_DATES = ["2023-02-30", "2023-02-29", "1900-02-29", "0000-01-01", "0000-02-29T10:00:00Z", "2024-13-01", "2024-00-10",
            "2024-05-00", "2024-04-31", "2024-5-4", "20240504", "2024-W18-6", "2024-05-04 ", " 2024-05-04",
            "2024-05-04\n", "2024-05-04T", "2024-05-04T10", "2024-05-04T24:00:00", "2024-05-04T23:59:60Z",
            "2024-05-04T10:60", "2024-05-04T10:00:00+25:00", "2024-05-04T10:00:00+15:00", "2024-05-04T10:00:00+02",
            "2024-05-04T10:00:00.1234567Z", "2024-05-04T10:00:00,5Z", "2024-05-04t10:00:00z", "2024-05-04T10:00:00 Z",
            "2024-05-04T10:00:00 Europe/Warsaw", "2024-05-04 BC", "24-05-04", "12024-05-04", "-2024-05-04",
            "\u0662\u0660\u0662\u0664-05-04", "\uff12\uff10\uff12\uff14-05-04", "2024-05-0\u0664",
            "2024-05-04T10:00:00+0\u0662:00", "now", "today", "infinity", "epoch", "allballs"]  # fmt: skip
NUMBERS = [0, 1, 2, 5, 5.0, -1, 5.5, 0.1, 1000, 1e3, 10**15, -(2**62), 1e22, 1e-7, 0.30000000000000004]


def text(draw: Random) -> str:
    some = "".join(draw.choice("ab '\"%\\ó\u0301😀\t") for _ in range(draw.randrange(4)))
    return draw.choice([*TEXTS, some])


def scalar(draw: Random) -> str | float:
    kind = draw.randrange(5)
    if kind < 2:
        return draw.choice(NUMBERS)
    return text(draw) if kind < 4 else draw.random() < 0.5


def date_as_text(draw: Random, where: Place) -> str:
    """A date or a moment as metadata and filters have it."""
    form = draw.choice(["day", "day", "local", "moment", "offset"])
    if form == "day":
        return day_about(draw, where).isoformat()
    moment = moment_about(draw, where)
    if form == "moment":
        return moment.isoformat().replace("+00:00", "Z")
    if form == "offset":
        return _at_offset(moment, draw.choice(["+02:00", "-0330", "+14:00", "-12:00", "+05:45", "+00:00"]))
    local = moment.astimezone(where.zone).replace(tzinfo=None)
    # with a time within the hour that the clock may leave out
    local = local.replace(minute=draw.choice([local.minute, 30]))
    return local.isoformat(draw.choice(" T"), draw.choice(["auto", "minutes", "microseconds"]))


def _at_offset(moment: datetime, offset: str) -> str:
    zone = datetime.fromisoformat(f"2000-01-01T00:00:00{offset}").tzinfo
    return moment.astimezone(zone).replace(tzinfo=None).isoformat() + offset


def metadata(draw: Random, where: Place) -> dict[str, Any]:
    """Anything under any key, but mostly a date under `when` and an array under `list`."""
    keys = draw.sample(METADATA_KEYS, draw.randrange(5))
    drawn = {key: metadata_value(draw, where) for key in keys}
    if draw.randrange(4):
        drawn["when"] = date_as_text(draw, where)
    if draw.randrange(3):
        drawn["list"] = [metadata_value(draw, where, 1) for _ in range(draw.randrange(4))]
    return drawn


def metadata_value(draw: Random, where: Place, depth: int = 0) -> Any:
    kind = draw.choice(["date", "no date", "scalar", "scalar", "scalar", "array", "object", "null"])
    if kind == "date":
        return date_as_text(draw, where)
    if kind == "no date":
        return draw.choice(NO_DATES)
    if kind == "array" and depth < 3:
        return [metadata_value(draw, where, depth + 1) for _ in range(draw.randrange(4))]
    if kind == "object" and depth < 3:
        return {draw.choice(["b", "c", "er", ""]): metadata_value(draw, where, depth + 1) for _ in range(2)}
    return None if kind == "null" else scalar(draw)


# ---- customers ---------------------------------------------------------------------------------

METADATA_KEYS = ["k", "when", "a", "a.b", "a.b.c", "list", "deep", "deep.er", 'it\'s "k"', "%s", "ключ", "b", ""]
EVENTS = ["cart", "a.b", "it's %s"]
AMOUNTS = [0, 1, 5, 99, 100, 101, 1000, 2**53 - 1]


def customers(draw: Random, where: Place, count: int) -> list[Customer]:
    """Customers who can stand in one project: their source ids and creations differ."""
    drawn = [
        _customer(draw, where, f"cust_{draw.choice('aB%') + chr(39) * draw.randrange(2)}{no}") for no in range(count)
    ]
    taken: set[Any] = set()
    for customer in drawn:
        while customer.created_at in taken:
            customer.created_at += timedelta(microseconds=1)
        if customer.source_id in taken:
            customer.source_id = None
        taken |= {customer.created_at, customer.source_id} - {None}
    return drawn


def _customer(draw: Random, where: Place, customer_id: str) -> Customer:
    events = {name: (draw.randrange(1, 6), moment_about(draw, where)) for name in EVENTS if draw.randrange(2)}
    customer = Customer(
        id=customer_id,
        created_at=moment_about(draw, where),
        source_id=draw.maybe(text(draw)),
        name=draw.maybe(text(draw)),
        email=draw.maybe(text(draw)),
        phone=draw.maybe(text(draw)),
        description=draw.maybe(text(draw)),
        address=draw.maybe({line: text(draw) for line in draw.sample(ADDRESS_LINES, draw.randrange(4))}),
        metadata=metadata(draw, where),
        birthdate=draw.maybe(day_about(draw, where)),
        birthday=draw.maybe(day_about(draw, where)),
        updated_at=draw.maybe(moment_about(draw, where)),
        events=events,
    )
    if draw.randrange(3):
        customer.orders_total_amount = draw.choice(AMOUNTS)
        customer.orders_total_count = draw.randrange(1, 8)
        customer.orders_last_amount = draw.choice(AMOUNTS)
        customer.last_order_date = moment_about(draw, where)
    return customer
