"""Orders from CSV by a mapping: which lines make an order, and what becomes of those that make none."""

import csv
import io
import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from punchcard.client import csv_orders, csv_rows, mapping_files
from punchcard.client.csv_orders import BROKEN_ORDER, CANCELLATION, NO_QUANTITY
from punchcard.client.inputs import Input, Tally, Unreadable
from punchcard.client.mapping import Csv, Mapping
from tests.client.reading import bodies, errors, read_bytes

SMALL = """
[lines]
order = "no"
[numbers]
digits = 2
[order]
source_id = "no"
[order.customer]
email = "email"
[item]
source_id = "article"
quantity = "pieces"
price = "price"
"""
HEADER = "no,email,article,pieces,price"


def own(text: str = "", *, small: str = SMALL) -> Mapping:
    return mapping_files.parse((small + text).encode(), "own.toml")


def read(*lines: str, more: str = "", header: str = HEADER, **arguments: Any) -> list[Any]:
    data = "\n".join([header, *lines]).encode()
    return read_bytes(data, mapping=own(more), **arguments)


def orders(found: list[Any]) -> list[Any]:
    return [json.loads(body) for body in bodies(found)]


def ids(found: list[Any]) -> dict[str, list[str]]:
    """The source ids of orders with those of their items."""
    return {order["source_id"]: [item["source_id"] for item in order["items"]] for order in orders(found)}


def test_lines_of_one_number_make_an_order() -> None:
    found = read("1,ann@x,A,2,9.50", "1,ann@x,B,1,0.5", "2,,C,1,3")
    assert orders(found) == [
        {
            "source_id": "1",
            "customer": {"email": "ann@x"},
            "items": [
                {"source_id": "A", "quantity": 2, "price": 950},
                {"source_id": "B", "quantity": 1, "price": 50},
            ],
        },
        {"source_id": "2", "items": [{"source_id": "C", "quantity": 1, "price": 300}]},
    ]
    assert [item.place for item in found] == ["standard input:2-3", "standard input:4"]


def test_columns_are_found_by_name_whatever_their_order_and_trimmed() -> None:
    data = b"\xef\xbb\xbf price ;x;no;pieces;email;article\r\n 1,5 ;?; 7 ;1;;A\r\n"
    mapping = own("\n[csv]\ndelimiter=';'\n", small=SMALL.replace("digits = 2", "digits = 2\ndecimal=','"))
    assert orders(read_bytes(data, mapping=mapping)) == [
        {"source_id": "7", "items": [{"source_id": "A", "quantity": 1, "price": 150}]}
    ]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("no,email,article,pieces", "column price is not in the file, which has no, email, article, pieces"),
        ("no;email;article;pieces;price", "if another sign than ',' parts them, say so in csv.delimiter"),
        ("no,no,email,article,pieces,price", "the column no is there more than once"),
    ],
)
def test_a_header_without_the_mapping_s_columns_is_told_at_once(header: str, said: str) -> None:
    [error] = read("1,,A,1,1", header=header)
    assert isinstance(error, Unreadable)
    assert error.place == "standard input:1"
    assert said in error.reason


def test_a_csv_file_without_a_mapping_is_told_what_it_needs(tmp_path: Path) -> None:
    [error] = read_bytes(b"a,b\n1,2\n", file_format="csv")
    assert isinstance(error, Unreadable)
    assert "needs --mapping FILE.toml" in error.reason


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8"])
def test_encodings(encoding: str) -> None:
    data = f"{HEADER}\n1,müller@x,A,1,1\n".encode(encoding)
    [order] = orders(read_bytes(data, mapping=own(f"\n[csv]\nencoding='{encoding}'\n")))
    assert order["customer"]["email"] == "müller@x"
    if encoding != "utf-8":
        assert errors(read_bytes(data, mapping=own()))[0].reason == "not UTF-8"


def test_utf_16_is_told() -> None:
    [error] = errors(read_bytes("no,b\n".encode("utf-16"), mapping=own()))
    assert error.reason == "this is UTF-16 text; save it as UTF-8"


