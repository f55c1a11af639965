"""One order: read with one statement all that it names, written with another one.

Orders come one by one in great numbers, and what such a request costs is mostly the number of its statements. These two
do what `lookups` and `storage` do for many.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw, Struct

from punchcard.customers.customers import CustomerRow
from punchcard.db import row_totals, statements
from punchcard.db.database import Conn
from punchcard.errors import NotFound
from punchcard.events import events
from punchcard.events.events import Cause, Event
from punchcard.metadata_schemas import metadata_schemas
from punchcard.orders import placed_at, storage
from punchcard.orders.lookups import Named, date_of
from punchcard.orders.orders import OrderIn
from punchcard.orders.planning import OrderRow, Planner
from punchcard.products.catalogue import ProductRow, SkuRow, metadata_text

SQL = statements.beside(__file__)


class _StoredOrder(Struct):
    id: str
    source_id: str | None
    status: str
    customer_id: str | None
    referrer_id: str | None
    amount: int
    total_amount: int
    initial_amount: int | None
    discount_amount: int | None
    items_amount: int | None
    items_discount_amount: int | None
    items_digest: bytes | None
    metadata: dict[str, Any]
    ordered_at: datetime | None
    created_at: datetime
    updated_at: datetime | None
    async_action_id: str | None
    version: str
    # null, if it has none
    items: Raw


class _StoredProduct(Struct):
    id: str
    source_id: str | None
    name: str | None
    price: int | None
    metadata: dict[str, Any]
    attributes: str
    image_url: str | None
    version: str
    binned: bool


class _StoredSku(Struct):
    id: str
    source_id: str | None
    product_id: str
    name: str | None
    price: int | None
    metadata: dict[str, Any]
    version: str
    binned: bool


_orders = msgspec.json.Decoder(list[_StoredOrder])
_customers = msgspec.json.Decoder(list[CustomerRow])
_products = msgspec.json.Decoder(list[_StoredProduct])
_skus = msgspec.json.Decoder(list[_StoredSku])


class Planned(Struct):
    """The state after an order, the order in it, and the first moment that its writes may use."""

    planner: Planner
    order: OrderRow
    now: datetime
    # of orders that were there, as JSON
    items: dict[str, Raw]
    # the bulk jobs that changed them last
    action_ids: dict[str, str | None]

    @property
    def stored(self) -> OrderRow | None:
        """The order as it was before; none if it is new."""
        return self.planner.stored_orders.get(self.order.id)


async def plan(conn: Conn, project: str, given: OrderIn, *, key: str | None = None) -> Planned:
    """Read what an order names, and apply it: to the order that has `key` as its id or source id, if that is given.

    Raises `RecordError`, and `NotFound` if no order has the key.
    """
    parameters = {"project_id": project, "named": _names(given, key)}
    row = await (await conn.execute(SQL.order_reading, parameters)).fetchone()
    assert row is not None
    planner, items = Planner(), dict[str, Raw]()
    orders = _found(_orders, row.orders)
    for stored in orders:
        if bytes(stored.items) != b"null":
            items[stored.id] = stored.items
    if key is not None:
        given = msgspec.structs.replace(given, id=_id_of(orders, key))
    planner.learn(
        customers=_found(_customers, row.customers),
        products=map(_product, _found(_products, row.products)),
        skus=map(_sku, _found(_skus, row.skus)),
        orders=[_order(stored) for stored in orders],
    )
    if row.has_schemas:
        planner.judge_by(await metadata_schemas.load(conn, project))
    (date,) = await placed_at.understand(conn, [date_of(given, row.ordered_at_key)], row.timezone)
    dated = given.metadata is not None and row.ordered_at_key in given.metadata
    planner.apply(given, ordered_at=date.moment, ordered_at_given=dated)
    action_ids = {stored.id: stored.async_action_id for stored in orders}
    return Planned(planner, _target(planner, given), row.now, items, action_ids)


def _found(decoder: "msgspec.json.Decoder[list[Any]]", column: Raw | None) -> list[Any]:
    """The rows of a column; one that was named in both ways is there twice."""
    rows = [] if column is None else decoder.decode(column)
    return list({row.id: row for row in rows}.values())


def _id_of(orders: Sequence[_StoredOrder], key: str) -> str:
    """Whose id it is, else whose source id. Raises `NotFound`."""
    found = [order for order in orders if order.id == key] or [order for order in orders if order.source_id == key]
    if not found:
        raise NotFound("order", key)
    return found[0].id


def _names(given: OrderIn, key: str | None) -> str:
    named = Named()
    named.add(given)
    if key is not None:
        named.order_ids.add(key)
        named.order_sources.add(key)
    catalogue = named.catalogue
    document = {
        "order_ids": named.order_ids,
        "order_sources": named.order_sources,
        "customer_ids": named.customer_ids,
        "customer_sources": named.customer_sources,
        "product_ids": catalogue.product_ids,
        "product_sources": catalogue.product_source_ids,
        "sku_ids": catalogue.sku_ids,
        "sku_sources": catalogue.sku_source_ids,
    }
    return msgspec.json.encode(document).decode()


def _target(planner: Planner, given: OrderIn) -> OrderRow:
    """The order that was applied, changed or not."""
    order = planner.orders.by_id(given.id or None) or planner.orders.by_source(given.source_id or None)
    order = order or planner.orders.by_id(next(iter(planner.changed_orders), None))
    assert order is not None
    return order


def _order(stored: _StoredOrder) -> OrderRow:
    values = msgspec.structs.asdict(stored)
    del values["items"], values["async_action_id"]
    return OrderRow(**values)


def _product(stored: _StoredProduct) -> ProductRow:
    return ProductRow(**msgspec.structs.asdict(stored) | {"metadata": metadata_text(stored.metadata)})


def _sku(stored: _StoredSku) -> SkuRow:
    return SkuRow(**msgspec.structs.asdict(stored) | {"metadata": metadata_text(stored.metadata)})


# ---- writing -----------------------------------------------------------------------------------


def date_all(planned: Planned, changes: storage.Changes) -> bool:
    """Give the rows that change their moments. False if only the table can tell a customer's last order."""
    later = planned.now + timedelta(microseconds=changes.new_rows_max)
    for order in changes.orders_new:
        order.created_at = planned.now if order.created_at is None else min(order.created_at, planned.now)
    for order in changes.orders_changed:
        order.updated_at = later
    for no, person in enumerate(changes.customers_new):
        person.created_at = planned.now + timedelta(microseconds=no)
    for no, person in enumerate(changes.customers_known):
        if person.attributes_changed:
            person.updated_at = later + timedelta(microseconds=no)
    return not storage.settle_last_orders([*changes.orders_new, *changes.orders_changed], planned.planner)


