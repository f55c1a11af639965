"""Whether a record's metadata is what its schema says.

A schema is compiled once into checkers; a record then costs one look-up a key. What an update supplies
is judged by itself, not merged with what is stored: what was stored before a definition existed, or
under an older one, does not stand in the way of a change that has nothing to do with it.

- A value of null takes a value away, since metadata is merged by key: it fits every definition that is
  optional, and none that is required. Inside an array it fits nothing.
- A nested object replaces the one before it as a whole: its required keys must be there on updates too.
- A removed definition defines nothing: its key is one that is not defined.
- Numbers are numbers, also as constraints: 1 and 1.0 are equal, and `true` is none. A length counts
  characters (code points).
- The API's documents name the types `geopoint` and `image_url` without their form. A geopoint is
  `latitude,longitude` in degrees, with or without the `geo:` under which locations are documented; an
  image's address is what a product's `image_url` is documented to be: HTTPS, a .png or .jpg file.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from punchcard.errors import ApiError, RecordError
from punchcard.metadata_schemas.definitions import RESOURCES, Definition, Schema

# a failure is shown in the result of its job, beside many others
REASON_CHARACTERS_MAX = 1000
KEY_CHARACTERS_MAX = 100
VALUE_CHARACTERS_MAX = 100
REQUIREMENT_CHARACTERS_MAX = 300

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,12})?)?(?:Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII)
_GEOPOINT = re.compile(r"(?:geo:)?(-?\d{1,3}(?:\.\d{1,20})?), ?(-?\d{1,3}(?:\.\d{1,20})?)", re.ASCII)
_LATITUDE_MAX, _LONGITUDE_MAX = 90, 180
_IMAGES = (".png", ".jpg")


class MetadataInvalid(ApiError):
    """Metadata is not what the project's schema says."""

    key = "metadata_validation_failed"
    message = "Metadata validation failed"


class MetadataRefused(RecordError):
    """A record's metadata is not what the project's schema says."""

    def refusal(self) -> ApiError:
        """The documented error."""
        return MetadataInvalid(str(self))


class Schemas:
    """The compiled schemas of a project; false if there are none, so that who has none pays nothing."""

    def __init__(self, schemas: Iterable[Schema] = ()) -> None:
        by_name = {schema.related_object: schema for schema in schemas}
        self._by_name = by_name
        self._checkers = {
            name: _Checker(schema, by_name)
            for name, schema in by_name.items()
            if name in RESOURCES and (schema.properties or schema.allow_defined_only)
        }

    def __bool__(self) -> bool:
        return bool(self._checkers)

    def definitions(self, resource: str) -> dict[str, Definition]:
        """What is defined of a resource's metadata, by key; removed definitions define nothing."""
        schema = self._by_name.get(resource)
        properties = {} if schema is None else schema.properties
        return {key: definition for key, definition in properties.items() if not definition.deleted}

    def check(self, resource: str, metadata: Mapping[str, Any] | None, *, creating: bool) -> None:
        """Raise `MetadataRefused` with all complaints about `metadata`, such as
        `unit: must be a number, property is required (actual value is 'EUR')`.

        `creating` says that `metadata` is all that the record will have: of a new record, or where metadata is
        replaced as a whole. Only then must required keys be there. A resource without a schema takes anything.
        """
        checker = self._checkers.get(resource)
        if checker is None or (metadata is None and not creating):
            return
        faults = checker.faults({} if metadata is None else metadata, creating=creating)
        if faults:
            raise MetadataRefused(_reason(faults))


def check_whole(properties: Mapping[str, Definition], metadata: Mapping[str, Any] | None) -> None:
    """Raise `MetadataRefused` unless `metadata`, which is all that there is, fits these definitions; other keys may
    be there."""
    faults = _Checker(Schema("", dict(properties)), {}).faults(metadata or {}, creating=True)
    if faults:
        raise MetadataRefused(_reason(faults))


def _reason(faults: list[str]) -> str:
    """As many complaints as a reason has room for, and how many more there are."""
    text, shown = faults[0], 1
    while shown < len(faults) and len(text) + len(faults[shown]) < REASON_CHARACTERS_MAX:
        text += f"; {faults[shown]}"
        shown += 1
    return text if shown == len(faults) else f"{text}; and {len(faults) - shown} more"


# ---- checkers ----------------------------------------------------------------------------------


class _Checker:
    """A compiled schema."""

    def __init__(self, schema: Schema, nested: Mapping[str, Schema]) -> None:
        self._properties = {
            name: _Property(definition, nested)
            for name, definition in schema.properties.items()
            if not definition.deleted
        }
        self._required = [name for name, property_ in self._properties.items() if not property_.optional]
        self._defined_only = schema.allow_defined_only

    def faults(self, metadata: Mapping[str, Any], *, creating: bool, path: str = "") -> list[str]:
        """What is wrong with `metadata`, in an order that does not depend on the order of its keys."""
        found: list[str] = []
        for key, value in metadata.items():
            property_ = self._properties.get(key)
            if property_ is not None:
                if not property_.fits(value):
                    found += property_.faults(path + _cut(key, KEY_CHARACTERS_MAX), value)
            elif self._defined_only:
                name = path + _cut(key, KEY_CHARACTERS_MAX)
                found.append(f"{name}: property is not defined (actual value is {_shown(value)})")
        if creating and self._required:
            found += [
                f"{path}{_cut(key, KEY_CHARACTERS_MAX)}: {self._properties[key].requirement} (actual value is missing)"
                for key in self._required
                if key not in metadata
            ]
        return sorted(found) if len(found) > 1 else found


