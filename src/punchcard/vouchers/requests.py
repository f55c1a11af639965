"""Requests that make a voucher: their bodies, what is refused, what they write. Those that change one: `changes`."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Request, Response, post
from litestar.exceptions import NotFoundException
from msgspec import Meta, Struct

from punchcard.db import row_totals
from punchcard.db.database import Conn
from punchcard.errors import ApiError, InvalidPayload, NotFound
from punchcard.events import events
from punchcard.events.events import Cause
from punchcard.http import answers, idempotency, objects
from punchcard.http.bodies import BodyBudget
from punchcard.http.shapes import Identifier
from punchcard.metadata_schemas import metadata_schemas
from punchcard.vouchers import codes, discounts, storage, validity, vouchers
from punchcard.vouchers import events as voucher_events
from punchcard.vouchers.codes import CodeConfigIn
from punchcard.vouchers.discounts import Discount, GiftIn
from punchcard.vouchers.storage import Attributes
from punchcard.vouchers.validity import DaysOfWeek, Hours, Moment, Timeframe
from punchcard.vouchers.vouchers import SQL, Voucher

VoucherType: TypeAlias = Literal["DISCOUNT_VOUCHER", "GIFT_VOUCHER", "LOYALTY_CARD"]
Quantity: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]
# what the interactive page offers to send
EXAMPLE = {
    "type": "DISCOUNT_VOUCHER",
    "discount": {"type": "PERCENT", "percent_off": 10},
    "redemption": {"quantity": 1},
    "metadata": {"season": "spring"},
}

# ---- types -------------------------------------------------------------------------------------


class RedemptionIn(Struct):
    """How often a voucher can be redeemed; null is any number of times."""

    quantity: Quantity | None = None


class VoucherIn(Struct):
    """A new voucher as a request has it; null means absent. Without `type`, what it is worth tells it."""

    code: str | None = None
    code_config: CodeConfigIn | None = None
    type: VoucherType | None = None
    discount: Discount | None = None
    gift: GiftIn | None = None
    loyalty_card: dict[str, Any] | None = None
    campaign: str | None = None
    campaign_id: Identifier | None = None
    category: Identifier | None = None
    category_id: Identifier | None = None
    start_date: Moment | None = None
    expiration_date: Moment | None = None
    validity_timeframe: Timeframe | None = None
    validity_day_of_week: DaysOfWeek | None = None
    validity_hours: Hours | None = None
    active: bool | None = None
    additional_info: str | None = None
    metadata: dict[str, Any] | None = None
    redemption: RedemptionIn | None = None
    validation_rules: list[Identifier] | None = None


class InvalidVoucher(ApiError):
    """A voucher cannot be made, or changed, like this."""

    key = "invalid_voucher"
    message = "Invalid Voucher"


class InvalidCampaign(ApiError):
    """A campaign does not take vouchers like this."""

    key = "invalid_campaign"
    message = "Invalid Campaign"


class TooManyVouchers(InvalidCampaign):
    """A campaign would have more vouchers than a campaign can have."""

    def __init__(self, made: int, vouchers_max: int, *, asked_for: int = 0) -> None:
        coming = f" and {asked_for} on their way" if asked_for else ""
        super().__init__(
            f"A campaign can have at most {vouchers_max} vouchers (setting vouchers_per_campaign_max);"
            f" this one has {made}{coming}"
        )


# ---- creating ----------------------------------------------------------------------------------


async def create_from_request(
    conn: Conn, project: str, given: VoucherIn, cause: Cause, *, code: str | None, campaign_vouchers_max: int
) -> Voucher:
    """Write the voucher that a request describes. Raises `ApiError`s of all kinds that a request can deserve."""
    config = codes.checked(given.code_config, path=".code_config")
    campaign = await _campaign_of(conn, project, given, code)
    attributes = attributes_of(given, campaign_id=campaign.id if campaign else None)
    if campaign is not None:
        await _check_fits(conn, project, campaign, attributes, vouchers_max=campaign_vouchers_max)
    schema = schema_of(campaign)
    await check_metadata_schema(conn, project, given.metadata, creating=True, resource=schema)
    voucher = await vouchers.create(conn, project, attributes, code=code, config=config)
    await voucher_events.record(conn, project, cause, voucher, [voucher_events.CREATED])
    return voucher


async def _campaign_of(conn: Conn, project: str, given: VoucherIn, code: str | None) -> Any | None:
    """The campaign that a request names, if any, locked."""
    named = given.campaign_id or given.campaign
    if not named:
        return None
    parameters = {"project_id": project, "id": named, "name": None if given.campaign_id else named}
    row = await (await conn.execute(SQL.voucher_campaign, parameters)).fetchone()
    if row is None:
        raise NotFound("campaign", named)
    if row.type != "STANDALONE":
        raise InvalidCampaign(
            "Only a campaign of the type STANDALONE can be named here;"
            f" to any other, add vouchers by POST /v1/campaigns/{row.id}/vouchers",
            resource_id=row.id,
            resource_type="campaign",
        )
    if code is None:
        raise InvalidCampaign("You can not generate vouchers for STANDALONE type campaign.")
    return row


async def _check_fits(conn: Conn, project: str, campaign: Any, attributes: Attributes, *, vouchers_max: int) -> None:
    """Hold a new voucher to its campaign's type, and that to its size. Raises `InvalidVoucher`, `TooManyVouchers`."""
    if attributes.type != campaign.voucher_type:
        raise InvalidVoucher(f"Vouchers of the campaign {campaign.id} are of the type {campaign.voucher_type}")
    count = await row_totals.total(conn, project, storage.total_of(campaign.id))
    if count >= vouchers_max:
        raise TooManyVouchers(count, vouchers_max)


