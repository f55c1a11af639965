"""Pages of lists are read by index, in its order: what is read does not grow with the project."""

import asyncio
import contextlib
import functools
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import msgspec
import psycopg
from psycopg.rows import namedtuple_row

from punchcard.customers import customers
from punchcard.customers.customers import CustomerFilters
from punchcard.db.database import Conn, conninfo
from punchcard.errors import NotFound
from punchcard.http.lists import DateCondition, Dates
from punchcard.orders import orders
from punchcard.products import products
from punchcard.products.products import Listed
from punchcard.vouchers import listing as voucher_lists
from punchcard.vouchers import vouchers
from punchcard.vouchers.listing import Wanted
from tests.db.test_plans import nodes
from tests.deployment import Deployment

ROWS = 50_000
LIMIT, LAST_PAGE = 100, 99
START = datetime(2026, 1, 1, tzinfo=UTC)
# as an import leaves them: every other row was updated, in another order; few dates for many orders
MOMENTS = (
    "timestamptz '2026-01-01' + g * interval '1 microsecond',"
    " CASE WHEN mod(g, 2) = 0 THEN timestamptz '2026-01-02' + mod(g * 7919, 50000) * interval '1 microsecond' END"
)
FILL = {
    "orders (project_id, id, source_id, created_at, updated_at, ordered_at, status, amount, total_amount)": (
        f"'o' || g, 's' || g, {MOMENTS}, timestamptz '2016-01-01' + mod(g * 31, 900) * interval '1 day', 'PAID', 1, 1"
    ),
    "customers (project_id, id, source_id, created_at, updated_at, email, name, address)": (
        f"'c' || g, CASE WHEN mod(g, 5) > 0 THEN 's' || g END, {MOMENTS}, 'e' || g, 'n' || mod(g, 100),"
        " jsonb_build_object('city', 'town' || mod(g, 4))"
    ),
    "products (project_id, id, created_at, updated_at)": f"'p' || g, {MOMENTS}",
    # half of them in the bin, the newest; a category and a campaign have one in twenty
    "vouchers (project_id, id, created_at, updated_at, code, code_key, type, category, campaign_id, binned_at)": (
        f"'v' || g, {MOMENTS}, 'c' || mod(g * 7919, 50000), 'c' || mod(g * 7919, 50000), 'GIFT_VOUCHER',"
        " 'x' || mod(g, 20), 'camp' || mod(g, 20), CASE WHEN g > 25000 THEN now() END"
    ),
    # of two products that are on none of the pages
    "skus (project_id, id, product_id, created_at, updated_at)": f"'k' || g, 'p' || 20001 + 2 * mod(g, 2), {MOMENTS}",
}
Listing: TypeAlias = Callable[[Conn, str], Awaitable[Any]]


class ExplainedConnection(psycopg.AsyncConnection[Any]):
    """A session that keeps the plan of each statement it runs."""

    plans: list[dict[str, Any]]

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        text = query.as_string(self) if isinstance(query, psycopg.sql.Composable) else query
        text = text.decode() if isinstance(text, bytes) else text
        if text.startswith("SELECT"):
            explained = await super().execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {text}".encode(), params)
            (plan,) = await explained.fetchone()  # type: ignore[misc]
            self.plans.append((msgspec.json.decode(plan) if isinstance(plan, msgspec.Raw) else plan)[0]["Plan"])
        return await super().execute(query, params, **options)


def plans_of(deployment: Deployment, listings: dict[str, Listing], *, analyzed: bool) -> dict[str, list[Any]]:
    """The plans of each listing, in a project of 50,000 rows a table beside one that is older than the statistics."""

    async def run() -> dict[str, list[Any]]:
        dsn = conninfo(deployment.dsn, part="test")
        found = {}
        async with await ExplainedConnection.connect(dsn, row_factory=namedtuple_row) as conn:
            project = f"plans-{uuid.uuid4()}"
            for columns, values in FILL.items():
                await conn.execute(
                    f"INSERT INTO {columns} SELECT %s, {values} FROM generate_series(1, {ROWS}) AS g".encode(),
                    [project],
                )
            if analyzed:
                for table in ("orders", "customers", "products", "skus", "vouchers"):
                    await conn.execute(f"ANALYZE {table}".encode())
            for name, listing in listings.items():
                conn.plans = []
                async with conn.transaction(force_rollback=True):
                    await listing(conn, project)
                found[name] = conn.plans
            await conn.rollback()
        return found

    return asyncio.run(run())


