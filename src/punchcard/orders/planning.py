"""What a batch of orders does to stored customers, catalogue and orders, decided in memory.

`Planner.apply` takes the orders one by one, in the order of the request, each seeing what those before
it did. An order that fails leaves no trace: its changes are staged, and dropped. What comes out is one
row per target, whatever the number of orders that touched it.
"""

import copy
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct

from punchcard import ids
from punchcard.customers.customers import CustomerIn, CustomerRow, same_json
from punchcard.errors import RecordError
from punchcard.http.shapes import AMOUNT_MAX
from punchcard.orders import amounts
from punchcard.orders.orders import REVENUE, Item, ItemIn, OrderIn, ProductEcho, SkuEcho
from punchcard.products.catalogue import ProductRow, SkuRow

_ORDER_ID = re.compile(r"ord_[A-Za-z0-9]+")


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
    # JSON, exactly as it is stored
    items: bytes | None = None
    metadata: dict[str, Any] = {}
    ordered_at: datetime | None = None
    # of a new order: given when it is written
    created_at: datetime | None = None
    version: str | None = None
    changed: bool = False

    @property
    def revenue(self) -> int:
        """What the order adds to its customer's summary."""
        return self.total_amount if self.counts else 0

    @property
    def counts(self) -> bool:
        """Whether the order is part of its customer's summary."""
        return self.customer_id is not None and self.status in REVENUE


class _Row(Protocol):
    id: str
    source_id: str | None


RowT = TypeVar("RowT", bound=_Row)


class Rows(Generic[RowT]):
    """Rows by id and by source id, with changes that are staged until `commit` or dropped by `discard`."""

    def __init__(self, rows: Iterable[RowT]) -> None:
        self._by_id: dict[str, RowT] = {}
        self._id_by_source: dict[str, str] = {}
        self._staged: dict[str, RowT] = {}
        self._staged_id_by_source: dict[str, str] = {}
        for row in rows:
            self.add(row)
        self.commit()

    def by_id(self, row_id: str | None) -> RowT | None:
        if row_id is None:
            return None
        return self._staged.get(row_id) or self._by_id.get(row_id)

    def by_source(self, source_id: str | None) -> RowT | None:
        if source_id is None:
            return None
        row_id = self._staged_id_by_source.get(source_id) or self._id_by_source.get(source_id)
        row = self.by_id(row_id)
        # an order's source id can change; the old one then names nothing
        return row if row is not None and row.source_id == source_id else None

    def edit(self, row: RowT) -> RowT:
        """The staged copy of `row`, to be changed."""
        return self._staged[row.id] if row.id in self._staged else self.add(copy.copy(row))

    def add(self, row: RowT) -> RowT:
        self._staged[row.id] = row
        if row.source_id is not None:
            self._staged_id_by_source[row.source_id] = row.id
        return row

    def commit(self) -> None:
        if self._staged:
            self._by_id.update(self._staged)
            self._id_by_source.update(self._staged_id_by_source)
            self.discard()

    def discard(self) -> None:
        self._staged.clear()
        self._staged_id_by_source.clear()

    def all(self) -> Iterable[RowT]:
        return self._by_id.values()


# ---- which catalogue rows an item names --------------------------------------------------------


def sku_names(item: ItemIn) -> tuple[str | None, str | None]:
    """The internal id and the source id by which an item names a SKU."""
    sku_id = item.sku_id or (item.sku.id if item.sku else None) or None
    source_id = item.sku.source_id if item.sku else None
    if not source_id and (item.related_object == "sku" or (item.related_object is None and item.sku is not None)):
        source_id = item.source_id
    return sku_id, source_id or None


def product_names(item: ItemIn) -> tuple[str | None, str | None]:
    """The internal id and the source id by which an item names a product; of a SKU item: the SKU's parent."""
    product_id = item.product_id or (item.product.id if item.product else None) or None
    source_id = item.product.source_id if item.product else None
    about_product = item.related_object == "product" or (
        item.related_object is None and item.sku is None and not item.sku_id
    )
    if not source_id and about_product:
        source_id = item.source_id
    return product_id, source_id or None


def is_named(customer: CustomerIn) -> bool:
    """Whether a customer object says anything: an empty one, or one of empty strings, is as good as none."""
    return any(getattr(customer, field) for field in customer.__struct_fields__)


