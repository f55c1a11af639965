"""Orders drawn at random from a seed: the usual far more often than the odd, and few names, so that they meet.

A reference to a row is a pair of its kind and its source id, until it is known which id the server gave.
"""

import random
from typing import Any

from tests.orders.model import MAX, ORDERED_AT, Row

CUSTOMERS, PRODUCTS, SKUS = ("c1", "c2", "c3"), ("p1", "p2", "p3"), ("s1", "s2", "s3")


class Random(random.Random):
    """Draws what a request may hold, the usual far more often than the odd."""

    def rarely(self, usual: Any, *odd: Any, one_in: int = 25) -> Any:
        return self.choice(odd) if self.randrange(one_in) == 0 else usual

    def fields(self, **values: Any) -> Row:
        """An object in which each field may be absent or, rarely, null."""
        return {name: self.rarely(value, None, one_in=15) for name, value in values.items() if self.randrange(4) < 3}

    def money(self) -> int:
        return int(self.rarely(self.randrange(500), 0, MAX // 2, MAX, one_in=60))

    def text(self) -> str:
        return self.choice(["a", "b", ""])

    def metadata(self) -> Row:
        """Several keys in several orders."""
        values: dict[str, list[Any]] = {
            "zeta": [1, "x", [2, {"deep": None}]],
            "b": [False, 1.5, 10**15],
            "k": [{"z": 1, "a": 2}, "y"],
        }
        keys = self.sample([*values], self.randrange(4))
        return {key: self.rarely(self.choice(values[key]), None, one_in=6) for key in keys}

    def person(self) -> Any:
        if self.randrange(20) == 0:
            return self.choice([{}, {"source_id": ""}, {"id": None, "name": ""}])
        return self.fields(
            name=self.text(),
            email=self.text(),
            birthdate=self.choice(["1990-02-28", "1991-12-31"]),
            birthday=self.choice(["1990-02-28", "1992-02-29"]),
            address=self.choice([{"city": "Lodz"}, {"city": "Lodz", "country": "PL"}]),
            metadata=self.metadata(),
        ) | self.choice([
            {},
            {"id": ("customers", self.rarely(self.choice(CUSTOMERS), "c9"))},
            *[{"source_id": source_id} for source_id in CUSTOMERS],
        ])  # fmt: skip

    def product(self) -> Any:
        sent = self.fields(name=self.text(), price=self.money(), metadata=self.metadata()) | {
            "source_id": self.rarely(self.choice(PRODUCTS), "", None, one_in=6),
            "override": self.randrange(4) > 0,
        }
        return self.rarely(sent, {**sent, "id": ("products", self.choice([*PRODUCTS, "p9"]))}, one_in=8)

    def sku(self) -> Any:
        sent = self.fields(sku=self.text(), price=self.money(), metadata=self.metadata()) | {
            "source_id": self.rarely(self.choice(SKUS), "", None, one_in=6),
            "override": self.randrange(4) > 0,
        }
        return self.rarely(sent, {**sent, "id": ("skus", self.choice([*SKUS, "s9"]))}, one_in=8)

    def item(self) -> Any:
        about = self.choice(["product", "sku"])
        named = self.choice(PRODUCTS if about == "product" else SKUS)
        sent = self.fields(
            source_id=self.rarely(named, "", "free", "s1", "p1"),
            related_object=about,
            quantity=self.rarely(self.randrange(5), 2**50),
            initial_quantity=self.randrange(1, 4),
            discount_quantity=self.randrange(3),
            initial_amount=self.money(),
            discount_amount=self.money(),
            metadata=self.metadata(),
        )
        sent |= self.choice([{}, {"amount": self.money()}, {"price": self.money()}])
        sent |= self.choice([{}, {"product": self.product()}, {"product": self.product(), "sku": self.sku()}])
        ids = {"product_id": ("products", self.choice(PRODUCTS)), "sku_id": ("skus", self.choice(SKUS))}
        return self.rarely(sent, sent | ids, {**sent, "sku_id": ("skus", "s9")}, {"sku_id": ids["sku_id"]}, one_in=8)

    def order(self) -> Any:
        sent = self.fields(
            status=self.choice(["PAID", "PAID", "FULFILLED", "CANCELED", "CREATED"]),
            amount=self.money(),
            initial_amount=self.money(),
            discount_amount=self.money(),
            items=[self.item() for _ in range(self.randrange(4))],
            metadata=self.metadata() | self.choice([{}, {"ordered_at": self.choice([*ORDERED_AT, None])}]),
            customer=self.person(),
            referrer=self.person(),
        )
        source_id = self.rarely(self.choice(["o1", "o2", "o3", "o4", "o5", "o6"]), "", None)
        row_id = self.choice(["ord_New1", "ord_New2", "ord_", "order-1", "", ("orders", "o1"), ("orders", "o2")])
        referrer_id = ("customers", self.choice([*CUSTOMERS, *CUSTOMERS, "c9"]))
        sent |= self.rarely(
            {"source_id": source_id}, {}, {"id": row_id}, {"id": row_id, "source_id": source_id}, one_in=8
        )
        return self.rarely(sent, sent | {"referrer_id": referrer_id}, one_in=8)

    def poisoned(self, order: Row) -> Row:
        """An order like this one that must fail, whatever is stored."""
        items = [*(order.get("items") or [])]
        wrong_item = self.choice([
            {"sku_id": "skus_unknown"}, {"product": {"id": "products_unknown", "override": True}},
            {"price": MAX, "quantity": 2},
        ])  # fmt: skip
        items.insert(self.randrange(len(items) + 1), wrong_item)
        wrong: list[Row] = [
            {"items": items}, {"customer": {"id": "customers_unknown"}},
            {"discount_amount": MAX, "items": [*items, {"discount_amount": 1}]},
        ]  # fmt: skip
        return order | self.choice(wrong)

    def refused(self, order: Row) -> Row:
        """An order like this one for which the whole request is refused."""
        wrong: list[Row] = [
            {"amount": -1}, {"status": "paid"}, {"items": [{"quantity": 1.5}]}, {"metadata": []},
            {"customer": {"birthdate": "1990-02-30"}}, {"source_id": "x" * 256},
        ]  # fmt: skip
        return order | self.choice(wrong)
