"""An import comes to the same in many portions as in one: rows, sums, counts and failures.

Orders are drawn at random from a seed, and meet in few customers, products and orders.
"""

import random
import re
from typing import Any

import pytest

from tests.bulk.queue import in_loop
from tests.orders.portions import Importer, bare, product

COLUMNS = {
    "customers": "t.source_id, t.name, t.email, t.birthdate, t.birthday, t.address::text, t.metadata::text,"
    " orders_total_amount, orders_total_count, orders_last_id, orders_last_amount,"
    " (SELECT orders_last_date = coalesce(o.ordered_at, o.created_at) FROM orders AS o"
    " WHERE o.project_id = t.project_id AND o.id = orders_last_id)",
    "products": "source_id, name, price, metadata::text",
    "skus": "source_id, product_id, sku, price, metadata::text",
    "orders": "source_id, status, customer_id, referrer_id, amount, total_amount, initial_amount, discount_amount,"
    " items_amount, items_discount_amount, coalesce(items::text, '[]'), metadata::text, ordered_at",
}
STORED = [
    {
        "source_id": f"o{n}",
        "status": "PAID",
        "customer": {"source_id": f"c{n}"},
        "items": [product(f"p{n}", price=n, metadata={"z": 1, "a": 1e20}) | {"sku": {"source_id": f"s{n}"}}],
    }
    for n in (1, 2)
]


def drawn(seed: int, count: int) -> list[Any]:
    """Orders that meet in few customers, products and orders; `("orders", "o1")` is the id of that order."""
    draw = random.Random(seed)
    made: list[Any] = []
    for _ in range(count):
        number, other = draw.randrange(1, 5), draw.randrange(1, 5)
        order: dict[str, Any] = {"source_id": f"o{number}"}
        if draw.randrange(2):
            order["status"] = draw.choice(["PAID", "PAID", "FULFILLED", "CANCELED"])
        if draw.randrange(2):
            order["customer"] = draw.choice(
                [{"source_id": f"c{other}"}, {"source_id": f"c{other}", "name": f"n{number}"}, {"email": "e@x"}]
            )
        if draw.randrange(3) == 0:
            order["referrer"] = {"source_id": f"c{number}", "metadata": {f"k{other}": draw.choice([1, 1.0, None])}}
        if draw.randrange(2):
            order["items"] = [
                draw.choice([
                    product(f"p{other}", price=draw.randrange(3)), bare(f"p{other}"), bare("p9"), {"amount": 7},
                    product(f"p{other}", metadata={"f": draw.choice([1e16, -0.0, 2])})
                    | {"sku": {"source_id": f"s{number}", "override": True, "price": draw.randrange(3)}},
                    {"sku_id": "sku_unknown"},
                ])
                for _ in range(draw.randrange(3))
            ]  # fmt: skip
        if draw.randrange(2):
            order["metadata"] = {"ordered_at": f"2024-01-0{draw.randrange(1, 4)}"}
        match draw.randrange(8):
            case 0:  # a source id that is given up, and free to be taken
                order |= {"id": ("orders", f"o{draw.randrange(1, 3)}"), "source_id": f"o{draw.randrange(1, 8)}"}
            case 1:
                order = {**order, "customer": {"id": "cust_unknown"}}
            case 2 | 3 if made:
                order = draw.choice(made[-8:])
        made.append(order)
    return made


def resolved(value: Any, ids: dict[Any, str]) -> Any:
    match value:
        case tuple():
            return ids[value]
        case dict():
            return {key: resolved(part, ids) for key, part in value.items()}
    return value


async def state(importer: Importer, result: dict[str, Any]) -> dict[str, Any]:
    """All that is stored, and the result; in place of an id, which row of its table it is of."""
    queue, names = importer.queue, {}
    for table in COLUMNS:
        query = f"SELECT id FROM {table} WHERE project_id = %s ORDER BY created_at"
        for no, row in enumerate(await queue.rows(query.encode(), queue.project)):
            names[row.id] = f"<{table} {no}>"

    def named(value: Any) -> Any:
        found = re.compile(r"(?:ord|cust|prod|sku)_[0-9a-f]{32}")
        return found.sub(lambda match: names[match[0]], value) if isinstance(value, str) else value

    stored: dict[str, Any] = {}
    reasons = [named(failure["reason"]) for failure in result["failed"]]
    for table, columns in COLUMNS.items():
        query = f"SELECT id, {columns} FROM {table} AS t WHERE project_id = %s ORDER BY created_at"
        stored[table] = [tuple(map(named, row)) for row in await queue.rows(query.encode(), queue.project)]
        twice = f"SELECT count(*) - count(DISTINCT coalesce(updated_at, created_at)) FROM {table} WHERE project_id = %s"
        assert await queue.value(twice.encode(), queue.project) == 0, f"two moments of {table} are one"
    totals = "SELECT resource, sum(total)::int FROM row_totals WHERE project_id = %s GROUP BY resource"
    assert dict(await queue.rows(totals.encode(), queue.project)) == {
        k: len(rows) for k, rows in stored.items() if rows
    }
    inbox = "SELECT DISTINCT customer_id FROM segment_inbox WHERE project_id = %s"
    stored["inbox"] = sorted(names[row[0]] for row in await queue.rows(inbox.encode(), queue.project))
    return stored | result | {"failed": reasons}


async def outcome(dsn: str, orders: list[Any], *, size: int | None) -> dict[str, Any]:
    """What an import in portions of such a size comes to."""
    async with Importer.opened(dsn) as importer:
        await importer.imported(STORED)
        by_source = {table: await importer.by_source(table, "id") for table in ("orders", "customers")}
        ids = {(table, name): row_id for table, rows in by_source.items() for name, row_id in rows.items()}
        result = await importer.imported([resolved(order, ids) for order in orders], size=size)
        assert size is None or importer.portions > 5
        return await state(importer, result)


@pytest.mark.parametrize("seed", range(4))
@in_loop
async def test_many_portions_come_to_what_one_comes_to(workerless: str, seed: int) -> None:
    orders = drawn(seed, 60)
    at_once = await outcome(workerless, orders, size=None)
    for size in (1, 4, 11):
        assert await outcome(workerless, orders, size=size) == at_once
