"""Why a customer is in a segment, or not."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.custom_events.defining import define, event, track
from tests.customers.updating import updated
from tests.customers.writing import deleted, post, put
from tests.deployment import Project
from tests.http.listing import moment
from tests.http.refusals import refused
from tests.segments.placed import LONDONERS, active, all_placed, having, lane_paused, made, segment

FIELDS = {
    "segment", "customer_id", "member", "matches", "waiting", "entered_at", "async_action_id", "junction", "conditions",
    "object",
}  # fmt: skip


def explained(project: Project, segment_id: str, customer_id: str = "ann") -> Any:
    found = project.get(f"/v1/segments/{segment_id}/members/{customer_id}/explain")
    assert found.keys() == FIELDS
    assert found["object"] == "segment_explanation"
    return found


def standing(project: Project, segment_id: str, customer_id: str = "ann") -> tuple[bool, bool, bool]:
    """Whether the customer is a member, fits the filter, and waits to be placed."""
    found = explained(project, segment_id, customer_id)
    return found["member"], found["matches"], found["waiting"]


def test_of_a_member(project: Project) -> None:
    segment_id = active(project, name="Londoners")
    ann = post(project, source_id="ann", address={"city": "London"})
    all_placed(project)
    found = explained(project, segment_id)
    assert explained(project, segment_id, ann["id"]) == found
    assert moment(ann["created_at"]) < moment(found.pop("entered_at")) < datetime.now(UTC)
    assert found == {
        "segment": {"id": segment_id, "name": "Londoners", "object": "segment"},
        "customer_id": ann["id"],
        "member": True,
        "matches": True,
        "waiting": False,
        "async_action_id": None,
        "junction": "and",
        "conditions": [
            {
                "attribute": "address.city",
                "operator": "$is",
                "wanted": "London",
                "value": "London",
                "holds": True,
            }
        ],
        "object": "segment_explanation",
    }


def test_of_somebody_else(project: Project) -> None:
    segment_id = segment(project, filter=LONDONERS)
    post(project, source_id="ann", address={"city": "Paris"})
    post(project, source_id="bob")
    all_placed(project)
    for name, value in (("ann", "Paris"), ("bob", None)):
        found = explained(project, segment_id, name)
        assert (found["member"], found["matches"], found["waiting"]) == (False, False, False)
        assert (found["entered_at"], found["async_action_id"]) == (None, None)
        [condition] = found["conditions"]
        assert (condition["value"], condition["holds"]) == (value, False)


def test_of_a_member_by_a_bulk_job(project_18: Project) -> None:
    segment_id = segment(project_18, filter=LONDONERS)
    action = updated(project_18, "customers", {"source_id": "ann", "address": {"city": "London"}})["id"]
    all_placed(project_18)
    assert explained(project_18, segment_id)["async_action_id"] == action
    put(project_18, "ann", name="Ann")
    all_placed(project_18)
    assert explained(project_18, segment_id)["async_action_id"] == action, "that put the customer there"


def test_of_a_static_segment(project: Project) -> None:
    ann = post(project, source_id="ann")["id"]
    post(project, source_id="bob")
    segment_id = segment(project, name="Friends", customers=[ann])
    for name, member in (("ann", True), ("bob", False)):
        found = explained(project, segment_id, name)
        assert (found["member"], found["matches"], found["waiting"]) == (member, member, False)
        assert (found["junction"], found["conditions"]) == (None, [])
        assert (found["entered_at"] is not None) is member


def test_whoever_waits_can_be_in_a_segment_that_does_not_fit(project: Project) -> None:
    segment_id = active(project)
    post(project, source_id="ann", address={"city": "London"})
    post(project, source_id="bob", address={"city": "Paris"})
    all_placed(project)
    with lane_paused(project):
        put(project, "ann", address={"city": "Paris"})
        put(project, "bob", address={"city": "London"})
        assert standing(project, segment_id, "ann") == (True, False, True)
        assert standing(project, segment_id, "bob") == (False, True, True)
        late = made(project, filter=LONDONERS)["id"]
        assert standing(project, late, "bob") == (False, True, True)
        post(project, source_id="cid")
        assert standing(project, segment_id, "cid") == (False, False, True)
    assert standing(project, segment_id, "ann") == (False, False, False)
    assert standing(project, segment_id, "bob") == (True, True, False)
    assert standing(project, late, "bob") == (True, True, False)


def test_while_a_segment_is_populated_everybody_waits(project_18: Project) -> None:
    post(project_18, source_id="ann", address={"city": "London"})
    all_placed(project_18)
    with lane_paused(project_18):
        segment_id = made(project_18, filter=LONDONERS)["id"]
        assert standing(project_18, segment_id) == (False, True, True)
    assert standing(project_18, segment_id) == (True, True, False)


def conditions(project: Project, given: dict[str, Any]) -> dict[tuple[str, str], tuple[Any, Any, bool]]:
    """What was wanted, seen and found of each condition, of ann. Also whether it holds for all by itself."""
    segment_id = segment(project, filter=given)
    found = explained(project, segment_id)
    seen = {(one["attribute"], one["operator"]): one for one in found["conditions"]}
    assert len(seen) == len(found["conditions"])
    assert all(one.keys() == {"attribute", "operator", "wanted", "value", "holds"} for one in seen.values())
    assert found["member"] == found["matches"]
    return {key: (one["wanted"], one["value"], one["holds"]) for key, one in seen.items()}


def test_each_condition_has_the_value_that_it_sees(project: Project) -> None:
    define(project, event("sign_up"))
    post(
        project,
        source_id="ann",
        name="Ann",
        birthdate="1990-02-03",
        address={"city": "London"},
        metadata={"n": 1.5, "list": ["a", 2], "yes": True, "none": None, "deep": {"er": "x"}, "day": "2024-05-04"},
    )
    order = {"source_id": "o-1", "customer": {"source_id": "ann"}, "status": "PAID", "amount": 500}
    project.call("POST", "/v1/orders", json=order)
    track(project, "sign_up", customer={"source_id": "ann"})
    shown = project.get("/v1/customers/ann")
    seen = conditions(
        project,
        {
            "junction": "or",
            "name": {"conditions": {"$starts_with": ["A", "B"], "$is": "Bob"}},
            "phone": {"conditions": {"$has_value": ""}},
            "city": {"conditions": {"$in": ["Paris", "London"]}},
            "birthdate": {"conditions": {"$is_month": "2"}},
            "created_at": {"conditions": {"$today": [True]}},
            "summary.orders.total_amount": {"conditions": {"$more_than": ["499"], "$less_than": 500}, "junction": "or"},
            "summary.orders.last_order_date": {"conditions": {"$has_value": True}},
            "loyalty.points": {"conditions": {"$is": 0}},
            "loyalty_tiers.campaigns.camp_1": {"conditions": {"$is": "gold"}},
            "events.sign_up.count": {"conditions": {"$is": 1}},
            "events.visit.count": {"conditions": {"$is": 1}},
            "events.visit.last_occurred_at": {"conditions": {"$is_unknown": True}},
            "metadata.n": {"conditions": {"$more_than": 1}},
            "metadata.list": {"conditions": {"$is": 2, "$count": 2}},
            "metadata.yes": {"conditions": {"$is": True}},
            "metadata.none": {"conditions": {"$is_unknown": True}},
            "metadata.deep.er": {"conditions": {"$is_not": "x"}},
            "metadata.deep": {"conditions": {"$has_value": True}},
            "metadata.day": {"conditions": {"$is_year": 2024}},
        },
    )
    last_order = seen.pop(("summary.orders.last_order_date", "$has_value"))
    assert (last_order[0], moment(last_order[1]), last_order[2]) == (
        True,
        moment(shown["summary"]["orders"]["last_order_date"]),
        True,
    )
    created = seen.pop(("created_at", "$today"))
    assert created[:2] == ([True], shown["created_at"])
    assert seen == {
        ("name", "$starts_with"): (["A", "B"], "Ann", True),
        ("name", "$is"): ("Bob", "Ann", False),
        ("phone", "$has_value"): ("", None, False),
        ("city", "$in"): (["Paris", "London"], "London", True),
        ("birthdate", "$is_month"): ("2", "1990-02-03", True),
        ("summary.orders.total_amount", "$more_than"): (["499"], 500, True),
        ("summary.orders.total_amount", "$less_than"): (500, 500, False),
        ("loyalty.points", "$is"): (0, 0, True),
        ("loyalty_tiers.campaigns.camp_1", "$is"): ("gold", None, False),
        ("events.sign_up.count", "$is"): (1, 1, True),
        ("events.visit.count", "$is"): (1, 0, False),
        ("events.visit.last_occurred_at", "$is_unknown"): (True, None, True),
        ("metadata.n", "$more_than"): (1, 1.5, True),
        ("metadata.list", "$is"): (2, ["a", 2], True),
        ("metadata.list", "$count"): (2, ["a", 2], True),
        ("metadata.yes", "$is"): (True, True, True),
        ("metadata.none", "$is_unknown"): (True, None, True),
        ("metadata.deep.er", "$is_not"): ("x", "x", False),
        ("metadata.deep", "$has_value"): (True, {"er": "x"}, True),
        ("metadata.day", "$is_year"): (2024, "2024-05-04", True),
    }


@pytest.mark.parametrize(
    ("given", "matches"),
    [
        ({"name": {"conditions": {"$is": "Ann", "$starts_with": "B"}}}, False),
        ({"name": {"conditions": {"$is": "Ann", "$starts_with": "B"}, "junction": "or"}}, True),
        ({"name": {"conditions": {"$is": "Ann"}}, **LONDONERS}, False),
        ({"name": {"conditions": {"$is": "Ann"}}, **LONDONERS, "junction": "OR"}, True),
        ({"name": {"conditions": {"$is": "Bob"}}, **LONDONERS, "junction": "or"}, False),
    ],
)
def test_junctions_say_whether_one_is_enough(project_18: Project, given: dict[str, Any], matches: bool) -> None:
    post(project_18, source_id="ann", name="Ann")
    segment_id = segment(project_18, filter=given)
    found = explained(project_18, segment_id)
    assert (found["junction"], found["matches"], found["member"]) == (given.get("junction", "and"), matches, matches)
    assert {one["holds"] for one in found["conditions"]} == {True, False} or not matches


def test_of_what_is_not_there(project_18: Project) -> None:
    segment_id = active(project_18)
    post(project_18, source_id="ann")
    post(project_18, source_id="bob")
    deleted(project_18, "bob")
    for path, resource, resource_id in (
        ("seg_1/members/ann", "segment", "seg_1"),
        ("seg_1/members/nobody", "segment", "seg_1"),
        (f"{segment_id}/members/nobody", "customer", "nobody"),
        (f"{segment_id}/members/bob", "customer", "bob"),
        (f"{segment_id}/members/%00", "customer", "\0"),
    ):
        body = refused(project_18.http.get(f"/v1/segments/{path}/explain"), 404, "not_found")
        assert (body["resource_type"], body["resource_id"]) == (resource, resource_id)


def test_of_many_filters_at_their_largest(project_18: Project) -> None:
    """Fifty attributes with as many values as there may be."""
    given = {f"metadata.k{n}": {"conditions": {"$is": [f"v{n}-{i}" for i in range(20)]}} for n in range(50)}
    post(project_18, source_id="ann", metadata={f"k{n}": f"v{n}-19" for n in range(49)})
    segment_id = segment(project_18, filter=given)
    found = explained(project_18, segment_id)
    assert [one["holds"] for one in found["conditions"]] == [True] * 49 + [False]
    assert having("metadata.k49", "$is", found["conditions"][-1]["wanted"]) == {"metadata.k49": given["metadata.k49"]}
    assert (found["matches"], found["member"]) == (False, False)
