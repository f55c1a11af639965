"""Metadata in the cells of a CSV file: texts that the project's schema gives a type.

What is not of its type stays a text, and is refused when the metadata is checked. Without a definition all is text.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from punchcard.errors import InvalidPayload
from punchcard.http import shapes
from punchcard.metadata_schemas.definitions import Definition

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,400})(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,4})?")
# the documented forms: YYYY-MM-DD, …THH, …THH:mm, …THH:mm:ss, each of the last three with Z, and …THH:mm:ss.SSSZ
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:T([0-9]{2})(:[0-9]{2})?(:[0-9]{2}(?:[.,][0-9]{1,12})?)?"
    r"(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_SINGLE_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'((?:[^\'\\]|\\.)*)\'', re.DOTALL)


def metadata_of(cells: Mapping[str, str], definitions: Mapping[str, Definition]) -> dict[str, Any]:
    """The metadata of a row's cells, of which none is empty."""
    found: dict[str, Any] = {}
    for key, cell in cells.items():
        definition = definitions.get(key)
        found[key] = cell if definition is None else _value(cell, definition)
    return found


def _value(cell: str, definition: Definition) -> Any:
    if not definition.array:
        return _one(cell, definition.type)
    if definition.type == "object":
        value = json_of(cell)
        return value if isinstance(value, list) else cell
    return [_one(part, definition.type) for part in elements_of(cell)]


def elements_of(cell: str) -> list[str]:
    """The elements of an array: they are separated by commas."""
    return [part.strip() for part in cell.split(",") if part.strip()]


def _one(text: str, kind: str) -> Any:
    if kind == "number":
        return _number(text.strip())
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    if kind == "date":
        return date_of(text.strip()) or text
    if kind == "datetime":
        return _moment(text.strip())
    if kind == "object":
        value = json_of(text)
        return value if isinstance(value, dict) else text
    return text


def _number(text: str) -> Any:
    if not _NUMBER.fullmatch(text):
        return text
    digits = text.lstrip("+-").lstrip("0")
    # JSON has no sign in front of a positive number, and no zeros
    number = ("-" if text.startswith("-") else "") + (digits if digits[:1].isdigit() else f"0{digits}")
    try:
        return _storable(msgspec.json.decode(number.encode()), text)
    except msgspec.DecodeError:
        return text


def date_of(text: str) -> str | None:
    """The date of a date, or of a moment as it is written, in any of the documented forms; none if it is none."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    try:
        date.fromisoformat(match[1])
    except ValueError:
        return None
    return match[1]


def _moment(text: str) -> str:
    """A date and time in the form that schemas know: a date alone is its midnight in UTC, an hour its beginning."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return text
    day, hour, minute, second, zone = match.groups()
    if hour is None:
        return f"{day}T00:00:00Z"
    return f"{day}T{hour}{minute or ':00'}{second or ''}{zone or ''}"


def json_of(cell: str) -> Any:
    """The value of a cell with JSON, also with single quotes around its texts; none if it is no such thing."""
    document = _SINGLE_QUOTED.sub(_double_quoted, cell).encode()
    if shapes.is_nested_too_deeply(document):
        return None
    try:
        return _storable(msgspec.json.decode(document), None)
    except (msgspec.DecodeError, RecursionError):
        return None


def _double_quoted(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    text = match[1].replace("\\'", "'")
    return '"' + re.sub(r'\\.|"', lambda found: found[0] if len(found[0]) > 1 else '\\"', text) + '"'


def _storable(value: Any, otherwise: Any) -> Any:
    """A value that PostgreSQL can store, else what takes its place."""
    try:
        shapes.check_metadata({"": value}, "")
        shapes.refuse_nul(value, "")
    except InvalidPayload:
        return otherwise
    return value
