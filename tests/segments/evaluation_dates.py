"""The operators of dates, by counting days and looking at each of them where a formula could be wrong."""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)

# ---- dates and moments -------------------------------------------------------------------------


@dataclass(frozen=True)
class When:
    """A date, or a moment: its day in the zone, and the moment, which of a date is the one its day begins at."""

    day: date
    moment: datetime
    date_alone: bool


ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
ISO_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
OFFSET_END = timedelta(hours=15)


def when(value: Any, zone: ZoneInfo) -> When | None:
    """The date or moment that a value is; None if it is neither."""
    if isinstance(value, datetime):
        return When(value.astimezone(zone).date(), value.astimezone(UTC), date_alone=False)
    if isinstance(value, date):
        return When(value, begins(value, zone), date_alone=True)
    if not isinstance(value, str):
        return None
    try:
        if ISO_DATE.fullmatch(value):
            return when(date.fromisoformat(value), zone)
        if ISO_MOMENT.fullmatch(value):
            moment = _placed(datetime.fromisoformat(value), zone)
            return None if moment is None else when(moment, zone)
    except ValueError:
        pass  # no such day or time
    return None


def _placed(written: datetime, zone: ZoneInfo) -> datetime | None:
    """The moment that was written, in the zone if it has no offset.

    A local time that comes twice is the second; one that the clock leaves out goes by the clock before the gap.
    """
    offset = written.utcoffset()
    if offset is not None:
        return written if abs(offset) < OFFSET_END else None
    first = written.replace(tzinfo=zone, fold=0).astimezone(UTC)
    second = written.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return max(first, second)  # in a gap, the clock before it names the later moment


