"""The bodies of requests that make, change and fill a campaign: their types, what is refused, and what is left out."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from punchcard import ids
from punchcard.campaigns.inheritance import Overrides
from punchcard.campaigns.storage import PREFIX, CampaignRow, Redemption, Template
from punchcard.errors import InvalidPayload
from punchcard.http import shapes
from punchcard.http.shapes import Identifier
from punchcard.vouchers import codes, discounts, validity, vouchers
from punchcard.vouchers.codes import CodeConfigIn
from punchcard.vouchers.discounts import Discount, GiftIn
from punchcard.vouchers.requests import (
    InvalidCampaign,
    RedemptionIn,
    refuse_what_is_not_there,
)
from punchcard.vouchers.validity import DaysOfWeek, Hours, Moment, Timeframe

CampaignType: TypeAlias = Literal[
    "DISCOUNT_COUPONS", "REFERRAL_PROGRAM", "GIFT_VOUCHERS", "LOYALTY_PROGRAM", "PROMOTION"
]
VoucherType: TypeAlias = Literal["DISCOUNT_VOUCHER", "GIFT_VOUCHER", "LOYALTY_CARD"]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)]

STANDALONE = "STANDALONE"
# the kinds that there are, each with its vouchers and what those are worth
KINDS = {"DISCOUNT_COUPONS": ("DISCOUNT_VOUCHER", "discount"), "GIFT_VOUCHERS": ("GIFT_VOUCHER", "gift")}


class InvalidStandalone(InvalidCampaign):
    """A STANDALONE campaign has one voucher, whose code is given when it is made."""

    def __init__(self) -> None:
        super().__init__("You can not generate vouchers for STANDALONE type campaign.")


class NoSuchKind(InvalidCampaign):
    """A kind of campaign that this server does not have yet."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"Campaigns of the type {kind} are not supported yet; there are {' and '.join(KINDS)}")


# ---- types -------------------------------------------------------------------------------------


class TemplateIn(Struct):
    """What the vouchers of a new campaign are made from. `code` is that of a STANDALONE campaign's voucher."""

    type: VoucherType | None = None
    discount: Discount | None = None
    gift: GiftIn | None = None
    loyalty_card: dict[str, Any] | None = None
    redemption: RedemptionIn | None = None
    code_config: CodeConfigIn | None = None
    code: str | None = None
    is_referral_code: bool | None = None


class CampaignIn(Struct):
    """A new campaign as a request has it; null means absent."""

    name: Annotated[str, Meta(min_length=1, max_length=shapes.ID_LENGTH_MAX)]
    description: str | None = None
    campaign_type: CampaignType | None = None
    type: Literal["AUTO_UPDATE", "STATIC", "STANDALONE"] | None = None
    voucher: TemplateIn | None = None
    vouchers_count: Count | None = None
    auto_join: bool | None = None
    join_once: bool | None = None
    use_voucher_metadata_schema: bool | None = None
    start_date: Moment | None = None
    expiration_date: Moment | None = None
    validity_timeframe: Timeframe | None = None
    validity_day_of_week: DaysOfWeek | None = None
    validity_hours: Hours | None = None
    activity_duration_after_publishing: str | None = None
    category: Identifier | None = None
    category_id: Identifier | None = None
    metadata: dict[str, Any] | None = None
    validation_rules: Annotated[list[Identifier], Meta(max_length=1)] | None = None


class CampaignUpdate(Struct):
    """A change of a campaign: what is absent stays, null takes a value away where there can be none."""

    description: str | UnsetType | None = UNSET
    type: Literal["AUTO_UPDATE", "STATIC", "STANDALONE"] | None = None
    auto_join: bool | None = None
    join_once: bool | None = None
    discount: Discount | None = None
    gift: GiftIn | None = None
    start_date: Moment | UnsetType | None = UNSET
    expiration_date: Moment | UnsetType | None = UNSET
    validity_timeframe: Timeframe | UnsetType | None = UNSET
    validity_day_of_week: DaysOfWeek | UnsetType | None = UNSET
    validity_hours: Hours | UnsetType | None = UNSET
    activity_duration_after_publishing: str | UnsetType | None = UNSET
    category: Identifier | UnsetType | None = UNSET
    category_id: Identifier | None = None
    metadata: dict[str, Any] | None = None
    unset_metadata_fields: list[str] | None = None