def attributes_of(given: VoucherIn, *, campaign_id: str | None = None) -> Attributes:
    """All of a request for a new voucher but its code, checked. Raises `InvalidVoucher` and other `ApiError`s."""
    kind = _type_of(given)
    refuse_what_is_not_there(given.category_id, given.validation_rules)
    valid = validity.given_in(given)
    vouchers.check_metadata(given.metadata, ".metadata")
    return Attributes(
        type=kind,
        campaign_id=campaign_id,
        discount=discounts.encoded(given.discount, path=".discount")
        if given.discount is not None and kind == "DISCOUNT_VOUCHER"
        else None,
        gift=discounts.encoded_gift(given.gift) if given.gift is not None and kind == "GIFT_VOUCHER" else None,
        category=given.category or None,
        start_date=valid.start_date,
        expiration_date=valid.expiration_date,
        validity_timeframe=_encoded(valid.validity_timeframe),
        validity_day_of_week=_encoded(valid.validity_day_of_week),
        validity_hours=_encoded(valid.validity_hours),
        active=given.active is not False,
        additional_info=given.additional_info,
        metadata=msgspec.json.encode(given.metadata or {}),
        redemption_quantity=given.redemption.quantity if given.redemption else None,
    )


def _type_of(given: VoucherIn) -> str:
    worth = {"DISCOUNT_VOUCHER": given.discount, "GIFT_VOUCHER": given.gift, "LOYALTY_CARD": given.loyalty_card}
    kinds: list[str] = [kind for kind, value in worth.items() if value is not None]
    kind = given.type or (kinds[0] if len(kinds) == 1 else None)
    if kind == "LOYALTY_CARD":
        raise InvalidVoucher("A loyalty card needs a loyalty campaign, and this server has none yet")
    if kind is None:
        raise InvalidPayload("Payload should have required property 'type', or one of 'discount' and 'gift'")
    if worth[kind] is None:
        name = "discount" if kind == "DISCOUNT_VOUCHER" else "gift"
        raise InvalidPayload(f"Payload should have required property '{name}'")
    return kind


def refuse_what_is_not_there(category_id: str | None, validation_rules: list[str] | None) -> None:
    """There are neither categories nor validation rules yet, so none has that id."""
    if category_id:
        raise NotFound("category", category_id)
    if validation_rules:
        raise NotFound("validation_rules", validation_rules[0])


async def check_metadata_schema(
    conn: Conn,
    project: str,
    metadata: Mapping[str, Any] | None,
    *,
    creating: bool,
    resource: str = "voucher",
    removed: Iterable[str] = (),
) -> None:
    """Hold a voucher's metadata to the project's schema, if it has one. Raises `MetadataRefused`.

    Of keys that a change removes, those that are defined are as null; nobody misses the others.
    """
    schemas = await metadata_schemas.load(conn, project)
    defined = schemas.definitions(resource)
    if gone := dict.fromkeys(key for key in removed if key in defined):
        metadata = {**(metadata or {}), **gone}
    schemas.check(resource, metadata, creating=creating)


def schema_of(campaign: Any | None) -> str:
    """Whose metadata schema a campaign's vouchers follow: its own, or that of vouchers if it says so; as it does."""
    return "voucher" if campaign is None or campaign.use_voucher_metadata_schema else "campaign"


def _encoded(value: Any) -> bytes | None:
    return None if value is None else msgspec.json.encode(value)


# ---- handlers ----------------------------------------------------------------------------------

# what is sent there is no voucher with that code
_PATHS_TO_COME = frozenset({"import", "importCSV", "qualification"})
_new = msgspec.json.Decoder(VoucherIn)


@post(
    "/v1/vouchers",
    status_code=200,
    operation_id="generate-random-code",
    tags=["Vouchers"],
    responses=answers.NAMED_NOT_FOUND,
)
async def post_voucher(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Voucher]:
    """Create a voucher with a random code.

    `code_config` says how the code is made; with `code` the voucher gets that one.
    """
    return await _created(request, project, idempotency_key)


@post("/v1/vouchers/{code:str}", status_code=200, operation_id="create-voucher", tags=["Vouchers"])
async def post_voucher_with_code(
    request: Request,  # type: ignore[type-arg]
    project: str,
    code: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Voucher]:
    """Create a voucher with a given code."""
    if code in _PATHS_TO_COME:
        raise NotFoundException
    return await _created(request, project, idempotency_key, code=code)


async def _created(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: str | None,
    *,
    code: str | None = None,
) -> Response[Any]:
    key = idempotency.checked(request, idempotency_key)
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_object(request) as body:
        once = await idempotency.once(request, project, key, body)
        if (repeated := await once.repeated()) is not None:
            return repeated
        given = objects.read(body, _new)
    chosen = given.code if code is None else code
    if chosen is not None:
        vouchers.checked_code(chosen)
    vouchers_max = request.app.state.settings.vouchers_per_campaign_max

    cause = events.of_request(request)

    async def act(conn: Conn) -> Voucher:
        return await create_from_request(conn, project, given, cause, code=chosen, campaign_vouchers_max=vouchers_max)

    answer = await once.take_effect(act)
    request.app.state.work_notifier.ask()
    return answer


ROUTES = [post_voucher, post_voucher_with_code]
