"""From the text of a cell to a value: exact decimals, dates, maps. A text that does not fit raises `CellInvalid`."""

import re
from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from punchcard.client.mapping import MappingInvalid, Numbers
from punchcard.errors import PunchcardError

AMOUNT_MAX = 2**53 - 1
# of one column; with the longest texts about 2 MB
_REMEMBERED_MAX = 10_000
_REMEMBERED_LENGTH_MAX = 100
_DIRECTIVES = re.compile(r"%(.)")
_OF_A_TIME = frozenset("HIMSfpXcT")
# only what means the same in every language and on every system
_KNOWN_DIRECTIVES = frozenset("dmyYHIMSfpzjbB%")
# what a spreadsheet is told to take as text; the apostrophe of 's-Hertogenbosch stays
_APOSTROPHE = re.compile(r"'(?=[0-9+\-=@])")


class CellInvalid(PunchcardError):
    """A text that is not what its column should hold."""


class Remembered(dict[str, Any]):
    """A function of a text: `remembered[text]`. Columns repeat themselves, so what it gave for a text is kept."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, text: str) -> Any:
        made = self._make(text)
        if len(text) <= _REMEMBERED_LENGTH_MAX:
            if len(self) == _REMEMBERED_MAX:
                self.clear()
            self[text] = made
        return made


def without_apostrophe(text: str) -> str:
    """The text without the leading apostrophe that tells a spreadsheet to take a number as text."""
    return text[1:] if _APOSTROPHE.match(text) else text


class NumberReader:
    """Reads numbers as one file writes them. All arithmetic is decimal and exact."""

    def __init__(self, numbers: Numbers) -> None:
        self.digits = numbers.digits
        self._rounds = numbers.rounding == "half-up"
        thousands = re.escape(numbers.thousands)
        if numbers.thousands == " ":
            thousands = "[ \u00a0\u202f]"
        # groups of three, of two in India; the last always of three, so that 1,5 is never taken for 15
        grouped = rf"|[0-9]{{1,3}}(?:{thousands}[0-9]{{2,3}})*{thousands}[0-9]{{3}}" if thousands else ""
        decimal = re.escape(numbers.decimal)
        self._form = re.compile(rf"([+-]?)((?:[0-9]+{grouped})?)(?:{decimal}([0-9]*))?")
        signs = "|".join(re.escape(sign) for sign in sorted(numbers.signs, key=len, reverse=True) if sign)
        self._sign = re.compile(rf"^([+-]?)\s*(?:{signs})\s*|\s*(?:{signs})$") if signs else None

    def decimal(self, text: str) -> Decimal:
        """The number that a text writes."""
        bare = self._sign.sub(r"\1", text, count=1) if self._sign else text
        found = self._form.fullmatch(bare)
        if not found or not (found[2] or found[3]) or len(bare) > 40:
            raise CellInvalid(f"is no number as [numbers] describes them: {text!r}")
        return Decimal(f"{found[1]}{re.sub('[^0-9]', '', found[2]) or '0'}.{found[3] or '0'}")

    def integer(self, text: str) -> int:
        """A whole number; `6.0` is one."""
        number = self.decimal(text)
        if number != (whole := int(number)) or abs(whole) > AMOUNT_MAX:
            raise CellInvalid(f"is no whole number: {text!r}")
        return whole

    def amount(self, text: str) -> tuple[int, bool]:
        """An amount in the smallest unit of the currency, and whether it had to be rounded (half up)."""
        assert self.digits is not None, "checked when the mapping was compiled"
        exact = self.decimal(text).scaleb(self.digits)
        units = exact.quantize(Decimal(1), rounding=ROUND_HALF_UP)
        if exact != units and not self._rounds:
            raise CellInvalid(
                f"has more than {self.digits} digits behind the decimal sign: {text!r}."
                ' If that sign parts thousands, say so in [numbers]; to round, say rounding = "half-up"'
            )
        if units < 0:
            raise CellInvalid(f"is below zero: {text!r}")
        if units > AMOUNT_MAX:
            raise CellInvalid(f"is more than an amount can hold: {text!r}")
        return int(units), exact != units

    def number(self, text: str) -> int | float:
        """A number for metadata: whole if it is."""
        number = self.decimal(text)
        return int(number) if number == int(number) else float(number)


def date_reader(date: str | list[str], zone: str | None, where: str) -> Callable[[str], str]:
    """Reads a date of one of some forms as ISO 8601; raises `MappingInvalid` for a form that cannot be meant.

    A date alone stays one, or with a zone becomes its midnight there. A time gets the offset it brings, else that
    of the zone, else none: then it is local in the project's zone, which the server knows.
    """
    forms = [date] if isinstance(date, str) else date
    if not forms:
        raise MappingInvalid(f"{where}.date: names no form")
    for form in forms:
        if form != "iso" and (unknown := set(_DIRECTIVES.findall(form)) - _KNOWN_DIRECTIVES):
            raise MappingInvalid(f"{where}.date: unknown directive %{min(unknown)} in {form!r}")
        if form != "iso" and not {"d", "j"} & set(_DIRECTIVES.findall(form)):
            raise MappingInvalid(f"{where}.date: {form!r} has no day; write it as %Y-%m-%d %H:%M:%S, or iso")
    try:
        at = ZoneInfo(zone) if zone else None
    except (KeyError, ValueError, OSError):
        raise MappingInvalid(f"{where}.zone: there is no time zone {zone!r}") from None

    def read(text: str) -> str:
        for form in forms:
            try:
                moment = datetime.fromisoformat(text) if form == "iso" else datetime.strptime(text, form)  # noqa: DTZ007 - the zone follows
            except ValueError:
                continue
            has_time = len(text) > 10 if form == "iso" else bool(_OF_A_TIME & set(_DIRECTIVES.findall(form)))
            if moment.tzinfo is None and at:
                return moment.replace(tzinfo=at).isoformat()
            return moment.isoformat() if has_time else moment.date().isoformat()
        raise CellInvalid(f"is not of the form {' or '.join(forms)}: {text!r}")

    return read
