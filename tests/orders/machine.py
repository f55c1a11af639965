"""A shop that does anything to its history, and a model of it: whatever is sent, both must hold the same.

Each step sends one or several requests and compares everything the API shows. `tests/crash/test_machine.py`
kills what runs meanwhile.
"""

import copy
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.deployment import Deployment, Project
from tests.orders.drawn import Random
from tests.orders.model import Model, Row, shown

SEED = st.integers(0, 2**32)
# orders as seeds: hypothesis leaves orders out to make a failure small, and likes to send one twice
SEEDS = st.lists(SEED, min_size=1, max_size=12)
MANY = 60
PAGE = 100


class ImportMachine(RuleBasedStateMachine):
    """Requests, repeats, updates and failures of one project."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__()
        self.model = Model()
        self.sent: list[list[Row]] = []
        self.project = self.new_project(deployment)

    def teardown(self) -> None:
        self.project.close()

    @rule(seeds=SEEDS)
    def send(self, seeds: list[int]) -> None:
        """Orders, new ones and ones that exist."""
        self.import_all(self.orders(seeds))

    @rule(seed=SEED)
    def send_many(self, seed: int) -> None:
        """A request in which every row is touched many times."""
        draw = Random(seed)
        self.import_all(self.orders(draw.randrange(2**32) for _ in range(MANY)))

    @rule(requests=st.lists(SEEDS, min_size=2, max_size=4))
    def send_several(self, requests: list[list[int]]) -> None:
        """Requests that queue up: they are done one after another, in the order of arrival."""
        self.import_all(*(self.orders(seeds) for seeds in requests))

    @precondition(lambda self: self.sent)
    @rule(no=st.integers(0, 50), twice=st.booleans())
    def send_again(self, no: int, twice: bool) -> None:
        """An earlier request, word for word, perhaps twice at once."""
        request = self.sent[no % len(self.sent)]
        self.import_all(*[request] * (2 if twice else 1))

    @precondition(lambda self: self.model.rows["orders"])
    @rule(changes=st.lists(st.tuples(st.integers(0, 50), SEED), min_size=1, max_size=6))
    def update(self, changes: list[tuple[int, int]]) -> None:
        """Orders that exist, by their ids, with some of their fields."""
        orders = self.model.rows["orders"]
        updates: list[Row] = []
        for no, seed in changes:
            new = self.with_ids(Random(seed).order())
            updates.append({**new, "id": orders[no % len(orders)]["id"], "source_id": None})
        self.import_all(updates)

    @rule(seed=SEED, poison=st.booleans())
    def create(self, seed: int, poison: bool) -> None:
        """One order by a request of its own: the rules are the same, and the answer is what is stored."""
        order = self.with_ids(Random(seed).order())
        self.write_one("POST", "/v1/orders", Random(seed).poisoned(order) if poison else order)

    @precondition(lambda self: self.model.rows["orders"])
    @rule(no=st.integers(0, 50), seed=SEED, by_source=st.booleans())
    def change(self, no: int, seed: int, by_source: bool) -> None:
        """One order that exists, by a request of its own, with some of its fields."""
        stored = self.model.rows["orders"][no % len(self.model.rows["orders"])]
        new = self.with_ids(Random(seed).order())
        key = stored["source_id"] if by_source and stored["source_id"] else stored["id"]
        self.write_one("PUT", f"/v1/orders/{key}", new, stored=stored)

    @rule(seeds=SEEDS, poisoned=st.sets(st.integers(0, 11), min_size=1))
    def fail(self, seeds: list[int], poisoned: set[int]) -> None:
        """Orders of which some must fail, amid others that name the same rows."""
        orders = self.orders(seeds)
        for no in poisoned & set(range(len(orders))):
            orders[no] = Random(seeds[no]).poisoned(orders[no])
        self.import_all(orders)

    @rule(seeds=SEEDS, no=st.integers(0, 11))
    def be_refused(self, seeds: list[int], no: int) -> None:
        """A request with one order of a wrong shape: nothing of it is done."""
        orders = self.orders(seeds)
        wrong = no % len(orders)
        orders[wrong] = Random(seeds[wrong]).refused(orders[wrong])
        answer = self.project.refused_import(orders)
        assert answer["details"].startswith(f"Property .[{wrong}]")
        compare(self.project, self.model)

    # ---- what the rules do ----

    def write_one(self, method: str, path: str, order: Row, *, stored: Row | None = None) -> None:
        """Send an order that is to be created or updated; a refused one changes nothing."""
        expected = self.model.write(copy.deepcopy(order), stored=stored)
        answer = self.project.http.request(method, path, json=order)
        assert answer.status_code == 200 if expected else 400 <= answer.status_code < 500, answer.text
        compare(self.project, self.model)
        if expected:
            assert answer.json() == self.project.get(f"/v1/orders/{answer.json()['id']}")

    def new_project(self, deployment: Deployment) -> Project:
        return deployment.new_project()

    def post(self, orders: list[Row]) -> str:
        """Send a request that must be accepted; the action's id."""
        return self.project.post_import(orders)

    def orders(self, seeds: Any) -> list[Row]:
        return [self.with_ids(Random(seed).order()) for seed in seeds]

    def with_ids(self, value: Any) -> Any:
        """References as the ids that the rows have by now; null while there is no such row, unknown for number 9."""
        if isinstance(value, tuple):
            kind, source_id = value
            row = self.model.find(kind, source_id=source_id)
            return row["id"] if row else f"{kind}_unknown" if source_id.endswith("9") else None
        if isinstance(value, list):
            return [self.with_ids(element) for element in value]
        if isinstance(value, dict):
            return {name: self.with_ids(part) for name, part in value.items()}
        return value

    def import_all(self, *requests: list[Row]) -> None:
        """Send the requests, then wait for each; results and state must be the model's."""
        self.check([(request, self.post(request)) for request in requests])

    def check(self, accepted: list[tuple[list[Row], str]]) -> None:
        """Wait for requests that were accepted in this order; results and state must be the model's."""
        for request, action_id in accepted:
            expected = self.model.apply(copy.deepcopy(request))
            action = self.project.finished(action_id)
            assert action["status"] == "DONE"
            assert action["progress"] == 100
            assert counted(action["result"], request) == expected
            self.sent.append(request)
        compare(self.project, self.model)


# ---- comparing ---------------------------------------------------------------------------------


def counted(result: Row, request: list[Row]) -> Row:
    """A result as the model gives it."""
    names = ("created", "updated", "unchanged", "invalid_ordered_at")
    counts: Row = {name: result.get(f"{name}_count", 0) for name in names}
    assert result["done_count"] == sum(counts[name] for name in names[:3])
    assert result["failed_count"] == len(result["failed"])
    assert result["done_count"] + result["failed_count"] == len(request)
    assert [failure["source_id"] for failure in result["failed"]] == [
        request[failure["index"]].get("source_id") for failure in result["failed"]
    ]
    assert all(failure["reason"] for failure in result["failed"])
    return {**counts, "failed": [failure["index"] for failure in result["failed"]]}


def compare(project: Project, model: Model) -> None:
    """Everything stored is what the model says, and the model learns the ids."""
    found = list(_all_customers(project))
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


def _all_customers(project: Project) -> Iterator[Any]:
    page = 1
    while customers := project.get("/v1/customers", limit=PAGE, order="created_at", page=page)["customers"]:
        yield from customers
        if len(customers) < PAGE:
            return
        page += 1


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
