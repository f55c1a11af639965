"""The Online Retail conversion: each rule on a few lines, and the totals of the whole sample by another way."""

import csv
import json
import lzma
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from punchcard.client import mapping_files, samples
from punchcard.client.csv_orders import NO_QUANTITY
from punchcard.client.inputs import Order, Tally, Unreadable
from tests.client.reading import bodies, errors, read_bytes, read_file

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
PRESET = mapping_files.preset("online-retail")
STOCK_MOVEMENT = "stock movement: no customer and no price"
ACCOUNTING_ENTRY = "accounting entry: invoice number begins with A"
PRICE_NEGATIVE = "price below zero"
WHOLE = Path(__file__).parent.parent / "data" / "online-retail.csv.xz"


def line(  # one line of a file, dull where a test has no wish
    invoice: str = "536365",
    stock_code: str = "85123A",
    *,
    description: str = "HOLDER",
    quantity: int | str = 6,
    date: str = "2010-12-01 08:26:00",
    price: str = "2.55",
    customer: str = "17850.0",
    country: str = "United Kingdom",
) -> str:
    return f"{invoice},{stock_code},{description},{quantity},{date},{price},{customer},{country}"


def convert(*file_lines: str, tally: Tally | None = None) -> list[Any]:
    """The orders of a file with these lines; none may be unreadable."""
    found = read_bytes("\n".join([HEADER, *file_lines]).encode(), tally=tally)
    assert not errors(found)
    return [json.loads(body) for body in bodies(found)]


def test_an_invoice_becomes_a_paid_order() -> None:
    tally = Tally()
    assert convert(line(), line(stock_code="71053", description="LANTERN ", price="3.4"), tally=tally) == [
        {
            "source_id": "536365",
            "status": "PAID",
            "customer": {"source_id": "17850", "metadata": {"country": "United Kingdom"}},
            "items": [
                {
                    "source_id": "85123A",
                    "related_object": "product",
                    "quantity": 6,
                    "price": 255,
                    "product": {"name": "HOLDER", "override": True},
                },
                {
                    "source_id": "71053",
                    "related_object": "product",
                    "quantity": 6,
                    "price": 340,
                    "product": {"name": "LANTERN", "override": True},
                },
            ],
            "metadata": {"ordered_at": "2010-12-01T08:26:00", "country": "United Kingdom"},
        }
    ]
    assert tally == Tally(items=2)


def test_a_cancellation_is_a_canceled_order_of_its_own() -> None:
    [order] = convert(line("C536379", quantity=-3))
    assert (order["source_id"], order["status"], order["items"][0]["quantity"]) == ("C536379", "CANCELED", 3)


def test_an_order_without_customer_keeps_its_country() -> None:
    [order] = convert(line(customer=""))
    assert "customer" not in order
    assert order["metadata"]["country"] == "United Kingdom"


@pytest.mark.parametrize(
    ("dirt", "reason"),
    [
        (line(quantity=-5, price="0.0", customer="", description="wet boxes"), STOCK_MOVEMENT),
        (line(quantity=5, price="0.0", customer="", description="found"), STOCK_MOVEMENT),
        (line("A563186", price="-11062.06", quantity=1, customer=""), ACCOUNTING_ENTRY),
        (line("A563185", price="11062.06", quantity=1, customer=""), ACCOUNTING_ENTRY),
        (line(price="-1.0"), PRICE_NEGATIVE),
        (line(quantity=-1), NO_QUANTITY),
        (line(quantity=0), NO_QUANTITY),
        (line("C1", quantity=1), NO_QUANTITY),
    ],
)
def test_what_is_no_sale_is_skipped_and_counted(dirt: str, reason: str) -> None:
    tally = Tally()
    [order] = convert(dirt, line("7"), tally=tally)
    assert order["source_id"] == "7"
    assert tally == Tally(items=1, skipped=Counter({reason: 1}))


