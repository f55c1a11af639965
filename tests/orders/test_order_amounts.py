"""What orders and items cost: sums, sent amounts, discounts, and what stands before them. Money as integers."""

import itertools
from typing import Any

from tests.deployment import Project
from tests.orders.cases import Row, parts, stored_items, stored_orders

ITEM = ("price", "quantity", "initial_quantity", "amount", "initial_amount", "subtotal_amount")
ORDER = ("amount", "initial_amount", "total_amount")
DISCOUNTS = ("discount_amount", "items_discount_amount", "total_discount_amount", "total_amount")


# ---- items -------------------------------------------------------------------------------------


def test_an_item_costs_what_its_price_quantity_and_amount_say(project_18: Project) -> None:
    price, quantity, amount = {"price": 7}, {"quantity": 3}, {"amount": 1000}
    items = stored_items(project_18, {
        "nothing": {},
        "quantity": quantity,
        "amount": amount,
        "amount and quantity": amount | quantity,
        "price": price,
        "price and quantity": price | quantity,
        "price and amount": price | amount,
        "price, quantity and amount": price | quantity | amount,
        "price and no quantity": price | {"quantity": 0},
        "no price, quantity and amount": {"price": 0} | quantity | amount,
        "amount and no quantity": amount | {"quantity": 0},
        "nulls": {"price": None, "quantity": None, "amount": None},
    })  # fmt: skip
    assert parts(items, *ITEM) == {
        "nothing": (None,) * 6,
        "quantity": (None, 3, 3, None, None, None),
        "amount": (None, None, None, 1000, 1000, 1000),
        "amount and quantity": (None, 3, 3, 1000, 1000, 1000),
        "price": (7, 1, 1, 7, 7, 7),
        "price and quantity": (7, 3, 3, 21, 21, 21),
        "price and amount": (7, 1, 1, 7, 7, 7),
        "price, quantity and amount": (7, 3, 3, 21, 21, 21),
        "price and no quantity": (7, 0, 0, 0, 0, 0),
        "no price, quantity and amount": (0, 3, 3, 0, 0, 0),
        "amount and no quantity": (None, 0, 0, 1000, 1000, 1000),
        "nulls": (None,) * 6,
    }


def test_what_was_before_the_discounts_is_kept_as_sent(project_18: Project) -> None:
    items = stored_items(project_18, {
        "amount": {"amount": 50, "initial_amount": 80},
        "amount of nothing": {"amount": 50, "initial_amount": 0},
        "smaller than the amount": {"price": 50, "initial_amount": 10, "quantity": 2, "initial_quantity": 1},
        "quantity": {"price": 50, "initial_quantity": 4},
        "alone": {"initial_amount": 80, "initial_quantity": 4},
        "the least quantity": {"amount": 5, "initial_quantity": 1},
    })  # fmt: skip
    assert parts(items, "amount", "initial_amount", "quantity", "initial_quantity") == {
        "amount": (50, 80, None, None),
        "amount of nothing": (50, 0, None, None),
        "smaller than the amount": (100, 10, 2, 1),
        "quantity": (50, 50, 1, 4),
        "alone": (None, 80, None, 4),
        "the least quantity": (5, 5, None, 1),
    }


def test_the_subtotal_of_an_item_is_its_amount_less_its_discount(project_18: Project) -> None:
    items = stored_items(project_18, {
        "none": {"amount": 700},
        "some": {"amount": 700, "discount_amount": 70},
        "nothing": {"amount": 700, "discount_amount": 0},
        "all": {"amount": 700, "discount_amount": 700},
        "more than all": {"amount": 700, "discount_amount": 701},
        "without an amount": {"quantity": 2, "discount_amount": 70},
        "of a quantity": {"price": 350, "quantity": 2, "discount_quantity": 1, "discount_amount": 350},
        "of a quantity alone": {"price": 350, "quantity": 2, "discount_quantity": 2},
    })  # fmt: skip
    assert parts(items, "amount", "discount_amount", "subtotal_amount", "discount_quantity") == {
        "none": (700, None, 700, None),
        "some": (700, 70, 630, None),
        "nothing": (700, 0, 700, None),
        "all": (700, 700, 0, None),
        "more than all": (700, 701, 0, None),
        "without an amount": (None, 70, None, None),
        "of a quantity": (700, 350, 350, 1),
        "of a quantity alone": (700, None, 700, 2),
    }


# ---- orders ------------------------------------------------------------------------------------


