"""The arithmetic of orders, against the table of the documentation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.errors import RecordError
from punchcard.orders import amounts

MAX = 2**53 - 1
MONEY = st.one_of(st.integers(0, 2000), st.integers(0, MAX))
MAYBE = st.one_of(st.none(), MONEY)


@given(price=MONEY, quantity=MONEY)
def test_an_item_costs_price_times_quantity(price: int, quantity: int) -> None:
    if price * quantity > MAX:
        with pytest.raises(
            RecordError, match=r"^Property \.items\[3\]\.amount cannot be higher than 9007199254740991$"
        ):
            amounts.item_amount(price, quantity, 3)
        return
    assert amounts.item_amount(price, quantity, 3) == price * quantity


@given(sent=MAYBE, discount=MAYBE, items=st.lists(st.tuples(MAYBE, MAYBE), max_size=5))
def test_an_order_costs_the_sum_of_its_items_less_its_discounts(
    sent: int | None, discount: int | None, items: list[tuple[int | None, int | None]]
) -> None:
    item_amounts, discounts = [item[0] for item in items], [item[1] for item in items]
    items_sum = sum(amount or 0 for amount in item_amounts)
    total_discount = (discount or 0) + sum(value or 0 for value in discounts)

    def calculated() -> amounts.OrderAmounts:
        return amounts.order_amounts(sent=sent, discount=discount, amounts=item_amounts, discounts=discounts)

    complete = bool(items) and None not in item_amounts
    # a sum that is not used may be what it is
    used = items_sum if complete or sent is None else 0
    if max(used, total_discount) > MAX:
        with pytest.raises(RecordError):
            calculated()
        return
    order = calculated()
    assert order.amount == (items_sum if complete or sent is None else sent)
    assert order.items_amount == (items_sum if complete else None)
    assert order.total_amount == max(0, order.amount - total_discount)
    assert order.items_discount_amount == (
        None if all(value is None for value in discounts) else sum(value or 0 for value in discounts)
    )


def test_the_documented_check_values() -> None:
    order = amounts.order_amounts(sent=None, discount=1243, amounts=[700, 2000], discounts=[70, 200])
    assert (order.amount, order.items_discount_amount, order.total_amount) == (2700, 270, 1187)