@pytest.mark.parametrize("other", [line(customer=""), line(customer="", price="0.0", stock_code="POST")])
def test_a_free_item_of_a_sale_stays(other: str) -> None:
    free_and_paid = [line(customer="", price="0.0"), other, line(customer="", stock_code="B")]
    assert len(convert(*free_and_paid)[0]["items"]) == 3
    assert len(convert(line(price="0.0"))[0]["items"]) == 1


@pytest.mark.parametrize(
    ("text", "pence", "rounded"),
    [
        ("0.001", 0, 1),
        ("1.255", 126, 1),
        ("1.245", 125, 1),
        ("1.2549", 125, 1),
        ("2.1", 210, 0),
        ("8.0", 800, 0),
        ("38970.0", 3897000, 0),
    ],
)
def test_prices_are_exact_pence_rounded_half_up(text: str, pence: int, rounded: int) -> None:
    tally = Tally()
    assert convert(line(price=text), tally=tally)[0]["items"][0]["price"] == pence
    assert tally.rounded_prices == rounded


def test_a_product_is_named_once_by_its_first_name() -> None:
    first, second, third = convert(line("1", description=""), line("2"), line("3", description="another name"))
    assert "product" not in first["items"][0]
    assert second["items"][0]["product"]["name"] == "HOLDER"
    assert "product" not in third["items"][0]


def test_a_long_invoice_becomes_orders_of_500_items() -> None:
    parts = convert(*[line(stock_code=f"P{n}") for n in range(1_114)])
    assert [(part["source_id"], len(part["items"])) for part in parts] == [
        ("536365", 500),
        ("536365-2", 500),
        ("536365-3", 114),
    ]
    assert "part" not in parts[0]["metadata"]
    assert parts[2]["metadata"]["invoice"] == "536365"
    assert parts[2]["metadata"]["part"] == 3


def test_an_invoice_interrupted_by_another_stays_one_order() -> None:
    orders = convert(line("1", "A"), line("C2", quantity=-1), line("1", "B"))
    assert {order["source_id"]: len(order["items"]) for order in orders} == {"1": 2, "C2": 1}


def test_an_invoice_that_still_grows_stays_open() -> None:
    between = [line(str(n)) for n in range(10, 10 + 2 * PRESET.lines.interleaved)]
    growing = [line("1", f"P{n}") for n in range(len(between))]
    orders = convert(*[one for pair in zip(growing, between, strict=True) for one in pair])
    assert {order["source_id"]: len(order["items"]) for order in orders}["1"] == len(growing)


def test_lines_that_come_late_become_a_further_part() -> None:
    between = [line(str(n)) for n in range(10, 10 + PRESET.lines.interleaved)]
    orders = convert(line("1", "A"), *between, line("1", "B"))
    assert orders[0]["source_id"] == "1"
    assert orders[-1]["source_id"] == "1-2"
    assert orders[-1]["metadata"]["part"] == 2


@pytest.mark.parametrize(
    "bad",
    [
        "536365,85123A,HOLDER,6",
        line() + ",more",
        line(invoice=""),
        line(stock_code=" "),
        line(quantity="6.5"),
        line(quantity="1_0"),
        line(price="NaN"),
        line(price="1e999999999"),
        line(price="two"),
        line(price="99999999999999.0", quantity=99999),
        line(date="yesterday"),
        line(customer="1"),  # the invoice begins with another customer
        line(description='"unclosed'),
        line(description="x" * 70_000),
    ],
)
def test_an_unreadable_line_costs_itself_only(bad: str) -> None:
    tally = Tally()
    found = read_bytes("\n".join([HEADER, line(), bad, line(description='"HOLDER, ""big"""')]).encode(), tally=tally)
    [error] = errors(found)
    assert error.place == "standard input:3"
    assert len(json.loads(bodies(found)[0])["items"]) == 2
    assert tally == Tally(items=2, unreadable=1)


def test_a_line_that_is_not_utf_8_is_unreadable() -> None:
    found = read_bytes("\n".join([HEADER, line(description="£")]).encode("latin-1"))
    assert [error.reason for error in errors(found)] == ["not UTF-8"]


