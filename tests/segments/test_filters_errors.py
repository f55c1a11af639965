"""What a filter must not be: each refusal names the place."""

from typing import Any

import pytest

from punchcard.errors import ApiError
from punchcard.segments import filters


def refusal(given: Any, path: str = ".filter") -> str:
    """What a request with the filter is refused with."""
    with pytest.raises(ApiError) as raised:
        filters.parse(given, path)
    assert (raised.value.status, raised.value.key) == (400, "invalid_payload")
    assert raised.value.details is not None
    return raised.value.details


def of(name: str, conditions: Any, **more: Any) -> Any:
    return {name: {"conditions": conditions, **more}}


def condition(name: str, operator: str, value: Any) -> Any:
    return of(name, {operator: value})


NAME_IS = {"conditions": {"$is": "Ann"}}


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (None, ""), ([], ""), ("name", ""), (5, ""),
        ({}, ""), ({"junction": "or"}, ""),
        ({f"metadata.{no}": NAME_IS for no in range(51)}, ""),
        ({"name": {"conditions": {"$is": ["x" * 1000] * 40}}}, ""),
        ({"name": NAME_IS, "junction": "xor"}, ".junction"),
        ({"name": NAME_IS, "junction": None}, ".junction"),
        ({"name": NAME_IS, "junction": ["or"]}, ".junction"),
        (of("name", {"$is": "Ann"}, junction="not"), ".name.junction"),
        (of("name", {"$is": "Ann"}, condition={}), ".name.condition"),
        ({"name": None}, ".name"), ({"name": "Ann"}, ".name"), ({"name": [NAME_IS]}, ".name"),
        ({"name": {}}, ".name.conditions"), (of("name", {}), ".name.conditions"),
        (of("name", [{"$is": "Ann"}]), ".name.conditions"), (of("name", "Ann"), ".name.conditions"),
    ],
)  # fmt: skip
def test_the_shape_of_a_filter(given: Any, place: str) -> None:
    assert refusal(given).startswith(f"Property .filter{place} ")


def test_the_path_is_that_of_the_request() -> None:
    assert refusal({"name": {}}, ".segment.filter").startswith("Property .segment.filter.name.conditions ")


@pytest.mark.parametrize(
    "name",
    ["nickname", "Name", "address", "address.street", "summary.orders", "summary.orders.count", "metadata", "metadata.",
     "unknown_metadata.", "events", "events.cart", "events..count", "events.count", "loyalty_points.campaigns.Cards",
     "loyalty_points.campaigns..points", "loyalty_tiers.campaigns.", "segments", "segments.seg_1", "segments.id", "",
     "metadata." + "k" * 300],
)  # fmt: skip
def test_attributes_that_there_are_not(name: str) -> None:
    assert refusal({name: NAME_IS}).startswith(f"Property .filter.{name} ")


def test_a_filter_on_segments_says_why_not() -> None:
    assert "must not depend on segments" in refusal({"segments": NAME_IS})


@pytest.mark.parametrize("name", ["metadata.a\x00b", "name\x00", "events.\x00.count"])
def test_names_with_a_nul_character(name: str) -> None:
    said = refusal({name: {"conditions": {"$is": 1}}})
    assert said.startswith("Property .filter.")
    assert "\x00" not in said


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("name", "is"), ("name", "$equals"), ("name", ""), ("name", "$IS"), ("metadata.k", "$is_today"),
        ("name", "$more_than"), ("name", "$count"), ("name", "$after"), ("name", "$today"), ("name", "$in_location"),
        ("summary.orders.total_count", "$contains"), ("summary.orders.total_count", "$today"),
        ("summary.orders.total_count", "$count"), ("events.cart.count", "$after"),
        ("created_at", "$in"), ("created_at", "$is_not"), ("created_at", "$not_in"), ("created_at", "$starts_with"),
        ("created_at", "$more_than"), ("birthdate", "$in"), ("birthdate", "$contains"), ("birthdate", "$less_than"),
        ("metadata.k", "$this_year_md"), ("metadata.k", "$is_years_ago_md"), ("birthdate", "$in_location"),
    ],
)  # fmt: skip
def test_operators_that_do_not_go_with_the_attribute(name: str, operator: str) -> None:
    said = refusal(condition(name, operator, "5"))
    assert said.startswith(f"Property .filter.{name}.conditions.{operator} ")
    # and which do
    assert "$has_value" in said


