"""The arithmetic of orders, in integers of the smallest currency unit. Pure functions.

An item's price is, in this order: its own, the payload's SKU's, the payload's product's, the stored
SKU's, the stored product's. An amount sent without a price stays as sent.
"""

from msgspec import Struct

from punchcard.errors import RecordError
from punchcard.http.shapes import AMOUNT_MAX


class OrderAmounts(Struct, frozen=True):
    """An order's sums. `items_amount` is none unless every item has an amount."""

    amount: int
    total_amount: int
    items_amount: int | None
    items_discount_amount: int | None


def item_amount(price: int, quantity: int, index: int) -> int:
    """`price x quantity` of the item at `index` of its order. Raises `RecordError`."""
    amount = price * quantity
    return amount if amount <= AMOUNT_MAX else _bounded(amount, f".items[{index}].amount")


def order_amounts(
    *,
    sent: int | None,
    discount: int | None,
    amounts: list[int | None],
    discounts: list[int | None],
) -> OrderAmounts:
    """The sums of an order whose items have these amounts and discounts.

    The items' sum wins over the amount sent when every item has an amount; discounts are kept as sent,
    and only the total stops at 0. Raises `RecordError` for sums beyond 2^53-1.
    """
    summed, complete = 0, bool(amounts)
    for amount in amounts:
        if amount is None:
            complete = False
        else:
            summed += amount
    items_amount = _bounded(summed, ".amount") if complete else None
    amount = items_amount if items_amount is not None else sent if sent is not None else _bounded(summed, ".amount")
    items_discount = None
    for value in discounts:
        if value is not None:
            items_discount = value + (items_discount or 0)
    if items_discount is not None:
        _bounded(items_discount, ".items_discount_amount")
    return OrderAmounts(amount, total(amount, discount, items_discount), items_amount, items_discount)


def total(amount: int, discount: int | None, items_discount: int | None) -> int:
    """`total_amount`: the amount after all discounts, never below 0. Raises `RecordError`."""
    return max(0, amount - _bounded((discount or 0) + (items_discount or 0), ".total_discount_amount"))


def _bounded(value: int, path: str) -> int:
    if value > AMOUNT_MAX:
        raise RecordError(f"Property {path} cannot be higher than {AMOUNT_MAX}")
    return value
