"""When an order was placed: the date in its metadata, in the project's zone."""

from datetime import UTC, datetime
from typing import Any

import pytest

from punchcard.orders import placed_at
from tests.deployment import Project
from tests.orders.stored import rows


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2011-03-01T10:00:00Z", datetime(2011, 3, 1, 10, tzinfo=UTC)),
        ("2011-03-01T10:00:00.5+02:00", datetime(2011, 3, 1, 8, 0, 0, 500_000, tzinfo=UTC)),
        ("2011-03-01T10:00:00,123456789Z", datetime(2011, 3, 1, 10, 0, 0, 123_456, tzinfo=UTC)),
        ("2011-03-01T10+0200", datetime(2011, 3, 1, 8, tzinfo=UTC)),
        ("2011-03-01 10:30-05", datetime(2011, 3, 1, 15, 30, tzinfo=UTC)),
    ],
)
def test_a_time_with_an_offset_is_a_moment(text: str, moment: datetime) -> None:
    assert placed_at.parse(text) == moment


@pytest.mark.parametrize(
    "value",
    [None, 20110301, True, [], {}, "", " 2011-03-01", "2011-03-01\n", "01.03.2011", "2011-3-1", "2011-02-29",
     "2011-03-01T25:00", "2011-03-01T10:00:00+25:00", "2011-W09-2", "20110301", "0000-01-01", "0001-01-01T00:00+05",
     "9999-12-31T23:00-05", "2011-03-01T10:00:00.", "٢٠١١-03-01"],
)  # fmt: skip
def test_what_is_no_iso_date_is_none(value: Any) -> None:
    assert placed_at.parse(value) is None


def test_dates_are_midnight_in_the_projects_zone(project: Project) -> None:
    rows(project, "UPDATE projects SET timezone = 'Europe/Warsaw' WHERE id = %(project)s RETURNING id")
    sent = {
        "day": "2011-07-01",
        "winter": "2011-01-01T12:00:00",
        "skipped hour": "2011-03-27T02:30:00",
        "with offset": "2011-07-01T00:00:00Z",
    }
    project.imported(*({"source_id": name, "metadata": {"ordered_at": text}} for name, text in sent.items()))
    assert {order["source_id"]: order["ordered_at"] for order in project.all_orders()} == {
        "day": "2011-06-30T22:00:00Z",
        "winter": "2011-01-01T11:00:00Z",
        "skipped hour": "2011-03-27T01:30:00Z",
        "with offset": "2011-07-01T00:00:00Z",
    }


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Adak"])
def test_the_ends_of_the_calendar_fail_nobody(project_18: Project, zone: str) -> None:
    rows(project_18, "UPDATE projects SET timezone = %(zone)s WHERE id = %(project)s RETURNING id", zone=zone)
    dates = ["0001-01-01", "9999-12-31T23:59:59", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2011-01-01"]
    orders = [{"source_id": date, "metadata": {"ordered_at": date}} for date in dates]
    result = project_18.import_orders(orders)
    assert (result["failed_count"], result["invalid_ordered_at_count"]) == (0, 2)
    assert [("ordered_at" in order) for order in project_18.all_orders()] == [False, False, True, True, True]


def test_the_project_names_the_key(project: Project) -> None:
    rows(project, "UPDATE projects SET ordered_at_key = 'bought' WHERE id = %(project)s RETURNING id")
    project.imported({"source_id": "o", "metadata": {"bought": "2011-01-01", "ordered_at": "2012-01-01"}})
    assert project.get("/v1/orders/o")["ordered_at"] == "2011-01-01T00:00:00Z"


def test_a_later_import_changes_takes_away_or_keeps_it(project: Project) -> None:
    def ordered_at(metadata: Any) -> Any:
        result = project.import_orders([{"source_id": "o", "metadata": metadata}])
        return project.get("/v1/orders/o").get("ordered_at"), result.get("invalid_ordered_at_count", 0)

    assert ordered_at({"ordered_at": "2011-01-01"}) == ("2011-01-01T00:00:00Z", 0)
    assert ordered_at({"other": 1}) == ("2011-01-01T00:00:00Z", 0)
    assert ordered_at(None) == ("2011-01-01T00:00:00Z", 0)
    assert ordered_at({"ordered_at": "2010-01-01"}) == ("2010-01-01T00:00:00Z", 0)
    assert ordered_at({"ordered_at": "soon"}) == (None, 1)
    assert ordered_at({"ordered_at": "2010-01-01"}) == ("2010-01-01T00:00:00Z", 0)
    assert ordered_at({"ordered_at": None}) == (None, 0)
    assert project.get("/v1/orders/o")["metadata"] == {"ordered_at": None, "other": 1}
