"""What happens between two portions of an import, and what portions leave to those behind them.

One worker's portions, run one by one: between two of them the tests do what can happen there. Pieces are cut small,
so that a few orders are many portions.
"""

from typing import Any

import msgspec
import pytest

from punchcard.bulk.jobs import Batch
from punchcard.bulk.portions import LaneLost
from punchcard.db.database import Conn
from punchcard.orders.imports import OrdersImport, Plan
from punchcard.orders.redating import OrdersRedating
from punchcard.projects import changes
from tests.bulk.queue import in_loop
from tests.deployment import Project
from tests.orders.portions import Importer, bare, product

# ---- what happens between two portions ---------------------------------------------------------


async def run_sql(importer: Importer, statement: str) -> None:
    """A statement of somebody else, with the project in place of `PROJECT`."""
    await importer.queue.conn.execute(statement.replace("PROJECT", f"'{importer.queue.project}'").encode())


THEIRS = {
    "a customer": "UPDATE customers SET name = 'Theirs', orders_total_amount = orders_total_amount + 1000,"
    " orders_total_count = orders_total_count + 1 WHERE project_id = PROJECT AND source_id = 'guest'",
    "an order": "UPDATE orders SET metadata = metadata || '{\"theirs\": 1}' WHERE project_id = PROJECT"
    " AND source_id = 'again'",
    "a product": "UPDATE products SET name = 'Theirs' WHERE project_id = PROJECT",
    "a new customer": "INSERT INTO customers (project_id, id, source_id, name, created_at)"
    " VALUES (PROJECT, 'cust_theirs', 'late', 'Theirs', clock_timestamp())",
    "a new order": "INSERT INTO orders (project_id, id, source_id, status, amount, total_amount, metadata, created_at)"
    """ VALUES (PROJECT, 'ord_theirs', 'o7', 'CREATED', 9, 9, '{"theirs": 1}', clock_timestamp())""",
    "a customer that is gone": "DELETE FROM customers WHERE project_id = PROJECT AND source_id = 'guest'",
}


@pytest.mark.parametrize("theirs", [*THEIRS])
@in_loop
async def test_what_others_write_before_a_portion_is_kept(workerless: str, theirs: str) -> None:
    def order(n: int) -> dict[str, Any]:
        return {"source_id": f"o{n}", "status": "PAID", "amount": 1, "customer": {"source_id": "guest"}}

    again = {"source_id": "again", "items": [product(price=3)]}
    orders = [part for n in range(8) for part in (order(n), {**again, "metadata": {f"k{n}": n}})]
    orders[13]["items"] = [product(price=5)]
    orders[14]["referrer"] = {"source_id": "late"}
    async with Importer.opened(workerless) as importer:
        action = await importer.schedule(orders, size=2)
        for _ in range(6):
            await importer.portion()
        await run_sql(importer, THEIRS[theirs])
        await importer.rest()
        assert (await importer.queue.action(action)).records_failed == 0
        customers = await importer.by_source("customers", "name, orders_total_amount, orders_total_count, id")
        stored = await importer.by_source("orders", "metadata::text, amount, customer_id")
        products = await importer.by_source("products", "price, name")
    assert products == {"p": (3, "Theirs" if theirs == "a product" else None)}
    assert set(stored) == {"again", *(f"o{n}" for n in range(8))}
    added = {"a customer": (1008, 9), "a customer that is gone": (2, 2)}.get(theirs, (8, 8))
    assert customers["guest"][1:3] == added
    assert customers["guest"][0] == ("Theirs" if theirs == "a customer" else None)
    assert customers["late"][0] == ("Theirs" if theirs == "a new customer" else None)
    assert ("theirs" in stored["again"][0]) == (theirs == "an order")
    assert ("theirs" in stored["o7"][0]) == (theirs == "a new order")
    assert stored["o7"][2] == customers["guest"][3]


@in_loop
async def test_a_worker_that_dies_between_portions(workerless: str) -> None:
    orders = [
        {"source_id": f"o{n % 7}", "status": "PAID", "amount": n, "customer": {"source_id": f"c{n % 2}"}}
        for n in range(30)
    ]
    async with Importer.opened(workerless) as importer:
        await importer.schedule(orders, size=3)
        for _ in range(4):
            await importer.portion()
            await importer.killed()
            await importer.portion()
        await importer.rest()
        assert await importer.by_source("orders", "amount") == {f"o{n % 7}": n for n in range(30)}
        totals = await importer.by_source("customers", "orders_total_amount, orders_total_count")
    assert totals == {"c0": (28 + 24 + 26, 3), "c1": (29 + 23 + 25 + 27, 4)}