async def write(
    conn: Conn, project: str, planned: Planned, changes: storage.Changes, cause: Cause, happened: Sequence[Event]
) -> bool:
    """Lock and write what an order changes, but for the catalogue, and its events. False if it was overtaken."""
    before = planned.planner.stored_customers
    customers = sorted((person.id, person.version) for person in changes.customers_known)
    orders = sorted((order.id, order.version) for order in changes.orders_changed)
    rows = {
        "locked_customers": [{"id": row_id, "version": version} for row_id, version in customers],
        "locked_orders": [{"id": row_id, "version": version} for row_id, version in orders],
        "customers_new": changes.customers_new,
        "customers_changed": [person for person in changes.customers_known if person.differs(before[person.id])],
        "orders_new": [_columns(order) for order in changes.orders_new],
        "orders_changed": [_columns(order) for order in changes.orders_changed],
        "totals": [{"resource": name, "added": added} for name, added in changes.new_rows.items() if added],
        "events": events.documents(happened),
    }
    parameters = {
        "project_id": project,
        # not one document: the server would read all of it for each of its parts
        **{name: msgspec.json.encode(some).decode() for name, some in rows.items()},
        "concerned": list(changes.concerned),
        "locks": len(customers) + len(orders),
        "slot": row_totals.drawn_slot(),
        **events.parameters_of(cause),
    }
    row = await (await conn.execute(SQL.order_write, parameters)).fetchone()
    return row is not None and row.fresh


def _columns(order: OrderRow) -> dict[str, Any]:
    return msgspec.structs.asdict(order) | {"items": None if order.items is None else Raw(order.items)}
