"""The import through its front door: repeats, updates, ids, failures, isolation of projects."""

import threading
from typing import Any

import pytest

from tests.deployment import Deployment, Project
from tests.orders.lineage import hold_segments
from tests.orders.stored import inbox, rows

MAX = 2**53 - 1
TOO_HIGH = f"Property %s cannot be higher than {MAX}"


def test_an_order_comes_back_as_documented(project: Project) -> None:
    project.imported({"source_id": "o-1", "status": "PAID", "items": [{"price": 900, "quantity": 2}]})
    order = project.get("/v1/orders/o-1")
    assert order["amount"] == order["total_amount"] == order["initial_amount"] == 1800
    assert order["status"] == "PAID"
    assert order["object"] == "order"
    assert order["items"] == [
        {"object": "order_item", "quantity": 2, "initial_quantity": 2, "amount": 1800, "initial_amount": 1800,
         "price": 900, "subtotal_amount": 1800}
    ]  # fmt: skip
    assert project.get(f"/v1/orders/{order['id']}") == order


def test_an_empty_import_is_done(project: Project) -> None:
    action = project.finished(project.post_import([]))
    assert action["operation_status"] == "SUCCESS"
    assert action["result"]["message"] == "0 order(s) imported successfully, 0 failed."


def test_an_empty_order_is_an_order(project: Project) -> None:
    project.imported({}, {"items": None, "metadata": None, "customer": None, "referrer": None, "referrer_id": None})
    first, second = project.all_orders()
    assert first["id"] != second["id"]
    for order in (first, second):
        assert (order["status"], order["amount"], order["items"], order["metadata"]) == ("CREATED", 0, [], {})
        assert (order["source_id"], order["customer_id"], order["updated_at"]) == (None, None, None)


# ---- repeats and updates -----------------------------------------------------------------------


def test_the_same_import_again_changes_nothing(project: Project) -> None:
    hold_segments(project)
    orders = [
        {"source_id": f"o-{n}", "status": "PAID", "customer": {"source_id": "c"}, "amount": 100} for n in range(50)
    ]
    assert project.import_orders(orders)["created_count"] == 50
    before = project.get("/v1/customers/c")
    assert inbox(project) == ["c"]
    assert project.import_orders(orders)["unchanged_count"] == 50
    assert project.get("/v1/customers/c") == before
    assert before["summary"]["orders"]["total_amount"] == 5000
    assert inbox(project) == []


def test_numbers_that_postgresql_writes_otherwise_are_no_change(project: Project) -> None:
    text = (
        b'[{"source_id": "o", "metadata": {"zeta": 1e16, "b": -0.0, "c": 1.50, "d": [123456789012345678.0, 1e300]},'
        b' "customer": {"source_id": "c", "metadata": {"x": 1e22}}, "items": [{"source_id": "p", "product":'
        b' {"override": true, "price": 5, "metadata": {"zeta": 1e17, "b": {"yy": 1, "x": 2}}}}, {"source_id": "p"}]}]'
    )
    assert project.import_orders(text)["created_count"] == 1
    before = project.get("/v1/orders/o"), project.get("/v1/customers/c"), project.get("/v1/products/p")
    assert project.import_orders(text)["unchanged_count"] == 1
    assert (project.get("/v1/orders/o"), project.get("/v1/customers/c"), project.get("/v1/products/p")) == before


@pytest.mark.parametrize(("first", "second"), [(1, 1.0), (1, True), (0, False), (None, 0), ([1], [True]), ({}, [])])
def test_values_that_python_takes_for_the_same_are_a_change(project_18: Project, first: Any, second: Any) -> None:
    for value in (first, second):
        project_18.imported({"source_id": "o", "metadata": {"key": value}})
        stored = project_18.get("/v1/orders/o")["metadata"]["key"]
        assert (stored, type(stored)) == (value, type(value))


