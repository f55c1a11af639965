"""What a voucher is worth: a discount, or gift credits. Amounts are in the smallest currency unit."""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from punchcard.errors import InvalidPayload
from punchcard.http.shapes import Amount, Identifier

OrderOrItems: TypeAlias = Literal["APPLY_TO_ORDER", "APPLY_TO_ITEMS"]
AmountEffect: TypeAlias = Literal[
    "APPLY_TO_ORDER",
    "APPLY_TO_ITEMS",
    "APPLY_TO_ITEMS_PROPORTIONALLY",
    "APPLY_TO_ITEMS_PROPORTIONALLY_BY_QUANTITY",
    "APPLY_TO_ITEMS_BY_QUANTITY",
]
UnitEffect: TypeAlias = Literal["ADD_MISSING_ITEMS", "ADD_NEW_ITEMS", "ADD_MANY_ITEMS", "ADD_SAME_ITEMS"]
Percent: TypeAlias = Annotated[int, Meta(ge=0, le=100)] | Annotated[float, Meta(ge=0, le=100)]

_MANY: Literal["ADD_MANY_ITEMS"] = "ADD_MANY_ITEMS"
# as many as an order has items
UNITS_MAX = 500


class AmountDiscount(Struct, tag_field="type", tag="AMOUNT", omit_defaults=True):
    """An amount off the price."""

    amount_off: Amount
    amount_off_formula: str | None = None
    aggregated_amount_limit: Amount | None = None
    effect: AmountEffect | None = None
    is_dynamic: bool | None = None


class PercentDiscount(Struct, tag_field="type", tag="PERCENT", omit_defaults=True):
    """A share of the price off, from 0 to 100; it may have a fraction."""

    percent_off: Percent
    percent_off_formula: str | None = None
    amount_limit: Amount | None = None
    aggregated_amount_limit: Amount | None = None
    effect: OrderOrItems | None = None
    is_dynamic: bool | None = None


class FixedDiscount(Struct, tag_field="type", tag="FIXED", omit_defaults=True):
    """A price of its own for the order, or for the items."""

    fixed_amount: Amount
    fixed_amount_formula: str | None = None
    effect: OrderOrItems | None = None
    is_dynamic: bool | None = None


class Unit(Struct, omit_defaults=True):
    """One of several products that are given away."""

    unit_type: Identifier
    effect: Literal["ADD_NEW_ITEMS", "ADD_MISSING_ITEMS"]
    unit_off: Amount | None = None
    unit_off_formula: str | None = None


class UnitDiscount(Struct, tag_field="type", tag="UNIT", omit_defaults=True):
    """Units of a product given away (`unit_type`, `unit_off`), or of several (`units`)."""

    unit_type: Identifier | None = None
    unit_off: Amount | None = None
    unit_off_formula: str | None = None
    units: Annotated[list[Unit], Meta(min_length=1, max_length=UNITS_MAX)] | None = None
    effect: UnitEffect | None = None
    is_dynamic: bool | None = None


Discount: TypeAlias = AmountDiscount | PercentDiscount | FixedDiscount | UnitDiscount


class GiftIn(Struct):
    """Gift credits as a request has them: the balance is computed."""

    amount: Amount
    effect: OrderOrItems | None = None


class StoredGift(Struct):
    """Gift credits as they are stored. `amount` is all that was ever added, `subtracted_amount` all that was taken."""

    amount: int
    subtracted_amount: int
    effect: str


def encoded(discount: Discount, *, path: str) -> bytes:
    """The discount as it is stored and shown: checked, with its default effect. Raises `InvalidPayload`."""
    if isinstance(discount, UnitDiscount):
        _check_units(discount, path)
    elif isinstance(discount, PercentDiscount) and float(discount.percent_off).is_integer():
        discount.percent_off = int(discount.percent_off)
    if discount.effect is None:
        if isinstance(discount, UnitDiscount):
            discount.effect = _MANY if discount.units else "ADD_MISSING_ITEMS"
        else:
            discount.effect = "APPLY_TO_ORDER"
    return msgspec.json.encode(discount)


def _check_units(discount: UnitDiscount, path: str) -> None:
    if discount.units is None:
        if discount.unit_type is None:
            raise InvalidPayload(f"Property {path} should have required property 'unit_type'")
        if discount.unit_off is None and discount.unit_off_formula is None:
            raise InvalidPayload(f"Property {path} should have required property 'unit_off'")
        if discount.effect == _MANY:
            raise InvalidPayload(f"Property {path} should have required property 'units'")
        return
    if discount.effect not in (None, _MANY):
        raise InvalidPayload(f"Property {path}.effect must be {_MANY} where there are units")
    for name in ("unit_type", "unit_off", "unit_off_formula"):
        if getattr(discount, name) is not None:
            raise InvalidPayload(f"Property {path}.{name} cannot stand beside units")
    for no, unit in enumerate(discount.units):
        if unit.unit_off is None and unit.unit_off_formula is None:
            raise InvalidPayload(f"Property {path}.units[{no}] should have required property 'unit_off'")


def encoded_gift(gift: GiftIn) -> bytes:
    """New gift credits as they are stored."""
    return msgspec.json.encode(StoredGift(gift.amount, 0, gift.effect or "APPLY_TO_ORDER"))
