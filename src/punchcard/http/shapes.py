"""Shapes that all resources share, and the documented phrases for what does not fit them.

msgspec says ``Expected `int` >= 1 - at `$.items[0].quantity` ``; the API says
`Property .items[0].quantity cannot be lower than 1`.
"""

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from punchcard.errors import InvalidPayload

AMOUNT_MAX = 2**53 - 1
ID_LENGTH_MAX = 255
# money in the smallest currency unit, and counts
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
# an id or source id; the index on it could not hold any length
Identifier = Annotated[str, Meta(max_length=ID_LENGTH_MAX)]


def or_unset(value: Any) -> Any:
    """The value, or UNSET for none: such a field is left out of an answer."""
    return msgspec.UNSET if value is None else value


_AT = re.compile(r"^(?P<problem>.*?)(?: - at `\$?(?P<path>.*)`)?$", re.DOTALL)
_EXPECTED = re.compile(r"^Expected `(?P<expected>[^`]+)`(?P<rest>.*)$", re.DOTALL)
_BOUND = re.compile(r"^ (?P<operator>>=|<=|<|>) (?P<bound>\S+)$")
_LENGTH = re.compile(r"^ (?:of length|of at most length) (?:(?P<operator>>=|<=) )?(?P<bound>\d+)")
# msgspec writes `[...]` for "some key of this object"; the key itself is not known
_SOME_KEY = re.compile(r"\[\.\.\.\]$")
_NOUNS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "array": "an array",
          "object": "an object", "date": "a date in the format YYYY-MM-DD", "null": "null"}  # fmt: skip
_FALLBACK = "Payload is not valid JSON"


def complaint(error: Exception, *, prefix: str = "") -> str:
    """The documented phrase for `error`; `prefix` is the path of the decoded part, such as `.[3]`."""
    if isinstance(error, RecursionError):
        return f"{_FALLBACK}{_inside(prefix)}: it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"{_FALLBACK}{_inside(prefix)}: it is not encoded in UTF-8"
    if not isinstance(error, msgspec.ValidationError):
        return f"{_FALLBACK}{_inside(prefix)}: {_json_problem(str(error))}"
    match = _AT.match(str(error))
    assert match is not None
    path = prefix + _SOME_KEY.sub("", match["path"] or "")
    return phrase(match["problem"], f"Property {path}" if path else "Payload")


def phrase(problem: str, subject: str) -> str:
    """`Expected ...` in the API's words, about `subject` (such as `Property .limit`)."""
    if problem == "Invalid RFC3339 encoded date":
        return f"{subject} must be {_NOUNS['date']}"
    if problem == "Invalid RFC3339 encoded datetime":
        return f"{subject} cannot be recognized as a ISO-8601 compliant date"
    if problem.startswith("Invalid enum value"):
        return f"{subject} has an unknown value {problem.removeprefix('Invalid enum value ')}"
    if problem in {"Number out of range", "Integer value out of range"}:
        return f"{subject} must be a number that can be represented"
    missing = re.match(r"^Object missing required field `(.+)`$", problem)
    if missing:
        return f"{subject} should have required property '{missing[1]}'"
    expected = _EXPECTED.match(problem)
    return _expectation(expected, subject) if expected else f"{subject}: {problem}"


def _expectation(expected: re.Match[str], subject: str) -> str:
    kind, rest = expected["expected"].split(" | ")[0], expected["rest"]
    if bound := _BOUND.match(rest):
        direction = "lower" if bound["operator"].startswith(">") else "higher"
        return f"{subject} cannot be {direction} than {bound['bound']}"
    if length := _LENGTH.match(rest):
        noun = "elements" if kind == "array" else "characters"
        quantity = "at least" if length["operator"] == ">=" else "at most"
        return f"{subject} must have {quantity} {length['bound']} {noun}"
    verb = "should be" if kind == "int" else "must be"
    return f"{subject} {verb} {_NOUNS.get(kind, kind)}"


def _inside(prefix: str) -> str:
    return f" in {prefix}" if prefix else ""


