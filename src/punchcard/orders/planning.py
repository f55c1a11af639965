"""What a batch of orders does to stored customers, catalogue and orders, decided in memory.

`Planner.apply` takes the orders one by one, in the order of the request, each seeing what those before
it did. An order that fails leaves no trace: its changes are staged, and dropped. What comes out is one
row per target, whatever the number of orders that touched it.
"""

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from punchcard import ids
from punchcard.customers.customers import CustomerIn, CustomerRow
from punchcard.errors import ApiError, RecordError, RecordMissing
from punchcard.http.shapes import AMOUNT_MAX, same_json
from punchcard.metadata_schemas.validation import Schemas
from punchcard.orders import amounts
from punchcard.orders.items import Shelf
from punchcard.orders.orders import REVENUE, OrderIn
from punchcard.orders.rows import Rows, copied
from punchcard.products.catalogue import ProductRow, SkuRow

_NO_ITEMS = b"[]"
_ORDER_ID = re.compile(r"ord_[A-Za-z0-9]+")


class InvalidOrder(ApiError):
    """An order contradicts what is stored."""

    key = "invalid_order"
    message = "Invalid order"


class OrderRefused(RecordError):
    """An order names itself by ids that do not go together, or that no order can have."""

    def refusal(self) -> ApiError:
        """The documented error."""
        return InvalidOrder(str(self))


class OrderRow(Struct):
    """An order while a batch changes it; `version` is none while the row does not exist yet."""

    id: str
    source_id: str | None = None
    status: str = "CREATED"
    customer_id: str | None = None
    referrer_id: str | None = None
    amount: int = 0
    total_amount: int = 0
    initial_amount: int | None = None
    discount_amount: int | None = None
    items_amount: int | None = None
    items_discount_amount: int | None = None
    # of a stored order: SHA-256 of its items; none if it has none
    items_digest: bytes | None = None
    metadata: dict[str, Any] = {}
    ordered_at: datetime | None = None
    # of a new order: given when it is written
    created_at: datetime | None = None
    version: str | None = None
    # of an order that was changed: given when it is written
    updated_at: datetime | None = None
    changed: bool = False
    # JSON, as it is to be stored; none where no order of the batch has said so
    items: bytes | None = None

    @property
    def counts(self) -> bool:
        """Whether the order is part of its customer's summary."""
        return self.customer_id is not None and self.status in REVENUE


def is_named(customer: CustomerIn) -> bool:
    """Whether a customer object says anything: an empty one, or one of empty strings, is as good as none."""
    if customer.source_id or customer.id:
        return True
    address = customer.address
    named = any(getattr(customer, field) for field in customer.__struct_fields__ if field != "address")
    return named or (address is not None and any(getattr(address, field) for field in address.__struct_fields__))


