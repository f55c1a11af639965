"""The import through its front door: the documented example, repeats, updates, failures."""

from tests.deployment import Project


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


def test_the_same_import_again_changes_nothing(project: Project) -> None:
    orders = [
        {"source_id": f"o-{n}", "status": "PAID", "customer": {"source_id": "c"}, "amount": 100} for n in range(50)
    ]
    assert project.import_orders(orders)["created_count"] == 50
    before = project.get("/v1/customers/c")
    assert project.import_orders(orders)["unchanged_count"] == 50
    assert project.get("/v1/customers/c") == before
    assert before["summary"]["orders"]["total_amount"] == 5000


def test_an_empty_import_is_done(project: Project) -> None:
    action = project.finished(project.post_import([]))
    assert action["operation_status"] == "SUCCESS"
    assert action["result"]["message"] == "0 order(s) imported successfully, 0 failed."


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
