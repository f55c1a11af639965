"""CSV files as they are read: what comes back of a table, and what is refused, by which words."""

import csv
import io
import time
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.bulk.csv_files import COLUMNS_MAX, Layout, Table, read
from punchcard.errors import InvalidPayload

LAYOUT = Layout({"name": "name", "city": "city", "address_city": "city"}, required=("name",))
ANY = Layout({})
ROWS_MAX = 1000


def cells(table: Table) -> list[list[str]]:
    """The rows of a table as lists of cells."""
    records = [msgspec.json.decode(record) for record in table.records]
    return [[record.get(column, "") for column in table.columns] for record in records]


def written(rows: Sequence[Sequence[str]], *, quoting: int = csv.QUOTE_MINIMAL, line: str = "\r\n") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting, lineterminator=line).writerows(rows)  # type: ignore[arg-type]
    return text.getvalue().encode()


names = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=8)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12) | st.sampled_from(
    ['"', '""', ",", "\r\n", "\n", "\r", " a ", "'", ";", '"\n,"', "\u2028", "\x85", "\x1c"]
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    header = draw(st.lists(names, min_size=2, max_size=5, unique=True))
    row = st.lists(texts, min_size=len(header), max_size=len(header))
    return header, draw(st.lists(row, max_size=6))


@given(tables(), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.booleans())
def test_any_table_that_is_written_comes_back(
    table: tuple[list[str], list[list[str]]],
    quoting: int,
    bom: bool,
) -> None:
    header, rows = table
    file = (b"\xef\xbb\xbf" if bom else b"") + written([header, *rows], quoting=quoting)
    found = read(file, ANY, rows_max=ROWS_MAX)
    assert (found.columns, cells(found)) == (header, rows)


@given(st.binary(max_size=200) | st.text('a,"\r\n;', max_size=60).map(str.encode))
def test_any_file_is_read_or_refused(file: bytes) -> None:
    try:
        table = read(file, ANY, rows_max=ROWS_MAX)
    except InvalidPayload as error:
        assert str(error).startswith("Property .file ")  # noqa: PT017
    else:
        assert all(len(row) == len(table.columns) for row in cells(table))


@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_lines_end_in_any_way_and_blank_ones_are_none(line: str) -> None:
    file = line.join(["name,x", "a,1", "", "b,2", "", ""]).encode()
    assert cells(read(file, LAYOUT, rows_max=2)) == [["a", "1"], ["b", "2"]]


def test_short_rows_have_empty_cells_and_columns_without_a_name_at_the_end_are_none() -> None:
    table = read(b'NAME , City,x,,\na,b,c,,\nd\n"",,,\n', LAYOUT, rows_max=3)
    assert table.columns == ["name", "city", "x"]
    assert cells(table) == [["a", "b", "c"], ["d", "", ""], ["", "", ""]]
    assert read(b"name\n", LAYOUT, rows_max=0).records == []


@pytest.mark.parametrize(
    ("file", "details"),
    [
        (b"", "is empty: its first row has to have the names of the columns"),
        (b"\n\n", "is empty: its first row has to have the names of the columns"),
        (b",,\n1,2,3\n", "is empty: its first row has to have the names of the columns"),
        (b"x,y\n1,2\n", "should have required column 'name'"),
        (b"name,,x\n", "has no name for column 2"),
        (b"name,my key\n", "has white space in the name of a column: 'my key'"),
        (b"name,x,x\n", "has two columns for the same: 'x' and 'x'"),
        (b"name,NAME\n", "has two columns for the same: 'name' and 'NAME'"),
        (b"name,City,address_CITY\n", "has two columns for the same: 'City' and 'address_CITY'"),
        (b"name;source_id\nMug;mug\n", "must be separated by commas"),
        (b"name\tsource_id\nMug\tmug\n", "must be separated by commas"),
        (b"name,x\na,b\na,b,c\n", "has 3 cells in row 2, and 2 columns"),
        (b'name\n"a\n', "is not valid CSV in row 1: unexpected end of data"),
        (b'name\na\n"b"c\n', "is not valid CSV in row 2: ',' expected after '\"'"),
        (b"name\na\nb\nc\nd\n", "must have at most 3 rows"),
        (b"name\n\xe9\n", "is not encoded in UTF-8"),
        ("name\nMug\n".encode("utf-16"), "is not encoded in UTF-8"),
        ("name\nMug\n".encode("utf-16-le"), "must not contain a NUL character"),
        (b"name\na\x00b\n", "must not contain a NUL character: row 1 does"),
        (b"name\n" + b"x" * 200_000, "is not valid CSV in row 1: field larger than field limit (131072)"),
        (b"name," + b"x" * 256, "has a name of more than 255 characters for column 2"),
        (",".join(["name", *map(str, range(COLUMNS_MAX))]).encode(), f"must have at most {COLUMNS_MAX} columns"),
    ],
)
def test_what_is_no_such_file_is_refused(file: bytes, details: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        read(file, LAYOUT, rows_max=3)
    assert str(refused.value) == f"Property .file {details}"


def test_a_file_that_would_grow_too_much_is_refused_soon() -> None:
    header = ",".join(f"{'x' * 250}{no}" for no in range(900))
    file = f"{header}\n{'1,' * 899}1\n".encode() + f"{'1,' * 899}1\n".encode() * 4000
    began = time.monotonic()
    with pytest.raises(InvalidPayload, match="too many columns for its rows"):
        read(file, ANY, rows_max=100_000)
    assert time.monotonic() - began < 60
