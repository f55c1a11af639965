"""When campaigns and their vouchers are valid: how dates and days are written, and what dates never contradict."""

from typing import Any

import pytest

from tests.campaigns.campaigns import added, changed, coded, created, read, settled, vouchers_of
from tests.campaigns.test_cancelling import paused
from tests.deployment import Project
from tests.orders.stored import session
from tests.vouchers.making import made, refusal

EARLY, NOON, LATE, LATEST = (f"20{year}-06-01T12:00:00Z" for year in (31, 32, 33, 34))
WRITTEN = [
    ("2026-01-01", "2026-01-01T00:00:00Z"),
    ("2026-01-01T10:00Z", "2026-01-01T10:00:00Z"),
    ("2026-01-01T10Z", "2026-01-01T10:00:00Z"),
    ("2026-01-01T10:00", "2026-01-01T10:00:00Z"),
    ("2026-01-01 10:00:00", "2026-01-01T10:00:00Z"),
    ("2026-01-01T10:00:00.25+02", "2026-01-01T08:00:00.250000Z"),
    ("2026-01-01T10:00:00+0230", "2026-01-01T07:30:00Z"),
    ("2026-01-01t10:00:00z", "2026-01-01T10:00:00Z"),
]
NO_DATES = ["", "soon", "2026-13-01", "2026-01-01T", "2026-01-01T25:00Z", "20260101", "2026-W01", 20260101, True,
            "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-05:00"]  # fmt: skip


@pytest.mark.parametrize(("written", "shown"), WRITTEN)
def test_a_date_is_iso_8601_and_in_utc_if_it_has_no_zone(project_18: Project, written: str, shown: str) -> None:
    dates: dict[str, Any] = {"start_date": written, "expiration_date": written}
    campaign = created(project_18, **dates)
    created(project_18, "Empty")
    seen = [campaign, added(project_18), changed(project_18, "Empty", **dates), added(project_18, "Empty", **dates)]
    seen += [made(project_18, "A", **dates), made(project_18, "B")]
    seen[-1] = project_18.call("PUT", "/v1/vouchers/B", json=dates)
    assert {shown_as[name] for shown_as in seen for name in dates} == {shown}


@pytest.mark.parametrize("written", NO_DATES)
@pytest.mark.parametrize("name", ["start_date", "expiration_date"])
def test_what_is_no_date_is_refused(project_18: Project, name: str, written: Any) -> None:
    created(project_18)
    made(project_18, "A")
    dates = {name: written}
    for error in (
        created(project_18, "Other", expect=400, **dates), changed(project_18, expect=400, **dates),
        added(project_18, expect=400, **dates), refusal(project_18, "PUT", "/v1/vouchers/A", dates),
        refusal(project_18, "POST", "/v1/vouchers", {"gift": {"amount": 1}} | dates),
    ):  # fmt: skip
        said = "cannot be recognized as a ISO-8601 compliant date" if isinstance(written, str) else "must be string"
        assert (error["key"], error["details"]) == ("invalid_payload", f"Property .{name} {said}")


# ---- dates that would contradict each other ----------------------------------------------------


def test_a_voucher_keeps_its_own_date_where_its_campaign_s_would_contradict_it(project: Project) -> None:
    campaign = created(project, start_date=EARLY, expiration_date=LATEST)
    coded(project, "plain")
    coded(project, "late start", start_date=LATE)
    coded(project, "early end", expiration_date=NOON)

    def dates() -> dict[str, tuple[Any, Any]]:
        found = vouchers_of(project, campaign["id"])
        return {voucher["code"]: (voucher["start_date"], voucher["expiration_date"]) for voucher in found}

    changed(project, expiration_date=NOON, category="New")
    assert settled(project)["result"]["done_count"] == 3
    assert dates() == {"plain": (EARLY, NOON), "late start": (LATE, LATEST), "early end": (EARLY, NOON)}
    # all else reached it, and so does the next date that fits
    assert project.get("/v1/vouchers/late start")["category"] == "New"
    changed(project, expiration_date=LATE)
    settled(project)
    assert dates()["late start"] == (LATE, LATE)
    changed(project, expiration_date=None)
    settled(project)
    changed(project, start_date=LATE)
    settled(project)
    assert dates()["late start"] == (LATE, None)
    project.call("PUT", "/v1/vouchers/early end", json={"expiration_date": LATE})
    changed(project, start_date=LATEST)
    settled(project)
    assert dates() == {"plain": (LATEST, None), "late start": (LATEST, None), "early end": (LATE, LATE)}
    # two dates of a campaign never contradict each other
    changed(project, start_date=EARLY, expiration_date=NOON)
    settled(project)
    assert set(dates().values()) == {(EARLY, NOON)}


