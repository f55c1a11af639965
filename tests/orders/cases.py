"""Many cases in one import: each case an order of its own, named after it."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tests.deployment import Project

Row = dict[str, Any]


def stored_orders(project: Project, cases: Mapping[str, Row]) -> dict[str, Row]:
    """Import an order a case, all of which must go in, and read each back by its name."""
    project.imported(*({**order, "source_id": name} for name, order in cases.items()))
    return {name: exact(project, f"/v1/orders/{quote(name, safe='')}") for name in cases}


def stored_items(project: Project, cases: Mapping[str, Row]) -> dict[str, Row]:
    """Import an order a case with the case's one item, and read the items back."""
    orders = stored_orders(project, {name: {"items": [item]} for name, item in cases.items()})
    assert {len(order["items"]) for order in orders.values()} <= {1}
    return {name: order["items"][0] for name, order in orders.items()}


def failures(project: Project, cases: Mapping[str, Row]) -> dict[str, str]:
    """Import an order a case, all of which must fail; the reasons."""
    result = project.import_orders([{**order, "source_id": name} for name, order in cases.items()])
    assert (result["done_count"], result["failed_count"]) == (0, len(cases)), result
    return {failure["source_id"]: failure["reason"] for failure in result["failed"]}


def exact(project: Project, path: str) -> Row:
    """An answer of the API that holds no floating-point number anywhere."""
    answer = project.http.get(path)
    assert answer.status_code == 200, answer.text
    found: Row = json.loads(answer.content, parse_float=_no_float)
    return found


def parts(rows: Mapping[str, Row], *fields: str) -> dict[str, tuple[Any, ...]]:
    """Some fields of each row; none for those that are left out."""
    return {name: tuple(row.get(field) for field in fields) for name, row in rows.items()}


def _no_float(text: str) -> Any:
    raise AssertionError(f"{text} is no integer")


class Catalogue:
    """Products and SKUs that a project starts with, and what an item that means them echoes.

    Product `p` has a price, `bare` has none. SKUs `s` (with a price) and `s-bare` (without) belong to `p`,
    `t-bare` to `bare`.
    """

    def __init__(self, project: Project) -> None:
        mug = {"source_id": "p", "override": True, "name": "Mug", "price": 20, "metadata": {"colour": "red"}}
        bare = {"source_id": "bare", "override": True}
        large = {"source_id": "s", "override": True, "sku": "Mug L", "price": 10, "metadata": {"size": "L"}}
        project.imported(
            {"items": [{"product": mug, "sku": large}]},
            {"items": [{"product": {"source_id": "p"}, "sku": {"source_id": "s-bare", "override": True}}]},
            {"items": [{"product": bare, "sku": {"source_id": "t-bare", "override": True}}]},
        )
        self.ids: dict[str, str] = {
            name: project.get(f"/v1/{kind}/{name}")["id"]
            for kind, names in (("products", ("p", "bare")), ("skus", ("s", "s-bare", "t-bare")))
            for name in names
        }
        self.product = {"id": self.ids["p"], **{name: mug[name] for name in ("source_id", "name", "price", "metadata")}}
        self.sku = {"id": self.ids["s"], **{name: large[name] for name in ("source_id", "sku", "price", "metadata")}}
