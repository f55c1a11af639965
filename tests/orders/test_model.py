"""Random imports against a model of the rules: whatever is sent, server and model must hold the same."""

import copy
import os
import random
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.deployment import Deployment, Project
from tests.orders.model import MAX, ORDERED_AT, Model, Row, shown

# each example is a project with several imports: about half a second
EXAMPLES = int(os.environ.get("PUNCHCARD_MODEL_EXAMPLES", "25"))

CUSTOMERS, PRODUCTS, SKUS = ("c1", "c2", "c3"), ("p1", "p2", "p3"), ("s1", "s2", "s3")
# orders as seeds: hypothesis leaves orders out to make a failure small, and likes to send one twice
IMPORTS = st.lists(st.lists(st.integers(0, 2**32), min_size=1, max_size=15), min_size=2, max_size=5)


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


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(imports=IMPORTS)
def test_the_server_holds_what_the_model_holds(deployment_18: Deployment, imports: list[list[int]]) -> None:
    project, model = deployment_18.new_project(), Model()
    try:
        for seeds in [*imports, imports[-1]]:  # the last one twice
            orders = [_with_ids(Random(seed).order(), model) for seed in seeds]
            expected = model.apply(copy.deepcopy(orders))
            assert _counted(project.import_orders(orders)) == expected
            _compare(project, model)
    finally:
        project.close()


def _with_ids(value: Any, model: Model) -> Any:
    """References as the ids that the rows have by now; null while there is no such row, unknown for number 9."""
    if isinstance(value, tuple):
        kind, source_id = value
        row = model.find(kind, source_id=source_id)
        return row["id"] if row else f"{kind}_unknown" if source_id.endswith("9") else None
    if isinstance(value, list):
        return [_with_ids(element, model) for element in value]
    if isinstance(value, dict):
        return {name: _with_ids(part, model) for name, part in value.items()}
    return value


def _counted(result: Row) -> Row:
    names = ("created", "updated", "unchanged", "invalid_ordered_at")
    counts: Row = {name: result.get(f"{name}_count", 0) for name in names}
    assert result["done_count"] == sum(counts[name] for name in names[:3])
    assert result["failed_count"] == len(result["failed"])
    return {**counts, "failed": [failure["index"] for failure in result["failed"]]}


def _compare(project: Project, model: Model) -> None:
    """Everything stored is what the model says, and the model learns the ids."""
    found = project.get("/v1/customers", limit=100, order="created_at")["customers"]
    people = model.rows["customers"]
    assert len(found) == len(people)
    for person, stored in zip(people, found, strict=True):
        assert person["id"] in {None, stored["id"]}
        person["id"] = stored["id"]
    orders = list(project.all_orders())
    assert len(orders) == len(model.rows["orders"])
    sources = _compare_catalogue(project, model)
    for order, stored in zip(model.rows["orders"], orders, strict=True):
        assert order["id"] in {None, stored["id"]}
        order["id"] = stored["id"]
        order["created_at"] = stored["created_at"]
        order["date"] = stored.get("ordered_at") or stored["created_at"]
        assert _order_stored(stored, people, sources) == shown(order)
    for person, stored in zip(people, found, strict=True):
        assert _person_stored(stored) == _person_shown(person, model)


def _compare_catalogue(project: Project, model: Model) -> dict[str, str]:
    """The source ids by id."""
    sources: dict[str, str] = {}
    for kind, name in (("products", "name"), ("skus", "sku")):
        for row in model.rows[kind]:
            stored = project.get(f"/v1/{kind}/{row['source_id']}")
            row["id"] = stored["id"]
            sources[stored["id"]] = row["source_id"]
            assert {field: stored[field] for field in (name, "price", "metadata")} == {
                name: row["name"], "price": row["price"], "metadata": row["metadata"]
            }  # fmt: skip
            if kind == "skus":
                assert stored["product_id"] == row["product"]["id"]
    for kind, source_ids in (("products", ("p1", "s1", "free")), ("skus", ("s1", "p1", "free"))):
        for source_id in source_ids:
            if model.find(kind, source_id=source_id) is None:
                project.get(f"/v1/{kind}/{source_id}", expect=404)
    return sources


def _order_stored(stored: Row, people: list[Row], sources: dict[str, str]) -> Row:
    def person(role: str) -> int | None:
        person_id = stored[f"{role}_id"]
        assert stored.get(role) == (person_id and {"id": person_id, "object": "customer"})
        return next(id(row) for row in people if row["id"] == person_id) if person_id else None

    items = copy.deepcopy(stored["items"])
    for item in items:
        for key in ("product_id", "sku_id"):
            if key in item:
                item[key] = sources[item[key]]
        for key in ("product", "sku"):
            if key in item and "id" in item[key]:
                assert sources[item[key].pop("id")] == item[key]["source_id"]
            if key in item and item[key].get("metadata") == {}:
                del item[key]["metadata"]
    fields = ("source_id", "status", "amount", "initial_amount", "total_amount", "metadata", "ordered_at",
              "discount_amount", "items_discount_amount", "total_discount_amount")  # fmt: skip
    values = {name: stored.get(name) for name in fields}
    return values | {"items": items, "customer": person("customer"), "referrer": person("referrer")}


PERSON_FIELDS = ("id", "source_id", "name", "email", "birthdate", "birthday", "address", "metadata")


def _person_stored(stored: Row) -> Any:
    return {name: stored.get(name) for name in PERSON_FIELDS} | stored["summary"]["orders"]


def _person_shown(person: Row, model: Model) -> Row:
    paid = model.paid(person)
    total = model.revenue(person)
    summary: Row = {"total_amount": total, "total_count": len(paid), "average_amount": 0, "last_order_amount": 0}
    if paid:
        last = max(paid, key=lambda order: (order["date"].rstrip("Z").ljust(26, "."), order["created_at"]))
        summary["average_amount"] = int((Decimal(total) / len(paid)).quantize(Decimal(1), ROUND_HALF_UP))
        summary |= {"last_order_amount": last["total_amount"], "last_order_date": last["date"]}
    return {name: person.get(name) for name in PERSON_FIELDS} | summary
