"""Which order a request means: by `id`, by `source_id`, by both, by none."""

from typing import Any

from tests.deployment import Project
from tests.orders.cases import Row, failures

NOT_FOUND = "Cannot find order with id {}"
CONTRADICTION = "The source id {} belongs to another order than the id {}"


def held(project: Project) -> dict[str, tuple[Any, Any]]:
    """Source id and amount of each order by its id, oldest first."""
    return {order["id"]: (order["source_id"], order["amount"]) for order in project.all_orders()}


def test_an_order_is_found_by_id_by_source_id_and_by_both(project_18: Project) -> None:
    project_18.imported({"source_id": "a", "amount": 1}, {"id": "ord_B", "amount": 1})
    a, b = held(project_18)
    result = project_18.import_orders([
        {"id": a, "amount": 2},
        {"source_id": "a", "status": "PAID"},
        {"id": a, "source_id": "a", "metadata": {"x": 1}},
        {"id": "ord_B", "source_id": "b", "amount": 3},
        {"source_id": "b", "status": "PAID"},
    ])  # fmt: skip
    assert (result["created_count"], result["updated_count"], result["failed_count"]) == (0, 5, 0)
    assert held(project_18) == {a: ("a", 2), b: ("b", 3)}
    order = project_18.get("/v1/orders/a")
    assert (order["status"], order["metadata"]) == ("PAID", {"x": 1})
    assert project_18.get("/v1/orders/ord_B")["status"] == "PAID"


def test_an_unknown_id_of_the_right_form_is_kept(project_18: Project) -> None:
    names = ["ord_1", "ord_Z", "ord_0a9Z", "ord_ord", "ord_" + "0" * 24, "ord_" + "f" * 32]
    project_18.imported(*({"id": name, "amount": no} for no, name in enumerate(names)))
    assert held(project_18) == {name: (None, no) for no, name in enumerate(names)}
    project_18.imported({"id": "ord_1", "source_id": "s"}, {"id": "ord_new", "source_id": "t"})
    assert project_18.get("/v1/orders/s")["id"] == "ord_1"
    assert project_18.get("/v1/orders/t")["id"] == "ord_new"


def test_an_unknown_id_of_another_form_fails(project_18: Project) -> None:
    names = [
        "ord_", "ord", "order_1", "1", "ORD_1", "Ord_1", "ord-1", "ord_a b", "ord_a\n", " ord_a", "ord_a_b",
        "ord_é", "ord_٣", "cust_1", "ord__", "ord_1/2",
    ]  # fmt: skip
    result = project_18.import_orders([{"id": name, "source_id": f"s{no}"} for no, name in enumerate(names)])
    assert [failure["reason"] for failure in result["failed"]] == [NOT_FOUND.format(name) for name in names]
    assert held(project_18) == {}


def test_a_source_id_is_no_id(project_18: Project) -> None:
    project_18.imported({"source_id": "a"}, {"source_id": "ord_like"})
    assert failures(project_18, {"by id": {"id": "a"}}) == {"by id": NOT_FOUND.format("a")}
    project_18.imported({"id": "ord_like", "amount": 5})  # free as an id: another order
    assert [*held(project_18).values()] == [("a", 0), ("ord_like", 0), (None, 5)]
    assert project_18.get("/v1/orders/ord_like")["id"] == "ord_like"  # the id wins


def test_id_and_source_id_of_different_orders_fail_and_change_neither(project_18: Project) -> None:
    project_18.imported({"id": "ord_1", "source_id": "a"}, {"id": "ord_2", "source_id": "b"}, {"id": "ord_3"})
    before = held(project_18)
    sent = [
        {"id": "ord_1", "source_id": "b", "amount": 9},
        {"id": "ord_2", "source_id": "a", "amount": 9},
        {"id": "ord_3", "source_id": "a", "amount": 9},
        {"id": "ord_unknown", "source_id": "a", "amount": 9},
        {"id": "malformed", "source_id": "a", "amount": 9},
    ]  # fmt: skip
    result = project_18.import_orders(sent)
    assert [failure["reason"] for failure in result["failed"]] == [
        CONTRADICTION.format(order["source_id"], order["id"]) for order in sent
    ]
    assert held(project_18) == before


