"""When a voucher is valid: between two moments, in recurring stretches, on days of the week, at hours of the day."""

import re
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, Struct

from punchcard.errors import ApiError, InvalidPayload
from punchcard.http import moments

# as a request has it: msgspec's own dates need a time and its seconds
Moment: TypeAlias = Annotated[
    str,
    Meta(
        description="An ISO 8601 date, or date and time; in UTC if it has no zone.",
        extra_json_schema={"format": "date-time"},
    ),
]
# 0 is Sunday
DaysOfWeek: TypeAlias = Annotated[list[Annotated[int, Meta(ge=0, le=6)]], Meta(max_length=7)]
# as many as there are hours in a week
PERIODS_MAX = 168


class InvalidExpirationDate(ApiError):
    """A voucher or campaign would end before it begins."""

    key = "invalid_expiration_date"
    message = "Invalid expiration date"


class Timeframe(Struct, omit_defaults=True):
    """Valid for `duration` at a time, every `interval` from the start date on; ISO 8601 durations."""

    interval: str | None = None
    duration: str | None = None


class Period(Struct, omit_defaults=True):
    """Hours of the day, HH:mm, on some days of the week."""

    start_time: str | None = None
    expiration_time: str | None = None
    days_of_week: DaysOfWeek | None = None


class Hours(Struct, omit_defaults=True):
    """The hours of the day at which something is valid."""

    daily: Annotated[list[Period], Meta(max_length=PERIODS_MAX)] | None = None


_DURATION = re.compile(
    r"P(?=[\dT])(?:\d{1,9}W|(?:\d{1,9}Y)?(?:\d{1,9}M)?(?:\d{1,9}D)?(?:T(?=\d)(?:\d{1,9}H)?(?:\d{1,9}M)?(?:\d{1,9}S)?)?)",
    re.ASCII,
)
_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d", re.ASCII)


class Validity(Struct, frozen=True):
    """When a voucher or campaign is valid; dates are in UTC. No days of the week are all of them."""

    start_date: datetime | None = None
    expiration_date: datetime | None = None
    validity_timeframe: Timeframe | None = None
    validity_day_of_week: DaysOfWeek | None = None
    validity_hours: Hours | None = None


FIELDS = Validity.__struct_fields__


def given_in(request: Any) -> Validity:
    """What a request for something new says. Raises `InvalidPayload`, `InvalidExpirationDate`."""
    return changed(Validity(), request)


def changed(before: Validity, request: Any) -> Validity:
    """What a request for a change leaves: what it does not have stays, null takes a value away.

    Only what it changes has to fit together: what it leaves alone may be of a campaign, which knew nothing of the rest.
    Raises `InvalidPayload`, `InvalidExpirationDate`.
    """
    given = {name: getattr(request, name) for name in FIELDS if getattr(request, name) is not UNSET}
    for name in ("start_date", "expiration_date"):
        if name in given:
            given[name] = moment(given[name], path=f".{name}")
    if "validity_day_of_week" in given:
        given["validity_day_of_week"] = list(dict.fromkeys(given["validity_day_of_week"] or ())) or None
    after = msgspec.structs.replace(before, **given)
    if (after.start_date, after.expiration_date) != (before.start_date, before.expiration_date):
        check_dates(after.start_date, after.expiration_date)
    if (after.start_date, after.validity_timeframe) != (before.start_date, before.validity_timeframe):
        _check_timeframe(after.validity_timeframe, after.start_date)
    _check_hours(after.validity_hours)
    return after


def stored_in(row: Any) -> Validity:
    """That of a row, whose JSON is encoded."""
    values = {name: getattr(row, name) for name in FIELDS}
    return msgspec.convert(
        {name: msgspec.json.decode(value) if isinstance(value, Raw) else value for name, value in values.items()},
        Validity,
    )


def moment(given: str | None, *, path: str) -> datetime | None:
    """A moment of a request. Raises `InvalidPayload`."""
    if given is None:
        return None
    found = moments.in_utc(given.upper())  # RFC 3339 has small letters too
    if found is None:
        raise InvalidPayload(f"Property {path} cannot be recognized as a ISO-8601 compliant date")
    return found


def check_dates(start: datetime | None, expiration: datetime | None) -> None:
    """Raise `InvalidExpirationDate` if the end comes before the start."""
    if start is not None and expiration is not None and expiration < start:
        raise InvalidExpirationDate("Property .expiration_date cannot be before .start_date")


def _check_timeframe(timeframe: Timeframe | None, start: datetime | None) -> None:
    """A timeframe needs its durations, and a start date that its intervals count from."""
    if timeframe is None:
        return
    for name in ("interval", "duration"):
        text = getattr(timeframe, name)
        if text is None:
            raise InvalidPayload(f"Property .validity_timeframe should have required property '{name}'")
        check_duration(text, path=f".validity_timeframe.{name}")
    if start is None:
        raise InvalidPayload("Property .start_date is required with .validity_timeframe")


def check_duration(text: str, *, path: str) -> None:
    """Raise `InvalidPayload` unless `text` is an ISO 8601 duration."""
    if _DURATION.fullmatch(text) is None:
        raise InvalidPayload(f"Property {path} must be an ISO 8601 duration")


def _check_hours(hours: Hours | None) -> None:
    """Times are HH:mm."""
    for no, period in enumerate((hours.daily if hours else None) or ()):
        for name in ("start_time", "expiration_time"):
            text = getattr(period, name)
            if text is not None and _TIME.fullmatch(text) is None:
                raise InvalidPayload(f"Property .validity_hours.daily[{no}].{name} must be a time in the format HH:mm")
