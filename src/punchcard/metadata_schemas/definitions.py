"""Definitions of metadata: their types, how they are written, and what makes them valid.

They are kept and shown in the read API's form (`minLength`), and also taken in the management API's
(`min_length`). What is wrong with one is an `InvalidPayload` with its path.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from punchcard.errors import InvalidPayload
from punchcard.http import shapes

# the resources whose metadata can be defined; every other name is that of a nested object
RESOURCES = frozenset({
    "campaign", "customer", "earning_rule", "loyalty_tier", "order", "order_item", "product", "promotion_tier",
    "publication", "redemption", "reward", "voucher",
})  # fmt: skip
DEFINITIONS_MAX = 100
NAME_CHARACTERS_MAX = 255
NUMBER_MAX = 2**53 - 1

Type = Literal["string", "number", "object", "date", "datetime", "geopoint", "boolean", "image_url"]
_CAMEL = {
    "object_type": "objectType",
    "min_length": "minLength",
    "max_length": "maxLength",
    "exact_length": "exactLength",
}
_LENGTHS = ("min_length", "max_length", "exact_length")
_COMPARISONS = ("lt", "lte", "gt", "gte")
CONSTRAINTS: Mapping[str, frozenset[str]] = {
    "string": frozenset({"eq", *_LENGTHS}),
    "number": frozenset({"eq", "ne", *_COMPARISONS}),
}
_ALL_CONSTRAINTS = ("eq", "ne", *_LENGTHS, *_COMPARISONS)
# what a definition is taken to say where it says nothing
_DEFAULTS: dict[str, Any] = {"array": False, "optional": True, "objectType": None}


class Definition(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, rename=_CAMEL):
    """What one key of the metadata may hold. Lengths are in characters. A removed definition stays, as `deleted`."""

    type: Type
    array: bool
    optional: bool
    object_type: str | None
    eq: list[str | int | float] | None = None
    ne: list[int | float] | None = None
    lt: int | float | None = None
    lte: int | float | None = None
    gt: int | float | None = None
    gte: int | float | None = None
    min_length: int | None = None
    max_length: int | None = None
    exact_length: int | None = None
    deleted: bool = False


class Schema(Struct, frozen=True):
    """The definitions of one resource or nested object; with `allow_defined_only` there are no other keys."""

    related_object: str
    properties: dict[str, Definition]
    allow_defined_only: bool = False


class Given(Struct, frozen=True):
    """A schema as it is given to be merged into what is defined: no `allow_defined_only` leaves that as it is."""

    related_object: str
    properties: dict[str, Definition]
    allow_defined_only: bool | None
    path: str


# ---- reading -----------------------------------------------------------------------------------

# what the API adds to a schema, and a list of them to itself
_SHOWN = frozenset({"id", "created_at", "updated_at", "object"})
_FIELDS = ("related_object", "properties", "allow_defined_only")


def read_file(body: bytes) -> list[Given]:
    """The schemas of a JSON file; see `read`. Raises `InvalidPayload`."""
    try:
        return read(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(shapes.complaint(error)) from None


def read(document: Any) -> list[Given]:
    """The schemas of a decoded JSON document: one, an array, or the list that the API shows.

    Raises `InvalidPayload`.
    """
    if isinstance(document, dict) and "related_object" not in document:
        key = next((key for key in ("schemas", "data") if isinstance(document.get(key), list)), None)
        if key is None:
            raise InvalidPayload("Payload should have required property 'related_object'")
        given = [read_schema(schema, f".{key}[{no}]") for no, schema in enumerate(document[key])]
    elif isinstance(document, list):
        given = [read_schema(schema, f".[{no}]") for no, schema in enumerate(document)]
    else:
        given = [read_schema(document, "")]
    seen: set[str] = set()
    for schema in given:
        if schema.related_object in seen:
            raise InvalidPayload(f"Property {schema.path}.related_object names {schema.related_object} a second time")
        seen.add(schema.related_object)
    return given


def read_schema(document: Any, path: str) -> Given:
    """One schema of a decoded JSON document. Raises `InvalidPayload`; `path` is where it stands."""
    if not isinstance(document, dict):
        raise InvalidPayload(f"Property {path} must be an object" if path else "Payload must be an object")
    shapes.refuse_nul(document, path)
    for field in document:
        if field not in _FIELDS and field not in _SHOWN:
            raise InvalidPayload(f"Property {path}.{field} is not known: {', '.join(_FIELDS)} are")
    name, strict = document.get("related_object"), document.get("allow_defined_only")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARACTERS_MAX:
        raise InvalidPayload(f"Property {path}.related_object must be a name of 1 to {NAME_CHARACTERS_MAX} characters")
    if strict is not None and not isinstance(strict, bool):
        raise InvalidPayload(f"Property {path}.allow_defined_only must be a boolean")
    return Given(name, read_properties(document.get("properties"), f"{path}.properties"), strict, path)


def read_properties(document: Any, path: str) -> dict[str, Definition]:
    """The definitions of a decoded JSON object, by their keys. Raises `InvalidPayload`; `path` is where it stands."""
    if not isinstance(document, dict):
        raise InvalidPayload(f"Property {path} must be an object")
    return {key: _definition(key, value, path) for key, value in document.items()}


def _definition(key: str, document: Any, path: str) -> Definition:
    if not 0 < len(key) <= NAME_CHARACTERS_MAX:
        raise InvalidPayload(f"Property {path} must have keys of 1 to {NAME_CHARACTERS_MAX} characters")
    path = f"{path}.{key}"
    if not isinstance(document, dict):
        raise InvalidPayload(f"Property {path} must be an object")
    try:
        definition = msgspec.convert(_DEFAULTS | _in_camel(document, path), Definition)
    except msgspec.ValidationError as error:
        raise InvalidPayload(shapes.complaint(error, prefix=path)) from None
    for fault in _faults(definition):
        raise InvalidPayload(f"Property {path}{fault}")
    return definition


def _in_camel(document: dict[str, Any], path: str) -> dict[str, Any]:
    """In the read API's names, without what says nothing: nulls and empty lists."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        field = _CAMEL.get(name, name)
        if field in found:
            raise InvalidPayload(f"Property {path}.{field} is given twice")
        if (value is not None and value != []) or field == "type":
            found[field] = value
    return found