@in_loop
async def test_a_portion_that_lost_its_lane_writes_nothing(workerless: str) -> None:
    class Robbed(OrdersImport):
        robbing = False

        async def write(self, conn: Conn, project: str, plan: Plan) -> None:
            await super().write(conn, project, plan)
            if self.robbing:
                await conn.execute(
                    "UPDATE async_actions SET started_by = 'worker_x/0/0' WHERE project_id = %s", [project]
                )

    job = Robbed()
    async with Importer.opened(workerless, job) as importer:
        await importer.schedule([{"source_id": f"o{n}", "items": [product(price=n)]} for n in range(4)], size=1)
        await importer.portion()
        job.robbing = True
        with pytest.raises(LaneLost):
            await importer.portion()
        job.robbing = False
        await importer.portion()
        await importer.rest()
        assert await importer.by_source("products", "price") == {"p": 3}
        assert len(await importer.by_source("orders", "id")) == 4


@in_loop
async def test_another_key_for_dates_between_portions(workerless: str) -> None:
    orders = [
        {"source_id": f"o{n}", "metadata": {"ordered_at": "2011-01-01", "bought": "2022-02-02"}} for n in range(8)
    ]
    async with Importer.opened(workerless) as importer:
        queue = importer.queue
        await importer.schedule(orders, size=1)
        for _ in range(3):
            await importer.portion()
        async with queue.conn.transaction():
            await changes.update_project(queue.conn, queue.project, ordered_at_key="bought", request_id="test")
        await importer.rest()
        importer.job = OrdersRedating()
        await importer.rest()
        dates = await importer.by_source("orders", "ordered_at::date::text")
    assert set(dates.values()) == {"2022-02-02"}


@in_loop
async def test_a_metadata_schema_takes_effect_within_a_portion(workerless: str) -> None:
    async with Importer.opened(workerless) as importer:
        await importer.schedule([{"source_id": f"o{n}", "metadata": {"x": n}} for n in range(6)], size=1)
        await importer.portion()
        await run_sql(
            importer,
            "INSERT INTO metadata_schemas (project_id, id, related_object, allow_defined_only, created_at)"
            " VALUES (PROJECT, 'ms_1', 'order', true, clock_timestamp())",
        )
        await importer.rest()
        assert set(await importer.by_source("orders", "id")) <= {"o0", "o1"}


# ---- orders that meet across portions ----------------------------------------------------------


@in_loop
async def test_the_last_order_of_a_customer_across_portions(workerless: str) -> None:
    """Equal dates, the last order that moves away, and one that gets an earlier date."""

    def order(source_id: str, customer: str, date: str, amount: int = 1, **fields: Any) -> dict[str, Any]:
        return {
            "source_id": source_id, "status": "PAID", "amount": amount, "customer": {"source_id": customer},
            "metadata": {"ordered_at": date},
        } | fields  # fmt: skip

    orders = [
        order("a", "c", "2024-01-03", 1), order("b", "c", "2024-01-03", 2), order("x", "d", "2024-01-01", 10),
        order("b", "d", "2024-01-03", 2), order("e", "c", "2024-01-05", 5), order("e", "c", "2024-01-02", 5),
        order("f", "d", "2024-01-03", 7), order("f", "d", "2024-01-03", 7, status="CANCELED"),
        order("g", "c", "2024-01-03", 9), order("a", "c", "2024-01-03", 11),
    ]  # fmt: skip
    async with Importer.opened(workerless) as importer:
        await importer.imported(orders, size=1)
        query = (
            "SELECT c.source_id, o.source_id AS last, c.orders_last_amount, c.orders_total_amount, c.orders_total_count"
            " FROM customers AS c JOIN orders AS o ON o.project_id = c.project_id AND o.id = c.orders_last_id"
            " WHERE c.project_id = %s ORDER BY 1"
        )
        found = [tuple(row) for row in await importer.queue.rows(query, importer.queue.project)]
    assert found == [("c", "g", 9, 11 + 5 + 9, 3), ("d", "b", 2, 12, 2)]


@in_loop
async def test_a_source_id_given_up_in_one_portion_and_taken_in_the_next(workerless: str) -> None:
    async with Importer.opened(workerless) as importer:
        await importer.imported([{"id": "ord_a", "source_id": "one"}, {"id": "ord_b", "source_id": "two"}])
        moves = [("a", "tmp"), ("b", "one"), ("a", "two"), ("c", "tmp"), ("a", "free"), ("b", "two"), ("c", "one")]
        orders = [{"id": f"ord_{row}", "source_id": name, "metadata": {name: True}} for row, name in moves]
        result = await importer.imported([*orders, {"source_id": "tmp", "amount": 5}], size=1)
        assert (result["created_count"], result["updated_count"], result["failed_count"]) == (2, 6, 0)
        found = await importer.by_source("orders", "id, amount")
    assert {name: row[0] for name, row in found.items() if name != "tmp"} == {
        "free": "ord_a", "two": "ord_b", "one": "ord_c",
    }  # fmt: skip
    assert found["tmp"][1] == 5


