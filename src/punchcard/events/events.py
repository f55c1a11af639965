"""The event log: what happened to customers, orders, the catalogue, campaigns and vouchers, and what caused it.

Events are written in the transaction of their cause, and with each of them a row in the outbox: what follows from
events is worked off from there (`reactions`). Whoever writes an event about a customer has locked the customer.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from punchcard import ids
from punchcard.db import statements
from punchcard.db.database import Conn
from punchcard.http.answers import request_id_of
from punchcard.http.authentication import ApiKeyUsed, api_key_of

SQL = statements.beside(__file__)

# the id prefix of an event, by what comes first in its type
_PREFIXES = {"customer": "evcus", "voucher": "evvou", "campaign": "evcam", "product": "evpro", "sku": "evsku"}


class EventSource(Struct, omit_defaults=True):
    """Who caused an event: `channel` is USER_PORTAL, API, CLIENT_API or INTERNAL."""

    channel: str
    api_key: ApiKeyUsed | None = None


class Cause(Struct, frozen=True):
    """What caused events: who, by which request (`group_id`), by which bulk job, and how many events led to them."""

    event_source: EventSource
    group_id: str
    async_action_id: str | None = None
    depth: int = 0


class Event(Struct):
    """An event about the object `object_id`; `data` is the documented payload.

    `customer_id` is in whose Activity it is, `referrer_id` another customer whose data is in the payload.
    """

    type: str
    object_id: str
    data: Any
    customer_id: str | None = None
    referrer_id: str | None = None
    campaign_id: str | None = None


def of_request(request: Any) -> Cause:
    """The cause of what an authenticated request (of the framework) does."""
    return Cause(EventSource("API", api_key_of(request)), request_id_of(request))


async def record(conn: Conn, project: str, cause: Cause, events: Sequence[Event]) -> None:
    """Write events, in their order, in the transaction that is open. Once it has committed, workers are to be woken."""
    await record_each(conn, project, [(cause, event) for event in events])


async def record_each(conn: Conn, project: str, events: Sequence[tuple[Cause, Event]]) -> None:
    """Write events that each have a cause of their own. See `record`."""
    if events:
        found = documents([event for _, event in events])
        for document, (cause, _) in zip(found, events, strict=True):
            document["cause"] = cause
        await conn.execute(SQL.events_record, {"project_id": project, "events": msgspec.json.encode(found).decode()})


def documents(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Events as the statements that write them want them, in JSON, with new ids."""
    return [{"id": ids.new(_PREFIXES[event.type.partition(".")[0]]), **asdict(event)} for event in events]


def parameters_of(cause: Cause) -> dict[str, Any]:
    """A cause as the statements that write events want it."""
    return {
        "event_source": msgspec.json.encode(cause.event_source).decode(),
        "group_id": cause.group_id,
        "async_action_id": cause.async_action_id,
        "depth": cause.depth,
    }
