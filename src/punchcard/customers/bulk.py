"""Bulk update and bulk metadata update of customers: by source id, and those that do not exist are made."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Annotated, Any

from litestar import Request, Response, post
from msgspec import Meta, Struct

from punchcard.bulk import requests
from punchcard.bulk.async_actions import Scheduled
from punchcard.bulk.jobs import Batch
from punchcard.bulk.requests import RecordShape
from punchcard.bulk.updates import BulkUpdate, Checks, Plan
from punchcard.customers import customers
from punchcard.customers.customers import CustomerAttributes, CustomerRow
from punchcard.db import row_totals
from punchcard.db.database import Conn
from punchcard.db.row_times import timed
from punchcard.events import segment_inbox
from punchcard.events.segment_inbox import Origin
from punchcard.http import idempotency
from punchcard.http.shapes import ID_LENGTH_MAX
from punchcard.metadata_schemas import metadata_schemas
from punchcard.settings import Settings

# what the interactive page offers to send
EXAMPLE = [{"source_id": "ann", "name": "Ann", "address": {"city": "London"}, "metadata": {"lang": "en"}}]
METADATA_EXAMPLE = {"source_ids": ["ann", "bob"], "metadata": {"lang": "en"}}


class CustomerUpdate(CustomerAttributes, kw_only=True):
    """A customer of a bulk update: what is supplied replaces, metadata merges by key. null means absent."""

    source_id: Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)]


class CustomersMetadata(Struct):
    """Customers, and what the metadata of each of them gets."""

    source_ids: list[Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)]]
    metadata: dict[str, Any]


class CustomersBulkUpdate(BulkUpdate[CustomerRow]):
    """The job behind `POST /v1/customers/bulk/async`."""

    type = "CUSTOMERS.BULK_UPDATE"
    resource = "customer"
    id_prefix = "cust"
    shape = RecordShape(CustomerUpdate, nouns="customers")
    places_customers = True
    # why the customers concerned are to be placed into segments again
    cause = "customers.bulk_update"

    async def read(self, conn: Conn, project: str, source_ids: set[str]) -> tuple[Iterable[CustomerRow], Checks]:
        """The stored customers among those named, and the metadata schemas."""
        stored = await customers.resolve(conn, project, ids=set(), source_ids=source_ids)
        return stored, await metadata_schemas.load(conn, project)

    def new_row(self, row_id: str, source_id: str) -> CustomerRow:
        """A customer that has nothing but its ids yet."""
        return CustomerRow(row_id, source_id)

    def apply(self, row: CustomerRow, given: CustomerUpdate) -> bool:
        """Change a customer as a record says. Whether anything changed."""
        return row.apply(given)

    async def plan(self, conn: Conn, project: str, batch: Batch) -> Plan[CustomerRow]:
        """As any bulk update; what changes bears the id of the async action."""
        return mark(await super().plan(conn, project, batch), batch.action_id)

    async def lock_rows(self, conn: Conn, project: str, rows: Sequence[CustomerRow]) -> bool:
        """Lock stored customers; whether all are as they were read."""
        return await customers.lock(conn, project, rows)

    async def write_rows(self, conn: Conn, project: str, plan: Plan[CustomerRow]) -> None:
        """Write the changed customers, and have them placed into segments again."""
        await write(conn, project, plan, cause=self.cause)


def mark(plan: Plan[CustomerRow], action_id: str) -> Plan[CustomerRow]:
    """The plan, in which each customer that changes bears the id of the async action that changes it."""
    for row in plan.changed.values():
        row.async_action_id = action_id
    return plan


async def write(conn: Conn, project: str, plan: Plan[CustomerRow], *, cause: str) -> None:
    """Write the customers that a plan has changed, of which the stored ones are locked, and note them for segments.

    Some have changed, and all of them bear the id of one async action: see `mark`.
    """
    new, known = plan.new, plan.known
    origin = Origin(cause, async_action_id=next(iter(plan.changed.values())).async_action_id)
    now = await customers.write_clock(conn, project)
    await customers.insert(conn, project, timed(new, now))
    await customers.update(conn, project, timed(known, now + timedelta(microseconds=len(new))))
    await row_totals.add(conn, project, {"customers": len(new)}, slot=row_totals.SLOT_OF_IMPORTS)
    await segment_inbox.append(conn, project, sorted(plan.changed), origin)


class CustomersMetadataUpdate(CustomersBulkUpdate):
    """The job behind `POST /v1/customers/metadata/async`."""

    type = "CUSTOMERS.METADATA_UPDATE"
    cause = "customers.metadata_update"


@post("/v1/customers/bulk/async", status_code=202, operation_id="update-customers-in-bulk", tags=["Customers"])
async def post_bulk_update(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Scheduled]:
    """Update customers in bulk.

    By source id, as one async action; those that do not exist are created. What is supplied replaces what was there,
    metadata merges by key. Bulk requests of a project run one after another. No events, no webhooks; the customers
    concerned are noted for their segments.
    """
    settings: Settings = request.app.state.settings
    answer: Response[Scheduled] = await requests.accept_records(
        request, project, idempotency_key, CustomersBulkUpdate(), CustomersBulkUpdate.shape,
        records_max=settings.bulk_records_max, limit=requests.body_limit(settings),
    )  # fmt: skip
    return answer


@post(
    "/v1/customers/metadata/async", status_code=202, operation_id="update-customers-metadata-in-bulk",
    tags=["Customers"],
)  # fmt: skip
async def post_metadata_update(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Scheduled]:
    """Update customers' metadata in bulk.

    Every listed customer gets the metadata, key by key, as one async action; those that do not exist are created.
    """
    answer: Response[Scheduled] = await requests.accept_listed(
        request, project, idempotency_key, CustomersMetadataUpdate()
    )
    return answer


ROUTES = [post_bulk_update, post_metadata_update]
