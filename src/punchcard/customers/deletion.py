"""Deleting a customer: its profile, its orders and its events go, in one transaction.

A permanent deletion erases its personal data from whatever else is kept, too: see `erasure`. It does so as well for
customers that are gone already: the events that say so tell who they were.

Writers of orders lock the customers that their orders name, and compare versions: whoever has planned with a customer
that is gone plans again. So nothing brings it back, and no order is left that points to it.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
from litestar import Request, Response, delete, post
from msgspec import Struct
from psycopg.types.json import Jsonb

from punchcard import ids
from punchcard.customers import customers, erasure, events, requests
from punchcard.customers.customers import Customer, CustomerRow
from punchcard.customers.erasure import Person, Search
from punchcard.db import row_totals, statements
from punchcard.db.database import Conn, Database, StaleRead
from punchcard.errors import NotFound
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
    """How much went with a customer, or with all who were deleted under its name.

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
    search = Search(project, (_person(customer),))
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
    """Delete a customer that is locked, and write the `event` that says so, the only one that stays.

    Of one that was deleted before, what is left goes: that event is there already.
    """
    key = {"project_id": project, "id": customer_id}
    await conn.execute(SQL.customer_vouchers_release, key)
    orders = (await conn.execute(SQL.customer_orders_delete, key)).rowcount
    await conn.execute(SQL.customer_referred_orders_release, key)
    await conn.execute(SQL.customer_custom_event_totals_delete, key)
    member = await (await conn.execute(SQL.customer_segments_count, key)).fetchone()
    assert member is not None
    customers_gone = (await conn.execute(SQL.customer_delete, key)).rowcount
    gone = await (await conn.execute(SQL.customer_events_delete, key)).fetchone()
    assert gone is not None
    if customers_gone:
        origin = Origin(CAUSE, group_id=cause.group_id, depth=cause.depth)
        await segment_inbox.append(conn, project, [customer_id], origin)
        await event_log.record(conn, project, cause, [event])
    await row_totals.add(conn, project, {"customers": -customers_gone, "orders": -orders}, slot=row_totals.drawn_slot())
    return DeletedRows(
        gone.custom_events, gone.events, orders, gone.order_events, segments=member.segments, customer=customers_gone
    )


async def erase_elsewhere(database: Database, project: str, customer_id: str) -> Search:
    """Erase a customer wherever it may be named; the search for what comes while that is done. Raises `NotFound`."""
    async with database.connection() as conn:
        people = await _people(conn, project, customer_id, requests.find)
        clock = await (await conn.execute(SQL.customer_deletion_clock)).fetchone()
        assert clock is not None
    search = Search(project, people)
    await erasure.everywhere(database, search)
    return msgspec.structs.replace(search, since=clock.now - TRANSACTION_MAX)


async def remove_for_good(
    conn: Conn, project: str, cause: Cause, customer_id: str, search: Search
) -> PermanentDeletion:
    """Delete a customer, and erase it by the `search` for what has come meanwhile. Raises as `remove` does."""
    people = await _people(conn, project, customer_id, locked)
    if people != search.people:  # it was another one that was erased
        search = Search(project, people)
    await erasure.within(conn, search)
    each = [await remove_locked(conn, project, cause, person.id, _erased(person)) for person in people]
    rows = DeletedRows(**{kind: sum(getattr(gone, kind) for gone in each) for kind in DeletedRows.__struct_fields__})
    # of those who were gone, one that no event shows any more was erased at the same time
    if rows.customer + await erasure.from_own_deletions(conn, search) != len(people):
        raise StaleRead
    deletion_id, last = ids.new("del"), people[-1]
    record = {"project_id": project, "id": deletion_id, "customer_id": last.id, "deleted": Jsonb(rows)}
    made = await (await conn.execute(SQL.customer_deletion_insert, record)).fetchone()
    assert made is not None
    return PermanentDeletion(deletion_id, made.created_at, last.id, rows)


async def _people(
    conn: Conn, project: str, customer_id: str, read: Callable[[Conn, str, str], Awaitable[Customer | CustomerRow]]
) -> tuple[Person, ...]:
    """Whom an id or source id means: the customer, else all who were deleted under it. Raises `NotFound`."""
    try:
        return (_person(await read(conn, project, customer_id)),)
    except NotFound:
        people = await erasure.deleted_before(conn, project, customer_id)
        if not people:
            raise
        return people


def _person(customer: Customer | CustomerRow) -> Person:
    return Person(customer.id, customer.source_id, customer.email or None)


def _erased(person: Person) -> Event:
    payload = {"customer": {"id": person.id, "object": "customer"}}
    return Event(events.DELETED, person.id, payload, customer_id=person.id)


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
    says how much went. A customer that was deleted already is erased by the event that says so, once.
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
