"""What a voucher is worth: every kind of discount, as it is sent, shown, and refused."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import started_deployment
from tests.deployment import Deployment, Project
from tests.vouchers.making import made, refusal

UNIT = {"type": "UNIT", "unit_type": "prod_1", "unit_off": 1}
MANY = {"unit_type": "prod_1", "unit_off": 1, "effect": "ADD_NEW_ITEMS"}
AMOUNTS = st.integers(0, 2**53 - 1)
FORMULA = 'IF(CUSTOMER_METADATA("a") = 1;20;10)'


@st.composite
def discounts(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A discount as it can be sent, and as it is shown."""
    kind = draw(st.sampled_from(["AMOUNT", "PERCENT", "FIXED", "UNIT", "UNITS"]))
    to_items = ["APPLY_TO_ORDER", "APPLY_TO_ITEMS"]
    optional: dict[str, Any] = {}
    if kind == "AMOUNT":
        needed: dict[str, Any] = {"amount_off": draw(AMOUNTS)}
        optional = {"amount_off_formula": FORMULA, "aggregated_amount_limit": draw(AMOUNTS)}
        effects = [*to_items, "APPLY_TO_ITEMS_PROPORTIONALLY", "APPLY_TO_ITEMS_PROPORTIONALLY_BY_QUANTITY",
                   "APPLY_TO_ITEMS_BY_QUANTITY"]  # fmt: skip
    elif kind == "PERCENT":
        needed = {"percent_off": draw(st.integers(0, 100) | st.sampled_from([0.5, 12.25, 99.99]))}
        optional = {"percent_off_formula": FORMULA, "amount_limit": draw(AMOUNTS), "aggregated_amount_limit": 7}
        effects = to_items
    elif kind == "FIXED":
        needed, effects = {"fixed_amount": draw(AMOUNTS)}, to_items
        optional = {"fixed_amount_formula": FORMULA}
    elif kind == "UNIT":
        needed, effects = UNIT | {"unit_off": draw(AMOUNTS)}, ["ADD_MISSING_ITEMS", "ADD_NEW_ITEMS", "ADD_SAME_ITEMS"]
        optional = {"unit_off_formula": "1 + 1"}
    else:
        needed, effects = {"units": [MANY] * draw(st.integers(1, 3))}, ["ADD_MANY_ITEMS"]
    optional = {name: value for name, value in optional.items() if draw(st.booleans())}
    if draw(st.booleans()):
        optional["is_dynamic"] = draw(st.booleans())
    shown = {"type": kind.removesuffix("S"), "effect": effects[0], **needed, **optional}
    sent = {name: value for name, value in shown.items() if name != "effect"}
    if draw(st.booleans()):
        sent["effect"] = shown["effect"] = draw(st.sampled_from(effects))
    unknown = {"colour": "red", "product": {"id": "x"}} if draw(st.booleans()) else {}
    return sent | unknown | ({"effect": None} if "effect" not in sent and draw(st.booleans()) else {}), shown


@pytest.fixture(scope="module")
def shop(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Any:
    """A project for all examples."""
    project = started_deployment(request, deployments, "18").new_project()
    yield project
    project.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(discount=discounts())
def test_a_discount_is_shown_as_it_was_sent_with_its_default_effect(shop: Project, discount: Any) -> None:
    sent, shown = discount
    voucher = made(shop, discount=sent)
    assert (voucher["type"], voucher["discount"]) == ("DISCOUNT_VOUCHER", shown)
    assert type(voucher["discount"].get("percent_off")) is type(shown.get("percent_off"))


@pytest.mark.parametrize(
    ("discount", "complaint"),
    [
        ({}, " should have required property 'type'"),
        ({"type": "BOGO"}, ".type"),
        ({"type": "AMOUNT"}, " should have required property 'amount_off'"),
        ({"type": "PERCENT"}, " should have required property 'percent_off'"),
        ({"type": "FIXED"}, " should have required property 'fixed_amount'"),
        ({"type": "UNIT", "unit_off": 1}, " should have required property 'unit_type'"),
        ({"type": "UNIT", "unit_type": "p"}, " should have required property 'unit_off'"),
        ({"type": "AMOUNT", "amount_off": -1}, ".amount_off cannot be lower than 0"),
        ({"type": "AMOUNT", "amount_off": 2**53}, ".amount_off cannot be higher than 9007199254740991"),
        ({"type": "AMOUNT", "amount_off": 1.5}, ".amount_off should be integer"),
        ({"type": "AMOUNT", "amount_off": True}, ".amount_off should be integer"),
        ({"type": "AMOUNT", "amount_off": 1, "effect": "ADD_NEW_ITEMS"}, ".effect has an unknown value"),
        ({"type": "AMOUNT", "amount_off": 1, "aggregated_amount_limit": -1}, ".aggregated_amount_limit cannot be"),
        ({"type": "PERCENT", "percent_off": 101}, ".percent_off cannot be higher than 100"),
        ({"type": "PERCENT", "percent_off": 100.5}, ".percent_off cannot be higher than 100"),
        ({"type": "PERCENT", "percent_off": -0.5}, ".percent_off cannot be lower than 0"),
        ({"type": "PERCENT", "percent_off": "5"}, ".percent_off should be integer"),
        ({"type": "FIXED", "fixed_amount": 1, "effect": "APPLY_TO_ITEMS_BY_QUANTITY"}, ".effect has an unknown value"),
        (UNIT | {"effect": "ADD_MANY_ITEMS"}, " should have required property 'units'"),
        (UNIT | {"units": [MANY]}, ".unit_type cannot stand beside units"),
        ({"type": "UNIT", "units": [MANY], "effect": "ADD_NEW_ITEMS"}, ".effect must be ADD_MANY_ITEMS"),
        ({"type": "UNIT", "units": []}, ".units must have at least 1 elements"),
        ({"type": "UNIT", "units": [MANY, {"unit_type": "p", "effect": "ADD_NEW_ITEMS"}]},
         ".units[1] should have required property 'unit_off'"),
        ({"type": "UNIT", "units": [MANY, {"unit_type": "p"}]}, ".units[1] should have required property 'effect'"),
        ({"type": "UNIT", "units": [MANY | {"effect": "ADD_SAME_ITEMS"}]}, ".units[0].effect has an unknown value"),
        ({"type": "UNIT", "units": [MANY] * 501}, ".units must have at most 500 elements"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_a_bad_discount_is_refused_with_the_path(shop: Project, discount: Any, complaint: str) -> None:
    error = refusal(shop, "POST", "/v1/vouchers/BAD", {"discount": discount})
    assert error["key"] == "invalid_payload"
    assert error["details"].startswith(f"Property .discount{complaint}"), error["details"]
    refusal(shop, "GET", "/v1/vouchers/BAD", status=404)