class Planner:
    """The state that orders are applied to."""

    def __init__(
        self,
        *,
        customers: Iterable[CustomerRow],
        products: Iterable[ProductRow],
        skus: Iterable[SkuRow],
        orders: Iterable[OrderRow],
    ) -> None:
        self.customers, self.products, self.skus, self.orders = (
            Rows(customers),
            Rows(products),
            Rows(skus),
            Rows(orders),
        )
        self.stored_orders = {order.id: order for order in self.orders.all()}
        self.stored_customers = {customer.id: customer for customer in self.customers.all()}
        # ids of the orders that differ from what is stored, the one changed last at the end
        self.changed_orders: dict[str, None] = {}
        # customers to be placed into segments again
        self.concerned: set[str] = set()
        self._order_ids, self._customer_ids = ids.endless("ord"), ids.endless("cust")
        self._product_ids, self._sku_ids = ids.endless("prod"), ids.endless("sku")

    def apply(self, given: OrderIn, *, ordered_at: datetime | None, ordered_at_given: bool) -> str:
        """Apply one order and say what became of it: `created`, `updated` or `unchanged`.

        `ordered_at` holds if `ordered_at_given`. Raises `RecordError` and leaves no trace.
        """
        tables = (self.customers, self.products, self.skus, self.orders)
        try:
            effect = self._apply(given, ordered_at, ordered_at_given=ordered_at_given)
        except RecordError:
            for table in tables:
                table.discard()
            raise
        for table in tables:
            table.commit()
        return effect

    def _apply(self, given: OrderIn, ordered_at: datetime | None, *, ordered_at_given: bool) -> str:
        stored = self._target(given)
        order = copy.copy(stored) if stored else OrderRow(given.id or next(self._order_ids))
        if given.source_id:
            order.source_id = given.source_id
        if given.status:
            order.status = given.status
        self._set_people(order, given)
        self._set_amounts(order, given)
        if given.metadata:
            order.metadata = {**order.metadata, **given.metadata}
        if ordered_at_given:
            order.ordered_at = ordered_at
        if stored is not None and _same_order(stored, order):
            return "unchanged"
        order.changed = True
        self._move_revenue(stored, order)
        self.orders.add(order)
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
            raise RecordError(f"The source id {given.source_id} belongs to another order than the id {given.id}")
        if given.id and by_id is None and not _ORDER_ID.fullmatch(given.id):
            raise RecordError(f"Cannot find order with id {given.id}")
        return by_id or by_source

    def _set_people(self, order: OrderRow, given: OrderIn) -> None:
        if given.customer is not None and is_named(given.customer):
            order.customer_id = self._upsert_customer(given.customer, order.customer_id)
        if given.referrer is not None and is_named(given.referrer):
            order.referrer_id = self._upsert_customer(given.referrer, order.referrer_id)
        elif given.referrer_id:
            order.referrer_id = self._known_customer(given.referrer_id).id

    def _set_amounts(self, order: OrderRow, given: OrderIn) -> None:
        if given.initial_amount is not None:
            order.initial_amount = given.initial_amount
        if given.discount_amount is not None:
            order.discount_amount = given.discount_amount
        if given.items is not None:
            items = [self._item(item, f".items[{index}]") for index, item in enumerate(given.items)]
            sums = amounts.order_amounts(
                sent=given.amount,
                discount=order.discount_amount,
                amounts=[item.amount for item in items],
                discounts=[item.discount_amount for item in items],
            )
            order.items = msgspec.json.encode(items) if items else None
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
                customer.orders_total_amount += sign * order.revenue
                customer.orders_total_count += sign
                customer.summary_changed = True
                if customer.orders_total_amount > AMOUNT_MAX:
                    raise RecordError(f"The customer's orders would add up to more than {AMOUNT_MAX}")

    # ---- customers ----

    def _known_customer(self, customer_id: str) -> CustomerRow:
        customer = self.customers.by_id(customer_id)
        if customer is None:
            raise RecordError(f"Cannot find customer with id {customer_id}")
        return customer

    def _upsert_customer(self, given: CustomerIn, present_id: str | None) -> str:
        """The id of the customer `given` names, written or made; `present_id` is whom the order has so far."""
        if given.id:
            found: CustomerRow | None = self._known_customer(given.id)
        elif given.source_id:
            found = self.customers.by_source(given.source_id)
        else:
            found = self._same_person(given, present_id)
        if found is None:
            row = self.customers.add(CustomerRow(next(self._customer_ids), given.source_id or None))
        else:
            row = copy.copy(found)
        row.apply(given)
        if found is not None and row.attributes_changed:
            self.customers.add(row)
        return row.id

    def _same_person(self, given: CustomerIn, present_id: str | None) -> CustomerRow | None:
        """Who is given without any id is new, unless the order has exactly that person already: it is sent again."""
        present = self.customers.by_id(present_id)
        if present is None or present.source_id is not None:
            return None
        probe = msgspec.structs.replace(present, attributes_changed=False)
        probe.apply(given)
        return None if probe.attributes_changed else present

    # ---- items ----

    def _item(self, given: ItemIn, path: str) -> Item:
        sku, product = self._catalogue(given)
        price = amounts.item_amounts(
            price=given.price,
            quantity=given.quantity,
            amount=given.amount,
            known_prices=(
                given.sku.price if given.sku else None,
                given.product.price if given.product else None,
                sku.price if sku else None,
                product.price if product else None,
            ),
            path=path,
        )
        subtotal = None if price.amount is None else max(0, price.amount - (given.discount_amount or 0))
        return Item(
            object="order_item",
            source_id=given.source_id or None,
            related_object=given.related_object,
            product_id=product.id if product else sku.product_id if sku else None,
            sku_id=sku.id if sku else None,
            quantity=price.quantity,
            initial_quantity=price.quantity if given.initial_quantity is None else given.initial_quantity,
            discount_quantity=given.discount_quantity,
            amount=price.amount,
            initial_amount=price.amount if given.initial_amount is None else given.initial_amount,
            discount_amount=given.discount_amount,
            price=price.price,
            subtotal_amount=subtotal,
            product=_product_echo(given, product),
            sku=_sku_echo(given, sku),
            metadata=given.metadata,
        )

    def _catalogue(self, given: ItemIn) -> tuple[SkuRow | None, ProductRow | None]:
        """The SKU and the product an item names, after its overrides. Raises `RecordError` for unknown internal ids."""
        sku_id, sku_source = sku_names(given)
        product_id, product_source = product_names(given)
        sku, product = self.skus.by_id(sku_id), self.products.by_id(product_id)
        if sku_id and sku is None:
            raise RecordError(f"Cannot find sku with id {sku_id}")
        if product_id and product is None:
            raise RecordError(f"Cannot find product with id {product_id}")
        sku = sku or self.skus.by_source(sku_source)
        product = product or self.products.by_source(product_source)
        if product_source is None and product is None and sku is not None:
            product = self.products.by_id(sku.product_id)
        if given.product and given.product.override:
            product = self._override_product(given, product, product_source)
        if given.sku and given.sku.override:
            sku = self._override_sku(given, sku, sku_source, product)
        return sku, product

    def _override_product(self, given: ItemIn, row: ProductRow | None, source_id: str | None) -> ProductRow | None:
        assert given.product is not None
        new = given.product
        if row is None:
            if source_id is None:
                return None  # nothing to store it under: it stays with the order
            row = self.products.add(ProductRow(next(self._product_ids), source_id, changed=True))
        if not _overrides(row, new.name, new.price, new.metadata):
            return row
        row = self.products.edit(row)
        _override(row, new.name, new.price, new.metadata)
        return row

    def _override_sku(
        self, given: ItemIn, row: SkuRow | None, source_id: str | None, product: ProductRow | None
    ) -> SkuRow | None:
        assert given.sku is not None
        new = given.sku
        if row is None:
            if source_id is None:
                return None
            if product is None:
                raise RecordError(f"Cannot create sku {source_id}: name its product in product.source_id or product_id")
            row = self.skus.add(SkuRow(next(self._sku_ids), source_id, product.id, changed=True))
        if not _overrides(row, new.sku, new.price, new.metadata):
            return row
        row = self.skus.edit(row)
        _override(row, new.sku, new.price, new.metadata)
        return row