def _json_problem(text: str) -> str:
    # msgspec calls an unpaired surrogate escape "truncated"; the text must fit both
    text = text.removeprefix("JSON is malformed: ")
    return "it ends early or holds an incomplete escape" if text == "Input data was truncated" else text


def integers_from_floats(value: Any) -> Any:
    """`value` with every integral float outside metadata as an integer: `70000.0` is 70000."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [integers_from_floats(element) for element in value]
    if isinstance(value, dict):
        return {key: part if key == "metadata" else integers_from_floats(part) for key, part in value.items()}
    return value


_FLOATS_WITH_EXPONENT = 1e16


def same_json(left: Any, right: Any) -> bool:
    """Whether two JSON values are the same: unlike in Python, `1`, `1.0` and `true` are three values."""
    if left.__class__ is not right.__class__:
        # a float this large comes back from PostgreSQL as an integer
        numbers = {left.__class__, right.__class__} == {int, float}
        return numbers and abs(left) >= _FLOATS_WITH_EXPONENT and float(left) == float(right)
    if isinstance(left, dict):
        return len(left) == len(right) and all(key in right and same_json(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return bool(left == right)


# whoever reads a document again may have less of the stack left than who accepted it
NESTING_MAX = 200
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
# one kind, so that each pass takes one level away
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def is_nested_too_deeply(document: bytes) -> bool:
    """Whether JSON is nested deeper than `NESTING_MAX` levels, told without decoding it."""
    if document.count(b"[") + document.count(b"{") <= NESTING_MAX:
        return False
    brackets = _STRING.sub(b"", document).translate(_ONE_KIND, _NO_BRACKET)
    for _ in range(NESTING_MAX):
        # the innermost level falls away
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


METADATA_DEPTH_MAX = 32
_INTEGER_MAX = 2**63 - 1


_PLAIN = frozenset({str, bool, float, type(None)})


def is_plain(metadata: dict[str, Any]) -> bool:
    """Whether `check_metadata` can have nothing against it: a quick look, because nearly all metadata is plain."""
    for value in metadata.values():
        kind = value.__class__
        if kind in _PLAIN or (kind is int and -_INTEGER_MAX <= value <= _INTEGER_MAX):
            continue
        if kind is not list:
            return False
        for element in value:
            if element.__class__ not in _PLAIN:
                return False
    return True


def check_metadata(metadata: dict[str, Any] | None, path: str) -> None:
    """Refuse what PostgreSQL could not store: deep nesting and integers beyond 64 bits."""
    if metadata:
        for key, value in metadata.items():
            if value.__class__ is not str:
                _check_value(value, path, key, 1)


def _check_value(value: Any, path: str, key: str, depth: int) -> None:
    if isinstance(value, int):
        if abs(value) > _INTEGER_MAX:
            raise InvalidPayload(f"Property {path}.{key} must be a number that can be represented")
    elif isinstance(value, list | dict):
        if depth >= METADATA_DEPTH_MAX:
            raise InvalidPayload(f"Property {path} is nested deeper than {METADATA_DEPTH_MAX} levels")
        for element in value.values() if isinstance(value, dict) else value:
            _check_value(element, path, key, depth + 1)


def holds_nul(encoded: bytes) -> bool:
    """Whether JSON that we encoded holds a NUL character: much faster than a look at every value."""
    return b"\\u0000" in encoded.replace(rb"\\", b"")  # a backslash in a text is written as two


def refuse_nul(value: Any, path: str) -> None:
    """Refuse a NUL character in any string below `path`: PostgreSQL stores none."""
    place = _place_of_nul(value)
    if place is not None:
        raise InvalidPayload(f"Property {path}{place} must not contain a NUL character")


def _place_of_nul(value: Any) -> str | None:
    """The path from `value` to a NUL character; put together on the way back, since a body has millions of values."""
    if isinstance(value, str):
        return "" if "\x00" in value else None
    if isinstance(value, dict):
        for key, part in value.items():
            if (place := _place_of_nul(part)) is not None:
                return f".{key}{place}"
            if "\x00" in key:
                return ""
    elif isinstance(value, list):
        for no, part in enumerate(value):
            if (place := _place_of_nul(part)) is not None:
                return f"[{no}]{place}"
    return None