class AddedRedemptionIn(Struct):
    """How often an added voucher can be redeemed; null is any number of times, absent what the campaign says."""

    quantity: Annotated[int, Meta(ge=1, le=2**31 - 1)] | UnsetType | None = UNSET


class AdditionIn(Struct):
    """What vouchers that are added to a campaign have otherwise than it says; null means absent."""

    code: str | None = None
    code_config: CodeConfigIn | None = None
    category: Identifier | None = None
    category_id: Identifier | None = None
    metadata: dict[str, Any] | None = None
    redemption: AddedRedemptionIn | None = None
    active: bool | None = None
    additional_info: str | None = None
    start_date: Moment | None = None
    expiration_date: Moment | None = None


# ---- a new campaign ----------------------------------------------------------------------------


def new_campaign(given: CampaignIn) -> CampaignRow:
    """The campaign that a request describes, with its defaults. Raises `InvalidPayload`, `InvalidCampaign`, ..."""
    if ids.is_one(PREFIX, given.name):  # it would be taken for that campaign
        raise InvalidPayload(f"Property .name must not look like the id of a campaign ({PREFIX}_ and 32 hex digits)")
    if given.name in {".", ".."} or given.name.isspace():  # no path could end with it
        raise InvalidPayload("Property .name must be neither . nor .. nor spaces only")
    kind = _kind_of(given)
    refuse_what_is_not_there(given.category_id, given.validation_rules)
    valid = validity.given_in(given)
    _check_duration(given.activity_duration_after_publishing)
    vouchers.check_metadata(given.metadata, ".metadata")
    standalone = given.type == STANDALONE
    return CampaignRow(
        id=ids.new(PREFIX),
        name=given.name,
        description=given.description,
        campaign_type=kind,
        type=given.type or "STATIC",
        voucher=_template(kind, given.voucher),
        auto_join=bool(given.auto_join),
        join_once=bool(given.join_once) and not standalone,
        use_voucher_metadata_schema=bool(given.use_voucher_metadata_schema),
        start_date=valid.start_date,
        expiration_date=valid.expiration_date,
        validity_timeframe=_encoded(valid.validity_timeframe),
        validity_day_of_week=_encoded(valid.validity_day_of_week),
        validity_hours=_encoded(valid.validity_hours),
        activity_duration_after_publishing=given.activity_duration_after_publishing,
        category=given.category or None,
        active=True,
        metadata=given.metadata or {},
    )


def _kind_of(given: CampaignIn) -> str:
    """The type of a campaign, told by its vouchers where it is not given."""
    template = given.voucher
    kind: str | None = given.campaign_type
    if kind is None and template is not None:
        of_vouchers = {of: name for name, (of, _) in KINDS.items()} | {"LOYALTY_CARD": "LOYALTY_PROGRAM"}
        kind = "REFERRAL_PROGRAM" if template.is_referral_code else of_vouchers.get(_voucher_type(template) or "")
    if kind is None:
        raise InvalidPayload("Payload should have required property 'campaign_type', or 'voucher' with its type")
    if kind not in KINDS:
        raise NoSuchKind(kind)
    return kind


def _voucher_type(template: TemplateIn) -> str | None:
    """The type of vouchers, told by what they are worth where it is not given."""
    if template.type is not None:
        return template.type
    worth = {
        "DISCOUNT_VOUCHER": template.discount,
        "GIFT_VOUCHER": template.gift,
        "LOYALTY_CARD": template.loyalty_card,
    }
    types = [name for name, value in worth.items() if value is not None]
    return types[0] if len(types) == 1 else None


def _template(kind: str, given: TemplateIn | None) -> Template:
    voucher_type, worth = KINDS[kind]
    if given is None:
        raise InvalidCampaign(f"Property 'voucher' is required for {kind} campaign")
    if given.type not in (None, voucher_type):
        raise InvalidCampaign(f"Property .voucher.type must be {voucher_type} for {kind} campaign")
    if given.is_referral_code:
        raise InvalidCampaign(f"Property .voucher.is_referral_code must be false for {kind} campaign")
    if getattr(given, worth) is None:
        raise InvalidCampaign(f"Property '{worth}' is required for {kind} campaign")
    template = Template(
        type=voucher_type,
        redemption=Redemption(given.redemption.quantity if given.redemption else None),
        code_config=codes.checked(given.code_config, path=".voucher.code_config"),
        is_referral_code=False,
    )
    if worth == "discount" and given.discount is not None:
        discount = discounts.encoded(given.discount, path=".voucher.discount")
        return msgspec.structs.replace(template, discount=Raw(discount))
    assert given.gift is not None
    return msgspec.structs.replace(template, gift=Raw(discounts.encoded_gift(given.gift)))


