"""What orders name, and reading all that is stored of it: before a batch of orders is applied, or one."""

from typing import Any

from punchcard.customers import customers
from punchcard.db.database import Conn
from punchcard.orders import items, storage
from punchcard.orders.orders import OrderIn
from punchcard.orders.planning import Planner
from punchcard.products import catalogue


class Named:
    """What orders name: ids and source ids of each kind."""

    def __init__(self) -> None:
        self.order_ids: set[str] = set()
        self.order_sources: set[str] = set()
        self.customer_ids: set[str] = set()
        self.customer_sources: set[str] = set()
        self.catalogue = catalogue.References()

    def add(self, order: OrderIn) -> None:
        """Add what an order names."""
        if order.id:
            self.order_ids.add(order.id)
        if order.source_id:
            self.order_sources.add(order.source_id)
        if order.referrer_id:
            self.customer_ids.add(order.referrer_id)
        for person in (order.customer, order.referrer):
            if person is not None:
                if person.id:
                    self.customer_ids.add(person.id)
                elif person.source_id:
                    self.customer_sources.add(person.source_id)
        if order.items:
            items.add_named(order.items, self.catalogue)


def date_of(order: OrderIn, key: str) -> Any:
    """What an order says under the key of its metadata that holds its date."""
    return None if order.metadata is None else order.metadata.get(key)


async def learn(conn: Conn, project: str, named: Named, planner: Planner) -> None:
    """Have the planner know everything stored that is named, with one query a table."""
    stored = await storage.resolve(conn, project, ids=named.order_ids, source_ids=named.order_sources)
    theirs = {person for order in stored for person in (order.customer_id, order.referrer_id) if person}
    people = await customers.resolve(conn, project, ids=named.customer_ids | theirs, source_ids=named.customer_sources)
    skus = await catalogue.resolve_skus(conn, project, named.catalogue)
    products = await catalogue.resolve_products(conn, project, named.catalogue, skus)
    planner.learn(customers=people, products=products, skus=skus, orders=stored)
