"""What a project must hold after a list of imports: a model that applies them one by one, in memory."""

import random
from collections.abc import Iterable
from typing import Any

REVENUE = {"PAID", "FULFILLED"}
STATUSES = ["CREATED", "PAID", "CANCELED", "FULFILLED"]
ORDERS = 900
CUSTOMERS = 60
PRODUCTS = 12


def an_import(rng: random.Random, no: int, records: int) -> list[dict[str, Any]]:
    """Orders that overlap with those of other imports; one in thirty names a customer who does not exist."""
    orders = []
    for record in range(records):
        source_id = f"o-{rng.randrange(ORDERS)}"
        order: dict[str, Any] = {"source_id": source_id, "metadata": {"last": f"{no}/{record}", f"import {no}": record}}
        if rng.random() < 0.9:
            order["status"] = rng.choice(STATUSES)
        if rng.random() < 0.03:
            order["customer"] = {"id": "cust_unknown"}
        elif rng.random() < 0.8:
            customer = rng.randrange(CUSTOMERS)
            order["customer"] = {"source_id": f"c-{customer}", "name": f"Name {no}"}
        price, product = rng.randrange(1, 1000), rng.randrange(PRODUCTS)
        order["items"] = [
            {
                "quantity": rng.randrange(1, 4),
                "price": price,
                "product": {"source_id": f"p-{product}", "name": f"Product {no}", "override": True},
            }
        ]
        orders.append(order)
    return orders


class Model:
    """The state after some imports."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.customers: dict[str, str] = {}
        self.products: dict[str, str] = {}

    def apply(self, orders: Iterable[dict[str, Any]]) -> dict[str, int]:
        """Apply an import and return the counts of its result."""
        counts = {"done_count": 0, "failed_count": 0, "created_count": 0, "updated_count": 0, "unchanged_count": 0}
        for given in orders:
            if given.get("customer", {}).get("id"):
                counts["failed_count"] += 1
                continue
            counts["done_count"] += 1
            counts["created_count" if given["source_id"] not in self.orders else "updated_count"] += 1
            self._take(given)
        return counts

    def _take(self, given: dict[str, Any]) -> None:
        order = self.orders.setdefault(
            given["source_id"], {"status": "CREATED", "customer": None, "metadata": {}, "amount": 0}
        )
        order["status"] = given.get("status", order["status"])
        order["metadata"] = order["metadata"] | given["metadata"]
        order["amount"] = sum(item["price"] * item["quantity"] for item in given["items"])
        for item in given["items"]:
            self.products[item["product"]["source_id"]] = item["product"]["name"]
        if "customer" in given:
            order["customer"] = given["customer"]["source_id"]
            self.customers[given["customer"]["source_id"]] = given["customer"]["name"]

    def summaries(self) -> dict[str, tuple[int, int]]:
        """Total amount and number of the orders of each customer that count."""
        totals = dict.fromkeys(self.customers, (0, 0))
        for order in self.orders.values():
            if order["customer"] and order["status"] in REVENUE:
                amount, count = totals[order["customer"]]
                totals[order["customer"]] = (amount + order["amount"], count + 1)
        return totals