def in_every_order(orders_known: Any) -> list[str]:
    return [f"{sign}{field}" for field in orders_known if field not in {"type", "code", "campaign", "category"}
            for sign in ("", "-")]  # fmt: skip


def customer_filters(**given: Any) -> CustomerFilters:
    return CustomerFilters(**{"email": None, "name": None, "city": None, "dates": Dates()} | given)


def wide(order: str) -> Dates:
    """A filter by what is sorted by, which most rows pass."""
    field = order.removeprefix("-")
    return Dates(
        (DateCondition(field, ">", START - timedelta(days=3650)), DateCondition(field, "<", START.replace(2027)))
    )


def listings() -> dict[str, Listing]:
    """The first and last page of each list in each order, without and with filters that the order's index answers."""
    found: dict[str, Listing] = {}

    def add(name: str, listing: Callable[..., Awaitable[Any]], **options: Any) -> None:
        found[name] = lambda conn, project: listing(conn, project, **options)

    for page in (1, LAST_PAGE):
        for order in in_every_order(orders.ORDERS):
            options = {"limit": LIMIT, "page": page, "order": order}
            add(f"orders {order} {page}", orders.list_orders, **options, dates=Dates(), starting_after_id=None)
            add(
                f"orders {order} {page} after", orders.list_orders, **options, dates=Dates(), starting_after_id="o25000"
            )
            add(
                f"orders {order} {page} dates", orders.list_orders, **options, dates=wide(order), starting_after_id=None
            )
        for order in in_every_order(customers.ORDERS):
            options = {"limit": LIMIT, "page": page, "order": order}
            plain = customer_filters()
            add(f"customers {order} {page}", customers.list_customers, **options, filters=plain, starting_after=None)
            if "source_id" not in order:
                add(f"customers {order} {page} after", customers.list_customers, **options, filters=plain,
                    starting_after=START + timedelta(microseconds=25_000))  # fmt: skip
                add(f"customers {order} {page} dates", customers.list_customers, **options,
                    filters=customer_filters(dates=wide(order)), starting_after=None)  # fmt: skip
            if "created_at" in order:
                for chosen in ({"city": "town1"}, {"name": "n7"}, {"email": "e7"}):
                    add(f"customers {order} {page} {chosen}", customers.list_customers, **options,
                        filters=customer_filters(**chosen), starting_after=None)  # fmt: skip
        for order in in_every_order(products.ORDERS):
            for dates in (Dates(), wide(order)):
                listed = Listed(limit=LIMIT, page=page, order=order, created=(), dates=dates)
                add(f"products {order} {page} {len(dates.conditions)}", products.list_products, listed=listed)
                add(
                    f"skus {order} {page} {len(dates.conditions)}",
                    products.list_skus,
                    product_id="p20001",
                    listed=listed,
                )
        found |= voucher_listings(page)
    return found


def voucher_listings(page: int) -> dict[str, Listing]:
    """A page of the list of vouchers in each order."""
    found: dict[str, Listing] = {}

    def add(name: str, order: str, wanted: Wanted) -> None:
        options: dict[str, Any] = {"limit": LIMIT, "page": page, "order": order, "wanted": wanted}
        found[f"vouchers {order} {page}{name}"] = functools.partial(voucher_lists.list_vouchers, **options)

    for order in in_every_order(voucher_lists.ORDERS):
        add("", order, Wanted())
        if "code" not in order:
            add(" dates", order, between(order))
        if "created_at" in order:
            add(" chosen by category", order, Wanted(category="x1"))
            add(" chosen by campaign", order, Wanted(campaign_id="camp1"))
    return found


