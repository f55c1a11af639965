"""Reading and writing the orders of a batch, and their customers' summaries, set-wise."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import sql

from punchcard.customers import customers
from punchcard.customers.customers import CustomerRow
from punchcard.db import row_totals
from punchcard.db.database import JSONB, Conn, jsonb, lock_as_read
from punchcard.db.row_times import timed
from punchcard.orders.orders import SQL
from punchcard.orders.planning import OrderRow, Planner
from punchcard.products import catalogue
from punchcard.products.catalogue import ProductRow, SkuRow

# the fields of changes whose rows are there and have to be locked
_LOCKED = ("customers_known", "products_changed", "parents", "skus_changed", "orders_changed")


class Changes(Struct):
    """The rows of a plan that differ from what is stored, new ones apart; new ones in the order of the request."""

    customers_new: list[CustomerRow]
    customers_known: list[CustomerRow]
    products_new: list[ProductRow]
    products_changed: list[ProductRow]
    # of new SKUs: a product that is locked cannot be deleted meanwhile
    parents: list[ProductRow]
    skus_new: list[SkuRow]
    skus_changed: list[SkuRow]
    orders_new: list[OrderRow]
    orders_changed: list[OrderRow]
    # customers to be placed into segments again
    concerned: list[str]

    @classmethod
    def of(cls, planner: Planner) -> "Changes":
        """The changes of a plan. `customers_known` holds whom a changed order names, whether they change or not:
        locking them keeps them from being deleted meanwhile."""
        orders = [order for order in planner.orders.all() if order.changed]
        known = {order.id: order for order in orders}
        named = {person for order in orders for person in (order.customer_id, order.referrer_id) if person}
        named |= {
            before.customer_id
            for order in orders
            if (before := planner.stored_orders.get(order.id)) and before.customer_id
        }
        people = list(planner.customers.all())
        products = [product for product in planner.products.all() if product.changed]
        skus = [sku for sku in planner.skus.all() if sku.changed]
        parents = {sku.product_id for sku in skus if sku.version is None}
        new = {person.id for person in people if person.version is None}
        concerned = new | planner.concerned | {person.id for person in people if person.attributes_changed}
        return cls(
            customers_new=[person for person in people if person.version is None],
            customers_known=[p for p in people if p.version is not None and (p.changed or p.id in named)],
            products_new=[product for product in products if product.version is None],
            products_changed=[product for product in products if product.version is not None],
            parents=[p for p in planner.products.all() if p.id in parents and p.version is not None],
            skus_new=[sku for sku in skus if sku.version is None],
            skus_changed=[sku for sku in skus if sku.version is not None],
            orders_new=[order for order in orders if order.version is None],
            # in the order in which they changed: one may take a source id that another gives up
            orders_changed=[
                order for order_id in planner.changed_orders if (order := known[order_id]).version is not None
            ],
            concerned=sorted(concerned),
        )

    @property
    def new_rows(self) -> dict[str, int]:
        """How many rows each table gets."""
        return {
            "customers": len(self.customers_new),
            "products": len(self.products_new),
            "skus": len(self.skus_new),
            "orders": len(self.orders_new),
        }

    @property
    def new_rows_max(self) -> int:
        """How many rows a table gets at most."""
        return max(len(self.customers_new), len(self.products_new), len(self.skus_new), len(self.orders_new))

    @property
    def has_catalogue(self) -> bool:
        """Whether products or SKUs change."""
        return bool(self.products_new or self.products_changed or self.skus_new or self.skus_changed)

    def with_rows_of(self, other: "Changes") -> "Changes":
        """These changes, and the existing rows of others: all that are to be locked."""
        return msgspec.structs.replace(
            self, **{field: [*getattr(self, field), *getattr(other, field)] for field in _LOCKED}
        )

    def names_rows_of(self, other: "Changes") -> bool:
        """Whether all existing rows that others change are among those of these."""
        return all(
            {row.id for row in getattr(other, field)} <= {row.id for row in getattr(self, field)} for field in _LOCKED
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be written."""
        return not any(getattr(self, field) for field in self.__struct_fields__)


