"""When a voucher is valid: between two moments, in recurring stretches, on days of the week, at hours of the day."""

import re
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from punchcard.errors import ApiError, InvalidPayload

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


def moment(given: datetime | None, *, path: str) -> datetime | None:
    """A moment in UTC; one without a zone is in UTC. Raises `InvalidPayload`."""
    if given is None:
        return None
    try:
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    except OverflowError:
        raise InvalidPayload(f"Property {path} must be a date that can be represented") from None


def check_dates(start: datetime | None, expiration: datetime | None, *, path: str = "") -> None:
    """Raise `InvalidExpirationDate` if the end comes before the start."""
    if start is not None and expiration is not None and expiration < start:
        raise InvalidExpirationDate(f"Property {path}.expiration_date cannot be before {path}.start_date")


def check_timeframe(timeframe: Timeframe | None, start: datetime | None, *, path: str = "") -> None:
    """A timeframe needs its durations, and a start date that its intervals count from. Raises `InvalidPayload`."""
    if timeframe is None:
        return
    for name in ("interval", "duration"):
        text = getattr(timeframe, name)
        if text is None:
            raise InvalidPayload(f"Property {path}.validity_timeframe should have required property '{name}'")
        check_duration(text, path=f"{path}.validity_timeframe.{name}")
    if start is None:
        raise InvalidPayload(f"Property {path}.start_date is required with {path}.validity_timeframe")


def check_duration(text: str, *, path: str) -> None:
    """Raise `InvalidPayload` unless `text` is an ISO 8601 duration."""
    if _DURATION.fullmatch(text) is None:
        raise InvalidPayload(f"Property {path} must be an ISO 8601 duration")


def check_hours(hours: Hours | None, *, path: str = "") -> None:
    """Times are HH:mm. Raises `InvalidPayload`."""
    for no, period in enumerate((hours.daily if hours else None) or ()):
        for name in ("start_time", "expiration_time"):
            text = getattr(period, name)
            if text is not None and _TIME.fullmatch(text) is None:
                raise InvalidPayload(
                    f"Property {path}.validity_hours.daily[{no}].{name} must be a time in the format HH:mm"
                )
