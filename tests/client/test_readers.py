"""The readers: right for every chunk size, flat in memory, and never stopped by what stands in a file."""

import gzip
import io
import json
import lzma
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from punchcard.client import json_array, readers
from punchcard.client.inputs import Input, Tally, Unreadable
from punchcard.orders.orders import OrderIn
from tests.client.reading import LIMIT, bodies, errors, read_bytes, read_file

# Characters that could fool a scanner, and characters of two, three and four bytes.
TRICKY = st.text(st.sampled_from(list('[]{},:"\\ \n/aé€𝄞')), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TRICKY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TRICKY, inner, max_size=4),
    max_leaves=12,
)
SPACE = st.text(st.sampled_from(" \t\r\n"), max_size=3)


def chunked(data: bytes, sizes: Iterator[int]) -> Callable[[int], bytes]:
    """A `read` that gives as little as `sizes` says."""
    stream = io.BytesIO(data)
    return lambda _: stream.read(next(sizes))


@st.composite
def chunk_sizes(draw: st.DrawFn) -> Iterator[int]:
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=10))

    def endless() -> Iterator[int]:
        while True:
            yield from sizes

    return endless()


@st.composite
def arrays(draw: st.DrawFn) -> bytes:
    """A JSON array as some program might write it: with spaces anywhere between, escaped or not."""
    indent = draw(st.none() | st.integers(0, 2))
    ascii_only = draw(st.booleans())
    texts = [json.dumps(value, indent=indent, ensure_ascii=ascii_only) for value in draw(st.lists(VALUES, max_size=8))]
    inside = ",".join(draw(SPACE) + text + draw(SPACE) for text in texts)
    return f"{draw(SPACE)}[{inside}{draw(SPACE)}]{draw(SPACE)}".encode()


@settings(deadline=None, max_examples=400)
@given(arrays(), chunk_sizes())
def test_the_elements_are_those_of_json_loads_at_any_chunk_size(data: bytes, sizes: Iterator[int]) -> None:
    found = list(json_array.elements(chunked(data, sizes), LIMIT))
    assert [json.loads(element or b"") for element in found] == json.loads(data)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