def test_repeats_in_one_request_go_in_one_after_another(project: Project) -> None:
    result = project.import_orders(
        [
            {
                "source_id": "o",
                "amount": 1,
                "status": "PAID",
                "customer": {"source_id": "a"},
                "metadata": {"x": 1, "y": 1},
            },
            {"source_id": "o", "amount": 2, "metadata": {"y": 2}},
            {"source_id": "o", "amount": 2},
            {"source_id": "o", "customer": {"id": "cust_unknown"}, "amount": 9},
            {"source_id": "o", "amount": 3, "customer": {"source_id": "b", "name": "B"}, "metadata": {"z": None}},
        ]
    )
    assert (result["done_count"], result["failed_count"]) == (4, 1)
    assert (result["created_count"], result["updated_count"], result["unchanged_count"]) == (1, 2, 1)
    order = project.get("/v1/orders/o")
    assert (order["amount"], order["status"]) == (3, "PAID")
    assert order["metadata"] == {"x": 1, "y": 2, "z": None}
    totals = {name: project.get(f"/v1/customers/{name}")["summary"]["orders"] for name in "ab"}
    assert (totals["a"]["total_count"], totals["a"]["last_order_amount"]) == (0, 0)
    assert (totals["b"]["total_count"], totals["b"]["last_order_amount"]) == (1, 3)
    assert project.get("/v1/orders")["total"] == 1


def test_fields_that_are_not_sent_stay(project: Project) -> None:
    whole = {
        "source_id": "o", "status": "PAID", "discount_amount": 10, "initial_amount": 500, "metadata": {"a": 1},
        "items": [{"source_id": "x", "amount": 300, "discount_amount": 20}], "customer": {"source_id": "c"},
        "referrer": {"source_id": "r"},
    }  # fmt: skip
    project.imported(whole)
    before = project.get("/v1/orders/o")
    assert (before["total_discount_amount"], before["total_amount"]) == (30, 270)
    project.imported({"source_id": "o", "status": "FULFILLED", "amount": 5})
    after = project.get("/v1/orders/o")
    assert before["updated_at"] is None
    assert after["updated_at"] > after["created_at"]
    assert after == before | {
        "status": "FULFILLED",
        "updated_at": after["updated_at"],
        "async_action_id": after["async_action_id"],
    }  # every item has an amount: their sum wins
    project.imported({"source_id": "o", "discount_amount": 280})
    assert project.get("/v1/orders/o")["total_amount"] == 0
    project.imported({"source_id": "o", "items": []})
    assert project.get("/v1/orders/o")["amount"] == 0
    project.imported({"source_id": "o", "amount": 1000})
    emptied = project.get("/v1/orders/o")
    assert (emptied["amount"], emptied["total_amount"], emptied["items"]) == (1000, 720, [])
    assert emptied["initial_amount"] == 500


# ---- ids ---------------------------------------------------------------------------------------


def test_an_unknown_id_is_kept_if_it_is_one(project: Project) -> None:
    result = project.import_orders([
        {"id": "ord_Abc123", "amount": 1},
        {"id": "ord_Abc123", "amount": 2, "source_id": "s"},
        {"id": "ord_a-b"},
        {"id": "order"},
        {"id": "ord_"},
        {"source_id": "s", "status": "PAID"},
    ])  # fmt: skip
    assert [(failure["index"], failure["reason"]) for failure in result["failed"]] == [
        (2, "Cannot find order with id ord_a-b"),
        (3, "Cannot find order with id order"),
        (4, "Cannot find order with id ord_"),
    ]
    order = project.get("/v1/orders/ord_Abc123")
    assert (order["source_id"], order["amount"], order["status"]) == ("s", 2, "PAID")
    assert project.get("/v1/orders")["total"] == 1


def test_id_and_source_id_of_two_orders_contradict(project: Project) -> None:
    project.imported({"id": "ord_1", "source_id": "a"}, {"id": "ord_2", "source_id": "b"})
    for order in ({"id": "ord_1", "source_id": "b", "amount": 5}, {"id": "ord_3", "source_id": "b"}):
        [failure] = project.import_orders([order])["failed"]
        assert failure["reason"] == f"The source id b belongs to another order than the id {order['id']}"
    assert [order["amount"] for order in project.all_orders()] == [0, 0]


