"""Deleting a customer: its profile, its orders and its events go, in one transaction.

A permanent deletion erases its personal data from whatever else is kept, too: see `erasure`.

Writers of orders lock the customers that their orders name, and compare versions: whoever has planned with a customer
that is gone plans again. So nothing brings it back, and no order is left that points to it.
"""

from datetime import datetime, timedelta

import msgspec
from litestar import Request, Response, delete, post
from msgspec import Struct
from psycopg.types.json import Jsonb

from punchcard import ids
from punchcard.customers import customers, erasure, events, requests
from punchcard.customers.customers import Customer
from punchcard.customers.erasure import Person, Search
from punchcard.db import row_totals, statements
from punchcard.db.database import Conn, Database, StaleRead
from punchcard.events import events as event_log
from punchcard.events import segment_inbox
from punchcard.events.events import Cause, Event
from punchcard.events.segment_inbox import Origin
from punchcard.http import idempotency

SQL = statements.beside(__file__)

# why the customer is to be taken out of its segments
CAUSE = "customers.delete"
# longer than any transaction of ours runs
TRANSACTION_MAX = timedelta(minutes=10)

# ---- types -------------------------------------------------------------------------------------


class DeletedRows(Struct):
    """How much went with a customer.

    `customer_events` are all events of its Activity; `events` are the custom ones among them, `order_events` those of
    its orders. `segments` is in how many it was.
    """

    events: int
    customer_events: int
    orders: int
    order_events: int
    daily_events: int = 0
    segments: int = 0
    customer: int = 1


class PermanentDeletion(Struct):
    """What is left of a customer that was deleted for good; `object` is spelled as it is documented."""

    id: str
    created_at: datetime
    related_object_id: str
    data_json: DeletedRows
    related_object: str = "customer"
    status: str = "DONE"
    object: str = "pernament_deletion"


# ---- operations --------------------------------------------------------------------------------


async def remove(conn: Conn, project: str, cause: Cause, customer_id: str) -> None:
    """Delete a customer, by id or source id. Needs a transaction. Raises `NotFound`, and `StaleRead`."""
    customer = await locked(conn, project, customer_id)
    # later nobody could tell which events of others show it
    search = Search(project, Person(customer.id, customer.source_id, customer.email or None))
    while await erasure.from_referred(conn, search):
        pass
    await remove_locked(conn, project, cause, customer.id, events.of_customer(events.DELETED, customer))


async def locked(conn: Conn, project: str, customer_id: str) -> Customer:
    """A customer that nobody else writes, or writes orders of, until the transaction ends. Raises as `remove` does."""
    found = await requests.find(conn, project, customer_id)
    key = {"project_id": project, "id": found.id}
    if await (await conn.execute(SQL.customer_lock_to_delete, key)).fetchone() is None:
        raise StaleRead
    # what was waited for may have changed it
    return await customers.get_customer(conn, project, found.id)


async def remove_locked(conn: Conn, project: str, cause: Cause, customer_id: str, event: Event) -> DeletedRows:
    """Delete a customer that is locked, and write the `event` that says so, the only one that stays."""
    key = {"project_id": project, "id": customer_id}
    await conn.execute(SQL.customer_vouchers_release, key)
    orders = (await conn.execute(SQL.customer_orders_delete, key)).rowcount
    await conn.execute(SQL.customer_referred_orders_release, key)
    await conn.execute(SQL.customer_custom_event_totals_delete, key)
    member = await (await conn.execute(SQL.customer_segments_count, key)).fetchone()
    assert member is not None
    await conn.execute(SQL.customer_delete, key)
    gone = await (await conn.execute(SQL.customer_events_delete, key)).fetchone()
    assert gone is not None
    await segment_inbox.append(conn, project, [customer_id], Origin(CAUSE, group_id=cause.group_id, depth=cause.depth))
    await event_log.record(conn, project, cause, [event])
    await row_totals.add(conn, project, {"customers": -1, "orders": -orders}, slot=row_totals.drawn_slot())
    return DeletedRows(gone.custom_events, gone.events, orders, gone.order_events, segments=member.segments)


async def erase_elsewhere(database: Database, project: str, customer_id: str) -> Search:
    """Erase a customer wherever it may be named; the search for what comes while that is done. Raises `NotFound`."""
    async with database.connection() as conn:
        found = await requests.find(conn, project, customer_id)
        clock = await (await conn.execute(SQL.customer_deletion_clock)).fetchone()
        assert clock is not None
    search = Search(project, Person(found.id, found.source_id, found.email))
    await erasure.everywhere(database, search)
    return msgspec.structs.replace(search, since=clock.now - TRANSACTION_MAX)


async def remove_for_good(
    conn: Conn, project: str, cause: Cause, customer_id: str, search: Search
) -> PermanentDeletion:
    """Delete a customer, and erase it by the `search` for what has come meanwhile. Raises as `remove` does."""
    customer = await locked(conn, project, customer_id)
    person = Person(customer.id, customer.source_id, customer.email or None)
    if person != search.person:  # it was another one that was erased
        search = Search(project, person)
    await erasure.within(conn, search)
    event = Event(
        events.DELETED, customer.id, {"customer": {"id": customer.id, "object": "customer"}}, customer_id=customer.id
    )
    rows = await remove_locked(conn, project, cause, customer.id, event)
    deletion_id = ids.new("del")
    record = {"project_id": project, "id": deletion_id, "customer_id": customer.id, "deleted": Jsonb(rows)}
    made = await (await conn.execute(SQL.customer_deletion_insert, record)).fetchone()
    assert made is not None
    return PermanentDeletion(deletion_id, made.created_at, customer.id, rows)


# ---- handlers ----------------------------------------------------------------------------------


@delete("/v1/customers/{customer_id:str}", operation_id="delete-customer", tags=["Customers"])
async def delete_customer(request: Request, project: str, customer_id: str) -> None:  # type: ignore[type-arg]
    """Delete a customer by id or source id.

    Its orders and its events go too; orders that it only referred, and vouchers that it held, lose it. The event
    `customer.deleted`, with the customer as it was, stays.
    """
    database: Database = request.app.state.database
    cause = event_log.of_request(request)

    async def act(conn: Conn) -> None:
        await remove(conn, project, cause, customer_id)

    await database.settle(act)
    request.app.state.work_notifier.ask()


@post(
    "/v1/customers/{customer_id:str}/permanent-deletion", status_code=200,
    operation_id="customer-permanently-deletion", tags=["Customers"],
)  # fmt: skip
async def post_permanent_deletion(
    request: Request,  # type: ignore[type-arg]
    project: str,
    customer_id: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[PermanentDeletion]:
    """Delete a customer permanently.

    As deleting it, and its personal data is erased from all that is kept elsewhere: failed records, reports and
    results of bulk requests, answers kept for repeats, and the events of others. What is left is the answer, which
    says how much went.
    """
    key = idempotency.checked(request, idempotency_key)
    once = await idempotency.once(request, project, key, b"")
    if (repeated := await once.repeated()) is not None:
        return repeated
    search = await erase_elsewhere(request.app.state.database, project, customer_id)
    cause = event_log.of_request(request)

    async def act(conn: Conn) -> PermanentDeletion:
        return await remove_for_good(conn, project, cause, customer_id, search)

    answer = await once.take_effect(act)
    request.app.state.work_notifier.ask()
    return answer


ROUTES = [delete_customer, post_permanent_deletion]