def test_the_sum_of_the_items_wins_if_each_has_an_amount(project_18: Project) -> None:
    whole, priced, partial = {"amount": 30}, {"price": 5, "quantity": 4}, {"quantity": 1}
    sent: dict[str, tuple[Row, int]] = {
        "nothing": ({}, 0),
        "no items": ({"items": []}, 0),
        "amount": ({"amount": 9}, 9),
        "amount, no items": ({"amount": 9, "items": []}, 9),
        "amount, null items": ({"amount": 9, "items": None}, 9),
        "items": ({"items": [whole, priced]}, 50),
        "amount and items": ({"amount": 9, "items": [whole, priced]}, 50),
        "no amount and items": ({"amount": 0, "items": [whole, priced]}, 50),
        "amount and free items": ({"amount": 9, "items": [{"amount": 0}, {"price": 0}]}, 0),
        "an item without an amount": ({"items": [whole, partial, priced]}, 50),
        "amount, an item without": ({"amount": 9, "items": [whole, partial, priced]}, 9),
        "no amount, an item without": ({"amount": 0, "items": [whole, partial, priced]}, 0),
        "amount, no item with one": ({"amount": 9, "items": [partial]}, 9),
        "no item with an amount": ({"items": [partial, {}]}, 0),
    }
    orders = stored_orders(project_18, {name: order for name, (order, _) in sent.items()})
    assert parts(orders, *ORDER) == {name: (amount,) * 3 for name, (_, amount) in sent.items()}


def test_the_initial_amount_is_the_amount_unless_it_is_sent(project_18: Project) -> None:
    orders = stored_orders(project_18, {
        "sent": {"amount": 90, "initial_amount": 100},
        "less than the amount": {"amount": 90, "initial_amount": 1},
        "nothing": {"amount": 90, "initial_amount": 0},
        "alone": {"initial_amount": 100},
        "with items": {"items": [{"amount": 5, "initial_amount": 8}], "initial_amount": 100},
        "of items": {"items": [{"amount": 5, "initial_amount": 8}]},
        "with a discount": {"amount": 90, "discount_amount": 40},
    })  # fmt: skip
    assert parts(orders, *ORDER) == {
        "sent": (90, 100, 90),
        "less than the amount": (90, 1, 90),
        "nothing": (90, 0, 90),
        "alone": (0, 100, 0),
        "with items": (5, 100, 5),
        "of items": (5, 5, 5),
        "with a discount": (90, 90, 50),
    }


def test_discounts_of_order_and_items_add_up_and_are_left_out_where_none_was_sent(project_18: Project) -> None:
    of_two_items = ((None, None), (None, 0), (5, None), (0, 0), (5, 7))
    cases: dict[str, Row] = {}
    expected: dict[str, Row] = {}
    for of_order, of_items in itertools.product((None, 0, 30), of_two_items):
        name, given = f"{of_order} and {of_items}", [discount for discount in of_items if discount is not None]
        items = [{"amount": 100, "discount_amount": discount} for discount in of_items]
        cases[name] = {"items": items, "discount_amount": of_order}
        total = (of_order or 0) + sum(given)
        expected[name] = {"total_amount": 200 - total}
        expected[name] |= {} if of_order is None else {"discount_amount": of_order}
        expected[name] |= {"items_discount_amount": sum(given)} if given else {}
        expected[name] |= {"total_discount_amount": total} if given or of_order is not None else {}
    orders = stored_orders(project_18, cases)
    shown = {name: {field: order[field] for field in DISCOUNTS if field in order} for name, order in orders.items()}
    assert shown == expected


def test_the_documented_check_values(project_18: Project) -> None:
    items = [{"amount": 700, "discount_amount": 70}, {"amount": 2000, "discount_amount": 200}]
    order = stored_orders(project_18, {"o": {"items": items, "discount_amount": 1243}})["o"]
    assert order["items"][0]["subtotal_amount"] == 630
    assert (order["amount"], order["total_discount_amount"], order["total_amount"]) == (2700, 1513, 1187)


def test_a_total_is_never_below_nothing_and_discounts_are_kept_as_sent(project_18: Project) -> None:
    item = {"amount": 50, "discount_amount": 60}
    orders = stored_orders(project_18, {
        "exactly": {"amount": 100, "discount_amount": 100},
        "order": {"amount": 100, "discount_amount": 101},
        "items": {"items": [item, {"amount": 5}]},
        "both": {"items": [item, {"amount": 500, "discount_amount": 400}], "discount_amount": 91},
        "without an amount": {"discount_amount": 10},
        "items without amounts": {"items": [{"quantity": 1, "discount_amount": 10}]},
    })  # fmt: skip
    assert parts(orders, *DISCOUNTS) == {
        "exactly": (100, None, 100, 0),
        "order": (101, None, 101, 0),
        "items": (None, 60, 60, 0),
        "both": (91, 460, 551, 0),
        "without an amount": (10, None, 10, 0),
        "items without amounts": (None, 10, 10, 0),
    }


