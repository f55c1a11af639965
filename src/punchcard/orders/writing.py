"""Creating and updating one order: the same rules as the import, and all that hangs on an order happens.

The order, its customers and what it overrides in the catalogue are read, changed in memory by a `Planner`, locked, and
written in one transaction with their events. Whoever was overtaken begins again: `Database.settle`.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from litestar import Request, Response, post, put

from punchcard.customers import events as customer_events
from punchcard.customers.customers import shown
from punchcard.db import row_totals
from punchcard.db.database import Conn, Database, StaleRead
from punchcard.errors import InvalidPayload
from punchcard.events import events, segment_inbox
from punchcard.events.events import Cause, Event
from punchcard.events.segment_inbox import Origin
from punchcard.http import answers, idempotency, objects
from punchcard.http.bodies import BodyBudget
from punchcard.orders import events as order_events
from punchcard.orders import imports, orders, placed_at, single, storage
from punchcard.orders.orders import SQL, Order, OrderIn, OrderNew, OrderUpdate
from punchcard.orders.single import Planned
from punchcard.products import events as product_events

# what the interactive page offers to send
EXAMPLE = {
    "source_id": "order-1001",
    "status": "PAID",
    "customer": {"source_id": "ann", "name": "Ann"},
    "items": [{"source_id": "mug", "related_object": "product", "quantity": 1, "price": 900}],
}
UPDATE_EXAMPLE = {"status": "FULFILLED"}
# a clock may be this far ahead of ours
AHEAD_MAX = timedelta(minutes=5)
# with rows held; another one follows only if the order names other rows by then
PLANS_MAX = 5

# ---- operations --------------------------------------------------------------------------------


async def create(conn: Conn, project: str, given: OrderNew, cause: Cause) -> Order:
    """Create an order, or update the one that has its id or source id. Atomic by itself.

    Raises `RecordError`, `StaleRead`.
    """
    return await _write(conn, project, given, cause, created_at=moment_of_creation(given.created_at))


async def update(conn: Conn, project: str, order_id: str, given: OrderUpdate, cause: Cause) -> Order:
    """Change an order by id or source id. Atomic by itself. Raises `NotFound`, `RecordError`, `StaleRead`."""
    return await _write(conn, project, given, cause, key=order_id)


def moment_of_creation(text: str | None) -> datetime | None:
    """When an order says it was created. Raises `InvalidPayload` if that is no date, or still to come."""
    if text is None:
        return None
    moment = placed_at.parse(text)
    if moment is None:
        raise InvalidPayload("Property .created_at cannot be recognized as a ISO-8601 compliant date")
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > datetime.now(UTC) + AHEAD_MAX:
        raise InvalidPayload("Property .created_at cannot be in the future")
    return moment


async def _write(
    conn: Conn,
    project: str,
    given: OrderIn,
    cause: Cause,
    *,
    created_at: datetime | None = None,
    key: str | None = None,
) -> Order:
    """Write an order by one statement, if nobody else writes the same rows just now; else by a transaction that holds
    them, as one that changes the catalogue."""
    planned, changes = await _planned(conn, project, given, created_at, key)
    if changes.is_empty:
        return _shown(planned)
    if single.date_all(planned, changes) and not changes.has_catalogue:
        happened = [*_of_customers(changes), *_of_order(planned)]
        if await single.write(conn, project, planned, changes, cause, happened):
            return _shown(planned)
    for _ in range(PLANS_MAX):
        try:
            async with conn.transaction():
                return await _write_held(conn, project, given, cause, created_at=created_at, key=key, held=changes)
        except _NamesOthers as now:
            changes = changes.with_rows_of(now.changes)
    raise StaleRead


class _NamesOthers(Exception):
    """By now the order changes rows that are not held: to lock them as well would break the one order of locks."""

    def __init__(self, changes: storage.Changes) -> None:
        self.changes = changes


async def _write_held(
    conn: Conn,
    project: str,
    given: OrderIn,
    cause: Cause,
    *,
    created_at: datetime | None,
    key: str | None,
    held: storage.Changes,
) -> Order:
    """Write an order planned while all rows are `held` that it is known to change. Raises `_NamesOthers`."""
    await storage.lock(conn, project, held)
    planned, changes = await _planned(conn, project, given, created_at, key)
    if not held.names_rows_of(changes):
        raise _NamesOthers(changes)
    if not changes.is_empty:
        await storage.write(conn, project, changes, planned.planner, slot=row_totals.drawn_slot())
        origin = Origin("orders.write", group_id=cause.group_id, depth=cause.depth)
        await segment_inbox.append(conn, project, changes.concerned, origin)
        happened = await _upserts(conn, project, changes)
        await events.record(conn, project, cause, [*happened, *_of_order(planned)])
    return _shown(planned)


async def _planned(
    conn: Conn, project: str, given: OrderIn, created_at: datetime | None, key: str | None
) -> tuple[Planned, storage.Changes]:
    planned = await single.plan(conn, project, given, key=key)
    if created_at is not None and planned.stored is None:
        planned.order.created_at = await _free_moment(conn, project, created_at)
    return planned, storage.Changes.of(planned.planner)


def _shown(planned: Planned) -> Order:
    """The order as it is stored now."""
    order = planned.order
    items = planned.items.get(order.id) if order.items is None else order.items
    action_id = None if order.changed else planned.action_ids.get(order.id)
    return orders.shown(order, items=items, async_action_id=action_id)


def _of_order(planned: Planned) -> list[Event]:
    """The events of the order itself."""
    order, stored, people = planned.order, planned.stored, planned.planner.customers
    if not order.changed:
        return []
    named = [people.by_id(person) for person in (order.customer_id, order.referrer_id)]
    customer, referrer = (None if person is None else customer_events.simple(person) for person in named)
    before = None if stored is None else stored.status
    return order_events.of_order(_shown(planned), before=before, customer=customer, referrer=referrer)


def _of_customers(changes: storage.Changes) -> list[Event]:
    """The events of the customers that the order made or changed, from the rows that are to be written."""
    changed = [person for person in changes.customers_known if person.attributes_changed]
    return [customer_events.of_customer(customer_events.CREATED, shown(person)) for person in changes.customers_new] + [
        customer_events.of_customer(customer_events.UPDATED, shown(person)) for person in changed
    ]


async def _upserts(conn: Conn, project: str, changes: storage.Changes) -> list[Event]:
    """The events of the customers, products and SKUs that the order made or changed, from what is stored now."""
    made, changed = product_events.CREATED, product_events.UPDATED
    of_customers = await customer_events.of_upserts(
        conn, project,
        created=[person.id for person in changes.customers_new],
        updated=[person.id for person in changes.customers_known if person.attributes_changed],
    )  # fmt: skip
    of_catalogue = await product_events.of_upserts(
        conn, project,
        products=dict.fromkeys((product.id for product in changes.products_new), made)
        | dict.fromkeys((product.id for product in changes.products_changed), changed),
        skus=dict.fromkeys((sku.id for sku in changes.skus_new), made)
        | dict.fromkeys((sku.id for sku in changes.skus_changed), changed),
    )  # fmt: skip
    return [*of_customers, *of_catalogue]


async def _free_moment(conn: Conn, project: str, wanted: datetime) -> datetime:
    """The moment itself, or one of the same millisecond or second: no two orders of a project have the same."""
    within = [timedelta(), *(timedelta(microseconds=random.randrange(limit)) for limit in (1000, 1000, 10**6, 10**6))]  # noqa: S311
    candidates = [wanted + later for later in within]
    row = await (
        await conn.execute(SQL.orders_free_moment, {"project_id": project, "candidates": candidates})
    ).fetchone()
    if row is None:
        raise StaleRead  # tried again with others
    moment: datetime = row.moment
    return moment


# ---- handlers ----------------------------------------------------------------------------------

_new = msgspec.json.Decoder(OrderNew)
_change = msgspec.json.Decoder(OrderUpdate)


@post("/v1/orders", status_code=200, operation_id="create-order", tags=["Orders"], responses=answers.NAMED_NOT_FOUND)
async def post_order(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Order]:
    """Create an order, or update the one that has its id or source id.

    Customer, referrer, and products and SKUs with `override` are upserted. Events are written, and what hangs on them
    happens: for orders that are years old there is the import.
    """
    key = idempotency.checked(request, idempotency_key)
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_order(request) as body:
        once = await idempotency.once(request, project, key, body)
        if (repeated := await once.repeated()) is not None:
            return repeated
        given = objects.read(body, _new, empty_allowed=True)
    imports.check_metadata(given, "")
    cause = events.of_request(request)
    answer = await once.take_effect(lambda conn: create(conn, project, given, cause), alone=True)
    request.app.state.work_notifier.ask()
    return answer


@put("/v1/orders/{order_id:str}", operation_id="update-order", tags=["Orders"])
async def put_order(request: Request, project: str, order_id: str) -> Order:  # type: ignore[type-arg]
    """Change an order by id or source id.

    What is not sent stays as it is; items are replaced as a whole, metadata is merged by key, and a key with null is
    taken away. A change of the status has an event of its own.
    """
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_order(request) as body:
        given = objects.read(body, _change)
    imports.check_metadata(given, "")
    cause = events.of_request(request)
    database: Database = request.app.state.database
    order = await database.settle(lambda conn: update(conn, project, order_id, given, cause), alone=True)
    request.app.state.work_notifier.ask()
    return order


ROUTES: list[Any] = [post_order, put_order]
