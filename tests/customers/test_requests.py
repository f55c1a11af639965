"""`POST /v1/customers` and `PUT /v1/customers/{id}`: who is meant, what is written, what is said about it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from tests.customers.test_bulk import inbox
from tests.customers.writing import FULL, attributes, history, newest, post, put
from tests.deployment import Deployment, Project
from tests.events.log import events_of
from tests.metadata_schemas.defining import define, schema
from tests.orders.lineage import hold_segments

ATTRIBUTES = ["name", "description", "email", "phone", "birthdate", "birthday", "address"]
NULLS: dict[str, Any] = dict.fromkeys(ATTRIBUTES)


def total(project: Project) -> int:
    """How many customers the project's list counts."""
    return int(project.get("/v1/customers")["total"])


# ---- creating ----------------------------------------------------------------------------------


def test_a_customer_is_created_with_all_fields(project_18: Project) -> None:
    hold_segments(project_18)
    made = post(project_18, **FULL)
    assert {name: made[name] for name in FULL} == FULL
    assert made["id"].startswith("cust_")
    assert "updated_at" not in made
    assert made["summary"]["orders"]["total_count"] == 0
    assert made == project_18.get("/v1/customers/ann") == project_18.get(f"/v1/customers/{made['id']}")
    assert total(project_18) == 1
    assert inbox(project_18) == [("ann", "customers.update")]


def test_a_customer_without_a_source_id_is_a_new_one_each_time(project_18: Project) -> None:
    made = [post(project_18, email="ann@example.com"), post(project_18, email="ann@example.com"), post(project_18)]
    assert len({customer["id"] for customer in made}) == 3
    assert {customer["source_id"] for customer in made} == {None}
    assert post(project_18, source_id="", id="")["source_id"] is None
    assert total(project_18) == 4


def test_null_means_absent(project_18: Project) -> None:
    made = post(project_18, source_id="ann", id=None, metadata=None, **NULLS)
    assert made["metadata"] == {}
    assert not set(ATTRIBUTES) & made.keys()
    post(project_18, **FULL)
    assert post(project_18, source_id="ann", metadata=None, **NULLS)["email"] == FULL["email"]
    assert attributes(project_18) == FULL


def test_a_birthday_is_a_birthdate_where_none_is_given(project_18: Project) -> None:
    made = post(project_18, source_id="ann", birthday="1991-01-02")
    assert (made["birthday"], made["birthdate"]) == ("1991-01-02", "1991-01-02")


# ---- updating ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["id", "source_id"])
def test_a_customer_that_is_there_is_updated(project: Project, name: str) -> None:
    hold_segments(project)
    before = post(project, **FULL)
    after = post(project, **{name: before[name]}, name="Bea", address={"city": "Rome"}, metadata={"tags": None, "b": 2})
    expected = FULL | {"name": "Bea", "address": {"city": "Rome"}}
    assert attributes(project) == expected | {"metadata": {"a": 1, "tags": None, "none": None, "b": 2}}
    assert (after["id"], after["created_at"]) == (before["id"], before["created_at"])
    assert after["updated_at"] > before["created_at"]
    assert total(project) == 1
    assert inbox(project) == [("ann", "customers.update")] * 2


def test_an_id_wins_over_a_source_id(project_18: Project) -> None:
    ann, bob = post(project_18, source_id="ann"), post(project_18, source_id="bob")
    assert post(project_18, id=ann["id"], source_id="bob", name="A")["source_id"] == "ann"
    assert post(project_18, id=bob["id"], source_id="never", name="B")["source_id"] == "bob"
    assert total(project_18) == 2


def test_an_unknown_id_is_a_404(project_18: Project) -> None:
    error = post(project_18, id="cust_nobody", source_id="ann", expect=404)
    assert (error["key"], error["resource_type"], error["resource_id"]) == ("not_found", "customer", "cust_nobody")
    assert put(project_18, "cust_nobody", name="A", expect=404)["resource_type"] == "customer"
    assert (total(project_18), events_of(project_18)) == (0, [])


def test_put_changes_what_it_has(project: Project) -> None:
    made = post(project, **FULL)
    put(project, "ann", name="Bea", metadata={"a": 2})
    assert attributes(project) == FULL | {"name": "Bea", "metadata": FULL["metadata"] | {"a": 2}}
    # clients that are generated from the description send null for all that they were not given
    changed = put(project, made["id"], metadata={"a": None}, **NULLS)
    assert attributes(project) == FULL | {"name": "Bea", "metadata": FULL["metadata"] | {"a": None}}
    assert put(project, "ann", metadata=None) == changed


