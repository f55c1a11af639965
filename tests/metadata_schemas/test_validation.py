"""What a schema makes of metadata: each type and constraint, the texts, and a second, slow evaluation."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from punchcard.errors import RecordError
from punchcard.metadata_schemas.definitions import RESOURCES, read
from punchcard.metadata_schemas.definitions import merged as merged_schemas
from punchcard.metadata_schemas.validation import REASON_CHARACTERS_MAX, Schemas
from tests.metadata_schemas.defining import schema


def schemas(*documents: Any) -> Schemas:
    return Schemas(merged_schemas({}, read(list(documents))).values())


def reason(given_schemas: Schemas, metadata: Any, *, creating: bool = True, resource: str = "order") -> str | None:
    """What is wrong with the metadata; none if nothing is."""
    try:
        given_schemas.check(resource, metadata, creating=creating)
    except RecordError as error:
        return str(error)
    return None


# ---- texts -------------------------------------------------------------------------------------


def test_the_documented_texts() -> None:
    defined = schemas(
        schema(
            "order",
            unit={"type": "number", "optional": False},
            location_id={"type": "string", "array": True, "eq": ["L1", "L2", "L3"]},
        )
    )
    assert reason(defined, {"unit": "EUR"}) == "unit: must be a number, property is required (actual value is 'EUR')"
    assert reason(defined, {"unit": 1, "location_id": "L1"}) == (
        "location_id: must be an array, and every element: must be a string, must be equal to one of L1,L2,L3"
        " (actual value is 'L1')"
    )
    assert reason(defined, {"unit": 1, "location_id": ["L1", "L4"]}) == (
        "location_id: must be an array, and every element: must be a string, must be equal to one of L1,L2,L3"
        ' (actual value is ["L1","L4"])'
    )
    assert reason(defined, {"unit": 1, "location_id": ["L1", "L3"], "more": [None]}) is None


def test_all_complaints_in_an_order_of_their_own() -> None:
    defined = schemas(schema("order", allow_defined_only=True, a="number", b={"type": "date", "optional": False}))
    expected = (
        "a: must be a number (actual value is true);"
        " b: must be a date (YYYY-MM-DD), property is required (actual value is missing);"
        " c: property is not defined (actual value is null)"
    )
    assert reason(defined, {"c": None, "a": True}) == reason(defined, {"a": True, "c": None}) == expected


def test_a_reason_is_bounded() -> None:
    defined = schemas(schema("order", allow_defined_only=True, long={"type": "string", "eq": ["x" * 5000]}))
    for metadata in ({f"key {no} " + "k" * 5000: "v" * 5000 for no in range(200)}, {"long": ["y" * 100_000]}):
        text = reason(defined, metadata)
        assert text is not None
        assert len(text) <= REASON_CHARACTERS_MAX + 20
    text = reason(defined, {f"key {no}": 0 for no in range(2000)})
    assert text is not None
    shown = text.count("not defined")
    assert text.endswith(f"; and {2000 - shown} more")


def test_nested_objects_are_named_by_their_path() -> None:
    defined = schemas(
        schema("order", pay={"type": "object", "object_type": "Pay"}, pays={
            "type": "object", "objectType": "Pay", "array": True,
        }),
        schema("Pay", allow_defined_only=True, tax={"type": "number", "optional": False}),
    )  # fmt: skip
    assert reason(defined, {"pay": {"tax": 1}, "pays": [{"tax": 0}, {"tax": 2.5}]}) is None
    assert reason(defined, {"pay": 5}) == "pay: must be an object (actual value is 5)"
    assert reason(defined, {"pay": {"tax": "x", "y": 1}}) == (
        "pay.tax: must be a number, property is required (actual value is 'x');"
        " pay.y: property is not defined (actual value is 1)"
    )
    missing = "must be a number, property is required (actual value is missing)"
    assert reason(defined, {"pays": [{"tax": 1}, {}]}, creating=False) == f"pays[1].tax: {missing}"
    assert reason(defined, {"pays": {"tax": 1}}) == (
        'pays: must be an array, and every element: must be an object (actual value is {"tax":1})'
    )
    assert reason(defined, {"pays": [{"tax": 1}, None]}) is not None


# ---- types and constraints ---------------------------------------------------------------------

FITTING: dict[str, tuple[list[Any], list[Any]]] = {
    "string": (["", "x", "ü" * 1000], [1, 1.5, True, [], {}, ["x"]]),
    "number": ([0, -1, 1.5, 2**53, -1e300], ["1", True, False, [1], {}]),
    "boolean": ([True, False], [0, 1, "true", [], [True]]),
    "date": (
        ["2024-02-29", "0001-01-01", "9999-12-31"],
        ["2023-02-29", "2024-2-3", "20240203", "2024-02-03T00:00", "2024-W01-1", "2024-00-01", 20240203, "",
         " 2024-02-03"],
    ),
    "datetime": (
        ["2022-07-27T08:54:07.980Z", "2022-07-27T08:54:07Z", "2022-07-27 08:54", "2022-07-27T08:54:07.123456789+02:00",
         "2022-07-27T08:54+0200", "2022-07-27T08:54-05"],
        ["2022-07-27", "2022-13-27T08:54Z", "2022-07-27T25:00", "2022-07-27T08:60", "tomorrow", 1658912047, "08:54"],
    ),
    "image_url": (
        ["https://images.com/original.jpg", "https://x.org/a/B.PNG?size=5", "https://x:8443/%20a.jpg"],
        ["http://images.com/original.jpg", "https://images.com/original.gif", "https:///a.jpg", "original.jpg", 5,
         "https://x.org/?a.jpg", "https://x.org/a b.png", "https://[x/a.png", "https://x.org/a.png\n", "ftp://x.org/a.png"],
    ),
    "object": ([{}, {"x": [{}]}], [[], "x", 1, [{}]]),
    "geopoint": (
        ["50.26,19.02", "-90,180", "90.000, -180", "geo:40.79372699823857,-74.15092132694554", "0,0"],
        ["90.1,0", "0,180.5", "1", "1,2,3", "a,b", "1;2", "", [1, 2], {"lat": 1, "lng": 2}, 5, "1e1,2", "+1,2", "٣,٤"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("type_", FITTING)
@pytest.mark.parametrize("array", [False, True])
def test_each_type(type_: str, array: bool) -> None:
    defined = schemas(schema("order", key={"type": type_, "array": array}))
    fitting, others = FITTING[type_]
    for value in fitting:
        assert reason(defined, {"key": [value] if array else value}) is None, value
        if array:
            assert reason(defined, {"key": value}) is not None, value
    if array:
        assert reason(defined, {"key": fitting}) is None
        assert reason(defined, {"key": []}) is None
    for value in others:
        assert reason(defined, {"key": [*fitting, value] if array else value}) is not None, value


CONSTRAINTS: list[tuple[dict[str, Any], list[Any], list[Any], str]] = [
    ({"type": "string", "eq": ["a", "b"]}, ["a", "b"], ["", "A", "ab"], "must be equal to one of a,b"),
    ({"type": "string", "minLength": 2}, ["ab", "üü", "abc"], ["", "a"], "must have at least 2 characters"),
    ({"type": "string", "maxLength": 2}, ["", "ab"], ["abc"], "must have at most 2 characters"),
    ({"type": "string", "exactLength": 0}, [""], ["a"], "must have exactly 0 characters"),
    ({"type": "number", "eq": [1, 2.5]}, [1, 1.0, 2.5], [0, 2], "must be equal to one of 1,2.5"),
    ({"type": "number", "ne": [1, 0]}, [2, -1], [1, 1.0, 0, -0.0], "must not be equal to any of 1,0"),
    ({"type": "number", "lt": 5}, [4.999, -(10**15)], [5, 5.0, 6], "must be less than 5"),
    ({"type": "number", "lte": 5.5}, [5.5, 5], [5.51], "must be less than or equal to 5.5"),
    ({"type": "number", "gt": 0}, [0.001, 7], [0, -1], "must be greater than 0"),
    ({"type": "number", "gte": -1}, [-1, 0], [-1.5], "must be greater than or equal to -1"),
]


@pytest.mark.parametrize(("definition", "fitting", "others", "phrase"), CONSTRAINTS)
def test_each_constraint(definition: Any, fitting: list[Any], others: list[Any], phrase: str) -> None:
    defined = schemas(schema("order", key=definition, keys={**definition, "array": True}))
    for value in fitting:
        assert reason(defined, {"key": value, "keys": [value, value]}) is None, value
    for value in others:
        text = reason(defined, {"key": value})
        assert text is not None, value
        assert f"must be a {definition['type']}, {phrase} (" in text
        assert reason(defined, {"keys": [fitting[0], value]}) is not None


# ---- null, missing, removed, undefined ---------------------------------------------------------


def test_null_takes_away_what_is_optional() -> None:
    defined = schemas(schema("order", free="number", all="number", must={"type": "number", "optional": False}))
    assert reason(defined, {"free": None, "must": 1}) is None
    for creating in (True, False):
        assert reason(defined, {"must": None}, creating=creating) == (
            "must: must be a number, property is required (actual value is null)"
        )


def test_null_fits_no_element() -> None:
    defined = schemas(schema("order", keys={"type": "string", "array": True}))
    assert reason(defined, {"keys": None}) is None
    assert reason(defined, {"keys": [None]}) is not None


def test_required_keys_only_where_the_record_is_made() -> None:
    defined = schemas(schema("order", must={"type": "string", "optional": False}))
    missing = "must: must be a string, property is required (actual value is missing)"
    assert reason(defined, {}) == reason(defined, None) == reason(defined, {"x": 1}) == missing
    assert reason(defined, {}, creating=False) is None
    assert reason(defined, None, creating=False) is None
    assert reason(defined, {"must": 5}, creating=False) is not None


def test_a_removed_definition_defines_nothing() -> None:
    removed = {"type": "number", "optional": False, "deleted": True}
    assert reason(schemas(schema("order", gone=removed, kept="number")), {"gone": "x"}) is None
    strict = schemas(schema("order", allow_defined_only=True, gone=removed))
    assert reason(strict, {}) is None
    assert reason(strict, {"gone": 1}) == "gone: property is not defined (actual value is 1)"


def test_no_schemas_are_false_and_take_anything() -> None:
    for none in (Schemas(), schemas(schema("order")), schemas(schema("Nested", allow_defined_only=True, a="number"))):
        assert not none
        assert reason(none, {"a": "x"}) is None
    one = schemas(schema("customer", a="number"))
    assert one
    assert reason(one, {"a": "x"}) is None
    assert reason(one, {"a": "x"}, resource="customer") is not None
    strict = schemas(schema("order", allow_defined_only=True))
    assert strict
    assert reason(strict, {"a": 1}) is not None


# ---- a second evaluation -----------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0, -2.5]), st.text("ab", max_size=3),
    st.sampled_from(["2024-02-29", "2024-02-30", "2024-02-29T10:00Z", "https://x.y/a.png", "1,2", "91,2"]),
)  # fmt: skip
NESTED_KEYS = ("n", "m")
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.sampled_from(NESTED_KEYS), SCALARS, max_size=2),
    st.lists(st.dictionaries(st.sampled_from(NESTED_KEYS), SCALARS, max_size=2), max_size=2),
)  # fmt: skip
KEYS = ("a", "b", "c", "d")


def definitions(types: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    @st.composite
    def one(draw: st.DrawFn) -> dict[str, Any]:
        type_ = draw(st.sampled_from(types))
        made: dict[str, Any] = {"type": type_, "array": draw(st.booleans()), "optional": draw(st.booleans())}
        made["deleted"] = draw(st.sampled_from([False, False, True]))
        if type_ == "object":
            made["objectType"] = draw(st.sampled_from([None, "Nested"]))
        if type_ == "string":
            limits = st.dictionaries(st.sampled_from(["minLength", "maxLength", "exactLength"]), st.integers(0, 3))
            made |= draw(limits) | draw(st.sampled_from([{}, {}, {"eq": ["a", "ab", ""]}]))
        if type_ == "number":
            limits = st.dictionaries(st.sampled_from(["lt", "lte", "gt", "gte"]), st.integers(-3, 3), max_size=2)
            made |= draw(limits) | draw(st.sampled_from([{}, {}, {"eq": [1, 0.5]}, {"ne": [1, 2]}]))
        return made

    return one()


def properties(types: list[str], keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(keys), definitions(types), max_size=len(keys))


def wrong_keys(schema_: Any, metadata: Any, *, creating: bool, nested: Any) -> set[str]:
    """The keys at fault, found the long way."""
    wrong = set()
    for key in {*schema_["properties"], *metadata}:
        definition = schema_["properties"].get(key)
        if definition is None or definition["deleted"]:
            at_fault = key in metadata and schema_["allow_defined_only"]
        elif key not in metadata:
            at_fault = creating and not definition["optional"]
        elif metadata[key] is None:
            at_fault = not definition["optional"]
        elif definition["array"] and type(metadata[key]) is not list:
            at_fault = True
        else:
            values = metadata[key] if definition["array"] else [metadata[key]]
            at_fault = not all(is_right(definition, value, nested) for value in values)
        if at_fault:
            wrong.add(key)
    return wrong


EXAMPLES = {"date": "2024-02-29", "datetime": "2024-02-29T10:00Z", "image_url": "https://x.y/a.png", "geopoint": "1,2"}
PYTHON = {"string": (str,), "number": (int, float), "boolean": (bool,), "object": (dict,)}
RULES: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, allowed: any(value == one for one in allowed),
    "ne": lambda value, refused: all(value != one for one in refused),
    "minLength": lambda value, bound: len(value) >= bound,
    "maxLength": lambda value, bound: len(value) <= bound,
    "exactLength": lambda value, bound: len(value) == bound,
    "lt": lambda value, bound: bool(value < bound),
    "lte": lambda value, bound: bool(value <= bound),
    "gt": lambda value, bound: bool(value > bound),
    "gte": lambda value, bound: bool(value >= bound),
}


def is_right(definition: Any, value: Any, nested: Any) -> bool:
    """Whether one value, not null, is what the definition says."""
    type_ = definition["type"]
    if type_ in EXAMPLES:
        return bool(value == EXAMPLES[type_])
    if type(value) not in PYTHON[type_]:
        return False
    if type_ == "object" and definition["objectType"]:
        return not wrong_keys(nested, value, creating=True, nested=None)
    return all(rule(value, definition[name]) for name, rule in RULES.items() if name in definition)


TYPES = ["string", "number", "boolean", "date", "datetime", "image_url", "geopoint"]


@settings(max_examples=400, deadline=None)
@given(
    properties=properties([*TYPES, "object", "object"], KEYS),
    inner=properties(TYPES, NESTED_KEYS),
    strict=st.booleans(),
    inner_strict=st.booleans(),
    metadata=st.dictionaries(st.sampled_from([*KEYS, "e"]), VALUES),
    creating=st.booleans(),
    resource=st.sampled_from(sorted(RESOURCES)),
)
def test_against_a_second_evaluation(
    properties: Any, inner: Any, strict: bool, inner_strict: bool, metadata: Any, creating: bool, resource: str
) -> None:
    outer = {"related_object": resource, "properties": properties, "allow_defined_only": strict}
    nested = {"related_object": "Nested", "properties": inner, "allow_defined_only": inner_strict}
    defined = schemas(outer, nested)
    assert bool(defined) == bool(properties or strict)
    wrong = wrong_keys(outer, metadata, creating=creating, nested=nested)
    text = reason(defined, metadata, creating=creating, resource=resource)
    assert (text is None) == (not wrong), (wrong, text)
    if text is not None:
        assert text[0] == min(wrong)
    for key, value in metadata.items():
        alone = reason(defined, {key: value}, creating=False, resource=resource)
        assert (alone is None) == (key not in wrong), alone
