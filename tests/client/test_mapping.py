"""The grammar of mappings: what is refused, with which words, and the arithmetic of its conversions."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.client import mapping_files
from punchcard.client.conversions import AMOUNT_MAX, CellInvalid, NumberReader, date_reader, without_apostrophe
from punchcard.client.mapping import MappingInvalid, Numbers

SMALL = "[order]\nsource_id = 'no'\n"


@pytest.mark.parametrize("name", mapping_files.presets())
def test_presets_hold_and_name_their_source(name: str) -> None:
    assert mapping_files.preset(name).source


def test_the_presets_are_those_documented() -> None:
    assert mapping_files.presets() == ["online-retail", "shopify"]
    with pytest.raises(MappingInvalid, match="there are online-retail, shopify"):
        mapping_files.preset("magento")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[order", "own.toml is not valid TOML"),
        ("", "missing required field `order`"),
        (SMALL + "[orders]", "unknown field `orders`"),
        (SMALL + "[order.custmer]\nid = 'a'", "order: Object contains unknown field `custmer`"),
        (SMALL + "[order.customer.address]\nzip = 'a'", "order.customer.address: Object contains unknown field `zip`"),
        (SMALL + "status = { colum = 'a' }", "order.status: Object contains unknown field `colum`"),
        (SMALL + "status = {}", "order.status: names neither a column nor a constant"),
        (SMALL + "status = { constant = 'PAID', column = 'a' }", "order.status: has both"),
        (SMALL + "status = { constant = 'PAID', type = 'integer' }", "order.status: a constant is not converted"),
        (SMALL + "status = { column = 'a', otherwise = 'PAID' }", "order.status.otherwise"),
        (SMALL + "status = { column = 'a', zone = 'UTC' }", "order.status.zone"),
        (SMALL + "status = { column = 'a', date = 'iso', values = {} }", "exclude each other"),
        (SMALL + "amount = 'total'", "order.amount: is an amount: say in [numbers] how many `digits`"),
        (SMALL + "[order.metadata]\nd = { column = 'd', date = '%d.%m.%Q' }", "metadata.d.date: unknown directive %Q"),
        (SMALL + "[order.metadata]\nd = { column = 'd', date = 'DD.MM' }", "has no day"),
        (SMALL + "[order.metadata]\nd = { column = 'd', date = 'iso', zone = 'Mars/Base' }", "no time zone 'Mars"),
        (SMALL + "[order.customer]\ndescription = 'a'", "order.customer: a customer is told by"),
        (SMALL + "[lines]\norder = 'no'", "the table [item] is missing"),
        (SMALL + "[lines]\ninterleaved = 0", "lines.interleaved"),
        (SMALL + "[numbers]\nthousands = '.'", "numbers.thousands"),
        (SMALL + "[numbers]\ndigits = 9", "numbers.digits"),
        (SMALL + "[csv]\ndelimiter = ',,'", "csv.delimiter"),
        (SMALL + "[csv]\nencoding = 'utf-16'", "csv.encoding: utf-16 writes even ASCII in another way"),
        (SMALL + "[csv]\nencoding = 'utf-9'", "there is no encoding 'utf-9'"),
        (SMALL + "[[skip]]\nreason = 'a'\nwhen = {}", "skip[0].when: names no column"),
        (SMALL + "[[skip]]\nreason = 'a'\nwhen = { a = {} }", "skip[0].when.a: says nothing"),
        ("[split]\n[order]\nstatus = 'a'", "split: the parts are told apart by order.source_id"),
        (SMALL + "amount = 'a'\n[numbers]\ndigits = 2\n[split]", "split: the amounts"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_work_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(MappingInvalid) as caught:
        mapping_files.parse(text.encode(), "own.toml")
    assert str(caught.value).startswith("own.toml")
    assert said in str(caught.value)


def test_a_mapping_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MappingInvalid, match="cannot be read: No such file"):
        mapping_files.load(tmp_path / "missing.toml")


# ---- numbers ----

DIGITS = st.integers(0, 4)
UNITS = st.integers(0, AMOUNT_MAX)


def written(units: int, digits: int, *, decimal: str = ".", thousands: str = "") -> str:
    """An amount as a person writes it."""
    whole, rest = divmod(units, 10**digits)
    text = f"{whole:,}".replace(",", thousands)
    return text + (f"{decimal}{rest:0{digits}}" if digits else "")


@given(UNITS, DIGITS, st.sampled_from([(".", ""), (".", ","), (",", "."), (",", " "), (".", "'"), (",", "")]))
def test_what_is_written_exactly_is_read_exactly(units: int, digits: int, signs: tuple[str, str]) -> None:
    decimal, thousands = signs
    numbers = NumberReader(Numbers(digits=digits, decimal=decimal, thousands=thousands))  # type: ignore[arg-type]
    text = written(units, digits, decimal=decimal, thousands=thousands)
    assert numbers.amount(text) == (units, False)
    assert numbers.amount("0" + text if not thousands else text) == (units, False)


@given(st.integers(0, 10**15), st.integers(1, 6), DIGITS)
def test_rounding_is_half_up_and_told(number: int, more: int, digits: int) -> None:
    text = written(number, digits + more)
    exact = Decimal(number) / 10**more
    units, rounded = NumberReader(Numbers(digits=digits, rounding="half-up")).amount(text)
    assert rounded == (exact != units)
    assert exact - Decimal("0.5") < units <= exact + Decimal("0.5")
    if rounded:
        with pytest.raises(CellInvalid, match="more than"):
            NumberReader(Numbers(digits=digits)).amount(text)


@pytest.mark.parametrize(
    "text", ["", ".", "-", "1e3", "NaN", "1.2.3", "1,5", "1 5", "12-", "(1)", "0x1", "\u0661", "1" * 50, "--1", "-1"]
)
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(CellInvalid):
        NumberReader(Numbers(digits=2)).amount(text)


@pytest.mark.parametrize("text", ["1,5", "12,34", "1234,567", ",123", "1,2345"])
def test_thousands_are_groups_of_three(text: str) -> None:
    with pytest.raises(CellInvalid):
        NumberReader(Numbers(digits=0, thousands=",")).amount(text)


def test_indian_groups_and_spaces_that_do_not_break() -> None:
    assert NumberReader(Numbers(digits=2, thousands=",")).amount("12,34,567.5") == (123456750, False)
    assert NumberReader(Numbers(digits=2, thousands=" ", decimal=",")).amount("1\u202f234,5") == (123450, False)


@pytest.mark.parametrize(
    ("text", "units"), [("€5", 500), ("5 €", 500), ("EUR 5,20", 520), ("+€ 1", 100), ("7EUR", 700)]
)
def test_currency_signs(text: str, units: int) -> None:
    assert NumberReader(Numbers(digits=2, decimal=",", signs=["€", "EUR"])).amount(text) == (units, False)
    with pytest.raises(CellInvalid):
        NumberReader(Numbers(digits=2, decimal=",")).amount(text)


def test_whole_numbers() -> None:
    numbers = NumberReader(Numbers())
    assert [numbers.integer(text) for text in ("6", "6.0", "-3")] == [6, 6, -3]
    with pytest.raises(CellInvalid, match="no whole number"):
        numbers.integer("6.5")


# ---- dates ----


@pytest.mark.parametrize(
    ("form", "zone", "text", "expected"),
    [
        ("%d.%m.%Y", None, "04.05.2019", "2019-05-04"),
        ("%d.%m.%Y %H:%M", None, "04.05.2019 07:30", "2019-05-04T07:30:00"),
        ("%d.%m.%Y %H:%M", "Europe/Berlin", "04.05.2019 07:30", "2019-05-04T07:30:00+02:00"),
        ("%d.%m.%Y", "Europe/Berlin", "04.12.2019", "2019-12-04T00:00:00+01:00"),
        ("%Y-%m-%d %H:%M:%S %z", "Europe/Berlin", "2025-10-07 09:50:26 +0500", "2025-10-07T09:50:26+05:00"),
        ("iso", None, "2019-05-04", "2019-05-04"),
        ("iso", None, "2019-05-04T07:30:00Z", "2019-05-04T07:30:00+00:00"),
        (["%d.%m.%Y", "iso"], None, "2019-05-04 01:02:03", "2019-05-04T01:02:03"),
    ],
)
def test_dates(form: str | list[str], zone: str | None, text: str, expected: str) -> None:
    assert date_reader(form, zone, "d")(text) == expected


def test_a_date_that_is_none() -> None:
    with pytest.raises(CellInvalid, match=r"is not of the form %d\.%m\.%Y: '31\.02\.2019'"):
        date_reader("%d.%m.%Y", None, "d")("31.02.2019")


def test_apostrophes_of_spreadsheets() -> None:
    texts = ["'75008", "'+49 30", "'s-Hertogenbosch", "O'Hara", "''5"]
    assert [without_apostrophe(text) for text in texts] == ["75008", "+49 30", "'s-Hertogenbosch", "O'Hara", "''5"]
