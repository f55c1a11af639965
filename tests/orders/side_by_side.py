"""The same orders by requests of their own and by the import, and what each way sets off.

`.venv/bin/python -m tests.orders.side_by_side` writes the table into docs/reference/effects.md; `test_side_by_side`
compares.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import psycopg

from tests.deployment import Deployment, Project, until
from tests.events.log import events_of
from tests.segments.placed import active, all_placed, having

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "effects.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"

_SHIRT = {
    "product": {"source_id": "shirt", "name": "Shirt", "override": True},
    "sku": {"source_id": "shirt-blue", "sku": "Blue", "price": 2000, "override": True},
    "quantity": 1,
}
# two rounds: orders that are new, and what becomes of them
NEW: list[dict[str, Any]] = [
    {"source_id": "a", "status": "CREATED", "customer": {"source_id": "ann", "name": "Ann"}, "items": [_SHIRT]},
    {"source_id": "b", "status": "PAID", "customer": {"source_id": "bob"}, "referrer": {"source_id": "ann"},
     "amount": 900},
    {"source_id": "c", "status": "FULFILLED", "amount": 100},
]  # fmt: skip
CHANGED: list[dict[str, Any]] = [
    {"source_id": "a", "status": "PAID"},
    {"source_id": "b", "status": "CANCELED", "customer": {"source_id": "bob", "name": "Bob"}},
    {"source_id": "c", "status": "FULFILLED"},
]
BUYERS = having("summary.orders.total_count", "$more_than", 0)
EVENTS = (
    "customer.created", "customer.updated", "customer.order.created", "customer.order.updated", "customer.order.paid",
    "customer.order.canceled", "customer.order.fulfilled", "product.created", "sku.created",
    "customer.segment.entered", "customer.segment.left",
)  # fmt: skip

Seen = dict[str, int]


def by_requests(project: Project) -> Seen:
    """Create each, then update each."""
    segment_id = active(project, BUYERS)
    for order in NEW:
        project.call("POST", "/v1/orders", json=order)
    all_placed(project)
    for order in CHANGED:
        project.call("PUT", f"/v1/orders/{order['source_id']}", json=order)
    return seen(project, segment_id)


def by_imports(project: Project) -> Seen:
    """Import all, twice."""
    segment_id = active(project, BUYERS)
    project.imported(*NEW)
    all_placed(project)
    project.imported(*CHANGED)
    return seen(project, segment_id)


def seen(project: Project, segment_id: str) -> Seen:
    """What is there afterwards, and what was set off."""
    orders = {order["source_id"]: order for order in project.all_orders()}
    found = {
        "orders stored": len(orders),
        "orders paid or fulfilled": sum(order["status"] in {"PAID", "FULFILLED"} for order in orders.values()),
        "customers upserted": project.get("/v1/customers")["total"],
        "products and SKUs upserted": 2 if project.get("/v1/products/shirt")["skus"]["total"] == 1 else 0,
        "revenue in customers' summaries": sum(
            customer["summary"]["orders"]["total_amount"] for customer in project.get("/v1/customers")["customers"]
        ),
    }
    all_placed(project)
    found["customers in the active segment of buyers"] = project.get("/v1/customers", segment_id=segment_id)["total"]
    with psycopg.connect(project.deployment.dsn, autocommit=True) as conn:
        until(lambda: _count(conn, "SELECT count(*) FROM event_outbox WHERE project_id = %s", project) == 0)
        worked_off = "SELECT coalesce(sum(total), 0)::bigint FROM event_totals WHERE project_id = %s"
        found["events worked off"] = _count(conn, worked_off, project)
    counts = Counter(event.type for event in events_of(project))
    assert set(counts) <= set(EVENTS), counts
    return found | {f"event `{kind}`": counts[kind] for kind in EVENTS}


def _count(conn: psycopg.Connection[Any], query: str, project: Project) -> int:
    row = conn.execute(query.encode(), [project.id]).fetchone()
    assert row is not None
    return int(row[0])


def table(requests: Seen, imports: Seen) -> str:
    """Both, side by side, in Markdown."""
    lines = ["| what | create and update | import |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {requests[what]} | {imports[what]} |" for what in requests)]) + "\n"


def page(text: str, new: str) -> str:
    """The page with another table."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{new}{END}{rest.partition(END)[2]}"


def main() -> None:
    deployment = Deployment()
    try:
        deployment.start()
        new = table(by_requests(deployment.new_project()), by_imports(deployment.new_project()))
        PAGE.write_text(page(PAGE.read_text(), new))
    finally:
        deployment.close()


if __name__ == "__main__":
    main()
