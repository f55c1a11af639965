"""Customers and referrers of imported orders: who is meant, what is written."""

from typing import Any

from tests.deployment import Project

BOB = {
    "source_id": "bob",
    "name": "Bob",
    "description": "Nice",
    "email": "bob@example.com",
    "phone": "+1",
    "birthdate": "1990-02-28",
    "birthday": "1990-02-27",
    "address": {"city": "Lodz", "line_1": "1 Street", "postal_code": "90-001"},
    "metadata": {"lang": "pl", "tags": ["a", None], "nothing": None},
}


def customers(project: Project) -> list[Any]:
    return list(project.get("/v1/customers", limit=100, order="created_at")["customers"])


def test_all_attributes_are_stored_and_shown(project: Project) -> None:
    project.imported({"source_id": "o", "customer": BOB})
    bob = project.get("/v1/customers/bob")
    assert {name: bob[name] for name in BOB} == BOB
    assert "updated_at" not in bob
    assert "last_order_date" not in bob["summary"]["orders"]
    assert (bob["object"], bob["loyalty"]["points"], bob["referrals"]["total"]) == ("customer", 0, 0)


def test_supplied_attributes_are_written_and_the_others_stay(project: Project) -> None:
    project.imported({"source_id": "o", "customer": BOB})
    change = {"source_id": "bob", "name": "", "email": None, "address": {"city": "Gdynia"}, "birthday": "1991-01-01",
              "metadata": {"lang": None, "new": 1}}  # fmt: skip
    project.imported({"source_id": "o", "customer": change})
    bob = project.get("/v1/customers/bob")
    assert (bob["name"], bob["email"], bob["phone"]) == ("", "bob@example.com", "+1")
    assert bob["address"] == {"city": "Gdynia"}
    assert (bob["birthdate"], bob["birthday"]) == ("1991-01-01", "1991-01-01")
    assert bob["metadata"] == {"lang": None, "tags": ["a", None], "nothing": None, "new": 1}
    assert bob["updated_at"] > bob["created_at"]
    project.imported({"source_id": "o", "customer": {**change, "birthdate": "2000-01-01"}})
    bob = project.get("/v1/customers/bob")
    assert (bob["birthdate"], bob["birthday"]) == ("2000-01-01", "1991-01-01")


def test_an_id_wins_over_the_source_id(project: Project) -> None:
    project.imported({"customer": {"source_id": "a"}}, {"customer": {"source_id": "b"}})
    a, b = customers(project)
    project.imported({"source_id": "o", "customer": {"id": a["id"], "source_id": "b", "name": "A"}})
    project.imported({"source_id": "p", "customer": {"id": b["id"], "source_id": "never"}})
    assert [(row["source_id"], row.get("name")) for row in customers(project)] == [("a", "A"), ("b", None)]
    assert project.get("/v1/orders/o")["customer_id"] == a["id"]
    assert project.get("/v1/orders/p")["customer_id"] == b["id"]


def test_somebody_without_ids_is_new_with_each_order(project: Project) -> None:
    orders = [{"source_id": f"o{n}", "customer": {"name": "Guest"}, "referrer": {"name": "Host"}} for n in range(3)]
    project.imported(*orders)
    assert [row["name"] for row in customers(project)] == ["Guest", "Host"] * 3
    assert {row["source_id"] for row in customers(project)} == {None}


def test_somebody_without_ids_is_the_same_when_the_order_is_sent_again(project: Project) -> None:
    order = {"source_id": "o", "customer": {"name": "Guest", "metadata": {"n": 1}}, "referrer": {"email": "host@x"}}
    project.imported(order, order)
    assert project.import_orders([order])["unchanged_count"] == 1
    assert len(customers(project)) == 2
    project.imported({"source_id": "o", "customer": {"name": "Another"}})
    assert [row.get("name") for row in customers(project)] == ["Guest", None, "Another"]
    project.imported({"source_id": "o", "customer": {"source_id": "known"}})
    project.imported({"source_id": "o", "customer": {"name": "Nobody we know"}})
    assert [row["source_id"] for row in customers(project)] == [None, None, None, "known", None]


def test_the_referrer_object_wins_over_the_referrer_id(project: Project) -> None:
    project.imported({"customer": {"source_id": "a"}}, {"customer": {"source_id": "b"}})
    a, b = customers(project)
    project.imported(
        {"source_id": "1", "referrer_id": a["id"]},
        {"source_id": "2", "referrer_id": a["id"], "referrer": {"source_id": "b"}},
        {"source_id": "3", "referrer_id": "cust_unknown", "referrer": {"source_id": "b"}},
        {"source_id": "4", "referrer_id": a["id"], "referrer": {}},
    )
    found = {order["source_id"]: order["referrer_id"] for order in project.all_orders() if order["source_id"]}
    assert found == {"1": a["id"], "2": b["id"], "3": b["id"], "4": a["id"]}


def test_one_person_can_be_both(project: Project) -> None:
    project.imported({
        "source_id": "o", "status": "PAID", "amount": 7, "customer": {"source_id": "x", "name": "X"},
        "referrer": {"source_id": "x", "email": "x@y"},
    })  # fmt: skip
    [x] = customers(project)
    order = project.get("/v1/orders/o")
    assert order["customer_id"] == order["referrer_id"] == x["id"]
    assert (x["name"], x["email"], x["summary"]["orders"]["total_count"]) == ("X", "x@y", 1)


def test_repeats_of_one_customer_are_one_row(project: Project) -> None:
    orders = [{"customer": {"source_id": "c", "name": f"n{n}", "metadata": {f"k{n}": n}}} for n in range(30)]
    project.imported(*orders)
    [row] = customers(project)
    assert row["name"] == "n29"
    assert row["metadata"] == {f"k{n}": n for n in range(30)}
