"""What filters say of dates in named cases, by the compiled statement and by its slow evaluation."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.conftest import started_deployment
from tests.deployment import Deployment
from tests.segments.drawn import Place
from tests.segments.evaluation import Customer, Filter
from tests.segments.evaluation_compiled import NEW_YEAR, Shop, on, session


@pytest.fixture(scope="module")
def shop(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Iterator[Shop]:
    project = started_deployment(request, deployments, "18").new_project()
    with session(project) as conn:
        yield Shop(project, conn)
    project.close()


# ---- dates and moments -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["2023-02-30", "1900-02-29", "0000-01-01", "2024-13-01", "2024-05-04 ", "20240504", "2024-05-04T24:00:00",
     "2024-05-04T23:59:60Z", "2024-05-04T10:00:00+25:00", "\u0662\u0660\u0662\u0664-05-04", "now", "infinity", "",
     20240504, True, ["2024-05-04"], {"k": "2024-05-04"}],
)  # fmt: skip
def test_what_is_no_date_fits_no_operator_of_dates(shop: Shop, value: Any) -> None:
    for operator, wanted in (("$before", "2030-01-01"), ("$after", "1000-01-01"), ("$more_than_ago", 0),
                             ("$is_more_days_ago_md", 0), ("$is_day", 1)):  # fmt: skip
        assert not shop.fits(on("metadata.k", operator, wanted), metadata={"k": value})


def test_days_that_do_not_exist(shop: Shop) -> None:
    years = {*range(1, 13), *range(1896, 2105), *range(100, 10_000, 100)}
    written = [f"{year:04}-{month:02}-{day}" for year in sorted(years) for month, day in ((2, 29), (4, 31), (12, 31))]
    customers = [
        Customer(text, NEW_YEAR + timedelta(microseconds=no), metadata={"k": text}) for no, text in enumerate(written)
    ]
    found = shop.compiled_of_all(on("metadata.k", "$before", "9999-12-31"), customers, Place(ZoneInfo("UTC"), NEW_YEAR))
    assert [text for text in written if found[text].holds == [True]] == [text for text in written if is_day(text)]


def is_day(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(date.fromisoformat(text))
    return False


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Adak", "UTC"])
@pytest.mark.parametrize(
    "value",
    ["0001-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59"],
)
def test_the_ends_of_the_calendar_fail_nobody(shop: Shop, value: str, zone: str) -> None:
    somebody = Customer("c", NEW_YEAR, metadata={"k": value})
    every: list[Filter] = [
        on("metadata.k", "$after", "2024-05-04"),
        *[on("metadata.k", operator) for operator in ("$yesterday", "$last_week", "$next_year", "$next_month_md")],
        *[on("metadata.k", operator, 400) for operator in ("$more_than_ago", "$less_than_future", "$is_years_ago")],
        on("metadata.k", "$more_than_ago", 100_000),
        on("metadata.k", "$is_more_days_ago_md", 366),
    ]
    for wanted in every:
        found = shop.compiled(wanted, somebody, Place(ZoneInfo(zone), NEW_YEAR))
        assert found.due_at is None or found.due_at > NEW_YEAR


def test_a_date_alone_is_the_moment_its_day_begins(shop: Shop) -> None:
    born = date(2024, 5, 4)
    assert shop.fits(on("birthdate", "$is", "2024-05-03T22:00:00Z"), zone="Europe/Warsaw", birthdate=born)
    assert shop.fits(on("birthdate", "$is", "2024-05-04T00:00"), zone="Europe/Warsaw", birthdate=born)
    assert shop.fits(on("birthdate", "$after", "2024-05-03T21:59:59.999999Z"), zone="Europe/Warsaw", birthdate=born)
    assert not shop.fits(on("birthdate", "$after", "2024-05-04"), birthdate=born)
    assert not shop.fits(on("birthdate", "$before", "2024-05-04"), birthdate=born)
    moment = datetime(2024, 5, 3, 22, 0, 1, tzinfo=UTC)
    assert shop.fits(on("ordered_at", "$after", "2024-05-04"), zone="Europe/Warsaw", last_order_date=moment)
    assert shop.fits(on("ordered_at", "$before", "2024-05-04"), last_order_date=moment)


def test_a_moment_is_its_day_or_itself(shop: Shop) -> None:
    moment = datetime(2024, 5, 3, 22, 0, 0, 5, tzinfo=UTC)
    assert shop.fits(on("ordered_at", "$is", "2024-05-04"), zone="Europe/Warsaw", last_order_date=moment)
    assert not shop.fits(on("ordered_at", "$is", "2024-05-03"), zone="Europe/Warsaw", last_order_date=moment)
    assert shop.fits(on("ordered_at", "$is", "2024-05-04T00:00:00.000005+02:00"), last_order_date=moment)
    assert not shop.fits(on("ordered_at", "$is", "2024-05-03T22:00:00Z"), last_order_date=moment)


def test_an_hour_that_the_clock_leaves_out_or_repeats(shop: Shop) -> None:
    def is_at(local: str, moment: str) -> bool:
        at = datetime.fromisoformat(moment)
        return shop.fits(on("ordered_at", "$is", local), zone="Europe/Warsaw", last_order_date=at)

    assert is_at("2018-03-25T01:59:59", "2018-03-25T00:59:59Z")
    assert is_at("2018-03-25T02:30:00", "2018-03-25T01:30:00Z")
    assert is_at("2018-03-25T03:30:00", "2018-03-25T01:30:00Z")
    assert is_at("2018-10-28T02:30:00", "2018-10-28T01:30:00Z")


def test_a_local_time_in_metadata_is_one_of_the_projects_zone(shop: Shop) -> None:
    def is_at(local: str, moment: str) -> bool:
        around = {"$after": f"{moment}.999999Z", "$before": f"{moment[:-2]}59.000001Z"}
        return shop.fits({"metadata.k": {"conditions": around}}, zone="Europe/Warsaw", metadata={"k": local})

    assert not is_at("2018-07-01 12:00:59", "2018-07-01T12:00:58")
    assert is_at("2018-07-01 12:00:59", "2018-07-01T10:00:58")
    assert is_at("2018-03-25T02:30:59", "2018-03-25T01:30:58")
    assert is_at("2018-10-28T02:30:59", "2018-10-28T01:30:58")


def test_midnight_that_does_not_exist(shop: Shop) -> None:
    # clocks in Sao Paulo went from 23:59:59 on 3 November to 01:00 on the 4th
    def ordered(moment: str, operator: str, value: Any) -> bool:
        at = datetime.fromisoformat(moment)
        return shop.fits(on("ordered_at", operator, value), zone="America/Sao_Paulo", last_order_date=at)

    assert ordered("2018-11-04T02:59:59.999999Z", "$is", "2018-11-03")
    assert ordered("2018-11-04T03:00:00Z", "$is", "2018-11-04")
    assert ordered("2018-11-04T02:59:59.999999Z", "$before", "2018-11-04")
    assert not ordered("2018-11-04T03:00:00Z", "$before", "2018-11-04")
    assert not ordered("2018-11-04T03:00:00Z", "$after", "2018-11-04")
    assert ordered("2018-11-04T03:00:00.000001Z", "$after", "2018-11-04")


@pytest.mark.parametrize(
    ("zone", "day", "first", "second"),
    [
        ("America/Havana", date(2018, 11, 4), "2018-11-04T04:00:00+00:00", "2018-11-04T05:00:00+00:00"),
        ("Atlantic/Azores", date(2018, 10, 28), "2018-10-28T00:00:00+00:00", "2018-10-28T01:00:00+00:00"),
    ],
)
def test_a_day_begins_with_the_first_of_two_midnights(
    shop: Shop, zone: str, day: date, first: str, second: str
) -> None:
    assert shop.fits(on("birthdate", "$is", first), zone=zone, birthdate=day)
    assert not shop.fits(on("birthdate", "$is", second), zone=zone, birthdate=day)
    assert shop.fits(on("metadata.k", "$before", second), zone=zone, metadata={"k": day.isoformat()})
    moment = datetime.fromisoformat(second)
    assert shop.fits(on("ordered_at", "$after", day.isoformat()), zone=zone, last_order_date=moment)
    assert shop.fits(on("ordered_at", "$is", day.isoformat()), zone=zone, last_order_date=moment)


# ---- the calendar ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "today", "holds_alone"),
    [
        ("2024-05-12", "2024-05-13", "$last_week"),  # Sunday, Monday
        ("2024-05-13", "2024-05-19", "$this_week"),
        ("2024-05-20", "2024-05-19", "$next_week"),
        ("2025-01-05", "2024-12-30", "$this_week"),
        ("2024-02-29", "2024-03-31", "$last_month"),
        ("2024-02-29", "2024-01-31", "$next_month"),
        ("2025-01-31", "2024-12-01", "$next_month"),
        ("2023-12-01", "2024-01-31", "$last_month"),
        ("2024-02-01", "2024-02-29", "$this_month"),
        ("2023-01-01", "2024-12-31", "$last_year"),
        ("2024-12-31", "2024-01-01", "$this_year"),
        ("2025-12-31", "2024-01-01", "$next_year"),
    ],
)
def test_weeks_months_and_years(shop: Shop, day: str, today: str, holds_alone: str) -> None:
    unit = holds_alone.partition("_")[2]
    for operator in (f"$last_{unit}", f"$this_{unit}", f"$next_{unit}"):
        fits = shop.fits(on("metadata.k", operator), f"{today}T12:00:00Z", metadata={"k": day})
        assert fits is (operator == holds_alone), operator


def test_numbers_of_days(shop: Shop) -> None:
    def fits(day: str, operator: str, days: Any) -> bool:
        return shop.fits(on("metadata.k", operator, days), metadata={"k": day})

    # today is 15 May
    assert fits("2024-05-12", "$is_days_ago", 3)
    assert fits("2024-05-18", "$is_days_in_future", "3")
    assert fits("2024-05-15", "$is_days_ago", 0)
    assert fits("2024-05-11", "$more_than_ago", 3)
    assert not fits("2024-05-12", "$more_than_ago", 3)
    assert fits("2024-05-13", "$less_than_ago", 3)
    assert not fits("2024-05-12", "$less_than_ago", 3)
    assert fits("2024-05-15", "$less_than_ago", 1)
    assert not fits("2024-05-16", "$less_than_ago", 1)
    assert not fits("2024-05-15", "$less_than_ago", 0)
    assert fits("2024-05-19", "$more_than_future", 3)
    assert not fits("2024-05-18", "$more_than_future", 3)
    assert fits("2024-05-17", "$less_than_future", 3)
    assert not fits("2024-05-18", "$less_than_future", 3)
    assert not fits("2024-05-14", "$less_than_future", 3)


def test_parts_of_the_day(shop: Shop) -> None:
    at = datetime(2024, 4, 30, 22, 30, tzinfo=UTC)  # Wednesday, 1 May in Warsaw

    def fits(operator: str, value: int) -> bool:
        return shop.fits(on("ordered_at", operator, value), zone="Europe/Warsaw", last_order_date=at)

    assert fits("$is_day", 3)
    assert not fits("$is_day", 2)
    assert fits("$is_day_of_month", 1)
    assert fits("$is_month", 5)
    assert fits("$is_year", 2024)
    # Sunday is the last day of a week
    assert shop.fits(on("birthdate", "$is_day", "7"), birthdate=date(2024, 5, 12))


# ---- birthdays ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "operator", "value", "fits"),
    [
        ("2023-02-28", "$today_md", True, True), ("2023-03-01", "$today_md", True, False),
        ("2023-03-01", "$yesterday_md", True, True), ("2023-02-27", "$tomorrow_md", True, True),
        ("2024-02-28", "$today_md", True, False), ("2024-02-29", "$today_md", True, True),
        ("2024-02-28", "$tomorrow_md", True, True), ("2024-03-01", "$yesterday", True, True),
        ("2100-02-28", "$today_md", True, True),
        ("2023-02-28", "$is_years_ago", 27, True), ("2024-02-28", "$is_years_ago", 28, False),
        ("2024-02-29", "$is_years_ago", 28, True), ("2023-03-01", "$is_years_ago", 27, False),
        ("2024-02-28", "$is_days_ago_md", 365, True), ("2024-02-29", "$is_days_ago_md", 366, True),
        ("2024-02-29", "$is_days_ago_md", 0, True), ("2024-02-28", "$is_more_days_ago_md", 364, True),
        ("2024-02-28", "$is_more_days_ago_md", 365, False), ("2023-03-01", "$is_days_in_future_md", 365, True),
        ("2023-03-01", "$is_more_days_in_future_md", 364, True),
        ("2023-03-01", "$is_more_days_in_future_md", 365, False),
        ("2024-03-01", "$this_month_md", True, False), ("2024-03-31", "$last_month_md", True, True),
        ("2024-01-31", "$next_month", True, True), ("2023-03-06", "$this_week", True, False),
        ("2024-03-03", "$this_week", True, True), ("2023-02-27", "$this_week", True, True),
    ],
)  # fmt: skip
def test_born_on_29_february(shop: Shop, today: str, operator: str, value: Any, fits: bool) -> None:
    wanted = on("birthdate", operator, value)
    assert shop.fits(wanted, f"{today}T12:00:00Z", birthdate=date(1996, 2, 29)) is fits


def test_calendar_operators_of_birthdays_mean_anniversaries(shop: Shop) -> None:
    born = date(1990, 5, 15)
    for operator in ("$today", "$today_md", "$this_week", "$this_month"):
        assert shop.fits(on("birthdate", operator), birthdate=born)
        assert shop.fits(on("birthday", operator), birthday=born)
    assert not shop.fits(on("metadata.k", "$today"), metadata={"k": "1990-05-15"})
    assert shop.fits(on("metadata.k", "$today_md"), metadata={"k": "1990-05-15"})
    # these look at the year
    assert not shop.fits(on("birthdate", "$this_year"), birthdate=born)
    assert not shop.fits(on("birthdate", "$is_days_ago", 0), birthdate=born)
    assert shop.fits(on("birthdate", "$is_year", 1990), birthdate=born)
    assert shop.fits(on("birthdate", "$is_years_ago", 34), birthdate=born)


@pytest.mark.parametrize(
    ("born", "today", "operator", "value", "fits"),
    [
        ("1990-01-02", "2024-12-30", "$this_week", True, True), ("1990-12-31", "2025-01-01", "$this_week", True, True),
        ("1990-01-02", "2024-12-31", "$is_less_days_in_future_md", 3, True),
        ("1990-01-02", "2024-12-31", "$is_less_days_in_future_md", 2, False),
        ("1990-12-31", "2024-01-02", "$is_less_days_ago_md", 3, True),
        ("1990-12-31", "2024-01-02", "$is_less_days_ago_md", 2, False),
        ("1990-01-15", "2024-12-31", "$next_month", True, True),
        ("1990-12-15", "2024-01-31", "$last_month", True, True),
        ("1990-05-15", "2024-05-15", "$is_less_days_ago_md", 1, True),
        ("1990-05-15", "2024-05-15", "$is_less_days_ago_md", 0, False),
        ("1990-05-15", "2024-05-15", "$is_more_days_ago_md", 0, False),
        ("1990-05-16", "2024-05-15", "$is_more_days_ago_md", 364, True),
        ("1990-05-14", "2024-05-15", "$is_more_days_in_future_md", 363, True),
        # two years away, by the calendar
        ("1990-12-31", "2024-01-01", "$is_days_ago_md", 366, True),
        ("1990-01-01", "2022-12-31", "$is_days_in_future_md", 366, True),
        # of somebody who is not born yet
        ("2030-05-15", "2024-05-15", "$today", True, True),
    ],
)  # fmt: skip
def test_birthdays_around_the_turn_of_the_year(
    shop: Shop, born: str, today: str, operator: str, value: Any, fits: bool
) -> None:
    wanted = on("birthdate", operator, value)
    assert shop.fits(wanted, f"{today}T12:00:00Z", birthdate=date.fromisoformat(born)) is fits


def test_today_is_the_date_in_the_projects_zone(shop: Shop) -> None:
    birthday: dict[str, Any] = {"birthdate": date(1990, 5, 16)}
    assert not shop.fits(on("birthdate", "$today"), "2024-05-15T12:00:00Z", **birthday)
    assert shop.fits(on("birthdate", "$today"), "2024-05-15T12:00:00Z", "Pacific/Kiritimati", **birthday)
    assert shop.fits(on("birthdate", "$today"), "2024-05-15T18:15:00Z", "Asia/Kathmandu", **birthday)
    assert not shop.fits(on("birthdate", "$today"), "2024-05-15T18:14:59.999999Z", "Asia/Kathmandu", **birthday)


# ---- when customers are due --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "now", "zone", "due"),
    [
        # born on 29 February: both ends of the day
        (on("birthdate", "$today"), "2023-02-27T12:00:00Z", "UTC", "2023-02-28T00:00Z"),
        (on("birthdate", "$today"), "2023-02-28T12:00:00Z", "UTC", "2023-03-01T00:00Z"),
        (on("birthdate", "$today"), "2023-03-01T12:00:00Z", "UTC", "2024-02-29T00:00Z"),
        (on("birthdate", "$this_month"), "2023-03-01T00:00:00Z", "UTC", "2024-02-01T00:00Z"),
        (on("birthdate", "$is_years_ago", 30), "2023-03-01T12:00:00Z", "UTC", "2026-02-28T00:00Z"),
        (on("birthdate", "$is_years_ago", 20), "2023-03-01T12:00:00Z", "UTC", None),
        (on("birthdate", "$is_year", 1996), "2023-03-01T12:00:00Z", "UTC", None),
        # placed at midnight at the beginning of 2020 in UTC
        (on("created_at", "$more_than_ago", 30), "2020-01-15T12:00:00Z", "UTC", "2020-02-01T00:00Z"),
        (on("created_at", "$more_than_ago", 30), "2020-02-01T12:00:00Z", "UTC", None),
        (on("created_at", "$more_than_ago", 30), "2020-01-15T12:00:00Z", "America/Havana", "2020-01-31T05:00Z"),
        (on("created_at", "$this_week"), "2020-01-01T12:00:00Z", "Europe/Warsaw", "2020-01-05T23:00Z"),
        (on("created_at", "$after", "2020-01-01"), "2020-01-01T12:00:00Z", "UTC", None),
        # clocks change at midnight
        (on("metadata.k", "$before", "2018-11-04"), "2018-11-01T12:00:00Z", "America/Sao_Paulo", None),
        (on("metadata.spring", "$today"), "2018-11-01T12:00:00Z", "America/Sao_Paulo", "2018-11-04T03:00Z"),
        (on("metadata.spring", "$today"), "2018-11-04T02:59:59Z", "America/Sao_Paulo", "2018-11-04T03:00Z"),
        (on("metadata.spring", "$today"), "2018-11-04T03:00:00Z", "America/Sao_Paulo", "2018-11-05T02:00Z"),
        (on("metadata.spring", "$today"), "2018-11-01T12:00:00Z", "America/Havana", "2018-11-04T04:00Z"),
        (on("metadata.spring", "$today"), "2018-11-04T04:30:00Z", "America/Havana", "2018-11-05T05:00Z"),
        (on("metadata.autumn", "$today"), "2019-02-17T02:30:00Z", "America/Sao_Paulo", "2019-02-17T03:00Z"),
        (on("metadata.k", "$today"), "2018-11-01T12:00:00Z", "UTC", None),
    ],
)
def test_when_a_customer_is_due(shop: Shop, wanted: Filter, now: str, zone: str, due: str | None) -> None:
    metadata = {"spring": "2018-11-04", "autumn": "2019-02-17"}
    assert shop.due(wanted, now, zone, birthdate=date(1996, 2, 29), metadata=metadata) == due