def test_what_is_clamped_is_what_a_customer_has_paid(project_18: Project) -> None:
    orders = [{"amount": 100, "discount_amount": 500}, {"amount": 40, "discount_amount": 10}, {"amount": 1}]
    project_18.imported(*({**order, "status": "PAID", "customer": {"source_id": "c"}} for order in orders))
    summary = project_18.get("/v1/customers/c")["summary"]["orders"]
    assert (summary["total_amount"], summary["total_count"], summary["last_order_amount"]) == (31, 3, 1)


# ---- a second import ---------------------------------------------------------------------------


def after(project: Project, *imports: Row, fields: tuple[str, ...]) -> list[Any]:
    """What the fields of one order are after each of these imports of it."""
    found = []
    for order in imports:
        project.imported({"source_id": "o", **order})
        stored = project.get("/v1/orders/o")
        found.append(tuple(stored.get(field) for field in fields))
    return found


def test_an_amount_is_changed_by_a_later_one_unless_the_items_say_it(project_18: Project) -> None:
    assert after(
        project_18,
        {"amount": 10},
        {"amount": 20},
        {"status": "PAID"},
        {"amount": 0},
        {"items": [{"amount": 30}]},
        {"amount": 40},
        {"amount": 40, "items": [{"amount": 50}]},
        {"items": [{"quantity": 1}], "amount": 60},
        {"amount": 70},
        {"items": [{"quantity": 1}, {"amount": 80}]},
        {"amount": 0},
        {"items": [{"quantity": 1}, {"amount": 80}]},
        {"items": []},
        {"amount": 90},
        {"items": [{"amount": 100}]},
        {"items": []},
        fields=("amount", "initial_amount", "total_amount"),
    ) == [(amount,) * 3 for amount in (10, 20, 20, 0, 30, 30, 50, 60, 70, 70, 0, 80, 80, 90, 100, 0)]


def test_items_are_replaced_as_a_whole_or_stay(project_18: Project) -> None:
    def quantities(order: Row) -> list[Any]:
        project_18.imported({"source_id": "o", **order})
        return [item.get("quantity") for item in project_18.get("/v1/orders/o")["items"]]

    assert quantities({"items": [{"quantity": 1, "metadata": {"a": 1}}, {"quantity": 2}, {"quantity": 3}]}) == [1, 2, 3]
    assert quantities({"amount": 5}) == [1, 2, 3]
    assert quantities({"items": None}) == [1, 2, 3]
    assert quantities({"items": [{"quantity": 4}]}) == [4]
    assert quantities({"items": []}) == []
    assert quantities({"status": "PAID"}) == []


def test_discounts_stay_until_others_are_sent(project_18: Project) -> None:
    item = {"amount": 100, "discount_amount": 10}
    assert after(
        project_18,
        {"items": [item, item], "discount_amount": 50},
        {"status": "PAID"},
        {"discount_amount": 60},
        {"items": [item]},
        {"discount_amount": None, "items": None},
        {"items": [{"amount": 100}]},
        {"discount_amount": 0},
        {"items": []},
        {"amount": 30, "discount_amount": 31},
        {"amount": 32},
        fields=DISCOUNTS,
    ) == [
        (50, 20, 70, 130),
        (50, 20, 70, 130),
        (60, 20, 80, 120),
        (60, 10, 70, 30),
        (60, 10, 70, 30),
        (60, None, 60, 40),
        (0, None, 0, 100),
        (0, None, 0, 0),
        (31, None, 31, 0),
        (31, None, 31, 1),
    ]


def test_an_initial_amount_that_was_sent_stays_and_one_that_was_not_follows(project_18: Project) -> None:
    assert after(
        project_18,
        {"amount": 10},
        {"amount": 20},
        {"items": [{"amount": 30}]},
        {"initial_amount": 99},
        {"items": [{"amount": 40}]},
        {"initial_amount": None},
        {"initial_amount": 0},
        fields=("initial_amount",),
    ) == [(10,), (20,), (30,), (99,), (99,), (99,), (0,)]