def test_a_source_id_that_was_given_up_is_free(project: Project) -> None:
    project.imported({"id": "ord_1", "source_id": "a"}, {"id": "ord_2", "source_id": "b"})
    project.imported(
        {"id": "ord_1", "source_id": "c"},
        {"source_id": "a", "amount": 3},  # a new one
        {"id": "ord_2", "source_id": "d"},
        {"id": "ord_1", "source_id": "b"},
    )
    found = {order["id"]: order["source_id"] for order in project.all_orders()}
    assert found == {"ord_1": "b", "ord_2": "d", project.get("/v1/orders/a")["id"]: "a"}
    assert len(found) == 3


def test_empty_ids_are_as_good_as_none(project: Project) -> None:
    project.imported({
        "id": "", "source_id": "", "referrer_id": "", "customer": {"id": "", "source_id": ""}, "referrer": {"name": ""},
        "items": [{"sku_id": "", "product_id": "", "source_id": "", "amount": 1, "product": {"id": "", "source_id": "",
                   "override": True, "name": "kept here"}, "sku": {"id": "", "source_id": "", "override": True}}],
    })  # fmt: skip
    [order] = project.all_orders()
    assert (order["source_id"], order["customer_id"], order["referrer_id"]) == (None, None, None)
    assert order["items"][0]["product"] == {"name": "kept here"}
    assert project.get("/v1/customers")["total"] == 0


# ---- failures ----------------------------------------------------------------------------------


def test_one_bad_order_costs_the_others_nothing(project: Project) -> None:
    orders = [{"source_id": f"o-{n}", "amount": n} for n in range(20)]
    orders[7] = {"source_id": "o-7", "customer": {"id": "cust_unknown"}}
    action = project.finished(project.post_import(orders))
    assert action["result"]["failed"] == [
        {"source_id": "o-7", "index": 7, "reason": "Cannot find customer with id cust_unknown"}
    ]
    assert (action["result"]["done_count"], action["operation_status"]) == (19, "SUCCESS")
    assert project.get("/v1/orders")["total"] == 19
    project.get("/v1/orders/o-7", expect=404)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"customer": {"id": "cust_no"}}, "Cannot find customer with id cust_no"),
        ({"referrer": {"id": "cust_no"}}, "Cannot find customer with id cust_no"),
        ({"referrer_id": "cust_no"}, "Cannot find customer with id cust_no"),
        ({"items": [{"product_id": "prod_no"}]}, "Cannot find product with id prod_no"),
        ({"items": [{"product": {"id": "prod_no"}}]}, "Cannot find product with id prod_no"),
        ({"items": [{"sku_id": "sku_no"}]}, "Cannot find sku with id sku_no"),
        ({"items": [{"sku": {"id": "sku_no"}}]}, "Cannot find sku with id sku_no"),
        ({"items": [{"amount": MAX}, {"amount": 1}]}, TOO_HIGH % ".amount"),
        ({"items": [{"amount": 1}, {"price": MAX, "quantity": 2}]}, TOO_HIGH % ".items[1].amount"),
        ({"discount_amount": MAX, "items": [{"discount_amount": 1}]}, TOO_HIGH % ".total_discount_amount"),
        ({"items": [{"discount_amount": MAX}] * 2}, TOO_HIGH % ".items_discount_amount"),
    ],
)
def test_a_failing_order_says_why_and_leaves_no_trace(project_18: Project, part: Any, reason: str) -> None:
    trace = {"source_id": "p", "product": {"override": True, "name": "trace"}}
    bad = {
        "source_id": "bad", "status": "PAID", "customer": {"source_id": "trace", "name": "Trace"}, **part,
        "items": [*part.get("items", []), {**trace, "amount": 0}],
    }  # fmt: skip
    result = project_18.import_orders([{"source_id": "good", "amount": 1}, bad, {"source_id": "after"}])
    assert result["failed"] == [{"source_id": "bad", "index": 1, "reason": reason}]
    assert [order["source_id"] for order in project_18.all_orders()] == ["good", "after"]
    assert project_18.get("/v1/customers")["total"] == 0
    project_18.get("/v1/products/p", expect=404)


def test_a_customer_cannot_own_more_than_can_be_told(project: Project) -> None:
    def order(name: str, amount: int) -> Any:
        return {"source_id": name, "status": "PAID", "amount": amount, "customer": {"source_id": "c"}}

    result = project.import_orders([order("a", MAX - 1), order("b", 2), order("c", 1), order("a", MAX)])
    assert [failure["index"] for failure in result["failed"]] == [1, 3]
    assert result["failed"][0]["reason"] == f"The customer's orders would add up to more than {MAX}"
    summary = project.get("/v1/customers/c")["summary"]["orders"]
    assert (summary["total_amount"], summary["total_count"]) == (MAX, 2)


