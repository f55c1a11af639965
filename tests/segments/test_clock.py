"""Filters that depend on the date: whoever's day has come is placed again, and nobody else.

The test's clock is the project's time zone: Kiritimati is 25 hours ahead of Midway, so it is another day there whenever
one looks. What would happen at midnight is had by moving the day, and the moments that wait for it, by hand.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.deployment import Project
from tests.events.log import events_of
from tests.orders.stored import rows, session
from tests.segments import consistency
from tests.segments.placed import active, all_placed, having, lane_paused, members, summary

MIDWAY, KIRITIMATI = "Pacific/Midway", "Pacific/Kiritimati"


def in_zone(project: Project, zone: str) -> None:
    """Make it another day, without what changing the zone otherwise brings along."""
    with session(project.deployment) as conn:
        conn.execute("UPDATE projects SET timezone = %s WHERE id = %s", [zone, project.id])


def strike(project: Project) -> None:
    """The moments that were waited for have come."""
    with session(project.deployment) as conn, conn.transaction():
        conn.execute("UPDATE segment_due SET due_at = clock_timestamp() WHERE project_id = %s", [project.id])
        conn.execute("UPDATE segment_clocks SET due_at = clock_timestamp() WHERE project_id = %s", [project.id])


def due(project: Project) -> dict[str, datetime]:
    """When each customer is to be placed again."""
    found = rows(
        project,
        "SELECT c.source_id, d.due_at FROM segment_due AS d JOIN customers AS c ON c.id = d.customer_id"
        " AND c.project_id = d.project_id WHERE d.project_id = %(project)s",
    )
    return {row["source_id"]: row["due_at"] for row in found}


def day(days: int, zone: str = MIDWAY) -> str:
    """A day counted from today."""
    return str(datetime.now(ZoneInfo(zone)).date() + timedelta(days=days))


def first_instant(of: date, zone: str) -> datetime:
    return datetime(of.year, of.month, of.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def customer(project: Project, name: str, **metadata: Any) -> None:
    project.call("POST", "/v1/customers", json={"source_id": name, "metadata": metadata})


@pytest.fixture
def midway(project: Project) -> Project:
    in_zone(project, MIDWAY)
    return project


def test_customers_enter_and_leave_when_their_day_comes(midway: Project) -> None:
    """From Midway to Kiritimati it is a day later, or two."""
    fresh = active(midway, having("metadata.seen", "$less_than_ago", 3), name="Fresh")
    gone = active(midway, having("metadata.seen", "$more_than_ago", 2), name="Gone")
    for name, days in (("today", 0), ("yesterday", -1), ("two days ago", -2), ("long ago", -30), ("soon", 1)):
        customer(midway, name, seen=day(days))
    customer(midway, "never")
    all_placed(midway)
    assert members(midway, fresh) == ["two days ago", "yesterday", "today"]
    assert members(midway, gone) == ["long ago"]
    # the next day is that of the filter which changes first; of what was long ago none does
    today = datetime.now(ZoneInfo(MIDWAY)).date()
    expected = {"today": 3, "yesterday": 2, "two days ago": 1, "soon": 1}
    assert due(midway) == {name: first_instant(today + timedelta(days=days), MIDWAY) for name, days in expected.items()}
    assert rows(midway, "SELECT due_at FROM segment_clocks WHERE project_id = %(project)s") == [
        {"due_at": first_instant(today + timedelta(days=1), MIDWAY)}
    ]
    before = len(events_of(midway))
    with lane_paused(midway):
        in_zone(midway, KIRITIMATI)
        strike(midway)
    later = (datetime.now(ZoneInfo(KIRITIMATI)).date() - today).days
    assert later in {1, 2}
    ages = {"today": 0, "yesterday": 1, "two days ago": 2, "soon": -1, "long ago": 30}
    assert set(members(midway, fresh)) == {name for name, age in ages.items() if 0 <= age + later < 3}
    assert set(members(midway, gone)) == {name for name, age in ages.items() if age + later > 2}
    told = [event for event in events_of(midway)[before:] if event.type.startswith("customer.segment")]
    assert {(event.group_id, event.event_source["channel"], event.async_action_id) for event in told} == {
        ("clock", "INTERNAL", None)
    }
    assert "two days ago" in {event.data["customer"]["source_id"] for event in told}
    consistency.check(midway)


def test_nobody_else_is_looked_at(midway: Project) -> None:
    """Two customers who no longer fit: the one whose day has come leaves, the other one is not looked at and stays."""
    today = active(midway, having("metadata.seen", "$today", True))
    customer(midway, "due", seen=day(0))
    customer(midway, "not due", seen=day(0))
    all_placed(midway)
    in_zone(midway, KIRITIMATI)
    with session(midway.deployment) as conn, conn.transaction():
        conn.execute(
            "UPDATE segment_due SET due_at = clock_timestamp() WHERE project_id = %(project)s AND customer_id ="
            " (SELECT id FROM customers WHERE project_id = %(project)s AND source_id = 'due')",
            {"project": midway.id},
        )
        conn.execute("UPDATE segment_clocks SET due_at = clock_timestamp() WHERE project_id = %s", [midway.id])
    all_placed(midway)
    assert members(midway, today) == ["not due"]


def test_many_days_come_in_portions(midway: Project) -> None:
    """More customers than a portion takes: each is placed once, and the lane ends with the clock set anew."""
    fresh = active(midway, having("metadata.seen", "$is_days_ago", 0))
    seen, tomorrow = day(0), day(1)
    orders = [
        {"source_id": f"o{no}", "status": "PAID", "customer": {"source_id": f"c{no}", "metadata": {"seen": seen}}}
        for no in range(1500)
    ]
    midway.imported(*orders)
    customer(midway, "tomorrow", seen=tomorrow)
    all_placed(midway)
    assert summary(midway, fresh)["members"] == 1500
    with session(midway.deployment) as conn:
        conn.execute(
            "UPDATE lane_turns SET portion_records = 400 WHERE project_id = %s AND lane = 'segments'", [midway.id]
        )
    with lane_paused(midway):
        in_zone(midway, KIRITIMATI)
        strike(midway)
    left = [event for event in events_of(midway) if event.type == "customer.segment.left"]
    assert len(left) == len({event.customer_id for event in left}) == 1500
    later = (datetime.now(ZoneInfo(KIRITIMATI)).date() - date.fromisoformat(seen)).days
    assert summary(midway, fresh)["members"] == (1 if later == 1 else 0)
    consistency.check(midway)


def test_without_filters_by_date_no_day_is_kept(midway: Project) -> None:
    first = active(midway, having("metadata.seen", "$today", True))
    customer(midway, "now", seen=day(0))
    all_placed(midway)
    assert due(midway).keys() == {"now"}
    assert midway.http.delete(f"/v1/segments/{first}").status_code == 204
    with lane_paused(midway):
        strike(midway)
    assert due(midway) == {}
    consistency.check(midway)


def test_another_time_zone_places_everybody_anew(project: Project) -> None:
    """Silently: nothing has happened to the customers."""
    in_zone(project, MIDWAY)
    fits = active(project, having("metadata.seen", "$today", True))
    customer(project, "there", seen=day(0, MIDWAY))
    customer(project, "here", seen=day(0, KIRITIMATI))
    all_placed(project)
    assert members(project, fits) == ["there"]
    done = project.deployment.command("projects", "update", project.id, "--timezone", KIRITIMATI)
    assert done.returncode == 0, done.stderr
    all_placed(project)
    assert members(project, fits) == ["here"]
    assert list(consistency.told(project).values()) == [["entered"]], "that of the first day alone"
    found = project.deployment.command("segments", "verify", project.id)
    assert found.stdout == "0 difference(s)\n"
