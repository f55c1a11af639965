"""Silent imports: customers are placed, nobody is told, and loud changes of the same customers keep their own
events."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.deployment import Project, until
from tests.events.log import events_of
from tests.orders.stored import session
from tests.segments import consistency
from tests.segments.placed import active, all_placed, having, lane_paused, members, segment

SEED = 20261122
CHANGES = 60


def equals(key: str, value: object) -> dict[str, Any]:
    return {f"metadata.{key}": {"conditions": {"$is": value}}}


def import_silently(project: Project, *customers: dict[str, Any], wait: bool = True) -> str:
    orders = [{"status": "PAID", "amount": 1, "customer": customer} for customer in customers]
    answer = project.call("POST", "/v1/orders/import", params={"effects": "silent"}, json=orders)
    action = str(answer["async_action_id"])
    if wait:
        assert project.finished(action)["result"]["failed_count"] == 0
    return action


def told(project: Project) -> list[tuple[str, str]]:
    """Segments and what events say of them."""
    return [
        (event.data["segment"]["name"], event.type.rpartition(".")[2])
        for event in events_of(project)
        if event.type.startswith("customer.segment.")
    ]


def test_customers_are_placed_and_nobody_is_told(project: Project) -> None:
    red = active(project, equals("color", "red"), name="Red")
    buyers = active(project, having("summary.orders.total_count", "$more_than", 0), name="Buyers")
    action = import_silently(project, {"source_id": "ann", "metadata": {"color": "red"}})
    effects = project.get(f"/v1/async-actions/{action}", wait=20, wait_for="effects")["effects"]
    assert effects["status"] == "DONE"
    assert {one["name"]: one["entered"] for one in effects["segments"]} == {"Red": 1, "Buyers": 1}
    assert (members(project, red), members(project, buyers)) == (["ann"], ["ann"])
    import_silently(project, {"source_id": "ann", "metadata": {"color": "blue"}})
    all_placed(project)
    assert (members(project, red), told(project)) == ([], [])
    # and what it came to is as loud as ever for the next one who changes it
    project.call("PUT", "/v1/customers/ann", json={"metadata": {"color": "red"}})
    all_placed(project)
    assert told(project) == [("Red", "entered")]
    consistency.check(project)


def test_a_later_loud_change_does_not_tell_of_the_silent_one(project: Project) -> None:
    active(project, equals("silent", 1), name="Silent")
    active(project, equals("loud", 1), name="Loud")
    with lane_paused(project):
        import_silently(project, {"source_id": "ann", "metadata": {"silent": 1}})
        project.call("PUT", "/v1/customers/ann", json={"metadata": {"loud": 1}})
    all_placed(project)
    assert told(project) == [("Loud", "entered")]
    consistency.check(project)


def test_a_loud_change_before_the_silent_one_is_told(project: Project) -> None:
    active(project, equals("silent", 1), name="Silent")
    active(project, equals("loud", 1), name="Loud")
    ann = project.call("POST", "/v1/customers", json={"source_id": "ann"})
    all_placed(project)
    with lane_paused(project):
        project.call("PUT", "/v1/customers/ann", json={"metadata": {"loud": 1}})
        import_silently(project, {"source_id": "ann", "metadata": {"silent": 1}})
    all_placed(project)
    assert told(project) == [("Loud", "entered")]
    (event,) = [one for one in events_of(project) if one.type == "customer.segment.entered"]
    assert (event.customer_id, event.async_action_id) == (ann["id"], None)
    consistency.check(project)


def test_a_silent_change_that_waits_is_not_told_of_by_those_before_it(project: Project) -> None:
    """Portions of one row: the loud change is placed while the silent one, made already, still waits."""
    active(project, equals("silent", 1), name="Silent")
    active(project, equals("loud", 1), name="Loud")
    with lane_paused(project):
        project.call("POST", "/v1/customers", json={"source_id": "ann", "metadata": {"loud": 1}})
        # a task is always alone in its portion, so the rows around it come into two
        project.call("POST", "/v1/segments", json={"name": "Between", "type": "passive", "filter": equals("x", 1)})
        import_silently(project, {"source_id": "ann", "metadata": {"silent": 1}})
        project.call("POST", "/v1/segments", json={"name": "Behind", "type": "passive", "filter": equals("x", 1)})
        project.call("PUT", "/v1/customers/ann", json={"metadata": {"loud": 0}})
    all_placed(project)
    assert told(project) == [], "the loud change was taken back before anybody looked"
    with lane_paused(project):
        project.call("PUT", "/v1/customers/ann", json={"metadata": {"loud": 1}})
        project.call("POST", "/v1/segments", json={"name": "Third", "type": "passive", "filter": equals("x", 1)})
        import_silently(project, {"source_id": "ann", "metadata": {"silent": 0}})
    all_placed(project)
    assert told(project) == [("Loud", "entered")]
    consistency.check(project)


@contextmanager
def source_id_taken(project: Project, source_id: str) -> Iterator[Callable[[], bool]]:
    """Somebody is about to commit an order with this source id, and then does not. Yields whether another waits."""
    project.imported({"source_id": f"like {source_id}"})
    with session(project.deployment) as watch, psycopg.connect(project.deployment.dsn) as blocker:
        blocker.execute(
            "INSERT INTO orders (project_id, id, source_id, status, amount, total_amount, items, metadata, created_at)"
            " SELECT project_id, 'ord_blocker', %s, status, amount, total_amount, items, metadata,"
            " created_at - interval '1 year' FROM orders WHERE project_id = %s",
            [source_id, project.id],
        )
        blocked = f"SELECT FROM pg_stat_activity WHERE {blocker.info.backend_pid} = ANY (pg_blocking_pids(pid))"
        yield lambda: bool(watch.execute(blocked.encode()).fetchall())
        blocker.rollback()


def test_a_segment_that_is_made_while_a_portion_runs_is_entered_silently(project: Project) -> None:
    """The portion has looked at what its customers fit before there was the segment."""
    old = project.call("POST", "/v1/customers", json={"source_id": "old"})
    all_placed(project)
    with source_id_taken(project, "o") as somebody_waits:
        orders = [
            {"source_id": source_id, "status": "PAID", "amount": 7, "customer": {"source_id": customer}}
            for source_id, customer in (("o", "new"), ("p", "old"))
        ]
        answer = project.call("POST", "/v1/orders/import", params={"effects": "silent"}, json=orders)
        until(somebody_waits)
        sevens = active(project, having("summary.orders.total_amount", "$is", 7), name="Sevens")
    action = project.get(f"/v1/async-actions/{answer['async_action_id']}", wait=30, wait_for="effects")
    assert action["result"]["done_count"] == 2
    assert [(one["id"], one["entered"]) for one in action["effects"]["segments"]] == [(sevens, 2)]
    all_placed(project)
    assert (sorted(members(project, sevens)), told(project)) == (["new", "old"], [])
    assert old["id"] in {one["id"] for one in project.get("/v1/customers", segment_id=sevens)["customers"]}
    consistency.check(project)


def test_segments_without_events_are_put_down_to_the_first_change_too(project: Project) -> None:
    fits = having("summary.orders.total_count", "$more_than", 0)
    segments = {active(project, fits, name="Active"), segment(project, type="passive", filter=fits, name="Passive")}
    with lane_paused(project):
        action = import_silently(project, {"source_id": "ann"})
        project.call("PUT", "/v1/customers/ann", json={"name": "Ann"})
    effects = project.get(f"/v1/async-actions/{action}", wait=30, wait_for="effects")["effects"]
    assert {(one["id"], one["entered"]) for one in effects["segments"]} == {(one, 1) for one in segments}
    for segment_id in segments:
        assert project.get(f"/v1/segments/{segment_id}/members/ann/explain")["async_action_id"] == action
    assert told(project) == []


def test_an_unknown_kind_of_effects_is_refused(project_18: Project) -> None:
    answer = project_18.call("POST", "/v1/orders/import", params={"effects": "none"}, json=[], expect=400)
    assert "effects" in answer["details"]


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_loud_and_silent_changes_in_any_order(project_18: Project, seed: int) -> None:
    """Silent changes move customers in some segments, loud ones in others: only these have events, in any order."""
    rng = random.Random(seed)
    silent = [active(project_18, equals("silent", value), name=f"silent {value}") for value in range(3)]
    loud = [active(project_18, equals("loud", value), name=f"loud {value}") for value in range(3)]
    people = ["ann", "bob", "eve"]
    done = 0
    while done < CHANGES:
        with lane_paused(project_18):
            for _ in range(rng.randrange(1, 6)):
                person, value = rng.choice(people), rng.randrange(4)
                if rng.random() < 0.5:
                    import_silently(project_18, {"source_id": person, "metadata": {"silent": value}})
                else:
                    body = {"source_id": person, "metadata": {"loud": value}}
                    project_18.call("POST", "/v1/customers", json=body)
                done += 1
        if rng.random() < 0.7:
            all_placed(project_18)
    all_placed(project_18)
    consistency.check(project_18)
    segments = {segment_id for _, segment_id in consistency.told(project_18)}
    assert segments <= set(loud), "a silent change has an event"
    assert segments, "no loud change has one"
    for segment_id in silent + loud:
        assert project_18.get(f"/v1/segments/{segment_id}")["summary"]["population"] == "DONE"
    # each member of a loud segment entered by an event
    entered = consistency.told(project_18)
    for segment_id in loud:
        for member in project_18.get("/v1/customers", segment_id=segment_id)["customers"]:
            assert entered[member["id"], segment_id][-1] == "entered"
