"""What makes a definition invalid, and where the complaint says it is."""

from typing import Any

import msgspec
import pytest

from punchcard.errors import InvalidPayload
from punchcard.metadata_schemas.definitions import Schema, merged, read_file
from tests.metadata_schemas.defining import schema


def accepted(document: Any) -> dict[str, Schema]:
    """What a file defines where nothing is defined yet."""
    return merged({}, read_file(document if isinstance(document, bytes) else msgspec.json.encode(document)))


PROPERTY = "Property .properties"
REFUSED: list[tuple[Any, str]] = [
    (b"[", "Payload is not valid JSON: it ends early or holds an incomplete escape"),
    (b'["\xff"]', "Payload is not valid JSON: it is not encoded in UTF-8"),
    (5, "Payload must be an object"),
    ([5], "Property .[0] must be an object"),
    ({}, "Payload should have required property 'related_object'"),
    ({"schemas": [{}]}, "Property .schemas[0].related_object must be a name of 1 to 255 characters"),
    (schema("x" * 256), "Property .related_object must be a name of 1 to 255 characters"),
    ({"related_object": "order"}, "Property .properties must be an object"),
    ({**schema("order"), "allow_defined_only": 1}, "Property .allow_defined_only must be a boolean"),
    (
        {**schema("order"), "propertys": 1},
        "Property .propertys is not known: related_object, properties, allow_defined_only are",
    ),
    ([schema("order"), schema("order")], "Property .[1].related_object names order a second time"),
    (schema("order", x=5), f"{PROPERTY}.x must be an object"),
    (schema("order", x={}), f"{PROPERTY}.x should have required property 'type'"),
    (
        {"related_object": "order", "properties": {"": {"type": "string"}}},
        f"{PROPERTY} must have keys of 1 to 255 characters",
    ),
    (schema("order", x="text"), f"{PROPERTY}.x.type has an unknown value 'text'"),
    (schema("order", x={"type": None}), f"{PROPERTY}.x.type must be string"),
    (schema("order", x={"type": "string", "array": "yes"}), f"{PROPERTY}.x.array must be boolean"),
    (schema("order", x={"type": "string", "minLenght": 5}), f"{PROPERTY}.x: "),
    (schema("order", x={"type": "string", "minLength": 5, "min_length": 5}), f"{PROPERTY}.x.minLength is given twice"),
    (schema("order", x={"type": "string", "min_length": 1.5}), f"{PROPERTY}.x.minLength should be integer"),
    (
        schema("order", x={"type": "string", "min_length": -1}),
        f"{PROPERTY}.x.minLength must lie within 0 and 9007199254740991",
    ),
    (schema("order", x={"type": "string", "gt": 5}), f"{PROPERTY}.x.gt does not fit the type string"),
    (schema("order", x={"type": "number", "exactLength": 5}), f"{PROPERTY}.x.exactLength does not fit the type number"),
    (schema("order", x={"type": "date", "eq": ["2024-02-29"]}), f"{PROPERTY}.x.eq does not fit the type date"),
    (schema("order", x={"type": "string", "ne": [5]}), f"{PROPERTY}.x.ne does not fit the type string"),
    (schema("order", x={"type": "number", "eq": [5, "6"]}), f"{PROPERTY}.x.eq.1 must be number"),
    (schema("order", x={"type": "string", "eq": [5]}), f"{PROPERTY}.x.eq.0 must be string"),
    (
        schema("order", x={"type": "number", "lt": 2**53}),
        f"{PROPERTY}.x.lt must lie within -9007199254740991 and 9007199254740991",
    ),
    (schema("order", x={"type": "string", "eq": ["a\0"]}), f"{PROPERTY}.x.eq[0] must not contain a NUL character"),
    (
        schema("order", x={"type": "string", "objectType": "Pay"}),
        f"{PROPERTY}.x.objectType does not fit the type string",
    ),
    (
        schema("order", x={"type": "object", "objectType": "Pay"}),
        f"{PROPERTY}.x.objectType must name a nested object's schema: Pay is none",
    ),
    (
        [schema("order", x={"type": "object", "objectType": "customer"}), schema("customer")],
        "Property .[0].properties.x.objectType must name a nested object's schema: customer is none",
    ),
    (
        [schema("Tax", rate="number"), schema("Pay", x={"type": "object", "objectType": "Tax"})],
        "Property .[1].properties.x.type cannot be object: a nested object holds no other",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("document", "complaint"), REFUSED, ids=[complaint[:60] for _, complaint in REFUSED])
def test_what_is_refused_and_where(document: Any, complaint: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        accepted(document)
    said = str(caught.value)
    assert said == complaint or (complaint.endswith(": ") and said.startswith(complaint))


def test_both_ways_of_writing_are_one() -> None:
    snake = {"type": "string", "min_length": 1, "max_length": 2, "exact_length": 1, "object_type": None}
    camel = {"type": "string", "minLength": 1, "maxLength": 2, "exactLength": 1, "objectType": None}
    both = accepted([schema("order", x=snake), schema("customer", x=camel)])
    assert both["order"].properties == both["customer"].properties
    written = msgspec.json.decode(msgspec.json.encode(both["order"].properties["x"]))
    assert written == {**camel, "array": False, "optional": True}


def test_what_says_nothing_is_left_out() -> None:
    given: dict[str, Any] = {
        "type": "number",
        "eq": [],
        "ne": None,
        "lt": None,
        "minLength": None,
        "deleted": None,
        "array": None,
    }
    assert accepted(schema("order", x=given)) == accepted(schema("order", x="number"))


def test_the_limits_of_numbers_and_names() -> None:
    bound = 2**53 - 1
    key: dict[str, Any] = {"k" * 255: {"type": "number", "gte": -bound, "lte": bound, "eq": [bound, 0.5]}}
    accepted(schema("x" * 255, **key))
    accepted(schema("order", key={"type": "string", "minLength": 0, "maxLength": bound}))


def test_a_removed_object_need_not_name_anything() -> None:
    accepted(schema("order", pay={"type": "object", "objectType": "Gone", "deleted": True}))
    accepted(schema("Pay", inner={"type": "object", "deleted": True}))