def test_quoted_line_breaks_belong_to_the_cell() -> None:
    found = read('1,"a\n""b"" c",A,1,1', "2,,B,1,1")
    assert orders(found)[0]["customer"]["email"] == 'a\n"b" c'
    assert [item.place for item in found] == ["standard input:2-3", "standard input:4"]


def test_a_stray_quote_swallows_nothing() -> None:
    lines = [f"{n},,A,1,1" for n in range(10, 500)]
    found = read("1,,A,1,1", '2,"x,A,1,1', "3,,A,1,1", *lines)
    [error] = errors(found)
    assert error.place == "standard input:3"
    assert "a quoted cell does not end within 200 lines" in error.reason
    # the orders above and below the bad line may have lost a line
    assert list(ids(found)) == [str(n) for n in range(10, 500)]


def test_a_quote_within_a_cell_is_a_sign_like_others() -> None:
    pipes = ['1,,5" pipe,1,1', "2,,rod,1,1", '3,,6" pipe,1,1']
    assert ids(read(*pipes)) == {"1": ['5" pipe'], "2": ["rod"], "3": ['6" pipe']}


def test_a_row_in_error_costs_its_first_line_only() -> None:
    tally = Tally()
    found = read("1,,A,1,1", '2,"x,B,1,1', '3,,"C",1,1', "4,,D,1,1", tally=tally)
    assert [error.place for error in errors(found)] == ["standard input:3"]
    assert ids(found) == {"4": ["D"]}
    assert tally == Tally(items=1, unreadable=1, skipped=Counter({BROKEN_ORDER: 2}))


@given(st.lists(st.text(alphabet="ab,\"' \t\x0b\u2028", max_size=12), max_size=8))
def test_rows_are_those_of_the_csv_module(lines: list[str]) -> None:
    data = [f"{line}\n" for line in lines]
    try:
        expected = [[cell.strip() for cell in row] for row in csv.reader(data, strict=True)]
    except csv.Error:
        return
    found = csv_rows.rows(io.BytesIO("".join(data).encode()), Csv())
    cells = [row.cells for row in found if isinstance(row, csv_rows.CsvRow)]
    assert [row for row in cells if any(row)] == [row for row in expected if any(row)]


def test_an_empty_number_is_an_error_or_continues_the_order_above() -> None:
    lines = ["1,ann@x,A,1,1", ",,B,1,1", "2,,C,1,1"]
    assert "no is missing" in errors(read(*lines))[0].reason
    more = "\n[order.metadata]\n"
    continuing = own(more, small=SMALL.replace('order = "no"', 'order = "no"\nempty_order = "continue"'))
    data = "\n".join([HEADER, *lines]).encode()
    assert ids(read_bytes(data, mapping=continuing)) == {"1": ["A", "B"], "2": ["C"]}
    assert errors(read_bytes(f"{HEADER}\n,,B,1,1".encode(), mapping=continuing))[0].place == "standard input:2"


def test_an_order_with_a_bad_line_is_held_back_as_a_whole() -> None:
    tally = Tally()
    found = read("1,,A,1,1", "1,,B,1,x", "1,,C,1,1", "2,,D,1,1", "2,,E", "3,,F,1,1", "4,,G,1,1", tally=tally)
    assert ids(found) == {"4": ["G"]}
    assert [error.place for error in errors(found)] == ["standard input:3", "standard input:6"]
    assert tally == Tally(items=1, unreadable=2, skipped=Counter({BROKEN_ORDER: 4}))


def test_a_bad_line_may_cost_itself_only() -> None:
    small = SMALL.replace('order = "no"', 'order = "no"\nbad_line = "leave-out"')
    data = "\n".join([HEADER, "1,,A,1,x", "1,,B,1,1", "1,,C", "1,,D,1,1"]).encode()
    found = read_bytes(data, mapping=own(small=small))
    assert ids(found) == {"1": ["B", "D"]}
    assert len(errors(found)) == 2


