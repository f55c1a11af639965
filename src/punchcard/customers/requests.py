"""What requests do to one customer: create it or change it, and ask for its segments.

The rules of a change are those of `CustomerRow.apply`, which imports and bulk updates follow too.
"""

from collections.abc import Callable

import msgspec
from litestar import Request, Response, post, put

from punchcard import ids
from punchcard.customers import customers, events
from punchcard.customers.customers import (
    Customer,
    CustomerAttributes,
    CustomerIn,
    CustomerRow,
)
from punchcard.db import row_totals
from punchcard.db.database import Conn, Database, StaleRead
from punchcard.errors import NotFound, RecordMissing
from punchcard.events import events as event_log
from punchcard.events import segment_inbox
from punchcard.events.events import Cause
from punchcard.events.segment_inbox import Origin
from punchcard.http import answers, idempotency, objects, shapes
from punchcard.http.bodies import BodyBudget
from punchcard.metadata_schemas import metadata_schemas

# why the customer is to be placed into segments again
CAUSE = "customers.update"
# what the interactive page offers to send
EXAMPLE = {
    "source_id": "ann",
    "name": "Ann",
    "email": "ann@example.com",
    "address": {"city": "London"},
    "metadata": {"lang": "en"},
}
UPDATE_EXAMPLE = {"phone": "+44 20 7946 0018", "metadata": {"lang": "fr"}}

# ---- operations --------------------------------------------------------------------------------


async def upsert(conn: Conn, project: str, cause: Cause, given: CustomerIn) -> Customer:
    """Create the customer that is given, or write what is given to the one that `id`, else `source_id`, names.

    Needs a transaction. Raises `RecordMissing` for an unknown id, `MetadataRefused`, and `StaleRead`.
    """
    row = await _named(conn, project, given)
    schemas = await metadata_schemas.load(conn, project)
    schemas.check("customer", given.metadata, creating=row is None)
    if row is None:
        row = CustomerRow(ids.new("cust"), given.source_id or None)
        row.apply(given)
        return await _write(conn, project, cause, row)
    return await _change(conn, project, cause, row, lambda stored: stored.apply(given))


async def _named(conn: Conn, project: str, given: CustomerIn) -> CustomerRow | None:
    """The stored customer that a request names. Raises `RecordMissing`."""
    if given.id:
        found = await customers.resolve(conn, project, ids={given.id}, source_ids=set())
        if not found:
            raise RecordMissing("customer", given.id)
    else:
        found = await customers.resolve(conn, project, ids=set(), source_ids={given.source_id or ""} - {""})
    return found[0] if found else None


async def update(conn: Conn, project: str, cause: Cause, customer_id: str, given: CustomerAttributes) -> Customer:
    """Change a customer, by id or source id. Needs a transaction.

    Raises `NotFound`, `MetadataRefused`, and `StaleRead`.
    """
    row = await find(conn, project, customer_id)
    schemas = await metadata_schemas.load(conn, project)
    schemas.check("customer", given.metadata, creating=False)
    return await _change(conn, project, cause, row, lambda stored: stored.apply(given))


async def find(conn: Conn, project: str, customer_id: str) -> CustomerRow:
    """A stored customer by id or source id; the id wins. Raises `NotFound`."""
    found = await customers.resolve(conn, project, ids={customer_id}, source_ids={customer_id})
    if not found:
        raise NotFound("customer", customer_id)
    return min(found, key=lambda row: row.id != customer_id)


async def _change(
    conn: Conn, project: str, cause: Cause, row: CustomerRow, apply: Callable[[CustomerRow], bool]
) -> Customer:
    """Lock and write a stored customer if `apply` changes it. Raises `StaleRead` if it is gone."""
    changed = apply(row)
    if changed and not await customers.lock(conn, project, [row]):
        # changed by others meanwhile, and ours by now: who began anew could be overtaken again and again
        stored = await customers.resolve(conn, project, ids={row.id}, source_ids=set())
        if not stored:
            raise StaleRead
        [row] = stored
        changed = apply(row)
    if not changed:
        return await customers.get_customer(conn, project, row.id)
    return await _write(conn, project, cause, row)


async def _write(conn: Conn, project: str, cause: Cause, row: CustomerRow) -> Customer:
    """Write a customer that is new, or locked and changed, and all that follows from it: totals come last."""
    is_new = row.version is None
    now = await customers.write_clock(conn, project)
    write = customers.insert if is_new else customers.update
    await write(conn, project, [(row, now)])
    customer = await customers.get_customer(conn, project, row.id)
    await segment_inbox.append(conn, project, [row.id], Origin(CAUSE, group_id=cause.group_id, depth=cause.depth))
    event = events.of_customer(events.CREATED if is_new else events.UPDATED, customer)
    await event_log.record(conn, project, cause, [event])
    if is_new:
        await row_totals.add(conn, project, {"customers": 1}, slot=row_totals.drawn_slot())
    return customer


# ---- handlers ----------------------------------------------------------------------------------

_new = msgspec.json.Decoder(CustomerIn)
_changes = msgspec.json.Decoder(CustomerAttributes)


@post(
    "/v1/customers",
    status_code=200,
    operation_id="create-customer",
    tags=["Customers"],
    responses=answers.NAMED_NOT_FOUND,
)
async def post_customer(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Customer]:
    """Create or update a customer.

    `id`, else `source_id`, names a customer that exists: it is updated, and what the body does not have stays as it
    is. Without any, or with a `source_id` that nobody has, a customer is created. null means absent.
    """
    key = idempotency.checked(request, idempotency_key)
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_object(request) as body:
        once = await idempotency.once(request, project, key, body)
        if (repeated := await once.repeated()) is not None:
            return repeated
        given = objects.read(body, _new, empty_allowed=True)
    shapes.check_metadata(given.metadata, ".metadata")
    cause = event_log.of_request(request)

    async def act(conn: Conn) -> Customer:
        return await upsert(conn, project, cause, given)

    answer = await once.take_effect(act)
    request.app.state.work_notifier.ask()
    return answer


@put("/v1/customers/{customer_id:str}", operation_id="update-customer", tags=["Customers"])
async def put_customer(request: Request, project: str, customer_id: str) -> Customer:  # type: ignore[type-arg]
    """Update a customer by id or source id.

    What the body does not have, or has as null, stays as it is, and metadata is merged by key. `id` and
    `source_id` cannot change: in the body they are ignored.
    """
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_object(request) as body:
        change = objects.read(body, _changes)
    shapes.check_metadata(change.metadata, ".metadata")
    database: Database = request.app.state.database
    cause = event_log.of_request(request)

    async def act(conn: Conn) -> Customer:
        return await update(conn, project, cause, customer_id, change)

    customer = await database.settle(act)
    request.app.state.work_notifier.ask()
    return customer


ROUTES = [post_customer, put_customer]