class _Property:
    """A compiled definition. `requirement` is all that it asks for, whatever of it is not met."""

    def __init__(self, definition: Definition, nested: Mapping[str, Schema]) -> None:
        self.optional = definition.optional
        self.requirement = _requirement(definition)
        self._array = definition.array
        self._tests = _tests(definition)
        # one level: a nested object's own objects are not looked into
        schema = nested.get(definition.object_type or "")
        self._nested = None if schema is None else _Checker(schema, {})

    def fits(self, value: Any) -> bool:
        if value is None:
            return self.optional
        if self._array:
            return isinstance(value, list) and all(map(self._fits_one, value))
        return self._fits_one(value)

    def _fits_one(self, value: Any) -> bool:
        for test in self._tests:
            if not test(value):
                return False
        return self._nested is None or not self._nested.faults(value, creating=True)

    def faults(self, path: str, value: Any) -> list[str]:
        """What is wrong with a `value` that does not fit: below the value if it is a nested object's."""
        elements = value if self._array and isinstance(value, list) else [value]
        if (
            self._nested is not None
            and all(isinstance(element, dict) for element in elements)
            and (isinstance(value, list) == self._array)
        ):
            found = []
            for no, element in enumerate(elements):
                place = f"{path}[{no}]." if self._array else f"{path}."
                found += self._nested.faults(element, creating=True, path=place)
            return found
        return [f"{path}: {self.requirement} (actual value is {_shown(value)})"]


Test = Callable[[Any], bool]


def _tests(definition: Definition) -> list[Test]:
    """What one value must pass: its type, then the constraints."""
    tests: list[Test] = [_TYPES[definition.type][0]]
    if definition.eq is not None:
        tests.append(frozenset(definition.eq).__contains__)
    if definition.ne is not None:
        refused = frozenset(definition.ne)
        tests.append(lambda value: value not in refused)
    for name, (test, _) in _BOUNDS.items():
        bound = getattr(definition, name)
        if bound is not None:
            tests.append(test(bound))
    return tests


def _requirement(definition: Definition) -> str:
    parts = [_TYPES[definition.type][1]]
    if definition.eq is not None:
        parts.append(f"must be equal to one of {_listed(definition.eq)}")
    if definition.ne is not None:
        parts.append(f"must not be equal to any of {_listed(definition.ne)}")
    parts += [
        phrase.format(getattr(definition, name))
        for name, (_, phrase) in _BOUNDS.items()
        if getattr(definition, name) is not None
    ]
    if not definition.optional:
        parts.append("property is required")
    return ("must be an array, and every element: " if definition.array else "") + ", ".join(parts)


# ---- types and constraints ---------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return value.__class__ is int or value.__class__ is float


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and _DATE.fullmatch(value) is not None and _in_calendar(date.fromisoformat, value)


def _is_datetime(value: Any) -> bool:
    return (
        isinstance(value, str)
        and _DATETIME.fullmatch(value) is not None
        and _in_calendar(datetime.fromisoformat, value)
    )


def _in_calendar(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


IMAGE_REQUIREMENT = "must be an HTTPS address of a .png or .jpg file"


def is_image_url(value: Any) -> bool:
    """Whether a value is what an `image_url` is documented to be."""
    if not isinstance(value, str):
        return False
    try:
        address = urlsplit(value)
    except ValueError:
        return False
    return (
        address.scheme == "https"
        and bool(address.hostname)
        and address.path.lower().endswith(_IMAGES)
        and not any(character.isspace() for character in value)
    )


def _is_geopoint(value: Any) -> bool:
    found = _GEOPOINT.fullmatch(value) if isinstance(value, str) else None
    return found is not None and abs(float(found[1])) <= _LATITUDE_MAX and abs(float(found[2])) <= _LONGITUDE_MAX


_TYPES: Mapping[str, tuple[Test, str]] = {
    "string": (lambda value: isinstance(value, str), "must be a string"),
    "number": (_is_number, "must be a number"),
    "boolean": (lambda value: isinstance(value, bool), "must be a boolean"),
    "date": (_is_date, "must be a date (YYYY-MM-DD)"),
    "datetime": (_is_datetime, "must be a date and time (ISO 8601)"),
    "image_url": (is_image_url, IMAGE_REQUIREMENT),
    "object": (lambda value: isinstance(value, dict), "must be an object"),
    "geopoint": (_is_geopoint, "must be a geopoint (latitude,longitude)"),
}
_BOUNDS: Mapping[str, tuple[Callable[[Any], Test], str]] = {
    "min_length": (lambda bound: lambda value: len(value) >= bound, "must have at least {} characters"),
    "max_length": (lambda bound: lambda value: len(value) <= bound, "must have at most {} characters"),
    "exact_length": (lambda bound: lambda value: len(value) == bound, "must have exactly {} characters"),
    "lt": (lambda bound: lambda value: value < bound, "must be less than {}"),
    "lte": (lambda bound: lambda value: value <= bound, "must be less than or equal to {}"),
    "gt": (lambda bound: lambda value: value > bound, "must be greater than {}"),
    "gte": (lambda bound: lambda value: value >= bound, "must be greater than or equal to {}"),
}


# ---- texts -------------------------------------------------------------------------------------


def _listed(values: Iterable[Any]) -> str:
    return _cut(",".join(map(str, values)), REQUIREMENT_CHARACTERS_MAX)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"'{_cut(value, VALUE_CHARACTERS_MAX)}'"
    return _cut(msgspec.json.encode(value).decode(), VALUE_CHARACTERS_MAX)


def _cut(text: str, characters_max: int) -> str:
    return text if len(text) <= characters_max else f"{text[: characters_max - 1]}…"