def test_an_order_that_goes_on_later_is_an_error_unless_sorted() -> None:
    tally = Tally()
    lines = ["1,,A,1,1", "2,,B,1,1", "1,,C,1,1", "1,,D,1,1", "3,,E,1,1"]
    found = read(*lines, tally=tally)
    assert ids(found) == {"1": ["A"], "2": ["B"], "3": ["E"]}
    [error] = errors(found)
    assert error.place == "standard input:4"
    assert error.reason.startswith("the order 1 goes on here after it ended in line 2")
    assert tally == Tally(items=3, unreadable=1, skipped=Counter({BROKEN_ORDER: 1}))
    assert ids(read(*lines, sort=True)) == {"1": ["A", "C", "D"], "2": ["B"], "3": ["E"]}


def test_orders_that_interleave_a_little() -> None:
    lines = ["1,,A,1,1", "2,,B,1,1", "1,,C,1,1", "2,,D,1,1"]
    small = SMALL.replace('order = "no"', 'order = "no"\ninterleaved = 2')
    data = "\n".join([HEADER, *lines]).encode()
    assert ids(read_bytes(data, mapping=own(small=small))) == {"1": ["A", "C"], "2": ["B", "D"]}


def test_an_order_over_500_lines_is_one_error_or_several_orders() -> None:
    tally = Tally()
    lines = ["0,,Z,1,1", *(f"1,,P{n},1,1" for n in range(501)), "2,,A,1,1"]
    found = read(*lines, tally=tally)
    assert list(ids(found)) == ["0", "2"]
    [error] = errors(found)
    assert error.place == "standard input:3-503"
    assert "has 501 lines, and an order holds 500 items" in error.reason
    assert (tally.items, tally.unreadable) == (2, 501)
    parts = orders(read(*lines, more="\n[split]\n"))
    assert [(part["source_id"], len(part["items"])) for part in parts] == [("0", 1), ("1", 500), ("1-2", 1), ("2", 1)]
    assert parts[2]["metadata"] == {"part_of": "1", "part": 2}
    assert len(ids(read(*lines[:501]))["1"]) == 500


def test_a_further_part_never_takes_the_place_of_the_first() -> None:
    more = "\n[split]\n[order.metadata]\nn = { column = 'email', type = 'integer' }\n"
    lines = ["1,,A,1,1", "2,,B,1,1", "1,x,C,1,1", "3,,D,1,1", "1,,E,1,1"]
    assert ids(read(*lines, more=more)) == {"1": ["A"], "2": ["B"], "3": ["D"], "1-2": ["E"]}


def test_a_further_part_without_a_source_id_is_told() -> None:
    small = SMALL.replace('source_id = "no"', 'source_id = "email"')
    data = "\n".join([HEADER, "1,,A,1,1", "2,,B,1,1", "1,,C,1,1"]).encode()
    [error] = errors(read_bytes(data, mapping=own("\n[split]\n", small=small)))
    assert error.reason == "a further part of the order 1 has no order.source_id to be told by"


CANCELED = "\n[cancellations]\nwhen = { email = { is = 'gone' } }\n"


def test_cancellations_are_orders_of_their_own_or_left_out() -> None:
    lines = ["1,gone,A,2,1", "1,,B,1,1", "2,,C,1,1"]
    first, second = orders(read(*lines, more=CANCELED))
    assert (first["status"], "status" in second) == ("CANCELED", False)
    tally = Tally()
    assert ids(read(*lines, more=CANCELED + "do = 'skip'\n", tally=tally)) == {"2": ["C"]}
    assert tally.skipped == Counter({CANCELLATION: 2})
    negative = ["1,gone,A,-2,1", "2,,C,1,1"]
    turned = orders(read(*negative, more=CANCELED + "negative_quantities = true\n"))
    assert turned[0]["items"][0]["quantity"] == 2