def _same_order(stored: OrderRow, order: OrderRow) -> bool:
    """Whether nothing that is stored differs."""
    for field in ("source_id", "status", "customer_id", "referrer_id", "amount", "total_amount", "initial_amount",
                  "discount_amount", "items_amount", "items_discount_amount", "ordered_at"):  # fmt: skip
        if getattr(stored, field) != getattr(order, field):
            return False
    return _same_items(stored.items, order.items) and (
        order.metadata is stored.metadata or same_json(stored.metadata, order.metadata)
    )


def _same_items(stored: bytes | None, items: bytes | None) -> bool:
    """Mostly the text tells; but metadata taken from the catalogue is written otherwise once it has been stored."""
    if stored is None or items is None or stored == items:
        return stored == items
    return same_json(msgspec.json.decode(stored), msgspec.json.decode(items))


def _overrides(row: ProductRow | SkuRow, name: str | None, price: int | None, metadata: dict[str, Any] | None) -> bool:
    return (
        (name is not None and name != row.name)
        or (price is not None and price != row.price)
        or (metadata is not None and not same_json(metadata, row.metadata))
    )


def _override(row: ProductRow | SkuRow, name: str | None, price: int | None, metadata: dict[str, Any] | None) -> None:
    row.name = row.name if name is None else name
    row.price = row.price if price is None else price
    row.metadata = row.metadata if metadata is None else metadata
    row.changed = True


def _product_echo(given: ItemIn, row: ProductRow | None) -> ProductEcho | None:
    new = given.product
    if new is None:
        return None if row is None else ProductEcho(row.id, row.source_id, row.name, row.metadata or None, row.price)
    if row is None:
        return ProductEcho(None, new.source_id or None, new.name, new.metadata, new.price)
    return ProductEcho(
        row.id,
        row.source_id,
        row.name if new.name is None else new.name,
        (row.metadata or None) if new.metadata is None else new.metadata,
        row.price if new.price is None else new.price,
    )


def _sku_echo(given: ItemIn, row: SkuRow | None) -> SkuEcho | None:
    new = given.sku
    if new is None:
        return None if row is None else SkuEcho(row.id, row.source_id, row.name, row.metadata or None, row.price)
    if row is None:
        return SkuEcho(None, new.source_id or None, new.sku, new.metadata, new.price)
    return SkuEcho(
        row.id,
        row.source_id,
        row.name if new.sku is None else new.sku,
        (row.metadata or None) if new.metadata is None else new.metadata,
        row.price if new.price is None else new.price,
    )