class Planner:
    """The state that orders are applied to: empty at first; it has to `learn` what they name before they are."""

    def __init__(self) -> None:
        self.customers, self.orders = Rows[CustomerRow](), Rows[OrderRow]()
        self.products, self.skus = Rows[ProductRow](), Rows[SkuRow]()
        self.tables: tuple[Rows[Any], ...] = (self.customers, self.products, self.skus, self.orders)
        # as they were read
        self.stored_orders: dict[str, OrderRow] = {}
        self.stored_customers: dict[str, CustomerRow] = {}
        # ids of the orders that differ from what is stored, the one changed last at the end
        self.changed_orders: dict[str, None] = {}
        # customers to be placed into segments again
        self.concerned: set[str] = set()
        # none, and not an empty one: it is asked thousands of times
        self._schemas: Schemas | None = None
        self._shelf = Shelf(products=self.products, skus=self.skus)
        self._order_ids, self._customer_ids = ids.endless("ord"), ids.endless("cust")

    def judge_by(self, schemas: Schemas) -> None:
        """Check metadata by these schemas from now on."""
        self._schemas = self._shelf.schemas = schemas or None

    def learn(
        self,
        *,
        customers: Iterable[CustomerRow] = (),
        products: Iterable[ProductRow] = (),
        skus: Iterable[SkuRow] = (),
        orders: Iterable[OrderRow] = (),
    ) -> None:
        """Take stored rows that the next orders name, but for those that are known: orders may have changed them."""
        self.stored_customers.update((row.id, row) for row in self.customers.learn(customers))
        self.stored_orders.update((row.id, row) for row in self.orders.learn(orders))
        self.products.learn(self._shelf.outside_bin(products))
        self.skus.learn(self._shelf.outside_bin(skus))

    def apply(self, given: OrderIn, *, ordered_at: datetime | None, ordered_at_given: bool) -> str:
        """Apply one order and say what became of it: `created`, `updated` or `unchanged`.

        `ordered_at` holds if `ordered_at_given`. Raises `RecordError` and leaves no trace.
        """
        try:
            effect = self._apply(given, ordered_at, ordered_at_given=ordered_at_given)
        except RecordError:
            for table in self.tables:
                table.undo()
            raise
        for table in self.tables:
            table.keep()
        return effect

    def counts(self) -> dict[str, int]:
        """How many customers, products and SKUs were made, and how often orders changed those that were there."""
        tables: tuple[tuple[str, Rows[Any]], ...]
        tables = (("customers", self.customers), ("products", self.products), ("skus", self.skus))
        created = {f"{name}_created": table.created for name, table in tables}
        return created | {f"{name}_updated": table.updated for name, table in tables}

    def _apply(self, given: OrderIn, ordered_at: datetime | None, *, ordered_at_given: bool) -> str:
        stored = self._target(given)
        order = OrderRow(given.id or next(self._order_ids)) if stored is None else copied(stored)
        if given.source_id:
            order.source_id = given.source_id
        if given.status:
            order.status = given.status
        if self._schemas is not None:
            self._schemas.check("order", given.metadata, creating=stored is None)
        self._set_people(order, given)
        self._set_amounts(order, given, before=stored)
        if given.metadata:
            order.metadata = {**order.metadata, **given.metadata} if order.metadata else given.metadata
        if given.clears and given.metadata:
            cleared = {key for key, value in given.metadata.items() if value is None}
            order.metadata = {key: value for key, value in order.metadata.items() if key not in cleared}
        if ordered_at_given:
            order.ordered_at = ordered_at
        if stored is not None and _same_order(stored, order):
            return "unchanged"
        order.changed = True
        self._move_revenue(stored, order)
        self.orders.put(order)
        self.changed_orders.pop(order.id, None)
        self.changed_orders[order.id] = None
        for touched in (stored, order):
            if touched is not None and self.customers.by_id(touched.customer_id):
                self.concerned.add(str(touched.customer_id))
        return "updated" if stored else "created"

    # ---- order ----

    def _target(self, given: OrderIn) -> OrderRow | None:
        by_id, by_source = self.orders.by_id(given.id or None), self.orders.by_source(given.source_id or None)
        if given.id and by_source is not None and by_source is not by_id:
            raise OrderRefused(f"The source id {given.source_id} belongs to another order than the id {given.id}")
        if given.id and by_id is None and not _ORDER_ID.fullmatch(given.id):
            raise OrderRefused(f"Cannot find order with id {given.id}")
        return by_id or by_source

    def _set_people(self, order: OrderRow, given: OrderIn) -> None:
        if given.customer is not None and is_named(given.customer):
            order.customer_id = self._upsert_customer(given.customer, order.customer_id)
        if given.referrer is not None and is_named(given.referrer):
            order.referrer_id = self._upsert_customer(given.referrer, order.referrer_id)
        elif given.referrer_id:
            order.referrer_id = self._known_customer(given.referrer_id).id

    def _set_amounts(self, order: OrderRow, given: OrderIn, *, before: OrderRow | None) -> None:
        if given.initial_amount is not None:
            order.initial_amount = given.initial_amount
        if given.discount_amount is not None:
            order.discount_amount = given.discount_amount
        if given.items is not None:
            items = [self._shelf.item(item, index) for index, item in enumerate(given.items)]
            # what items added up to goes with them; another amount stays until one is sent
            kept = None if before is None or before.items_amount is not None else before.amount or None
            sums = amounts.order_amounts(
                sent=kept if given.amount is None else given.amount,
                discount=order.discount_amount,
                amounts=[item.amount for item in items],
                discounts=[item.discount_amount for item in items],
            )
            encoded = msgspec.json.encode(items)
            if not _has_items(order, encoded):
                order.items = encoded
            order.amount, order.total_amount = sums.amount, sums.total_amount
            order.items_amount, order.items_discount_amount = sums.items_amount, sums.items_discount_amount
        else:
            if given.amount is not None and order.items_amount is None:
                order.amount = given.amount
            order.total_amount = amounts.total(order.amount, order.discount_amount, order.items_discount_amount)

    def _move_revenue(self, before: OrderRow | None, after: OrderRow) -> None:
        """Change the summaries of the order's customers by the difference."""
        for order, sign in ((before, -1), (after, 1)):
            # no foreign key holds a customer: one that is gone has no summary to change
            if order is not None and order.counts and (customer := self.customers.by_id(order.customer_id)):
                customer = self.customers.edit(customer)
                customer.orders_total_amount += sign * order.total_amount
                customer.orders_total_count += sign
                customer.summary_changed = True
                if customer.orders_total_amount > AMOUNT_MAX:
                    raise RecordError(f"The customer's orders would add up to more than {AMOUNT_MAX}")

    # ---- customers ----

    def _known_customer(self, customer_id: str) -> CustomerRow:
        customer = self.customers.by_id(customer_id)
        if customer is None:
            raise RecordMissing("customer", customer_id)
        return customer

    def _upsert_customer(self, given: CustomerIn, present_id: str | None) -> str:
        """The id of the customer `given` names, written or made; `present_id` is whom the order has so far."""
        if given.id:
            found: CustomerRow | None = self._known_customer(given.id)
        elif given.source_id:
            found = self.customers.by_source(given.source_id)
        else:
            found = self._same_person(given, present_id)
        if self._schemas is not None:
            self._schemas.check("customer", given.metadata, creating=found is None)
        if found is None:
            row = CustomerRow(next(self._customer_ids), given.source_id or None)
            row.apply(given)
            return self.customers.add(row).id
        row = msgspec.structs.replace(found, attributes_changed=False)
        row.apply(given)
        if row.attributes_changed:
            self.customers.updated += 1
            self.customers.put(row)
        return row.id

    def _same_person(self, given: CustomerIn, present_id: str | None) -> CustomerRow | None:
        """Who is given without any id is new, unless the order has exactly that person already: it is sent again."""
        present = self.customers.by_id(present_id)
        if present is None or present.source_id is not None:
            return None
        probe = msgspec.structs.replace(present, attributes_changed=False)
        probe.apply(given)
        return None if probe.attributes_changed else present


def _has_items(order: OrderRow, encoded: bytes) -> bool:
    """Whether the order's items are these already."""
    if order.items is not None:
        return order.items == encoded
    if encoded == _NO_ITEMS:
        return order.items_digest is None
    return order.items_digest is not None and order.items_digest == hashlib.sha256(encoded).digest()


def _same_order(stored: OrderRow, order: OrderRow) -> bool:
    """Whether nothing that is stored differs."""
    return (
        stored.items is order.items
        and stored.status == order.status
        and stored.source_id == order.source_id
        and stored.customer_id == order.customer_id
        and stored.referrer_id == order.referrer_id
        and stored.ordered_at == order.ordered_at
        and stored.amount == order.amount
        and stored.total_amount == order.total_amount
        and stored.initial_amount == order.initial_amount
        and stored.discount_amount == order.discount_amount
        and stored.items_amount == order.items_amount
        and stored.items_discount_amount == order.items_discount_amount
        and (order.metadata is stored.metadata or same_json(stored.metadata, order.metadata))
    )