@functools.cache
def begins(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a day in a zone; of a day that the zone left out, of the next one. Found by looking."""
    midnight = datetime.combine(day, time(), UTC)
    earliest = midnight - timedelta(hours=16)  # no zone is further ahead
    offsets = {(earliest + timedelta(hours=no)).astimezone(zone).utcoffset() for no in range(48)}
    if len(offsets) == 1:
        return midnight - (offsets.pop() or timedelta(0))
    at = earliest
    while at.astimezone(zone).date() < day:
        at += timedelta(minutes=1)
    while (at - timedelta(seconds=1)).astimezone(zone).date() >= day:  # offsets of old have seconds
        at -= timedelta(seconds=1)
    return at


# ---- moments -----------------------------------------------------------------------------------


def is_when(value: When, wanted: When) -> bool:
    return value.day == wanted.day if wanted.date_alone else value.moment == wanted.moment


def after(value: When, wanted: When) -> bool:
    return value.moment > wanted.moment


def before(value: When, wanted: When) -> bool:
    return value.moment < wanted.moment


OF_MOMENTS: dict[str, Callable[[When, When], bool]] = {"$is": is_when, "$after": after, "$before": before}


# ---- numbers of days, parts of dates -----------------------------------------------------------


def days_ago(day: date, today: date) -> int:
    """Today minus the day."""
    return (today - day).days


def more_than_ago(day: date, today: date, n: int) -> bool:
    return days_ago(day, today) > n


def less_than_ago(day: date, today: date, n: int) -> bool:
    return 0 <= days_ago(day, today) < n


def more_than_future(day: date, today: date, n: int) -> bool:
    return -days_ago(day, today) > n


def less_than_future(day: date, today: date, n: int) -> bool:
    return 0 <= -days_ago(day, today) < n


def is_days_ago(day: date, today: date, n: int) -> bool:
    return days_ago(day, today) == n


def is_days_in_future(day: date, today: date, n: int) -> bool:
    return -days_ago(day, today) == n


def is_years_ago(day: date, today: date, n: int) -> bool:
    return day.year + n == today.year and in_year(day, today.year) == today


def is_day_of_month(day: date, _today: date, n: int) -> bool:
    return day.day == n


def is_month(day: date, _today: date, n: int) -> bool:
    return day.month == n


def is_year(day: date, _today: date, n: int) -> bool:
    return day.year == n


def is_day(day: date, _today: date, n: int) -> bool:
    return day.isoweekday() == n


PARTS: dict[str, Callable[[date, date, int], bool]] = {
    "$is_day_of_month": is_day_of_month,
    "$is_month": is_month,
    "$is_year": is_year,
    "$is_day": is_day,
}
OF_DAYS: dict[str, Callable[[date, date, int], bool]] = {
    "$more_than_ago": more_than_ago,
    "$less_than_ago": less_than_ago,
    "$more_than_future": more_than_future,
    "$less_than_future": less_than_future,
    "$is_days_ago": is_days_ago,
    "$is_days_in_future": is_days_in_future,
    "$is_years_ago": is_years_ago,
    **PARTS,
}


# ---- periods -----------------------------------------------------------------------------------


def yesterday(day: date, today: date) -> bool:
    return day == today - DAY


def is_today(day: date, today: date) -> bool:
    return day == today


def tomorrow(day: date, today: date) -> bool:
    return day == today + DAY


def week_of(day: date) -> list[date]:
    """Its days, Monday first."""
    monday = day
    while monday.isoweekday() != 1:
        monday -= DAY
    return [monday + no * DAY for no in range(7)]


def last_week(day: date, today: date) -> bool:
    return day in week_of(today - 7 * DAY)


def this_week(day: date, today: date) -> bool:
    return day in week_of(today)


def next_week(day: date, today: date) -> bool:
    return day in week_of(today + 7 * DAY)


def month_of(day: date) -> tuple[int, int]:
    return day.year, day.month


def last_month(day: date, today: date) -> bool:
    return month_of(day) == month_of(today.replace(day=1) - DAY)


def this_month(day: date, today: date) -> bool:
    return month_of(day) == month_of(today)


def next_month(day: date, today: date) -> bool:
    # no month has more than 31 days, and none fewer than 28
    return month_of(day) == month_of(today.replace(day=1) + 31 * DAY)


def last_year(day: date, today: date) -> bool:
    return day.year == today.year - 1


def this_year(day: date, today: date) -> bool:
    return day.year == today.year


def next_year(day: date, today: date) -> bool:
    return day.year == today.year + 1


OF_PERIODS: dict[str, Callable[[date, date], bool]] = {
    "$yesterday": yesterday,
    "$today": is_today,
    "$tomorrow": tomorrow,
    "$last_week": last_week,
    "$this_week": this_week,
    "$next_week": next_week,
    "$last_month": last_month,
    "$this_month": this_month,
    "$next_month": next_month,
    "$last_year": last_year,
    "$this_year": this_year,
    "$next_year": next_year,
}
# for birthdays these mean the same as those with `_md`
SAME_AS_MD = {operator for operator in OF_PERIODS if not operator.endswith("_year")}


# ---- anniversaries -----------------------------------------------------------------------------


def in_year(day: date, year: int) -> date:
    """The day with its year replaced."""
    try:
        return day.replace(year=year)
    except ValueError:
        return date(year, 2, 28)


def anniversaries(day: date, today: date) -> list[date]:
    """Those in the years around today."""
    return [in_year(day, today.year + years) for years in (-2, -1, 0, 1, 2)]


def days_ago_md(around: Sequence[date], today: date, n: int) -> bool:
    return today - n * DAY in around


def days_in_future_md(around: Sequence[date], today: date, n: int) -> bool:
    return today + n * DAY in around


def less_days_ago_md(around: Sequence[date], today: date, n: int) -> bool:
    return any(today - days * DAY in around for days in range(n))


def less_days_in_future_md(around: Sequence[date], today: date, n: int) -> bool:
    return any(today + days * DAY in around for days in range(n))


def more_days_ago_md(around: Sequence[date], today: date, n: int) -> bool:
    last = max(anniversary for anniversary in around if anniversary <= today)
    return (today - last).days > n


def more_days_in_future_md(around: Sequence[date], today: date, n: int) -> bool:
    following = min(anniversary for anniversary in around if anniversary >= today)
    return (following - today).days > n


OF_ANNIVERSARIES: dict[str, Callable[[Sequence[date], date, int], bool]] = {
    "$is_days_ago_md": days_ago_md,
    "$is_days_in_future_md": days_in_future_md,
    "$is_less_days_ago_md": less_days_ago_md,
    "$is_less_days_in_future_md": less_days_in_future_md,
    "$is_more_days_ago_md": more_days_ago_md,
    "$is_more_days_in_future_md": more_days_in_future_md,
}