def standalone_code(given: CampaignIn) -> str:
    """The code of a new STANDALONE campaign. Raises `InvalidCampaign`."""
    if (given.vouchers_count or 1) > 1:
        raise InvalidStandalone
    code = given.voucher.code if given.voucher else None
    if code is None:
        raise InvalidCampaign("Property .voucher.code is required for a STANDALONE type campaign")
    return vouchers.checked_code(code, path=".voucher.code")


# ---- a change ----------------------------------------------------------------------------------


def changed(campaign: CampaignRow, given: CampaignUpdate) -> CampaignRow:
    """A campaign after a change. Raises `InvalidPayload`, `InvalidCampaign` and other errors of validity."""
    refuse_what_is_not_there(given.category_id, None)
    vouchers.check_metadata(given.metadata, ".metadata")
    values: dict[str, Any] = {}
    if given.type is not None and given.type != campaign.type:
        if STANDALONE in (given.type, campaign.type):
            raise InvalidCampaign(f"Property .type cannot change from {campaign.type} to {given.type}")
        values["type"] = given.type
    if given.auto_join is not None:
        values["auto_join"] = given.auto_join
    if given.join_once is not None and campaign.type != STANDALONE:
        values["join_once"] = given.join_once
    for name in ("description", "activity_duration_after_publishing"):
        if (value := getattr(given, name)) is not UNSET:
            values[name] = value
    if given.category is not UNSET:
        values["category"] = given.category or None
    _check_duration(values.get("activity_duration_after_publishing"))
    if given.metadata or given.unset_metadata_fields:
        merged = {**campaign.metadata, **(given.metadata or {})}
        gone = set(given.unset_metadata_fields or ())
        values["metadata"] = {key: value for key, value in merged.items() if key not in gone}
    return msgspec.structs.replace(
        campaign, **values, **_changed_validity(campaign, given), voucher=_changed_template(campaign, given)
    )


def _changed_validity(campaign: CampaignRow, given: CampaignUpdate) -> dict[str, Any]:
    before = validity.stored_in(campaign)
    after = validity.changed(before, given)
    values = {name: getattr(after, name) for name in validity.FIELDS if getattr(after, name) != getattr(before, name)}
    return {name: value if isinstance(value, datetime) else _encoded(value) for name, value in values.items()}


def _changed_template(campaign: CampaignRow, given: CampaignUpdate) -> Template:
    """What stands in `voucher`. A gift campaign has no discount, and the other way round: that is skipped."""
    template = campaign.voucher
    if given.discount is not None and isinstance(template.discount, Raw):
        discount = discounts.encoded(given.discount, path=".discount")
        return msgspec.structs.replace(template, discount=Raw(discount))
    if given.gift is not None and isinstance(template.gift, Raw):
        return msgspec.structs.replace(template, gift=Raw(discounts.encoded_gift(given.gift)))
    return template


# ---- added vouchers ----------------------------------------------------------------------------


def overrides(given: AdditionIn) -> Overrides:
    """What a request says of the vouchers it adds, checked by itself. Raises `InvalidPayload`, `InvalidCodeConfig`."""
    refuse_what_is_not_there(given.category_id, None)
    vouchers.check_metadata(given.metadata, ".metadata")
    return Overrides(
        category=given.category or None,
        start_date=validity.moment(given.start_date, path=".start_date"),
        expiration_date=validity.moment(given.expiration_date, path=".expiration_date"),
        active=given.active,
        additional_info=given.additional_info,
        metadata=given.metadata,
        redemption_quantity=UNSET if given.redemption is None else given.redemption.quantity,
        code_config=None if given.code_config is None else codes.checked(given.code_config, path=".code_config"),
    )


def _check_duration(text: str | None) -> None:
    if text is not None:
        validity.check_duration(text, path=".activity_duration_after_publishing")


def _encoded(value: Any) -> Raw | None:
    return None if value is None else Raw(msgspec.json.encode(value))
