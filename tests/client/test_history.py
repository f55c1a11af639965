"""A real history through the command, as a user imports it: what is in Punchcard adds up to what is in the file.

The shipped sample on each version of PostgreSQL, and once the whole file (541,909 lines).
"""

import contextlib
import csv
import lzma
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from punchcard.client import samples
from tests.deployment import Deployment, Project
from tests.orders.lineage import hold_segments
from tests.orders.stored import inbox, rows

WHOLE = Path(__file__).parent.parent / "data" / "online-retail.csv.xz"
ITEMS_MAX = 500
PROCESS_BYTES_MAX = 300 * 1024 * 1024


@dataclass
class Totals:
    """What a history comes to. Amounts in pence, by invoice and by customer."""

    orders: int = 0
    items: int = 0
    amounts: Counter[str] = field(default_factory=Counter)
    statuses: dict[str, str] = field(default_factory=dict)
    # paid orders only
    revenue: Counter[str] = field(default_factory=Counter)
    paid_orders: Counter[str] = field(default_factory=Counter)
    last_dates: dict[str, str] = field(default_factory=dict)
    customers: set[str] = field(default_factory=set)
    products: dict[str, str] = field(default_factory=dict)


def totals_of_file(file: Path) -> Totals:
    """Straight from the lines, by the rules of docs/how-to/online-retail.md; no code of the client's."""
    invoices: dict[str, list[dict[str, str]]] = defaultdict(list)
    totals = Totals()
    with lzma.open(file, "rt", encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            if not line["InvoiceNo"].startswith("A"):
                invoices[line["InvoiceNo"]].append(line)
    for number, lines_of_invoice in invoices.items():
        customer = lines_of_invoice[0]["CustomerID"].removesuffix(".0")
        paid = not number.startswith("C")
        if paid and not customer and all(Decimal(line["UnitPrice"]) == 0 for line in lines_of_invoice):
            continue  # a stock movement
        totals.items += len(lines_of_invoice)
        parts = math.ceil(len(lines_of_invoice) / ITEMS_MAX)
        totals.orders += parts
        totals.statuses[number] = "PAID" if paid else "CANCELED"
        totals.amounts[number] = sum(
            _pence(line["UnitPrice"]) * abs(int(line["Quantity"])) for line in lines_of_invoice
        )
        for line in lines_of_invoice:
            if name := line["Description"].strip():
                totals.products.setdefault(line["StockCode"], name)
        if customer:
            totals.customers.add(customer)
            if paid:
                totals.revenue[customer] += totals.amounts[number]
                totals.paid_orders[customer] += parts
                dates = [line["InvoiceDate"] for line in lines_of_invoice[::ITEMS_MAX]]
                totals.last_dates[customer] = max(*dates, totals.last_dates.get(customer, ""))
    return totals


def _pence(price: str) -> int:
    return int((Decimal(price) * 100).quantize(Decimal(1), ROUND_HALF_UP))


def totals_stored(project: Project) -> Totals:
    """The same, from what the import wrote: amounts summed over the orders, revenue as the customers' summaries say."""
    totals = Totals()
    for order in rows(
        project,
        "SELECT coalesce(metadata->>'invoice', source_id) AS invoice, status, total_amount,"
        "       json_array_length(items) AS items"
        "  FROM orders WHERE project_id = %(project)s",
    ):
        totals.orders += 1
        totals.items += order["items"]
        totals.amounts[order["invoice"]] += order["total_amount"]
        totals.statuses[order["invoice"]] = order["status"]
    for customer in rows(project, "SELECT * FROM customers WHERE project_id = %(project)s"):
        source_id = customer["source_id"]
        totals.customers.add(source_id)
        if customer["orders_total_count"]:
            totals.revenue[source_id] = customer["orders_total_amount"]
            totals.paid_orders[source_id] = customer["orders_total_count"]
            totals.last_dates[source_id] = customer["orders_last_date"].strftime("%Y-%m-%d %H:%M:%S")
    for product in rows(project, "SELECT source_id, name FROM products WHERE project_id = %(project)s"):
        totals.products[product["source_id"]] = product["name"]
    return totals


def revenue_of_orders(project: Project) -> dict[str, int]:
    """Revenue per customer, summed over the orders themselves."""
    found = rows(
        project,
        "SELECT c.source_id, sum(o.total_amount)::bigint AS revenue FROM orders AS o"
        "  JOIN customers AS c ON c.project_id = o.project_id AND c.id = o.customer_id"
        " WHERE o.project_id = %(project)s AND o.status IN ('PAID', 'FULFILLED') GROUP BY c.source_id",
    )
    return {row["source_id"]: row["revenue"] for row in found}


def import_with_the_command(project: Project, file: Path) -> str:
    """Run `punchcard import` with the project's keys; what it printed."""
    keys = ["--application-id", project.application_id, "--application-token", project.application_token]
    done = project.deployment.command("import", str(file), "--url", project.deployment.url, *keys)
    assert done.returncode == 0, done.stderr
    return done.stderr


def check_history(project: Project, file: Path) -> Totals:
    """Import `file`, twice; the totals, which are those of the file both times."""
    expected = totals_of_file(file)
    hold_segments(project)
    said = import_with_the_command(project, file)
    assert f"{expected.orders:,} orders in ({expected.orders:,} new), 0 failed, 0 unreadable" in said
    print(said)
    stored = totals_stored(project)
    for name in Totals.__dataclass_fields__:
        assert getattr(stored, name) == getattr(expected, name), name
    assert revenue_of_orders(project) == dict(expected.revenue)
    assert set(inbox(project)) == expected.customers
    assert project.get("/v1/orders")["total"] == expected.orders
    assert project.get("/v1/customers")["total"] == len(expected.customers)
    return expected


def test_the_sample_adds_up(project: Project) -> None:
    expected = check_history(project, samples.path())
    # as the sample's README.md says
    assert (expected.orders, expected.items, len(expected.customers), len(expected.products)) == (
        1874,
        41482,
        945,
        2782,
    )
    customer, revenue = expected.revenue.most_common(1)[0]
    summary = project.get(f"/v1/customers/{customer}")["summary"]["orders"]
    assert (summary["total_amount"], summary["total_count"]) == (revenue, expected.paid_orders[customer])
    before = totals_stored(project)
    import_with_the_command(project, samples.path())
    assert totals_stored(project) == before


def test_the_whole_history_adds_up() -> None:
    deployment = Deployment()
    try:
        project = deployment.start().first_project()
        expected = check_history(project, WHOLE)
        assert (expected.orders, len(expected.customers), len(expected.products)) == (23849, 4372, 3937)
        peaks = dict(peak_bytes(deployment))
        print({name: f"{peak / 2**20:.0f} MB" for name, peak in peaks.items()})
        assert max(peaks.values()) < PROCESS_BYTES_MAX, peaks
        project.close()
    finally:
        deployment.close()


def peak_bytes(deployment: Deployment) -> Iterator[tuple[str, int]]:
    """The most memory each of the deployment's own processes has had, where the system tells."""
    assert deployment.process is not None
    family = {deployment.process.pid}
    for status in sorted(Path("/proc").glob("[0-9]*/status"), key=lambda path: int(path.parent.name)):
        with contextlib.suppress(OSError):
            facts = dict(line.split(":", 1) for line in status.read_text().splitlines())
            command = status.with_name("cmdline").read_bytes().decode(errors="replace").split("\0")
            if int(facts["PPid"]) in family or int(facts["Pid"]) in family:
                family.add(int(facts["Pid"]))
                if "punchcard" in command:
                    part = command[command.index("punchcard") + 1]
                    yield f"{part} {facts['Pid'].strip()}", int(facts["VmHWM"].split()[0]) * 1024
