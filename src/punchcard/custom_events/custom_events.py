"""Custom events: what customers do that only the shop knows of, tracked one at a time."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post
from msgspec import Meta, Struct

from punchcard import ids
from punchcard.custom_events import schemas
from punchcard.custom_events.schemas import NAME_CHARACTERS_MAX
from punchcard.customers import requests as customer_requests
from punchcard.customers.customers import CustomerIn
from punchcard.customers.events import SimpleCustomer
from punchcard.db import statements
from punchcard.db.database import Conn, StaleRead
from punchcard.events import events, segment_inbox
from punchcard.events.events import Cause, Event
from punchcard.events.segment_inbox import Origin
from punchcard.http import answers, idempotency, objects, shapes
from punchcard.http.bodies import BodyBudget
from punchcard.metadata_schemas import validation

SQL = statements.beside(__file__)

TRACKED = "customer.custom_event"
# why the customer is to be placed into segments again: there are filters on how often an event happened
CAUSE = "customers.custom_event"
# what the interactive page offers to send
EXAMPLE = {"event": "cart_abandoned", "customer": {"source_id": "ann"}, "metadata": {"items": 3}}

# ---- types -------------------------------------------------------------------------------------


class ReferralIn(Struct):
    """The code that referred the customer. Nothing follows from it yet."""

    code: str
    referrer_id: str | None = None


class LoyaltyIn(Struct):
    """The loyalty card that the event is for. Nothing follows from it yet."""

    code: str


class CustomEventIn(Struct):
    """A custom event as a request has it; null means absent."""

    event: Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS_MAX)]
    customer: CustomerIn
    referral: ReferralIn | None = None
    loyalty: LoyaltyIn | None = None
    metadata: dict[str, Any] | None = None


class CustomEvent(Struct):
    """The answer to a tracked event. There are neither referrals nor loyalty cards yet."""

    type: str
    customer: SimpleCustomer
    metadata: dict[str, Any]
    referral: None = None
    loyalty: None = None
    object: str = "event"


class CustomerOfEvent(Struct):
    """Whose event it is."""

    id: str
    object: str = "customer"


class TrackedEvent(Struct):
    """A custom event inside a payload."""

    id: str
    type: str
    customer: CustomerOfEvent
    metadata: dict[str, Any]
    created_at: datetime
    referral: None = None
    loyalty: None = None
    object: str = "event"


class EventSchemaNamed(Struct):
    """How the event is defined."""

    id: str
    name: str


class CustomEventPayload(Struct):
    """The documented payload of `customer.custom_event`."""

    event: TrackedEvent
    event_schema: EventSchemaNamed
    customer: SimpleCustomer
    referral: None = None
    loyalty: None = None


# ---- operations --------------------------------------------------------------------------------


async def track(conn: Conn, project: str, cause: Cause, given: CustomEventIn) -> CustomEvent:
    """Write the event, and its customer by the rules of `customers.requests.upsert`. Needs a transaction.

    Raises `EventUndefined`, `RecordMissing` for an unknown customer id, `MetadataRefused`, and `StaleRead`.
    """
    schema = await schemas.named(conn, project, given.event)
    metadata = given.metadata or {}
    validation.check_whole(schema.properties, metadata)
    written = await customer_requests.upsert(conn, project, cause, given.customer)
    counted = {"project_id": project, "id": written.id, "event": given.event}
    row = await (await conn.execute(SQL.custom_event_count, counted)).fetchone()
    if row is None:
        raise StaleRead
    customer = SimpleCustomer(row.id, row.name, row.email, row.source_id, msgspec.json.decode(row.metadata))
    event = TrackedEvent(ids.new("event"), given.event, CustomerOfEvent(customer.id), metadata, row.now)
    payload = CustomEventPayload(event, EventSchemaNamed(schema.id, given.event), customer)
    await segment_inbox.append(conn, project, [customer.id], Origin(CAUSE, group_id=cause.group_id, depth=cause.depth))
    await events.record(conn, project, cause, [Event(TRACKED, event.id, payload, customer_id=customer.id)])
    return CustomEvent(given.event, customer, metadata)


# ---- handlers ----------------------------------------------------------------------------------

_new = msgspec.json.Decoder(CustomEventIn)


@post(
    "/v1/events",
    status_code=200,
    operation_id="track-custom-event",
    tags=["Events"],
    responses=answers.NAMED_NOT_FOUND,
)
async def post_event(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[CustomEvent]:
    """Track a custom event.

    Its name and its metadata are as the project's event schemas define them. The customer is created, or updated with
    what is given, as by `POST /v1/customers`. Nothing follows from `referral` and `loyalty` yet.
    """
    key = idempotency.checked(request, idempotency_key)
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_object(request) as body:
        once = await idempotency.once(request, project, key, body)
        if (repeated := await once.repeated()) is not None:
            return repeated
        given = objects.read(body, _new)
    shapes.check_metadata(given.metadata, ".metadata")
    shapes.check_metadata(given.customer.metadata, ".customer.metadata")
    cause = events.of_request(request)

    async def act(conn: Conn) -> CustomEvent:
        return await track(conn, project, cause, given)

    answer = await once.take_effect(act)
    request.app.state.work_notifier.ask()
    return answer


ROUTES = [post_event]