def test_lines_of_returns_are_an_error_or_left_out_and_counted() -> None:
    lines = ["1,ann@x,A,-1,1", "1,,B,1,1", "2,,C,0,1"]
    assert "the quantity is -1" in errors(read(*lines))[0].reason
    tally = Tally()
    small = SMALL.replace('order = "no"', 'order = "no"\nnegative_quantity = "skip"')
    found = read_bytes("\n".join([HEADER, *lines]).encode(), mapping=own(small=small), tally=tally)
    assert ids(found) == {"1": ["B"]}
    assert orders(found)[0]["customer"] == {"email": "ann@x"}  # of the line that was left out: it is the order's first
    assert tally == Tally(items=1, skipped=Counter({NO_QUANTITY: 2}))


def test_lines_can_be_skipped_for_a_reason() -> None:
    more = "\n[[skip]]\nreason = 'shipping'\nwhen = { article = { is = ['SHIP', 'POST'] } }\n"
    tally = Tally()
    assert ids(read("1,,SHIP,1,4", "1,,A,1,1", "2,,POST,1,1", more=more, tally=tally)) == {"1": ["A"]}
    assert tally.skipped == Counter({"shipping": 2})


def test_a_line_that_cannot_be_judged_is_counted_once() -> None:
    more = "\n[[skip]]\nreason = 'x'\nwhole_order = true\nwhen = { email = { equals = 0 } }\n"
    tally = Tally()
    found = read("1,0,A,1,1", "1,y,B,1,1", "2,1,C,1,1", more=more, tally=tally)
    assert errors(found)[0].reason == "email is no number as [numbers] describes them: 'y'"
    assert tally == Tally(items=1, unreadable=1, skipped=Counter({BROKEN_ORDER: 1}))


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("{ below = 2 }", "BC"), ("{ at_most = 2 }", "C"), ("{ equals = 2 }", "AC"), ("{ at_least = 2 }", "A"),
        ("{ above = 2 }", "AB"), ("{ is = '2' }", "AC"), ("{ is_not = '2' }", "B"), ("{ begins_with = '1' }", "BC"),
        ("{ not_begins_with = '1' }", "A"), ("{ above = 1, is_not = '3' }", "AC"), ("{ empty = true }", "ABC"),
    ],
)  # fmt: skip
def test_conditions(condition: str, kept: str) -> None:
    more = f"\n[[skip]]\nreason = 'x'\nwhen = {{ pieces = {condition} }}\n"
    found = read("1,,A,1,1", "2,,B,2,1", "3,,C,3,1", more=more)
    assert "".join(items[0] for items in ids(found).values()) == kept


def test_values_constants_and_metadata() -> None:
    more = """
[order.metadata]
state = { column = "email", values = { a = "open", b = true }, otherwise = 7 }
source = { constant = "old shop" }
price = { column = "price", type = "amount" }
both = { column = ["no", "article"] }
later = { column = "gone", optional = true }
"""
    found = [order["metadata"] for order in orders(read("1,a,A,1,1.5", "2,b,B,1,1", "3,c,C,1,1", more=more))]
    assert found[0] == {"state": "open", "source": "old shop", "price": 150, "both": "1 A"}
    assert [metadata["state"] for metadata in found] == ["open", True, 7]
    strict = more.replace(", otherwise = 7", "")
    [error] = errors(read("1,c,A,1,1", more=strict))
    assert error.reason == "email is 'c', which the mapping's `values` do not name"


def test_without_a_key_each_line_is_an_order() -> None:
    tally = Tally()
    mapping = own(small="[numbers]\ndigits = 2\n[order]\namount = 'total'\n")
    found = read_bytes(b"total\n1.50\n2\n", mapping=mapping, tally=tally)
    assert orders(found) == [{"amount": 150}, {"amount": 200}]
    assert tally.unnamed == 2


SHOPIFY = (
    "Name,Email,Financial Status,Paid at,Fulfillment Status,Currency,Subtotal,Shipping,Taxes,Total,Discount Code,"
    "Discount Amount,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Billing Name,"
    "Billing Address1,Billing Address2,Billing City,Billing Zip,Billing Province,Billing Country,Billing Phone,"
    "Cancelled at,Refunded Amount,Id"
)