def _faults(definition: Definition) -> Iterator[str]:
    """What the types alone do not say, as the rest of a complaint's path and text."""
    allowed = CONSTRAINTS.get(definition.type, frozenset())
    for name in _ALL_CONSTRAINTS:
        if getattr(definition, name) is not None and name not in allowed:
            yield f".{_CAMEL.get(name, name)} does not fit the type {definition.type}"
    if definition.object_type is not None and definition.type != "object":
        yield f".objectType does not fit the type {definition.type}"
    for name in ("eq", "ne"):
        for no, value in enumerate(getattr(definition, name) or ()):
            if isinstance(value, str) != (definition.type == "string"):
                yield f".{name}.{no} must be {definition.type}"
            elif not isinstance(value, str):
                yield from _out_of_range(f".{name}.{no}", value, -NUMBER_MAX)
    for name in _COMPARISONS:
        yield from _out_of_range(f".{name}", getattr(definition, name), -NUMBER_MAX)
    for name in _LENGTHS:
        yield from _out_of_range(f".{_CAMEL[name]}", getattr(definition, name), 0)


def _out_of_range(path: str, value: float | None, lowest: int) -> Iterator[str]:
    if value is not None and not lowest <= value <= NUMBER_MAX:
        yield f"{path} must lie within {lowest} and {NUMBER_MAX}"


# ---- merging -----------------------------------------------------------------------------------


def merged(stored: Mapping[str, Schema], given: Sequence[Given]) -> dict[str, Schema]:
    """`stored`, by the name of the object, after `given`: each definition replaces its namesake, others stay.

    Raises `InvalidPayload` for what contradicts a stored definition, or another schema of the result.
    """
    after = dict(stored)
    for schema in given:
        name = schema.related_object
        before = stored.get(name, Schema(name, {}))
        properties = merged_properties(
            before.properties, schema.properties, path=f"{schema.path}.properties", name=name
        )
        strict = before.allow_defined_only if schema.allow_defined_only is None else schema.allow_defined_only
        after[name] = Schema(name, properties, strict)
    for schema in given:
        _check_nesting(schema, after)
    return after


def merged_properties(
    stored: Mapping[str, Definition], given: Mapping[str, Definition], *, path: str, name: str
) -> dict[str, Definition]:
    """The definitions of one schema after those given at `path`: each replaces its namesake, others stay.

    Raises `InvalidPayload`.
    """
    for key, definition in given.items():
        present = stored.get(key)
        if present is not None and present.type != definition.type:
            raise InvalidPayload(
                f"Property {path}.{key}.type cannot be changed from {present.type} to {definition.type}"
            )
    properties = {**stored, **given}
    if len(properties) > DEFINITIONS_MAX:
        raise InvalidPayload(
            f"Property {path} must have at most {DEFINITIONS_MAX} definitions, removed ones included:"
            f" {name} would have {len(properties)}"
        )
    return properties


def _check_nesting(schema: Given, schemas: Mapping[str, Schema]) -> None:
    for key, definition in schema.properties.items():
        if definition.type != "object" or definition.deleted:
            continue
        path = f"{schema.path}.properties.{key}"
        if schema.related_object not in RESOURCES:
            raise InvalidPayload(f"Property {path}.type cannot be object: a nested object holds no other")
        name = definition.object_type
        if name is not None and (name in RESOURCES or name not in schemas):
            raise InvalidPayload(f"Property {path}.objectType must name a nested object's schema: {name} is none")