def test_a_date_of_another_form_is_told_the_form() -> None:
    [error] = read_bytes("\n".join([HEADER, line(date="12/1/2010 8:26")]).encode())
    assert error == Unreadable("standard input:2", "InvoiceDate is not of the form %Y-%m-%d %H:%M:%S: '12/1/2010 8:26'")


def test_other_columns_are_refused() -> None:
    [error] = read_bytes(b"InvoiceNo,StockCode\n1,2\n", mapping=PRESET)
    assert not isinstance(error, Order)
    assert error.reason.startswith("the mapping's columns CustomerID, ")
    assert error.reason.endswith(" are not in the file, which has InvoiceNo, StockCode")


@dataclass
class Totals:
    """What a history comes to, by whatever way it was computed. Amounts in pence."""

    orders: Counter[str] = field(default_factory=Counter)
    items: Counter[str] = field(default_factory=Counter)
    revenue: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    countries: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    products: set[str] = field(default_factory=set)
    skipped: int = 0


def expected_totals(path: Path) -> Totals:
    """The totals straight from the CSV by the documented rules, sharing nothing with the converter."""
    invoices: dict[str, list[dict[str, str]]] = defaultdict(list)
    totals = Totals()
    with lzma.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            invoices[row["InvoiceNo"]].append(row)
    for number, rows in invoices.items():
        sold = [row for row in rows if (int(row["Quantity"]) < 0) == (number[0] == "C")]
        nothing = number[0].isdigit() and not any(row["CustomerID"] or Decimal(row["UnitPrice"]) for row in sold)
        if number[0] == "A" or nothing:
            sold = []
        totals.skipped += len(rows) - len(sold)
        if not sold:
            continue
        status = "CANCELED" if number[0] == "C" else "PAID"
        totals.orders[status] += -(-len(sold) // 500)
        totals.items[status] += len(sold)
        for row in sold:
            customer = row["CustomerID"].split(".")[0]
            pence = int(Decimal(row["UnitPrice"]) * 100 + Decimal("0.5"))
            totals.revenue[status, customer] += pence * abs(int(row["Quantity"]))
            totals.products.add(row["StockCode"])
            if customer:
                totals.countries[customer].add(row["Country"])
    return totals


def converted_totals(items: list[Any]) -> Totals:
    """The totals of what the converter gives."""
    totals = Totals()
    for item in items:
        order = json.loads(item.body)
        status = order["status"]
        customer = order.get("customer", {"source_id": ""})["source_id"]
        totals.orders[status] += 1
        totals.items[status] += len(order["items"])
        totals.revenue[status, customer] += sum(item["price"] * item["quantity"] for item in order["items"])
        totals.products |= {item["source_id"] for item in order["items"]}
        if customer:
            totals.countries[customer].add(order["customer"]["metadata"]["country"])
    return totals


HISTORIES = [samples.path(), WHOLE]


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.name)
def test_the_totals_are_those_of_the_file(path: Path) -> None:
    tally = Tally()
    items = read_file(path, tally)
    assert not errors(items)
    converted = converted_totals(items)
    converted.skipped = tally.skipped.total()
    assert converted == expected_totals(path)
    with lzma.open(path) as file:
        lines = sum(1 for _ in file) - 1
    assert tally.items + tally.skipped.total() == lines


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.name)
def test_every_order_keeps_the_limits_of_the_import(path: Path) -> None:
    seen = set()
    for body in bodies(read_file(path)):
        order = json.loads(body)
        assert order["source_id"] not in seen
        seen.add(order["source_id"])
        assert 1 <= len(order["items"]) <= 500
        for item in order["items"]:
            assert item["source_id"]
            assert item["quantity"] >= 1
            assert 0 <= item["price"] * item["quantity"] <= 2**53 - 1


def test_the_numbers_of_the_sample_are_those_in_its_readme() -> None:
    totals = expected_totals(samples.path())
    assert totals.orders == {"PAID": 1_552, "CANCELED": 322}
    assert totals.items == {"PAID": 40_760, "CANCELED": 722}
    assert (totals.skipped, len(totals.countries), len(totals.products)) == (139, 945, 2_782)
    assert sum(pence for (status, _), pence in totals.revenue.items() if status == "PAID") == 81_339_125