@pytest.mark.parametrize(
    ("name", "operator", "value"),
    [
        ("name", "$is", []), ("metadata.k", "$contains", []), ("name", "$is", ["x"] * 201),
        ("name", "$is", None), ("name", "$is", 5), ("name", "$is", True), ("name", "$is", {}), ("name", "$is", [[]]),
        ("name", "$contains", 5), ("metadata.k", "$contains", 5), ("metadata.k", "$is", None),
        ("metadata.k", "$is", {"a": 1}), ("metadata.k", "$is", [["a"]]), ("name", "$is", "a\x00"),
        ("metadata.k", "$in_location", 5),
    ],
)  # fmt: skip
def test_values_of_texts(name: str, operator: str, value: Any) -> None:
    assert refusal(condition(name, operator, value)).startswith(f"Property .filter.{name}.conditions.{operator} ")


@pytest.mark.parametrize("value", ["five", "", " 5", "5 ", "5,0", "0x5", "1_000", "NaN", "Infinity", "\u0665", "1e999",
                                   None, True, {}, [[]], "9" * 41])  # fmt: skip
@pytest.mark.parametrize(
    ("name", "operator"),
    [("summary.orders.total_amount", "$is"), ("metadata.k", "$more_than"), ("metadata.k", "$count")],
)
def test_values_that_are_no_numbers(name: str, operator: str, value: Any) -> None:
    assert refusal(condition(name, operator, value)).startswith(f"Property .filter.{name}.conditions.{operator} ")


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("$more_than_ago", -1), ("$more_than_ago", 1.5), ("$more_than_ago", 100_001), ("$less_than_future", "1e9"),
        ("$is_days_ago_md", 367), ("$is_more_days_in_future_md", -1), ("$is_years_ago", 1001), ("$is_years_ago", "0.5"),
        ("$is_day_of_month", 0), ("$is_day_of_month", 32), ("$is_month", 0), ("$is_month", 13), ("$is_day", 0),
        ("$is_day", 8), ("$is_day", "Monday"), ("$is_year", 0), ("$is_year", 10_000), ("$count", -1), ("$count", 0.5),
    ],
)  # fmt: skip
def test_whole_numbers_have_bounds(operator: str, value: Any) -> None:
    assert refusal(condition("metadata.k", operator, value)).startswith(
        f"Property .filter.metadata.k.conditions.{operator} "
    )


@pytest.mark.parametrize("value", [False, "false", 1, None, "yes", {}, "True"])
@pytest.mark.parametrize("operator", ["$today", "$this_week_md", "$next_year"])
def test_what_is_so_is_true(operator: str, value: Any) -> None:
    assert refusal(condition("created_at", operator, value)).startswith(
        f"Property .filter.created_at.conditions.{operator} "
    )


@pytest.mark.parametrize(
    "value",
    ["", "yesterday", "now", "2023-02-30", "0000-01-01", "2024-5-4", "20240504", "2024-05-04T25:00:00Z", "10:00:00",
     "2024-05-04T10:00:00+25:00", "2024-05-04\n", "\u0662\u0660\u0662\u0664-05-04", 20240504, True, None, {}],
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "operator"), [("metadata.k", "$after"), ("birthdate", "$is"), ("created_at", "$before")]
)
def test_values_that_are_no_dates(name: str, operator: str, value: Any) -> None:
    assert refusal(condition(name, operator, value)).startswith(f"Property .filter.{name}.conditions.{operator} ")


@pytest.mark.parametrize(
    ("name", "operator", "values"),
    [
        ("metadata.k", "$more_than", [1, 2]), ("metadata.k", "$count", [1, 1]), ("birthdate", "$today", [True, True]),
        ("created_at", "$is", ["2024-05-04", "2024-05-05"]), ("metadata.k", "$after", ["2024-05-04", "2024-05-05"]),
        ("birthdate", "$is_day", [1, 2]), ("birthdate", "$is_days_ago_md", []), ("birthdate", "$today", []),
    ],
)  # fmt: skip
def test_operators_of_one_value(name: str, operator: str, values: Any) -> None:
    assert refusal(condition(name, operator, values)).startswith(f"Property .filter.{name}.conditions.{operator} ")


def test_one_of_several_values() -> None:
    assert refusal(condition("name", "$is", ["a", 5, "b"])).startswith("Property .filter.name.conditions.$is[1] ")


def test_what_is_just_allowed() -> None:
    filters.parse({f"metadata.{no}": NAME_IS for no in range(50)})
    filters.parse(condition("name", "$is", ["x"] * 200))
    filters.parse(condition("metadata.k", "$has_value", []))
    allowed = {"$more_than_ago": 100_000, "$is_years_ago": 1000, "$is_days_ago_md": 366, "$is_day_of_month": "31",
               "$is_year": 1, "$today": ["true"], "$count": 2.0}  # fmt: skip
    for operator, value in allowed.items():
        filters.parse(condition("metadata.k", operator, value))
