"""Orders, and customers beside them, bear the bulk job that wrote them last, and none after a request."""

from typing import Any

import pytest

from tests.deployment import Project
from tests.events.log import events_of
from tests.orders.lineage import actions_of, hold_segments, origins
from tests.orders.stored import rows


def order(source_id: str, customer: str, amount: int = 100, **more: Any) -> dict[str, Any]:
    return {"source_id": source_id, "status": "PAID", "amount": amount, "customer": {"source_id": customer}, **more}


def imported(project: Project, *orders: Any) -> str:
    """Import orders that all must go in; the id of the action."""
    action_id = project.post_import(list(orders))
    assert project.finished(action_id)["result"]["failed_count"] == 0
    return action_id


def create(project: Project, **given: Any) -> Any:
    return project.call("POST", "/v1/orders", json=given)


def change(project: Project, order_id: str, **given: Any) -> Any:
    return project.call("PUT", f"/v1/orders/{order_id}", json=given)


def versions(project: Project) -> list[Any]:
    return rows(
        project,
        """SELECT 'orders', source_id, xmin::text FROM orders WHERE project_id = %(project)s
            UNION ALL SELECT 'customers', source_id, xmin::text FROM customers WHERE project_id = %(project)s
            ORDER BY 1, 2""",
    )


def test_an_import_marks_what_it_writes(project: Project) -> None:
    first = imported(project, order("1", "ann"), order("2", "bob"))
    assert actions_of(project, "orders") == {"1": first, "2": first}
    assert actions_of(project, "customers") == {"ann": first, "bob": first}
    # a summary, attributes, and neither
    second = imported(project, order("1", "ann", 150), order("2", "bob"), order("3", "cid"), order("4", "ann"))
    assert actions_of(project, "orders") == {"1": second, "2": first, "3": second, "4": second}
    assert actions_of(project, "customers") == {"ann": second, "bob": first, "cid": second}
    third = imported(project, {"source_id": "2", "customer": {"source_id": "bob", "name": "Bob"}})
    assert actions_of(project, "orders")["2"] == first
    assert actions_of(project, "customers") == {"ann": second, "bob": third, "cid": second}


def test_an_import_that_changes_nothing_writes_nothing(project_18: Project) -> None:
    imported(project_18, order("1", "ann"), order("2", "bob"))
    create(project_18, **order("3", "cid"))
    before = versions(project_18)
    imported(project_18, order("1", "ann"), order("2", "bob"), order("3", "cid"))
    dry = project_18.call("POST", "/v1/orders/import?dry_run=true", json=[order("1", "ann", 9)])
    assert project_18.finished(dry["async_action_id"])["result"]["updated_count"] == 1
    assert versions(project_18) == before


@pytest.mark.parametrize("catalogue", [False, True], ids=["alone", "with the catalogue"])
def test_what_a_request_writes_is_no_import_s_any_more(project: Project, *, catalogue: bool) -> None:
    """By one statement, or by a transaction that holds the rows, which what changes the catalogue takes."""
    mug = {"source_id": "mug", "product": {"source_id": "mug", "name": "Mug", "override": True}, "price": 70}
    items: dict[str, Any] = {"items": [mug]} if catalogue else {}
    action = imported(project, order("1", "ann"), order("2", "bob"), order("3", "cid"))
    for changed in (change(project, "1", amount=150, **items), create(project, **order("2", "bob", 150, **items))):
        assert "async_action_id" not in changed
        assert changed == project.get(f"/v1/orders/{changed['id']}")
    new = create(project, **order("4", "dan", **items))
    assert new == project.get("/v1/orders/4")
    assert actions_of(project, "orders") == {"1": None, "2": None, "3": action, "4": None}
    assert actions_of(project, "customers") == {"ann": None, "bob": None, "cid": action, "dan": None}
    assert all("async_action_id" not in str(event.data) for event in events_of(project))
    # attributes of a customer alone
    create(project, source_id="3", customer={"source_id": "cid", "name": "Cid"})
    assert actions_of(project, "customers")["cid"] is None
    assert actions_of(project, "orders")["3"] == action
    again = imported(project, {"source_id": "1", "status": "CANCELED"})
    assert (actions_of(project, "orders")["1"], actions_of(project, "customers")["ann"]) == (again, again)


def test_a_request_that_changes_nothing_leaves_it(project_18: Project) -> None:
    action = imported(project_18, order("1", "ann"))
    before = versions(project_18)
    for answer in (change(project_18, "1", amount=100), create(project_18, **order("1", "ann"))):
        assert answer == project_18.get("/v1/orders/1")
        assert answer["async_action_id"] == action
    assert versions(project_18) == before


def test_redating_leaves_it(project_18: Project) -> None:
    action = imported(project_18, order("1", "ann", metadata={"bought": "2012-02-02"}), order("2", "bob"))
    hold_segments(project_18)
    said = project_18.deployment.command("projects", "update", project_18.id, "--ordered-at-key", "bought")
    redating = dict(line.split(maxsplit=1) for line in said.stdout.splitlines())["redating"]
    assert project_18.finished(redating)["result"]["updated_count"] == 1
    assert project_18.get("/v1/orders/1")["ordered_at"].startswith("2012-02-02")
    assert actions_of(project_18, "orders") == {"1": action, "2": action}
    assert actions_of(project_18, "customers") == {"ann": action, "bob": action}
    ann = project_18.get("/v1/customers/ann")["id"]
    assert origins(project_18)[-1] == (ann, "orders.redating", None, redating, 0)


def test_the_segments_lane_is_told_who_did_it(project: Project) -> None:
    hold_segments(project)
    action = imported(project, order("1", "ann"), order("2", "bob"))
    people = {name: project.get(f"/v1/customers/{name}")["id"] for name in ("ann", "bob")}
    expected = [(people[name], "orders.import", None, action, 0) for name in ("ann", "bob")]
    assert sorted(origins(project)) == sorted(expected)
    mug = {"source_id": "mug", "product": {"source_id": "mug", "name": "Mug", "override": True}, "price": 70}
    for body in ({"amount": 150}, {"items": [mug]}):
        answer = project.http.put("/v1/orders/1", json=body)
        assert answer.status_code == 200, answer.text
        expected_now = (people["ann"], "orders.write", answer.headers["X-Request-Id"], None, 0)
        assert origins(project)[-1] == expected_now
    assert len(origins(project)) == 4