def test_ids_contradict_within_one_request_too(project_18: Project) -> None:
    result = project_18.import_orders([
        {"id": "ord_1", "source_id": "a", "amount": 1},
        {"id": "ord_2", "source_id": "a", "amount": 2},
        {"id": "ord_2", "source_id": "b", "amount": 3},
        {"id": "ord_1", "source_id": "b", "amount": 4},
    ])  # fmt: skip
    assert [failure["index"] for failure in result["failed"]] == [1, 3]
    assert held(project_18) == {"ord_1": ("a", 1), "ord_2": ("b", 3)}


def test_a_new_source_id_replaces_the_old_one_which_names_nothing_then(project_18: Project) -> None:
    project_18.imported({"id": "ord_1", "source_id": "old", "amount": 1})
    project_18.imported({"id": "ord_1", "source_id": "new"})
    project_18.get("/v1/orders/old", expect=404)
    assert project_18.get("/v1/orders/new")["id"] == "ord_1"
    project_18.imported({"id": "ord_1", "source_id": None}, {"id": "ord_1", "source_id": ""})
    assert held(project_18) == {"ord_1": ("new", 1)}
    project_18.imported({"source_id": "old", "amount": 2})
    assert [*held(project_18).values()] == [("new", 1), ("old", 2)]


def test_two_orders_exchange_their_source_ids_in_one_request(project_18: Project) -> None:
    project_18.imported({"id": "ord_1", "source_id": "a", "amount": 1}, {"id": "ord_2", "source_id": "b", "amount": 2})
    result = project_18.import_orders([
        {"id": "ord_1", "source_id": "between"}, {"id": "ord_2", "source_id": "a"}, {"id": "ord_1", "source_id": "b"}
    ])  # fmt: skip
    assert (result["updated_count"], result["failed"]) == (3, [])
    assert held(project_18) == {"ord_1": ("b", 1), "ord_2": ("a", 2)}


def test_source_ids_move_on_round_many_orders_in_one_request(project_18: Project) -> None:
    count = 40
    project_18.imported(*({"id": f"ord_{no}", "source_id": f"s{no}", "amount": no} for no in range(count)))
    moves: list[Row] = [{"id": "ord_0", "source_id": "between"}]
    moves += [{"id": f"ord_{no}", "source_id": f"s{no - 1}"} for no in range(1, count)]
    moves += [{"id": "ord_0", "source_id": f"s{count - 1}"}]
    assert project_18.import_orders(moves)["failed"] == []
    assert held(project_18) == {f"ord_{no}": (f"s{(no - 1) % count}", no) for no in range(count)}


def test_orders_without_ids_are_new_each_time(project_18: Project) -> None:
    order = {"amount": 5, "customer": {"source_id": "c"}, "status": "PAID"}
    project_18.imported(order, order)
    assert project_18.import_orders([order])["created_count"] == 1
    assert [*held(project_18).values()] == [(None, 5)] * 3
    assert project_18.get("/v1/customers/c")["summary"]["orders"]["total_count"] == 3


def test_an_order_repeated_in_one_request_is_one_order(project_18: Project) -> None:
    def order(**fields: Any) -> Row:
        return {"source_id": "o", **fields}

    item = {"source_id": "p", "product": {"override": True, "price": 5}}
    result = project_18.import_orders([
        order(items=[{**item, "quantity": 2}], status="PAID", customer={"source_id": "a"}, metadata={"x": 1}),
        order(items=[item], customer={"source_id": "b"}),
        order(discount_amount=1, referrer={"source_id": "a"}),
        order(discount_amount=1),
        order(metadata={"x": None, "y": 2}, status="FULFILLED"),
    ])  # fmt: skip
    assert (result["created_count"], result["updated_count"], result["unchanged_count"]) == (1, 3, 1)
    stored = project_18.get("/v1/orders/o")
    assert (stored["amount"], stored["total_amount"], stored["metadata"]) == (5, 4, {"x": None, "y": 2})
    assert (stored["status"], stored["updated_at"]) == ("FULFILLED", None)
    summaries = {name: project_18.get(f"/v1/customers/{name}")["summary"]["orders"] for name in "ab"}
    assert [summaries[name]["total_amount"] for name in "ab"] == [0, 4]
    assert stored["referrer_id"] == project_18.get("/v1/customers/a")["id"]