def between(order: str) -> Wanted:
    """As `wide`, as a list of vouchers takes it."""
    field = order.removeprefix("-")
    return Wanted(filters=((f"{field}[after]", "2016-01-01"), (f"{field}[before]", "2027-01-01")))


def rows_read(plan: dict[str, Any]) -> int:
    """How many rows the scans of a plan read, those that a filter then left out included."""
    return sum(
        round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in nodes(plan)
        if "Scan" in node["Node Type"] and not node.get("Plans")
    )


def is_count(plan: dict[str, Any]) -> bool:
    return bool(plan["Node Type"] == "Aggregate")


def test_pages_are_read_by_index_and_never_sorted(deployment: Deployment) -> None:
    for analyzed in (False, True):
        # whether few vouchers are in a category or campaign, only statistics can tell
        found = {name: each for name, each in listings().items() if analyzed or "chosen" not in name}
        for name, plans in plans_of(deployment, found, analyzed=analyzed).items():
            pages = [plan for plan in plans if not is_count(plan)]
            assert pages
            for plan in pages:
                kinds = {node["Node Type"] for node in nodes(plan)}
                # the SKUs inside products are sorted product by product, and have none here
                sorts = {"Sort", "Incremental Sort"} if "SubPlan" not in str(plan) else set()
                assert not kinds & ({"Seq Scan", "Bitmap Heap Scan"} | sorts), (name, analyzed, kinds)
                # what comes before the page, the page, and one row to tell whether another follows
                assert rows_read(plan) <= LIMIT * LAST_PAGE + 2 * LIMIT + 20, (name, analyzed, rows_read(plan))
                if " 1" in name:
                    assert rows_read(plan) <= 2 * LIMIT + 20, (name, analyzed, rows_read(plan))


def test_one_object_is_found_by_its_id_or_source_id_alone(deployment: Deployment) -> None:
    """Also before there are statistics, when all indexes of a project look alike."""
    found: dict[str, Listing] = {}
    for get, keys in (
        (orders.get_order, ("o20001", "s20001")),
        (customers.get_customer, ("c20001", "s20001")),
        (products.get_product, ("p20001", "s20001")),
        (products.get_sku, ("k20001", "s20001")),
        (vouchers.get_voucher, ("v20001", "c20001")),
    ):
        for key in keys:
            found[key + get.__name__] = functools.partial(found_or_not, get, key)
    for analyzed in (False, True):
        for name, plans in plans_of(deployment, found, analyzed=analyzed).items():
            assert rows_read(plans[0]) <= 3, (name, analyzed, rows_read(plans[0]))


async def found_or_not(get: Callable[..., Awaitable[Any]], key: str, conn: Conn, project: str) -> None:
    with contextlib.suppress(NotFound):
        await get(conn, project, key)


def test_an_unfiltered_total_reads_its_slots_alone(deployment: Deployment) -> None:
    unfiltered: dict[str, Listing] = {
        name: listing
        for name, listing in listings().items()
        if name in {"orders created_at 1", "customers -created_at 1", "products updated_at 1 0"}
    }
    assert len(unfiltered) == 3
    for name, plans in plans_of(deployment, unfiltered, analyzed=True).items():
        totals = [plan for plan in plans if is_count(plan)]
        assert [node["Relation Name"] for plan in totals for node in nodes(plan) if "Relation Name" in node] == [
            "row_totals"
        ], name


def test_a_rare_value_is_found_by_its_index_in_other_orders_too(deployment: Deployment) -> None:
    chosen: dict[str, Listing] = {}
    rare = customer_filters(email="e77")
    for order in ("updated_at", "-source_id"):
        options = {"limit": LIMIT, "page": 1, "order": order, "filters": rare, "starting_after": None}
        chosen[order] = functools.partial(customers.list_customers, **options)  # type: ignore[arg-type]
    for order, plans in plans_of(deployment, chosen, analyzed=True).items():
        assert all(rows_read(plan) <= 20 for plan in plans), order
