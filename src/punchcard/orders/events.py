"""The events of orders: which follow from what became of one, and their payload."""

from typing import Any

from msgspec import Struct

from punchcard.customers.events import SimpleCustomer
from punchcard.events.events import Event
from punchcard.orders.orders import Order

CREATED, UPDATED = "customer.order.created", "customer.order.updated"
# of the status that an order comes to
_OF_STATUS = {
    "PAID": "customer.order.paid",
    "CANCELED": "customer.order.canceled",
    "FULFILLED": "customer.order.fulfilled",
}


class OrderPayload(Struct):
    """The documented payload of the events of orders. There are no redemptions yet."""

    customer: SimpleCustomer | None
    referrer: SimpleCustomer | None
    order: Order
    redemption: Any = None


def of_order(
    order: Order, *, before: str | None, customer: SimpleCustomer | None, referrer: SimpleCustomer | None
) -> list[Event]:
    """The events of an order that was made, or changed; `before` is the status it had, none of a new one.

    An order without customer has its events too; they are in nobody's Activity.
    """
    kinds = [CREATED if before is None else UPDATED]
    if order.status != before and order.status in _OF_STATUS:
        kinds.append(_OF_STATUS[order.status])
    payload = OrderPayload(customer, referrer, order)
    return [
        Event(kind, order.id, payload, customer_id=order.customer_id, referrer_id=order.referrer_id) for kind in kinds
    ]
