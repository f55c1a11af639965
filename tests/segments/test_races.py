"""Changes that meet at an awkward moment: each keeps its events, and nobody is forgotten."""

import asyncio
from typing import Any

import pytest

from punchcard.db.database import connect
from punchcard.segments import segments
from punchcard.segments.segments import SegmentIn
from tests.deployment import Project
from tests.events.log import events_of
from tests.orders.stored import session
from tests.segments import consistency
from tests.segments.placed import LONDONERS, active, all_placed, having, lane_paused, made, members, segment, summary

LONDON = {"city": "London"}


def told(project: Project) -> list[tuple[str, str | None]]:
    """Which customers entered and left, and by which bulk job."""
    return [
        (event.data["customer"]["source_id"], event.async_action_id)
        for event in events_of(project)
        if event.type.startswith("customer.segment.")
    ]


def test_a_customer_who_comes_while_a_segment_is_made(project: Project) -> None:
    """Placed before the segment can be seen, and behind the last one whom it is populated with."""
    project.call("POST", "/v1/customers", json={"source_id": "first", "address": LONDON})
    all_placed(project)

    async def make() -> str:
        async with await connect(project.deployment.dsn, part="test") as conn, conn.transaction():
            new = await segments.create(conn, project.id, SegmentIn("S", "auto-update", None, LONDONERS))
            late = {"source_id": "late", "address": LONDON}
            await asyncio.to_thread(project.call, "POST", "/v1/customers", json=late)
            await asyncio.to_thread(all_placed, project)
            return new.id

    segment_id = asyncio.run(make())
    project.call("POST", "/v1/customers", json={"source_id": "last", "address": LONDON})
    all_placed(project)
    assert members(project, segment_id) == ["last", "late", "first"]
    assert summary(project, segment_id)["members"] == 3
    consistency.check(project)


def test_another_time_zone_leaves_waiting_changes_their_events(project: Project) -> None:
    londoners = active(project)
    before = active(project, having("created_at", "$before", "2020-01-01"), name="Old")
    with lane_paused(project):
        orders = [{"source_id": f"o{no}", "customer": {"source_id": f"c{no}", "address": LONDON}} for no in range(2)]
        action = project.post_import(orders)
        project.finished(action)
        done = project.deployment.command("projects", "update", project.id, "--timezone", "Europe/Warsaw")
        assert done.returncode == 0, done.stderr
        project.call("POST", "/v1/customers", json={"source_id": "ann", "address": LONDON})
    effects = project.get(f"/v1/async-actions/{action}", wait=20, wait_for="effects")["effects"]
    assert [(one["id"], one["entered"]) for one in effects["segments"]] == [(londoners, 2)]
    assert sorted(told(project), key=str) == [("ann", None), ("c0", action), ("c1", action)]
    assert summary(project, londoners)["population"] == summary(project, before)["population"] == "DONE"
    consistency.check(project)


def test_a_silent_import_tells_of_passive_segments_too(project: Project) -> None:
    in_active = active(project)
    in_passive = segment(project, filter=LONDONERS)
    order = {"source_id": "o", "customer": {"source_id": "ann", "address": LONDON}}
    answer = project.call("POST", "/v1/orders/import", params={"effects": "silent"}, json=[order])
    action = answer["async_action_id"]
    effects = project.get(f"/v1/async-actions/{action}", wait=20, wait_for="effects")["effects"]
    assert [(one["id"], one["entered"]) for one in effects["segments"]] == [(in_active, 1), (in_passive, 1)]
    for segment_id in (in_active, in_passive):
        assert project.get(f"/v1/segments/{segment_id}/members/ann/explain")["async_action_id"] == action
    assert told(project) == []


def test_a_population_that_nobody_goes_on_with_is_found(project_18: Project) -> None:
    project_18.call("POST", "/v1/customers", json={"source_id": "ann", "address": LONDON})
    with lane_paused(project_18):
        segment_id = made(project_18, filter=LONDONERS)["id"]
        with session(project_18.deployment) as conn:
            conn.execute("DELETE FROM segment_inbox WHERE project_id = %s AND task = 'populate'", [project_18.id])
    found = project_18.deployment.command("segments", "verify", project_18.id, "--repair")
    assert (found.returncode, found.stdout.count(segment_id)) == (1, 1), found.stdout
    all_placed(project_18)
    assert members(project_18, segment_id) == ["ann"]
    consistency.check(project_18)


def test_filters_that_are_large_together_are_refused_or_work(project_18: Project) -> None:
    """Half of all that a project may have is about custom events, and all of it is evaluated at once."""
    for no in range(10):
        given: dict[str, Any] = {
            f"events.e{no}-{place}.count": {"conditions": {"$more_than": 0, "$less_than": 9}} for place in range(50)
        }
        made(project_18, filter=given)
    refused = made(project_18, filter=LONDONERS, expect=400)
    assert (refused["key"], "1000 operators" in refused["details"]) == ("too_many_conditions", True)
    project_18.call("POST", "/v1/customers", json={"source_id": "ann"})
    all_placed(project_18)
    assert project_18.get("/v1/customers/ann/segments")["total"] == 0
    consistency.check(project_18)


@pytest.mark.parametrize("operator", ["$contains", "$starts_with", "$ends_with", "$not_contain"])
def test_many_values_are_one_parameter(project_18: Project, operator: str) -> None:
    values = [f"{no}-{'x' * 20}" for no in range(200)]
    for no in range(20):
        made(project_18, filter=having(f"metadata.k{no}", operator, values))
    project_18.call("POST", "/v1/customers", json={"source_id": "ann", "metadata": {"k3": values[7]}})
    all_placed(project_18)
    assert project_18.get("/v1/customers/ann/segments")["total"] == (19 if operator == "$not_contain" else 1)


def test_dates_in_metadata_are_read_once(project_18: Project) -> None:
    """As many operators by date as a filter may have, on one key each ten."""
    days = [
        "$is_days_ago", "$more_than_ago", "$less_than_ago", "$is_days_in_future", "$more_than_future",
        "$less_than_future", "$is_days_ago_md", "$is_more_days_ago_md", "$is_less_days_ago_md", "$is_years_ago",
    ]  # fmt: skip
    one = {"conditions": dict.fromkeys(days, 3), "junction": "or"}
    given = {f"metadata.d{no}": one for no in range(10)}
    for _ in range(5):
        made(project_18, filter={**given, "junction": "or"})
    project_18.call("POST", "/v1/customers", json={"source_id": "ann", "metadata": {"d9": "2020-01-01"}})
    all_placed(project_18)
    assert project_18.get("/v1/customers/ann/segments")["total"] == 5
    consistency.check(project_18)