@settings(deadline=None, max_examples=400)
@given(arrays(), chunk_sizes(), st.data())
def test_a_damaged_array_is_never_taken_for_a_good_one(data: bytes, sizes: Iterator[int], draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    data = (
        data[:at] + draw.draw(st.sampled_from([b"", b"[", b"]", b"{", b"}", b",", b'"', b"\\", b"1"])) + data[at + 1 :]
    )
    try:
        expected = json.loads(data, parse_constant=_refuse)
    except ValueError:
        expected = None
    try:
        found: Any = [
            json.loads(e or b"", parse_constant=_refuse) for e in json_array.elements(chunked(data, sizes), LIMIT)
        ]
    except (ValueError, json_array.ArrayBroken):
        found = None
    assert found == expected


@settings(deadline=None)
@given(st.lists(st.dictionaries(TRICKY, VALUES, max_size=4), max_size=6), st.sampled_from([b"\n", b"\r\n", b"\n\n \n"]))
def test_lines_and_arrays_give_the_same_orders(orders: list[dict[str, Any]], end: bytes) -> None:
    orders = [{"metadata": metadata} for metadata in orders]
    by_line = read_bytes(end.join(json.dumps(order).encode() for order in orders), file_format="jsonl")
    by_element = read_bytes(json.dumps(orders, indent=2).encode(), file_format="json")
    assert [json.loads(body) for body in bodies(by_line)] == orders
    assert [json.loads(body) for body in bodies(by_element)] == orders
    assert not errors(by_line + by_element)


def test_a_body_is_compact_and_otherwise_as_written() -> None:
    raw = b'{ "amount" : 70000.0,  "metadata": {"a": 1e2, "a": "\\u00e9 ,"} }'
    assert bodies(read_bytes(raw)) == [b'{"amount":70000.0,"metadata":{"a":1e2,"a":"\\u00e9 ,"}}']


ORDERS = b'[{"source_id":"a"},{"source_id":"b"}]'
LINES = b'{"source_id":"a"}\n{"source_id":"b"}\n'


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
@pytest.mark.parametrize("data", [ORDERS, LINES, b"\xef\xbb\xbf" + LINES, b" \n" + ORDERS + b"\n"])
def test_format_and_packing_are_told_by_the_bytes(data: bytes, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    expected = [b'{"source_id":"a"}', b'{"source_id":"b"}']
    assert bodies(read_bytes(pack(data))) == expected
    (tmp_path / "orders.json").write_bytes(pack(data))
    assert bodies(read_file(tmp_path / "orders.json")) == expected


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.jsonl.gz", b"[", "jsonl"),
        ("a.ndjson", b"[", "jsonl"),
        ("A.CSV.XZ", b"", "csv"),
        ("-", b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n", "csv"),
        ("a.json", b' {"', "jsonl"),
        ("orders", b"\n [", "json"),
    ],
)
def test_detect(name: str, head: bytes, expected: str) -> None:
    assert readers.detect(name, head) == expected


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.json.gz", "a"])
@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_holds_no_orders(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert read_file(tmp_path / name) == []
    assert read_bytes(data, file_format="json") == []


def test_a_bad_line_is_reported_with_its_number_and_the_rest_goes_on() -> None:
    data = b'{"source_id":"a"}\n\n{"source_id":\n[1]\n{"a":"\xff"}\n' + b'{"x":' + b"[" * 9_000 + b'\n{"source_id":"b"}'
    found = read_bytes(data, file_format="jsonl")
    assert bodies(found) == [b'{"source_id":"a"}', b'{"source_id":"b"}']
    assert [error.place.rpartition(":")[2] for error in errors(found)] == ["3", "4", "5", "6"]
    assert errors(found)[1].reason == "an order is a JSON object"
    assert errors(found)[2].reason == "not UTF-8"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('{"orders":[{"id":"a"}]}', "the orders are inside an object"),
        ("{}", "no field of an order"),
        ('{"Source":"a","total":3}', "no field of an order"),
    ],
)
def test_an_object_that_cannot_be_an_order_is_an_error(value: str, reason: str) -> None:
    for data in (value, f"[{value}]"):
        found = read_bytes(data.encode())
        assert not bodies(found)
        assert reason in errors(found)[0].reason


def test_every_field_that_an_order_can_have_makes_one() -> None:
    for field in msgspec.structs.fields(OrderIn):
        assert bodies(read_bytes(b'{"%s":1}' % field.name.encode()))


@pytest.mark.parametrize(
    ("data", "count"),
    [(b'{\n "id": "a",\n "amount": 1\n}\n', 1), (b'{"id": "a",\n "amount": 1}\n', 2), (b'{\n"orders": [\n', 1)],
)
def test_an_object_over_several_lines_is_told(data: bytes, count: int) -> None:
    found = read_bytes(data, file_format="jsonl")
    assert len(found) == len(errors(found)) == count
    assert "write one order per line" in errors(found)[0].reason


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.xlsx", b"PK\x03\x04 anything", "this is an Excel file; export it as CSV"),
        ("a.csv", b"PK\x03\x04 [Content_Types].xml", "this is an Excel file; export it as CSV"),
        ("a.csv", b"\xd0\xcf\x11\xe0 anything", "this is an Excel file; export it as CSV"),
        ("a.zip", b"PK\x03\x04 orders.json", "this is a zip file; unpack it"),
        ("a.jsonl.gz", b"<html>", "not a gzip file"),
        ("a.csv.xz", b"<html>", "not an xz file"),
    ],
)
def test_a_file_that_cannot_be_meant_is_one_error(name: str, data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert read_file(tmp_path / name) == [Unreadable(name, reason)]


def test_a_file_that_was_unpacked_and_kept_its_name_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(LINES)
    assert len(bodies(read_file(tmp_path / "a.jsonl.gz"))) == 2


def test_a_bad_element_is_reported_with_its_index_and_the_rest_goes_on() -> None:
    found = read_bytes(b'[{"id":1},{"id":1,,},7,,{"id":2},]')
    assert bodies(found) == [b'{"id":1}', b'{"id":2}']
    assert [error.place for error in errors(found)] == [f"standard input[{index}]" for index in (1, 2, 3, 5)]


@pytest.mark.parametrize(
    "data", [b'[{"id":1},', b'[{"id":1}] x', b'[{"id":1}}', b'[{"id":1},{"id":"', b'[{"id":1},{"id":"\\']
)
def test_a_broken_array_gives_what_comes_before_and_one_error(data: bytes) -> None:
    found = read_bytes(data)
    assert bodies(found) == [b'{"id":1}']
    assert len(errors(found)) == 1


def test_text_that_is_no_array_is_an_error() -> None:
    assert errors(read_bytes(b'{"id":1}', file_format="json"))[0].reason == "the file does not begin with ["


@pytest.mark.parametrize("filling", [b"x", b"[", b"\\\\", b"\\", b'"'])
def test_an_order_over_the_limit_is_an_error_and_the_rest_goes_on(filling: bytes) -> None:
    big = b'{"id":"' + filling * 3_000 + b"x" * (filling == b"\\") + b'"}'
    if filling == b'"':
        big = b'{"id":[' + b",".join([b'"x"'] * 3_000) + b"]}"
    for data in (b'[{"id":1},' + big + b',{"id":2}]', b'{"id":1}\n' + big + b'\n{"id":2}'):
        found = read_bytes(data, limit=1_000)
        assert bodies(found) == [b'{"id":1}', b'{"id":2}']
        assert "longer than a request may be" in errors(found)[0].reason


def test_the_limit_itself_is_allowed() -> None:
    order = b'{"id":"' + b"x" * 91 + b'"}'
    for data in (order, order + b"\r\n", b"[" + order + b"]"):
        assert bodies(read_bytes(data, limit=100)) == [order]
        assert not bodies(read_bytes(data, limit=99))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_cut_archive_gives_what_was_readable_and_one_error(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    data = b"".join(b'{"source_id":"%d","metadata":{"a":"%d"}}\n' % (n, n * n * 7919) for n in range(50_000))
    packed = pack(data)
    path = tmp_path / "orders.jsonl.xz"
    path.write_bytes(packed[: len(packed) * 3 // 4])
    found = read_file(path)
    assert 1_000 < len(bodies(found)) < 50_000
    assert ["damaged" in error.reason for error in errors(found)][-1]
    assert len(errors(found)) == 1


@pytest.mark.parametrize("join", [b"\n", b","])
def test_memory_does_not_grow_with_the_file(join: bytes, tmp_path: Path) -> None:
    order = b'{"source_id":"x","metadata":{"text":"' + b"y" * 500 + b'"}}'
    path = tmp_path / "orders"
    path.write_bytes((b"[%s]" if join == b"," else b"%s\n") % join.join([order] * 30_000))  # 16 MB
    tracemalloc.start()
    with Input(str(path)) as source:
        items = readers.read(source, file_format=None, order_bytes_max=LIMIT, tally=Tally())
        count = sum(not isinstance(item, Unreadable) for item in items)
        taken = source.taken_bytes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert taken == path.stat().st_size
    assert peak < 4_000_000