def test_put_ignores_the_ids_of_its_body(project_18: Project) -> None:
    made = post(project_18, source_id="ann")
    changed = put(project_18, "ann", id="cust_other", source_id="other", name="Ann")
    assert (changed["id"], changed["source_id"], changed["name"]) == (made["id"], "ann", "Ann")


def test_put_prefers_the_customer_that_has_the_id(project_18: Project) -> None:
    ann = post(project_18, source_id="ann")
    post(project_18, source_id=ann["id"])
    assert put(project_18, ann["id"], name="Ann")["source_id"] == "ann"


def test_a_birthday_that_is_put_is_a_birthdate(project_18: Project) -> None:
    post(project_18, source_id="ann", birthdate="1990-01-02")
    changed = put(project_18, "ann", birthday="1991-01-02", birthdate=None)
    assert (changed["birthday"], changed["birthdate"]) == ("1991-01-02", "1991-01-02")


@pytest.mark.parametrize("change", [{}, FULL, {"metadata": {"a": 1}}, {"name": "Ann", "address": FULL["address"]}])
def test_what_changes_nothing_leaves_no_trace(project_18: Project, change: dict[str, Any]) -> None:
    hold_segments(project_18)
    made = post(project_18, **FULL)
    inbox(project_18)
    assert put(project_18, "ann", **change) == made
    assert post(project_18, **FULL | change) == made
    assert post(project_18, id=made["id"]) == made
    assert inbox(project_18) == []
    assert history(project_18) == [("customer.created", "ann")]


def test_numbers_and_truth_values_of_metadata_are_different(project_18: Project) -> None:
    post(project_18, source_id="ann", metadata={"a": 1})
    assert put(project_18, "ann", metadata={"a": True})["metadata"] == {"a": True}
    assert [event.type for event in events_of(project_18)] == ["customer.created", "customer.updated"]


# ---- refusals ----------------------------------------------------------------------------------

REFUSED = [
    ({"email": "x" * 256}, "Property .email must have at most 255 characters"),
    ({"birthdate": "1990-02-30"}, "Property .birthdate must be a date in the format YYYY-MM-DD"),
    ({"name": 5}, "Property .name must be string"),
    ({"address": []}, "Property .address must be an object"),
    ({"address": {"city": 1}}, "Property .address.city must be string"),
    ({"metadata": []}, "Property .metadata must be an object"),
    ({"metadata": {"n": 2**63}}, "Property .metadata.n must be a number that can be represented"),
    ({"name": "a\x00"}, "Property .name must not contain a NUL character"),
]


@pytest.mark.parametrize(("body", "details"), REFUSED, ids=[details for _, details in REFUSED])
def test_what_has_another_shape_is_refused(project_18: Project, body: dict[str, Any], details: str) -> None:
    post(project_18, source_id="ann")
    for refused in (post(project_18, expect=400, **body), put(project_18, "ann", expect=400, **body)):
        assert (refused["key"], refused["details"]) == ("invalid_payload", details)
    assert post(project_18, expect=400, source_id="x" * 256)["details"].startswith("Property .source_id must have")
    assert history(project_18) == [("customer.created", "ann")]


