"""The events of customers: payloads, and those of customers that others upsert, such as an order."""

from collections.abc import Collection
from typing import Any

from msgspec import Struct

from punchcard.customers.customers import Customer, CustomerRow, shown
from punchcard.db import statements
from punchcard.db.database import Conn
from punchcard.events.events import Event

SQL = statements.beside(__file__)

CREATED, UPDATED, DELETED = "customer.created", "customer.updated", "customer.deleted"


class SimpleCustomer(Struct):
    """A customer inside the payload of another object's event."""

    id: str
    name: str | None
    email: str | None
    source_id: str | None
    metadata: dict[str, Any]
    object: str = "customer"


class CustomerPayload(Struct):
    """The documented payload of `customer.created`, `customer.updated` and `customer.deleted`."""

    customer: Customer


def simple(row: CustomerRow) -> SimpleCustomer:
    """A customer as others' payloads show it."""
    return SimpleCustomer(row.id, row.name, row.email, row.source_id, row.metadata)


def of_customer(kind: str, customer: Customer) -> Event:
    """An event of a customer."""
    return Event(kind, customer.id, CustomerPayload(customer), customer_id=customer.id)


async def of_upserts(conn: Conn, project: str, *, created: Collection[str], updated: Collection[str]) -> list[Event]:
    """The events of customers that were written in this transaction, as they are stored now."""
    if not created and not updated:
        return []
    parameters = {"project_id": project, "ids": [*created, *updated]}
    rows = await (await conn.execute(SQL.customers_shown, parameters)).fetchall()
    made = set(created)
    return [of_customer(CREATED if row.id in made else UPDATED, shown(row)) for row in rows]