def test_a_change_of_a_voucher_is_held_to_the_dates_that_it_changes(project: Project) -> None:
    """What contradicts itself was stored before that was prevented."""
    made(project, "V", start_date=EARLY, expiration_date=LATE)
    contradict(project, "V", start_date=LATEST)
    stored = {"start_date": LATEST, "expiration_date": LATE}

    def put(**fields: Any) -> Any:
        return project.call("PUT", "/v1/vouchers/V", json=fields)

    changes: list[dict[str, Any]] = [
        {"category": "New"}, {"validity_day_of_week": [1]}, {"validity_hours": {"daily": []}},
        stored | {"active": False},
    ]  # fmt: skip
    for fields in changes:
        after = put(**fields)
        assert {name: after[name] for name in fields} == fields
    for dates in ({"start_date": NOON, "expiration_date": EARLY}, {"expiration_date": NOON}):
        assert refusal(project, "PUT", "/v1/vouchers/V", dates)["key"] == "invalid_expiration_date"
    after = put(expiration_date=LATEST, category=None)
    assert (after["start_date"], after["expiration_date"]) == (LATEST, LATEST)


def contradict(project: Project, code: str, *, start_date: str) -> None:
    """Give a voucher a start date without looking at its end."""
    with session(project.deployment) as conn:
        conn.execute(
            "UPDATE vouchers SET start_date = %s WHERE project_id = %s AND code = %s",
            [start_date, project.id, code],
        )


def test_vouchers_that_a_campaign_would_end_before_they_begin_are_not_made(project: Project) -> None:
    campaign = created(project, expiration_date=LATEST)
    with paused(project):
        action = added(project, count=5, start_date=LATE, expect=202)["async_action_id"]
        changed(project, expiration_date=NOON)
    ended = project.finished(action)
    assert (ended["operation_status"], ended["result"]["message"]) == (
        "FAILED", "The campaign has changed: Property .expiration_date cannot be before .start_date",
    )  # fmt: skip
    assert vouchers_of(project, campaign["id"]) == []
    settled(project)
    assert read(project)["vouchers_generation_status"] == "FAILED"


# ---- days of the week --------------------------------------------------------------------------


def test_days_of_the_week_are_a_set_and_none_are_all(project: Project) -> None:
    created(project, validity_day_of_week=[5, 1, 5, 1])
    assert read(project)["validity_day_of_week"] == added(project)["validity_day_of_week"] == [5, 1]
    assert "validity_day_of_week" not in created(project, "Always", validity_day_of_week=[])
    assert made(project, "A", validity_day_of_week=[])["validity_day_of_week"] is None
    for days, left in (([3, 3], [3]), ([], None)):
        voucher = project.call("PUT", "/v1/vouchers/A", json={"validity_day_of_week": days})
        assert voucher["validity_day_of_week"] == left
        assert changed(project, validity_day_of_week=days).get("validity_day_of_week") == left
    everything = {"A", *(voucher["code"] for voucher in vouchers_of(project, read(project)["id"]))}
    settled(project)
    listed = project.call("GET", "/v1/vouchers?filters[validity_day_of_week][conditions][$is]=2")
    assert {voucher["code"] for voucher in listed["vouchers"]} == everything