def test_the_shopify_preset() -> None:
    rows = [
        (
            "#1001,ann@x,paid,,fulfilled,EUR,53.91,4,0.00,57.91,WELCOME,5.99,"
            "2025-10-07 09:50:26 +0200,2,Shirt,29.95,S-1,Ann,Road 1,,Paris,'75008,,FR,'+33 1,,0.00,555"
        ),
        "#1001,,,,,,,,,,,,,1,Gift wrap,620,,,,,,,,,,,,",
        ",,,,,,,,,,,,,1,Socks,1.00,S-2,,,,,,,,,,,",
        "#1002,,voided,,,EUR,1,0,0,1,,,2025-10-08,1,Socks,1.00,S-2,,,,,,,,,2025-10-09,,",
    ]
    found = read_bytes("\n".join([SHOPIFY, *rows]).encode(), mapping=mapping_files.preset("shopify"))
    first, second = orders(found)
    assert not errors(found)
    assert (first["source_id"], first["status"], first["discount_amount"]) == ("#1001", "PAID", 599)
    assert first["customer"]["source_id"] == first["customer"]["email"] == "ann@x"
    assert first["customer"]["address"]["postal_code"] == "75008"
    assert first["customer"]["phone"] == "+33 1"
    assert first["metadata"]["ordered_at"] == "2025-10-07T09:50:26+02:00"
    assert first["metadata"]["total"] == 5791
    assert [(item.get("source_id"), item["price"], item["quantity"]) for item in first["items"]] == [
        ("S-1", 2995, 2),
        (None, 62000, 1),
        ("S-2", 100, 1),
    ]
    assert first["items"][0]["product"] == {"name": "Shirt", "override": True}
    assert "product" not in first["items"][1]
    assert (second["status"], "customer" in second) == ("CANCELED", False)


# ---- properties ----

LINES = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz")), max_size=40)


def of_lines(lines: list[tuple[str, str]], **arguments: Any) -> tuple[dict[str, list[str]], list[Unreadable], Tally]:
    tally = Tally()
    found = read(*(f"{no},,{article}{n},1,1" for n, (no, article) in enumerate(lines)), tally=tally, **arguments)
    return ids(found), errors(found), tally


@settings(deadline=None)
@given(LINES)
def test_sorting_puts_every_line_into_its_order(lines: list[tuple[str, str]]) -> None:
    expected: dict[str, list[str]] = {}
    for n, (no, article) in enumerate(lines):
        expected.setdefault(no, []).append(f"{article}{n}")
    found, bad, tally = of_lines(lines, sort=True)
    assert list(found.items()) == list(expected.items())
    assert (bad, tally) == ([], Tally(items=len(lines)))


@settings(deadline=None)
@given(LINES)
def test_every_line_ends_in_one_class_and_no_order_is_sent_twice(lines: list[tuple[str, str]]) -> None:
    found, bad, tally = of_lines(lines)
    assert tally.items + tally.unreadable + tally.skipped.total() == len(lines)
    assert tally.items == sum(map(len, found.values()))
    groups = [no for n, (no, _) in enumerate(lines) if not n or lines[n - 1][0] != no]
    assert list(found) == list(dict.fromkeys(groups))
    assert len(bad) == tally.unreadable == len(groups) - len(found)


# ---- memory ----


@pytest.mark.parametrize("sort", [False, True])
def test_memory_does_not_grow_with_the_file(sort: bool, tmp_path: Path) -> None:
    peaks = []
    for count in (4_000, 16_000):
        path = tmp_path / f"{count}.csv"
        with path.open("w") as file:
            file.write(HEADER + "\n")
            file.writelines(f"order-{n // 2},{'x' * 200},A,1,1.00\n" for n in range(count))
        tracemalloc.start()
        with Input(str(path)) as source:
            found = csv_orders.orders(source.stream, source.name, own(), Tally(), sort=sort)
            assert sum(not isinstance(item, Unreadable) for item in found) == count // 2
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000, peaks