@pytest.mark.parametrize("body", [b"[]", b"{", b'"x"', b'{"name":"\xff"}', b"[" * 5000])
def test_a_body_that_is_no_object_is_refused(project_18: Project, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    refused = project_18.call("POST", "/v1/customers", content=body, headers=headers, expect=400)
    assert refused["key"] == "invalid_payload"


def test_who_is_created_may_be_nobody_in_particular_and_a_change_has_to_be_said(project_18: Project) -> None:
    headers = {"content-type": "application/json"}
    made = project_18.call("POST", "/v1/customers", content=b"", headers=headers)
    path = f"/v1/customers/{made['id']}"
    assert project_18.call("PUT", path, content=b"{}", headers=headers) == made
    refusal = project_18.call("PUT", path, content=b" ", headers=headers, expect=400)
    assert refusal["details"] == "Payload is empty: send a JSON object"


def test_metadata_is_held_to_the_schema(project_18: Project) -> None:
    define(project_18, schema("customer", tier={"type": "string", "optional": False}, visits={"type": "number"}))
    assert post(project_18, source_id="ann", expect=400)["key"] == "metadata_validation_failed"
    post(project_18, source_id="ann", metadata={"tier": "gold"})
    # what is required has to be there only when the customer is made
    put(project_18, "ann", metadata={"visits": 2})
    post(project_18, source_id="ann", name="Ann")
    refused = put(project_18, "ann", metadata={"visits": "two"}, expect=400)
    assert (refused["key"], refused["details"]) == (
        "metadata_validation_failed", "visits: must be a number (actual value is 'two')"
    )  # fmt: skip
    assert post(project_18, source_id="ann", metadata={"visits": "two"}, expect=400)["key"] == refused["key"]
    assert project_18.get("/v1/customers/ann")["metadata"] == {"tier": "gold", "visits": 2}


# ---- events ------------------------------------------------------------------------------------


def test_events_show_the_customer_as_the_api_does(project: Project) -> None:
    made = post(project, **FULL)
    created = newest(project)
    assert (created.type, created.data) == ("customer.created", {"customer": made})
    assert created.object_id == created.customer_id == made["id"]
    source = {"channel": "API", "api_key": {"name": "test", "app_id": project.application_id}}
    assert (created.event_source, created.async_action_id, created.depth) == (source, None, 0)
    changed = put(project, "ann", name="Bea")
    updated = newest(project)
    assert (updated.type, updated.data) == ("customer.updated", {"customer": changed})
    assert updated.object_id == updated.customer_id == made["id"]
    answer = project.http.put("/v1/customers/ann", json={"name": "Cleo"})
    assert newest(project).group_id == answer.headers["x-request-id"]
    assert len(events_of(project)) == 3


# ---- idempotency -------------------------------------------------------------------------------


def test_a_request_that_is_repeated_takes_effect_once(project_18: Project) -> None:
    first = post(project_18, key="k", name="Ann")
    assert post(project_18, key="k", name="Ann") == first
    assert post(project_18, key="k", name="Bea", expect=409)["key"] == "idempotency_key_reused"
    assert (total(project_18), len(events_of(project_18))) == (1, 1)
    # one that is refused leaves the key free
    post(project_18, key="other", email=5, expect=400)
    post(project_18, key="other", id="cust_nobody", expect=404)
    post(project_18, key="other", name="Cleo")
    assert total(project_18) == 2


# ---- at the same time --------------------------------------------------------------------------


def test_of_those_who_create_one_source_id_at_once_one_creates(project: Project) -> None:
    with ThreadPoolExecutor(8) as pool:
        posts = [pool.submit(post, project, source_id=f"c{no % 4}", metadata={f"k{no}": no}) for no in range(32)]
        made = [each.result() for each in posts]
    assert len({customer["id"] for customer in made}) == total(project) == 4
    for no in range(4):
        assert project.get(f"/v1/customers/c{no}")["metadata"] == {f"k{n}": n for n in range(no, 32, 4)}
    types = [kind for kind, _ in history(project)]
    assert (types.count("customer.created"), types.count("customer.updated")) == (4, 28)
    customers = project.get("/v1/customers", limit=100)["customers"]
    assert len({customer["created_at"] for customer in customers}) == 4


def test_changes_at_the_same_time_are_all_there(project: Project) -> None:
    post(project, source_id="ann")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda no: put(project, "ann", metadata={f"k{no}": no}), range(24)))
    assert project.get("/v1/customers/ann")["metadata"] == {f"k{no}": no for no in range(24)}
    shown = [event.data["customer"]["metadata"] for event in events_of(project)]
    # a customer's events are in the order in which it changed
    assert [len(metadata) for metadata in shown] == list(range(25))


# ---- two projects ------------------------------------------------------------------------------


def test_customers_of_another_project_are_not_there(deployment: Deployment) -> None:
    ours, theirs = deployment.new_project(), deployment.new_project()
    made = post(ours, **FULL)
    assert post(theirs, id=made["id"], name="Eve", expect=404)["key"] == "not_found"
    for customer_id in ("ann", made["id"]):
        assert put(theirs, customer_id, name="Eve", expect=404)["key"] == "not_found"
    assert post(theirs, source_id="ann", name="Eve")["id"] != made["id"]
    assert project_unchanged(ours, made)
    ours.close()
    theirs.close()


def project_unchanged(project: Project, customer: Any) -> bool:
    """Whether the project has this customer, and nothing happened but that it was created."""
    return bool(project.get("/v1/customers/ann") == customer and len(events_of(project)) == 1)


# ---- segments ----------------------------------------------------------------------------------


def test_a_customer_has_no_segments_yet(project_18: Project) -> None:
    post(project_18, source_id="ann")
    for customer_id in ("ann", "nobody"):
        found = project_18.get(f"/v1/customers/{customer_id}/segments")
        assert found == {"object": "list", "data_ref": "data", "data": [], "total": 0}


def test_bodies_are_in_the_description(project_18: Project) -> None:
    description = msgspec.json.decode(project_18.http.get("/openapi.json").content)
    operation = description["paths"]["/v1/customers/{customer_id}"]["put"]
    [body] = operation["requestBody"]["content"].values()
    assert body["schema"]["$ref"].endswith("/CustomerAttributes")