async def resolve(conn: Conn, project: str, *, ids: set[str], source_ids: set[str]) -> list[OrderRow]:
    """The stored orders among `ids` and `source_ids`."""
    if not ids and not source_ids:
        return []
    parameters = {"project_id": project, "ids": list(ids), "source_ids": list(source_ids)}
    rows = await (await conn.execute(SQL.orders_resolve, parameters, binary=True)).fetchall()
    return [_row(row) for row in {row.id: row for row in rows}.values()]


def _row(row: Any) -> OrderRow:
    # by position, because there are thousands
    values = (*row[:12], msgspec.json.decode(row.metadata), *row[13:])
    return OrderRow(*values)


async def lock(conn: Conn, project: str, changes: Changes) -> bool:
    """Lock the existing rows that are to change, in the one order of locks; whether all are still as they were read.

    It is called once in a transaction: locks that come later would not be in the one order.
    """
    # all of them, also once one is known to differ: who plans again under these locks is not overtaken again
    as_read = [
        await customers.lock(conn, project, changes.customers_known),
        await catalogue.lock(conn, project, [*changes.products_changed, *changes.parents], changes.skus_changed),
        await _lock_orders(conn, project, changes.orders_changed),
    ]
    return all(as_read)


async def _lock_orders(conn: Conn, project: str, orders: Sequence[OrderRow]) -> bool:
    versions = {order.id: order.version for order in orders if order.version is not None}
    return await lock_as_read(conn, SQL.orders_lock, project, versions)


async def write(
    conn: Conn, project: str, changes: Changes, planner: Planner, *, slot: int, action_id: str | None = None
) -> None:
    """Write all changes; totals go into that `slot`. The rows that exist must be locked.

    Orders and customers bear `action_id` from now on: the bulk job that changes them; none of a request.
    """
    clock = await (await conn.execute(SQL.write_clock, {"project_id": project})).fetchone()
    assert clock is not None
    now: datetime = clock.now
    for order, created_at in timed(changes.orders_new, now):
        order.created_at = created_at if order.created_at is None else min(order.created_at, created_at)
    # after the rows that are made here, so that no two moments of a table are the same
    later = now + timedelta(microseconds=changes.new_rows_max)
    unsettled = settle_last_orders([*changes.orders_new, *changes.orders_changed], planner)
    for person in (*changes.customers_new, *changes.customers_known):
        person.async_action_id = action_id
    await customers.insert(conn, project, timed(changes.customers_new, now))
    await catalogue.insert_products(conn, project, timed(changes.products_new, now))
    await catalogue.insert_skus(conn, project, timed(changes.skus_new, now))
    await catalogue.update(conn, project, timed(changes.products_changed, later), timed(changes.skus_changed, later))
    # before the new ones, which may take a source id that a changed one gives up
    await _update(conn, project, timed(changes.orders_changed, later), action_id)
    await _insert(conn, project, changes.orders_new, action_id)
    await _read_last_orders(conn, project, unsettled)
    stored = planner.stored_customers
    changed = [person for person in changes.customers_known if person.differs(stored[person.id])]
    await customers.update(conn, project, timed(changed, later))
    # last, because counter rows come last in the order of locks
    await row_totals.add(conn, project, changes.new_rows, slot=slot)


# ---- orders ------------------------------------------------------------------------------------

_COPY = sql.SQL(
    "COPY orders (project_id, id, source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount,"
    " discount_amount, items_amount, items_discount_amount, items, metadata, ordered_at, created_at, async_action_id)"
    " FROM STDIN (FORMAT BINARY)"
)
_COPY_TYPES = ["text"] * 6 + ["int8"] * 6 + ["bytea", JSONB, "timestamptz", "timestamptz", "text"]


