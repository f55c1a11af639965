"""Whatever is sent: 400, or 200 and an action that ends. Nothing that was accepted may stop the worker."""

import json
import math
from typing import Any

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.deployment import Project
from tests.http.refusals import refused

FUZZ = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    # one project for all examples is meant: orders of earlier ones are updated by later ones
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        [
            "",
            " ",
            "\x00",
            "\x01",
            "\x7f",
            "\ufeff",
            "\uffff",
            "\U0010ffff",
            "e\u0301",
            "\u202e",
            "'",
            '"',
            "\\",
            "{}",
            "%s",
        ]
    ),
)
numbers = st.one_of(
    st.integers(-5, 100),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        [2**53 - 1, 2**53, 2**63 - 1, 2**63, -(2**63), 1e308, 5e-324, -0.0, 70000.0, 16.5, 1e22, 0.1, 1e16]
    ),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
metadata = st.dictionaries(st.one_of(texts, st.sampled_from(["a", "ordered_at"])), values, max_size=4)
moments = st.sampled_from(
    ["2024-03-01", "2024-02-30", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "294277-01-01", "now"]
)
ids = st.one_of(st.sampled_from(["a", "b", "c", "ord_a", "ord_B9", "cust_x", "ord_", " "]), texts)
amounts = st.one_of(st.integers(0, 10_000), st.integers(0, 2**53), numbers)


def record(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with some of `fields`, now and then null or something else altogether."""
    odd = st.one_of(st.none(), values)
    return st.fixed_dictionaries({}, optional={name: st.one_of(kind, kind, kind, odd) for name, kind in fields.items()})


dates = st.one_of(st.dates().map(str), st.sampled_from(["2023-02-30", "0000-01-01", "x"]))
products = record(source_id=ids, override=st.booleans(), name=texts, price=amounts, metadata=metadata)
skus = record(source_id=ids, override=st.booleans(), sku=texts, price=amounts, metadata=metadata)
people = record(
    source_id=ids, name=texts, email=texts, phone=texts, birthdate=dates, birthday=dates, metadata=metadata,
    address=record(city=texts, line_1=texts),
)  # fmt: skip
items = record(
    source_id=ids, related_object=st.sampled_from(["product", "sku"]), quantity=amounts, initial_quantity=amounts,
    amount=amounts, discount_amount=amounts, price=amounts, product=products, sku=skus, metadata=metadata,
)  # fmt: skip
orders = record(
    id=ids, source_id=ids, status=st.sampled_from(["CREATED", "PAID", "CANCELED", "FULFILLED"]), amount=amounts,
    discount_amount=amounts, items=st.lists(items, max_size=3), customer=people, referrer=people, referrer_id=ids,
    metadata=st.one_of(metadata, st.fixed_dictionaries({"ordered_at": moments})),
)  # fmt: skip


def sent(project: Project, body: bytes) -> bool:
    """Send an import that may be refused; whether it was accepted. It must then end, whatever became of its orders."""
    answer = project.http.post("/v1/orders/import", content=body, headers={"content-type": "application/json"})
    if answer.status_code != 200:
        refused(answer, 400, "invalid_payload")
        return False
    action = project.get(f"/v1/async-actions/{answer.json()['async_action_id']}", wait=30)
    assert action["status"] == "DONE", body
    assert action["result"]["done_count"] + action["result"]["failed_count"] == len(json.loads(body))
    return True


@FUZZ
@given(st.lists(orders, max_size=4))
def test_orders_of_any_shape(project_18: Project, batch: list[dict[str, Any]]) -> None:
    sent(project_18, json.dumps(batch, ensure_ascii=False).encode())


@FUZZ
@given(values)
@example([])
@example([[]])
@example({"source_id": "not an array"})
def test_json_of_any_shape(project_18: Project, value: Any) -> None:
    sent(project_18, json.dumps(value).encode())


@FUZZ
@given(st.one_of(st.binary(max_size=40), st.text('[]{}",:0123456789eE+-.\\u truefalsn', max_size=40).map(str.encode)))
def test_bytes_of_any_kind(project_18: Project, body: bytes) -> None:
    sent(project_18, body)


def measured(value: Any) -> Any:
    """`value` with every number as a float: what is sent as 1e308 comes back as an integer of 309 digits."""
    if isinstance(value, dict):
        return {key: measured(part) for key, part in value.items()}
    if isinstance(value, list):
        return [measured(part) for part in value]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def storable(value: Any) -> bool:
    """Whether metadata is within what the API takes."""
    if isinstance(value, str):
        return "\x00" not in value
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int):
        return abs(value) < 2**63
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(storable(key) and storable(part) for key, part in value.items())
    return all(storable(part) for part in value)


@FUZZ
@given(metadata)
@example({"a": 1e308, "b": 5e-324, "c": -0.0, "d": 2**63 - 1, "e": 1e22, "f": 70000.0})
@example({"a": "\uffff\U0010ffff\x01", "": {"": [[], {}, None]}})
def test_metadata_comes_back_as_it_was_sent(project_18: Project, given_metadata: dict[str, Any]) -> None:
    customer = {"source_id": "c", "metadata": given_metadata}
    order = {
        "id": "ord_roundtrip",
        "metadata": given_metadata,
        "customer": customer,
        "items": [{"metadata": given_metadata}],
    }
    body = json.dumps([order]).encode()
    assert sent(project_18, body) == storable(given_metadata)
    if storable(given_metadata):
        expected = measured(given_metadata)
        stored = measured(project_18.get("/v1/orders/ord_roundtrip"))
        # what earlier examples sent stays: metadata is merged by key
        assert {key: stored["metadata"][key] for key in expected} == expected
        assert stored["items"][0].get("metadata", {}) == expected
        person = measured(project_18.get("/v1/customers/c"))
        assert {key: person["metadata"][key] for key in expected} == expected
        again = project_18.import_orders(body)
        assert again["unchanged_count"] == 1, msgspec.json.encode(given_metadata)