# ---- what an import does not do ----------------------------------------------------------------


def test_only_the_changed_customers_go_to_the_segment_lane(project: Project) -> None:
    hold_segments(project)
    a, b, r = ({"source_id": name} for name in "abr")
    project.imported(
        {"source_id": "1", "status": "PAID", "amount": 5, "customer": a, "referrer": r},
        {"source_id": "2", "status": "CREATED", "amount": 5, "customer": b},
        {"source_id": "3", "amount": 5},
    )
    assert inbox(project) == ["a", "b", "r"]
    project.imported(
        {"source_id": "1", "status": "PAID", "customer": a, "referrer": r},
        {"source_id": "2", "customer": b, "referrer": r},
        {"source_id": "3", "amount": 6},
    )
    assert inbox(project) == ["b"]  # its order has a referrer now; the referrer is as before
    project.imported({"source_id": "2", "customer": a}, {"source_id": "1", "referrer": {**r, "name": "R"}})
    assert inbox(project) == ["a", "b", "r"]
    project.import_orders([{"customer": {"source_id": "new"}, "referrer_id": "cust_unknown"}])
    assert inbox(project) == []


def test_no_table_but_those_of_the_import_is_written(project: Project) -> None:
    hold_segments(project)

    def counts() -> dict[str, int]:
        tables = rows(project, "SELECT relname FROM pg_stat_user_tables ORDER BY relname")
        names = [row["relname"] for row in tables]
        return {name: rows(project, f"SELECT count(*) AS n FROM {name}")[0]["n"] for name in names}

    before = counts()
    project.imported({
        "source_id": "o", "status": "PAID", "customer": {"source_id": "c"},
        "items": [{"source_id": "p", "product": {"override": True, "price": 5}}],
    })  # fmt: skip
    after = counts()
    written = {name for name, count in after.items() if count != before.get(name)}
    assert written == {"orders", "customers", "products", "segment_inbox", "row_totals", "async_actions", "lane_turns"}


# ---- projects ----------------------------------------------------------------------------------


def test_projects_do_not_see_each_other(deployment: Deployment) -> None:
    ours, theirs = deployment.new_project(), deployment.new_project()
    orders: list[Any] = [
        {"id": f"ord_{n}", "source_id": f"o{n}", "status": "PAID", "amount": n, "customer": {"source_id": f"c{n % 7}"},
         "items": [{"source_id": f"p{n % 5}", "quantity": 1, "product": {"override": True, "price": n}}]}
        for n in range(300)
    ]  # fmt: skip
    doubled = [{**order, "items": [{"amount": 2 * order["amount"]}]} for order in orders]
    results: dict[str, Any] = {}

    def send(project: Project, sent: Any) -> None:
        results[project.id] = [project.import_orders(sent) for _ in range(3)]

    threads = [threading.Thread(target=send, args=pair) for pair in ((ours, orders), (theirs, doubled))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for project in (ours, theirs):
        assert [result["created_count"] for result in results[project.id]] == [300, 0, 0]
        assert [result["failed_count"] for result in results[project.id]] == [0, 0, 0]
    assert [order["amount"] for order in ours.all_orders()] == list(range(300))
    assert [order["amount"] for order in theirs.all_orders()] == list(range(0, 600, 2))
    total = [project.get("/v1/customers/c3")["summary"]["orders"]["total_amount"] for project in (ours, theirs)]
    assert total == [sum(range(3, 300, 7)), 2 * sum(range(3, 300, 7))]
    customer, product = ours.get("/v1/customers/c3")["id"], ours.get("/v1/products/p3")["id"]
    theirs.get(f"/v1/customers/{customer}", expect=404)
    theirs.get("/v1/products/p3", expect=404)
    result = theirs.import_orders([{"customer": {"id": customer}}, {"items": [{"product_id": product}]}])
    assert result["failed_count"] == 2
    ours.close()
    theirs.close()