async def _insert(conn: Conn, project: str, orders: Sequence[OrderRow], action_id: str | None) -> None:
    if not orders:
        return
    async with conn.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for o in sorted(orders, key=lambda order: order.source_id or ""):
            await copy.write_row((
                project, o.id, o.source_id, o.status, o.customer_id, o.referrer_id, o.amount, o.total_amount,
                o.initial_amount, o.discount_amount, o.items_amount, o.items_discount_amount,
                o.items, jsonb(msgspec.json.encode(o.metadata)), o.ordered_at, o.created_at, action_id,
            ))  # fmt: skip


async def _update(
    conn: Conn, project: str, changes: Sequence[tuple[OrderRow, datetime]], action_id: str | None
) -> None:
    if not changes:
        return
    for order, now in changes:
        order.updated_at = now
    orders = [order for order, _ in changes]
    columns: dict[str, Any] = {
        "ids": [o.id for o in orders],
        "source_ids": [o.source_id for o in orders],
        "statuses": [o.status for o in orders],
        "customer_ids": [o.customer_id for o in orders],
        "referrer_ids": [o.referrer_id for o in orders],
        "amounts": [o.amount for o in orders],
        "total_amounts": [o.total_amount for o in orders],
        "initial_amounts": [o.initial_amount for o in orders],
        "discount_amounts": [o.discount_amount for o in orders],
        "items_amounts": [o.items_amount for o in orders],
        "items_discount_amounts": [o.items_discount_amount for o in orders],
        "items": [None if o.items is None else o.items.decode() for o in orders],
        "metadatas": [msgspec.json.encode(o.metadata).decode() for o in orders],
        "ordered_ats": [o.ordered_at for o in orders],
        "nows": [now for _, now in changes],
    }
    await conn.execute(SQL.orders_update, {"project_id": project, "async_action_id": action_id, **columns})


# ---- the newest order of a customer ------------------------------------------------------------


def settle_last_orders(orders: Iterable[OrderRow], planner: Planner) -> list[CustomerRow]:
    """Set the customers' last order from the changed orders; return those for whom only the table can tell.

    That is the case when the order that was the last no longer is, and no changed order is newer than it was; and
    when another order has its date: of two with one date, the one that was imported later is the last.
    """
    newest: dict[str, OrderRow] = {}
    for order in orders:
        if order.counts:
            assert order.customer_id is not None
            best = newest.get(order.customer_id)
            if best is None or _age(order) > _age(best):
                newest[order.customer_id] = order
    unsettled = []
    for customer in planner.customers.all():
        if customer.summary_changed:
            candidate = newest.get(customer.id)
            last = planner.orders.by_id(customer.orders_last_id)  # set only if this batch names it
            if candidate and _replaces(candidate, customer):
                _set_last(customer, candidate.id, candidate.total_amount, _age(candidate)[0])
            elif (last is not None and last.changed) or (candidate and _age(candidate)[0] == customer.orders_last_date):
                unsettled.append(customer)
    return unsettled


def _replaces(order: OrderRow, customer: CustomerRow) -> bool:
    date = _age(order)[0]
    if customer.orders_last_date is None or date > customer.orders_last_date:
        return True
    return bool(date == customer.orders_last_date and order.id == customer.orders_last_id)


def _age(order: OrderRow) -> Any:
    return (order.ordered_at or order.created_at, order.created_at)


async def _read_last_orders(conn: Conn, project: str, people: Sequence[CustomerRow]) -> None:
    if people:
        by_id = {customer.id: customer for customer in people}
        parameters = {"project_id": project, "customer_ids": list(by_id)}
        for row in await (await conn.execute(SQL.orders_last_of_customers, parameters)).fetchall():
            _set_last(by_id[row.customer_id], row.id, row.total_amount, row.placed_at)


def _set_last(customer: CustomerRow, order_id: str | None, amount: int | None, date: datetime | None) -> None:
    customer.orders_last_id, customer.orders_last_amount, customer.orders_last_date = order_id, amount, date