@in_loop
async def test_a_customer_is_announced_by_the_portions_that_change_it(workerless: str) -> None:
    async with Importer.opened(workerless) as importer:
        names = ["once", *["often"] * 5]
        orders = [{"source_id": f"o{n}", "customer": {"source_id": name}} for n, name in enumerate(names)]
        await importer.imported(orders, size=1)
        query = (
            "SELECT c.source_id, count(*)::int FROM segment_inbox AS i"
            " JOIN customers AS c ON c.project_id = i.project_id AND c.id = i.customer_id"
            " WHERE i.project_id = %s GROUP BY c.source_id"
        )
        announced = {row[0]: row[1] for row in await importer.queue.rows(query, importer.queue.project)}
    assert announced == {"once": 1, "often": 5}


# ---- records that cannot go in -----------------------------------------------------------------


@in_loop
async def test_a_record_that_fails_alone_leaves_nothing_to_those_behind_it(workerless: str) -> None:
    """It is found out when it is written: what is planned behind it by then is worth nothing."""
    refused = {"source_id": "refused", "customer": {"source_id": "c"}, "items": [product(price=5)]}
    orders = [refused, {"source_id": "o1", "items": [bare()]}]
    async with Importer.opened(workerless) as importer:
        await run_sql(importer, "ALTER TABLE orders ADD CONSTRAINT tests_refuse CHECK (source_id <> 'refused')")
        try:
            result = await importer.imported(orders)
        finally:
            await run_sql(importer, "ALTER TABLE orders DROP CONSTRAINT tests_refuse")
        stored = await importer.by_source("orders", "items::text")
    assert [failure["index"] for failure in result["failed"]] == [0]
    first = msgspec.json.decode(stored["o1"])[0]
    assert "product_id" not in first, "that product was never made"
    assert "price" not in first
    assert result["products_created_count"] == 0


class Died(BaseException):
    """The worker's process is gone."""


class Mortal(OrdersImport):
    """A record kills whoever looks at it."""

    @staticmethod
    def look(batch: Batch) -> None:
        if any(b"fatal" in body for body in batch.bodies):
            raise Died

    async def plan(self, conn: Conn, project: str, batch: Batch) -> Plan:
        self.look(batch)
        return await super().plan(conn, project, batch)


@in_loop
async def test_who_comes_before_a_fatal_record_is_not_blamed_for_it(workerless: str) -> None:
    orders: list[Any] = [{"source_id": f"o{n}"} for n in range(20)]
    orders[13] = {"source_id": "fatal"}
    deaths = 0
    async with Importer.opened(workerless, Mortal()) as importer:
        action = await importer.schedule(orders)
        while (await importer.queue.action(action)).finished_at is None:
            try:
                await importer.portion()
            except Died:
                deaths += 1
                await importer.killed()
        failed = await importer.queue.rows("SELECT record FROM async_action_failures WHERE action_id = %s", action)
    assert [row.record for row in failed] == [13]
    assert deaths <= 24


# ---- through the front door --------------------------------------------------------------------


def test_a_request_of_many_pieces_that_meet(project_18: Project) -> None:
    """Some 4 MB: guests, products and orders that all pieces name."""
    filler = "x" * 1500
    orders = [
        {
            "source_id": f"o{n % 1900}", "status": "PAID", "customer": {"source_id": f"guest-{n % 3}", "name": f"{n}"},
            "items": [product(f"p{n % 5}", price=n), {"amount": 1}],
            "metadata": {"filler": filler, "ordered_at": f"2024-01-{1 + n % 28:02}"},
        }
        for n in range(2000)
    ]  # fmt: skip
    result = project_18.import_orders(orders)
    assert (result["created_count"], result["updated_count"], result["failed_count"]) == (1900, 100, 0)
    assert (result["customers_created_count"], result["products_created_count"]) == (3, 5)
    last = {f"o{n % 1900}": n for n in range(2000)}
    for guest in range(3):
        mine = [n for n in last.values() if n % 3 == guest]
        summary = project_18.get(f"/v1/customers/guest-{guest}")["summary"]["orders"]
        assert (summary["total_count"], summary["total_amount"]) == (len(mine), sum(mine) + len(mine))
    assert project_18.get("/v1/products/p4")["price"] == 1999


@pytest.mark.parametrize("filler", [0, 5_000_000])
def test_an_order_that_is_accepted_can_be_read_again(project_18: Project, filler: int) -> None:
    """However deep a property is nested that nobody knows: it is refused, or it goes in, and blocks nobody."""
    headers = {"content-type": "application/json"}
    for depth in range(940, 1000, 3):
        unknown = b"[" * depth + b"]" * depth
        body = b'[{"source_id":"o","other":"%s","unknown":%s}]' % (b"x" * filler, unknown)
        answer = project_18.http.post("/v1/orders/import", content=body, headers=headers)
        assert answer.status_code in {200, 400}, answer.text
    action = project_18.finished(project_18.post_import([{"source_id": "behind"}]), seconds=20)
    assert action["result"]["done_count"] == 1
