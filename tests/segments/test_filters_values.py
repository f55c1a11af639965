"""What filters say of values in named cases, by the compiled statement and by its slow evaluation."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import started_deployment
from tests.deployment import Deployment
from tests.segments.evaluation import Filter
from tests.segments.evaluation_compiled import Shop, on, session


@pytest.fixture(scope="module")
def shop(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Iterator[Shop]:
    project = started_deployment(request, deployments, "18").new_project()
    with session(project) as conn:
        yield Shop(project, conn)
    project.close()


# ---- junctions and presence --------------------------------------------------------------------


def test_all_attributes_must_fit_or_one_is_enough(shop: Shop) -> None:
    both: Filter = {"name": {"conditions": {"$is": "Ann"}}, "email": {"conditions": {"$is_unknown": True}}}
    assert shop.fits(both, name="Ann")
    assert not shop.fits(both, name="Ann", email="ann@example.com")
    assert shop.fits({**both, "junction": "or"}, name="Ann", email="ann@example.com")
    assert not shop.fits({**both, "junction": "or"}, name="Bob", email="bob@example.com")


def test_an_attribute_has_a_junction_of_its_own(shop: Shop) -> None:
    operators = {"$starts_with": "A", "$ends_with": "n"}
    assert shop.fits({"name": {"conditions": operators}}, name="Ann")
    assert not shop.fits({"name": {"conditions": operators}}, name="Anna")
    assert shop.fits({"name": {"conditions": operators, "junction": "or"}}, name="Anna")
    # that of the attributes says nothing about operators
    assert not shop.fits({"name": {"conditions": operators}, "junction": "or"}, name="Anna")


@pytest.mark.parametrize(
    "name",
    ["source_id", "address.city", "city", "birthdate", "updated_at", "ordered_at", "metadata.missing", "metadata.null",
     "metadata.null.below", "events.never.last_occurred_at", "loyalty_points.campaigns.Cards.points",
     "loyalty_tiers.campaigns.camp_1", "publications.created_at", "publications.related_object_id"],
)  # fmt: skip
def test_what_has_no_value_is_unknown(shop: Shop, name: str) -> None:
    metadata = {"null": None}
    assert shop.fits(on(name, "$is_unknown"), metadata=metadata)
    assert not shop.fits(on(name, "$has_value"), metadata=metadata)


@pytest.mark.parametrize("operator", ["$is_not", "$not_in", "$not_contain", "$not_in_location"])
def test_what_has_no_value_is_none_of_the_values(shop: Shop, operator: str) -> None:
    assert shop.fits(on("metadata.k", operator, "a"))
    assert shop.fits(on("metadata.k", operator, "a"), metadata={"k": None})


@pytest.mark.parametrize(
    ("operator", "value"),
    [("$is", "a"), ("$in", "a"), ("$contains", ""), ("$starts_with", ""), ("$less_than", 5), ("$count", 0),
     ("$in_location", "loc_1"), ("$before", "2030-01-01"), ("$more_than_ago", 0), ("$today", True), ("$today_md", True),
     ("$is_more_days_ago_md", 0), ("$is_month", 1)],
)  # fmt: skip
def test_what_has_no_value_fits_nothing_else(shop: Shop, operator: str, value: Any) -> None:
    assert not shop.fits(on("metadata.k", operator, value))
    assert not shop.fits(on("metadata.k", operator, value), metadata={"k": None})


def test_an_empty_text_is_a_value(shop: Shop) -> None:
    assert shop.fits(on("name", "$has_value"), name="")
    assert shop.fits(on("metadata.k", "$is", ""), metadata={"k": ""})


def test_the_value_of_presence_is_not_looked_at(shop: Shop) -> None:
    assert shop.fits(on("name", "$has_value", False), name="Ann")
    assert shop.fits(on("name", "$is_unknown", []))


# ---- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wanted", "fits"),
    [
        ("Poland", "Poland", True), ("Poland", ["Chile", "Poland"], True), ("Poland", "poland", False),
        (5, 5, True), (5, "5", True), (5, 5.0, True), (5, "5.0", True), (5, "5e0", True), (5, "five", False),
        (0.1, "0.1", True), (1000, "1e3", True), (1e22, "10000000000000000000000", True),
        ("5", "5", True), ("5", "5.0", False), ("5", 5, False),
        (True, True, True), (True, "true", True), (True, 1, False), (True, "True", False), (1, True, False),
        ("true", "true", True), ("true", True, False), (False, "false", True),
        (["a", 5, True], "a", True), (["a", 5, True], "5", True), (["a", 5, True], "true", True), (["a"], "b", False),
        ([], "a", False), ([None], "null", False), ([["a"]], "a", False), ([{"k": "a"}], "a", False),
        ({"k": "a"}, "a", False), ({"k": "a"}, '{"k": "a"}', False),
    ],
)  # fmt: skip
def test_equality_of_metadata(shop: Shop, value: Any, wanted: Any, fits: bool) -> None:
    metadata = {"k": value}
    assert shop.fits(on("metadata.k", "$is", wanted), metadata=metadata) is fits
    assert shop.fits(on("unknown_metadata.k", "$in", wanted), metadata=metadata) is fits
    assert shop.fits(on("metadata.k", "$is_not", wanted), metadata=metadata) is not fits
    assert shop.fits(on("metadata.k", "$not_in", wanted), metadata=metadata) is not fits


@pytest.mark.parametrize(
    ("value", "operator", "wanted", "fits"),
    [
        ("50% off", "$contains", "%", True), ("50 off", "$contains", "%", False), ("a_b", "$starts_with", "a_", True),
        ("axb", "$starts_with", "a_", False), ("back\\slash", "$contains", "\\", True),
        ("it's", "$ends_with", "'s", True),
        ("Ann", "$starts_with", ["B", "A"], True), ("Ann", "$starts_with", "a", False),
        ("Ann", "$not_contain", ["x", "n"], False), ("Ann", "$not_contain", ["x", "a"], True),
        (["Ann"], "$contains", "Ann", True), (["Ann"], "$contains", "A", False), ([5], "$contains", "5", True),
        (["Ann"], "$starts_with", "Ann", False), (["Ann"], "$ends_with", "Ann", False),
        (55, "$contains", "5", False), (55, "$not_contain", "5", True), (True, "$starts_with", "t", False),
        ({"k": "a"}, "$contains", "a", False), ({"k": "a"}, "$not_contain", "k", True),
    ],
)  # fmt: skip
def test_parts_of_texts(shop: Shop, value: Any, operator: str, wanted: Any, fits: bool) -> None:
    assert shop.fits(on("metadata.k", operator, wanted), metadata={"k": value}) is fits
    if isinstance(value, str):
        assert shop.fits(on("name", operator, wanted), name=value) is fits


def test_only_numbers_are_compared(shop: Shop) -> None:
    assert shop.fits(on("metadata.k", "$more_than", "4.5"), metadata={"k": 5})
    assert not shop.fits(on("metadata.k", "$more_than", 5), metadata={"k": 5})
    assert shop.fits(on("metadata.k", "$more_than_equal", 5), metadata={"k": 5.0})
    assert not shop.fits(on("metadata.k", "$more_than", 4), metadata={"k": "5"})
    assert not shop.fits(on("metadata.k", "$less_than", 4), metadata={"k": [1]})


def test_elements_are_counted_of_arrays_alone(shop: Shop) -> None:
    assert shop.fits(on("metadata.k", "$count", 0), metadata={"k": []})
    assert shop.fits(on("metadata.k", "$count", "2"), metadata={"k": [None, [1, 2]]})
    assert shop.fits(on("metadata.k", "$count_more", 1), metadata={"k": ["a", "a"]})
    assert shop.fits(on("metadata.k", "$count_less", 3), metadata={"k": ["a", "a"]})
    assert not shop.fits(on("metadata.k", "$count_less", 3), metadata={"k": "ab"})
    assert not shop.fits(on("metadata.k", "$count_less", 3), metadata={"k": {"a": 1}})


def test_a_key_with_dots_is_nested_unless_it_is_a_key(shop: Shop) -> None:
    assert shop.fits(on("metadata.a.b", "$is", 1), metadata={"a": {"b": 1}})
    assert shop.fits(on("metadata.a.b", "$is", 2), metadata={"a": {"b": 1}, "a.b": 2})
    assert shop.fits(on("metadata.a.b", "$is_unknown"), metadata={"a": {"b": 1}, "a.b": None})
    assert shop.fits(on("metadata.a.b", "$is_unknown"), metadata={"a": "b"})


def test_sums_of_orders(shop: Shop) -> None:
    bought: dict[str, Any] = {"orders_total_amount": 301, "orders_total_count": 2, "orders_last_amount": 200}
    assert shop.fits(on("summary.orders.total_amount", "$is", "301"), **bought)
    # 150.5, as customers show it
    assert shop.fits(on("summary.orders.average_amount", "$is", 151), **bought)
    assert shop.fits(on("summary.orders.last_order_amount", "$in", [200, 5]), **bought)
    for number in ("total_amount", "total_count", "average_amount", "last_order_amount"):
        assert shop.fits(on(f"summary.orders.{number}", "$is", 0))


def test_custom_events_are_counted(shop: Shop) -> None:
    events = {"a.b": (3, datetime(2024, 5, 14, 23, tzinfo=UTC))}
    assert shop.fits(on("events.a.b.count", "$more_than", 2), events=events)
    assert shop.fits(on("events.a.count", "$is", 0), events=events)
    assert shop.fits(on("events.a.b.last_occurred_at", "$yesterday"), events=events)
    assert shop.fits(on("events.a.b.created_at", "$today"), zone="Europe/Warsaw", events=events)
