"""What requests do to vouchers: create, change, enable, disable, delete."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Request, Response, delete, post, put
from litestar.exceptions import NotFoundException
from litestar.params import Parameter
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from punchcard.bulk.async_actions import Flag
from punchcard.db import row_totals
from punchcard.db.database import Conn, Database
from punchcard.errors import ApiError, InvalidPayload, NotFound, RecordError
from punchcard.http import idempotency, objects
from punchcard.http.bodies import BodyBudget
from punchcard.http.shapes import Identifier
from punchcard.metadata_schemas import metadata_schemas
from punchcard.vouchers import codes, discounts, storage, validity, vouchers
from punchcard.vouchers.codes import CodeConfigIn
from punchcard.vouchers.discounts import Discount, GiftIn
from punchcard.vouchers.storage import Attributes
from punchcard.vouchers.validity import DaysOfWeek, Hours, Timeframe
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
UPDATE_EXAMPLE = {"expiration_date": "2027-12-31T23:59:59Z", "active": False}

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
    start_date: datetime | None = None
    expiration_date: datetime | None = None
    validity_timeframe: Timeframe | None = None
    validity_day_of_week: DaysOfWeek | None = None
    validity_hours: Hours | None = None
    active: bool | None = None
    additional_info: str | None = None
    metadata: dict[str, Any] | None = None
    redemption: RedemptionIn | None = None
    validation_rules: list[Identifier] | None = None


class VoucherUpdate(Struct):
    """A change of a voucher: what is absent stays, null takes a value away where there can be none."""

    discount: Discount | None = None
    category: Identifier | UnsetType | None = UNSET
    category_id: Identifier | None = None
    start_date: datetime | UnsetType | None = UNSET
    expiration_date: datetime | UnsetType | None = UNSET
    validity_timeframe: Timeframe | UnsetType | None = UNSET
    validity_day_of_week: DaysOfWeek | UnsetType | None = UNSET
    validity_hours: Hours | UnsetType | None = UNSET
    active: bool | None = None
    additional_info: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | None = None


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


class MetadataInvalid(ApiError):
    """Metadata is not what the project's schema says."""

    key = "metadata_validation_failed"
    message = "Metadata validation failed"


# ---- creating ----------------------------------------------------------------------------------


async def create_from_request(
    conn: Conn, project: str, given: VoucherIn, *, code: str | None, campaign_vouchers_max: int
) -> Voucher:
    """Write the voucher that a request describes. Raises `ApiError`s of all kinds that a request can deserve."""
    config = codes.checked(given.code_config, path=".code_config")
    campaign = await _campaign_of(conn, project, given, code)
    attributes = attributes_of(given, campaign_id=campaign.id if campaign else None)
    if campaign is not None:
        await _check_fits(conn, project, campaign, attributes, vouchers_max=campaign_vouchers_max)
    schema = schema_of(campaign)
    await check_metadata_schema(conn, project, given.metadata, creating=True, resource=schema)
    return await vouchers.create(conn, project, attributes, code=code, config=config)


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
    start, expiration = checked_validity(given)
    vouchers.check_metadata(given.metadata, ".metadata")
    return Attributes(
        type=kind,
        campaign_id=campaign_id,
        discount=discounts.encoded(given.discount, path=".discount")
        if given.discount is not None and kind == "DISCOUNT_VOUCHER"
        else None,
        gift=discounts.encoded_gift(given.gift) if given.gift is not None and kind == "GIFT_VOUCHER" else None,
        category=given.category or None,
        start_date=start,
        expiration_date=expiration,
        validity_timeframe=_encoded(given.validity_timeframe),
        validity_day_of_week=_encoded(given.validity_day_of_week),
        validity_hours=_encoded(given.validity_hours),
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


def checked_validity(given: Any, *, path: str = "") -> tuple[datetime | None, datetime | None]:
    """The start and expiration dates of a request, in UTC, its validity checked. Raises `ApiError`s."""
    start = validity.moment(given.start_date, path=f"{path}.start_date")
    expiration = validity.moment(given.expiration_date, path=f"{path}.expiration_date")
    validity.check_dates(start, expiration, path=path)
    validity.check_timeframe(given.validity_timeframe, start, path=path)
    validity.check_hours(given.validity_hours, path=path)
    return start, expiration


async def check_metadata_schema(
    conn: Conn, project: str, metadata: Mapping[str, Any] | None, *, creating: bool, resource: str = "voucher"
) -> None:
    """Hold a voucher's metadata to the project's schema, if it has one. Raises `MetadataInvalid`."""
    schemas = await metadata_schemas.load(conn, project)
    try:
        schemas.check(resource, metadata, creating=creating)
    except RecordError as error:
        raise MetadataInvalid(str(error)) from None


def _encoded(value: Any) -> bytes | None:
    return None if value is None else msgspec.json.encode(value)


# ---- changing ----------------------------------------------------------------------------------


async def update(conn: Conn, project: str, voucher_id: str, given: VoucherUpdate) -> Voucher:
    """Change what is given. Needs a transaction. Raises `NotFound`, `InvalidVoucher` and other `ApiError`s."""
    refuse_what_is_not_there(given.category_id, None)
    vouchers.check_metadata(given.metadata, ".metadata")
    row = await _locked(conn, project, voucher_id)
    columns: dict[str, Any] = {name: _kept(row, name) for name in _CHANGEABLE}
    if given.discount is not None and row.discount is not None:  # what is none of a voucher's is skipped
        columns["discount"] = _new_discount(given.discount, row.discount)
    if given.metadata:
        await _check_new_metadata(conn, project, row, given.metadata)
        columns["metadata"] = _json({**msgspec.json.decode(row.metadata), **given.metadata})
    if given.active is not None:
        columns["active"] = given.active
    _change_validity(columns, row, given)
    if given.category is not UNSET:
        columns["category"] = given.category or None
    if given.additional_info is not UNSET:
        columns["additional_info"] = given.additional_info
    return await _write(conn, project, row.id, columns)


_CHANGEABLE = (
    "discount", "category", "start_date", "expiration_date", "validity_timeframe", "validity_day_of_week",
    "validity_hours", "active", "additional_info", "metadata",
)  # fmt: skip


async def _locked(conn: Conn, project: str, voucher_id: str) -> Any:
    found = await vouchers.find(conn, project, voucher_id)
    row = await (await conn.execute(SQL.voucher_lock, {"project_id": project, "id": found.id})).fetchone()
    if row is None:
        raise NotFound("voucher", voucher_id)
    return row


def _kept(row: Any, name: str) -> Any:
    value = getattr(row, name)
    return bytes(value).decode() if isinstance(value, Raw) else value


def _new_discount(given: Discount, stored: Raw) -> str:
    before = msgspec.json.decode(stored, type=Discount)
    if type(given) is not type(before):
        raise InvalidVoucher("It is not possible to change Voucher discount type")
    return discounts.encoded(given, path=".discount").decode()


def schema_of(campaign: Any | None) -> str:
    """Whose metadata schema a campaign's vouchers follow: its own, or that of vouchers if it says so; as it does."""
    return "voucher" if campaign is None or campaign.use_voucher_metadata_schema else "campaign"


async def _check_new_metadata(conn: Conn, project: str, row: Any, metadata: dict[str, Any]) -> None:
    campaign = None
    if row.campaign_id is not None:
        parameters = {"project_id": project, "id": row.campaign_id}
        campaign = await (await conn.execute(SQL.voucher_follows_schema, parameters)).fetchone()
    await check_metadata_schema(conn, project, metadata, creating=False, resource=schema_of(campaign))


class _Validity(Struct):
    """The validity of a voucher after a change."""

    start_date: datetime | None
    expiration_date: datetime | None
    validity_timeframe: Timeframe | None
    validity_day_of_week: DaysOfWeek | None
    validity_hours: Hours | None


def _change_validity(columns: dict[str, Any], row: Any, given: VoucherUpdate) -> None:
    stored = msgspec.convert(
        {name: _decoded(getattr(row, name)) for name in _Validity.__struct_fields__}, _Validity
    )  # fmt: skip
    changed = [name for name in _Validity.__struct_fields__ if getattr(given, name) is not UNSET]
    if not changed:
        return
    after = msgspec.structs.replace(stored, **{name: getattr(given, name) for name in changed})
    after.start_date, after.expiration_date = checked_validity(after)
    for name in changed:
        value = getattr(after, name)
        columns[name] = value if value is None or isinstance(value, datetime) else _json(value)


def _decoded(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, Raw) else value


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def set_active(conn: Conn, project: str, voucher_id: str, *, active: bool) -> Voucher:
    """Enable or disable a voucher. Needs a transaction. Raises `NotFound`."""
    row = await _locked(conn, project, voucher_id)
    columns: dict[str, Any] = {name: _kept(row, name) for name in _CHANGEABLE}
    return await _write(conn, project, row.id, columns | {"active": active})


async def _write(conn: Conn, project: str, voucher_id: str, columns: dict[str, Any]) -> Voucher:
    now = await storage.clock(conn, project)
    await conn.execute(SQL.voucher_update, {"project_id": project, "id": voucher_id, "updated_at": now, **columns})
    return await vouchers.get_voucher(conn, project, voucher_id)


async def remove(conn: Conn, project: str, voucher_id: str, *, force: bool) -> None:
    """Put a voucher into the bin, where it blocks its code, or delete it. Needs a transaction. Raises `NotFound`."""
    row = await _locked(conn, project, voucher_id)
    parameters = {"project_id": project, "id": row.id}
    if force:
        await conn.execute(SQL.voucher_delete, parameters)
    else:
        now = await storage.clock(conn, project)
        await conn.execute(SQL.voucher_bin, parameters | {"binned_at": now})
    gone = {"vouchers": -1}
    if row.campaign_id is not None:
        gone[storage.total_of(row.campaign_id)] = -1
    await row_totals.add(conn, project, gone, slot=row_totals.drawn_slot())


# ---- handlers ----------------------------------------------------------------------------------

# what is sent there is no voucher with that code
_PATHS_TO_COME = frozenset({"import", "importCSV", "qualification"})
_new = msgspec.json.Decoder(VoucherIn)
_change = msgspec.json.Decoder(VoucherUpdate)


@post("/v1/vouchers", status_code=200, operation_id="generate-random-code", tags=["Vouchers"])
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
    async with budget.json(request) as body:
        once = await idempotency.once(request, project, key, body)
        if (repeated := await once.repeated()) is not None:
            return repeated
        given = objects.read(body, _new)
    chosen = given.code if code is None else code
    if chosen is not None:
        vouchers.checked_code(chosen)
    vouchers_max = request.app.state.settings.vouchers_per_campaign_max

    async def act(conn: Conn) -> Voucher:
        return await create_from_request(conn, project, given, code=chosen, campaign_vouchers_max=vouchers_max)

    return await once.take_effect(act)


@put("/v1/vouchers/{code:str}", operation_id="update-voucher", tags=["Vouchers"])
async def put_voucher(request: Request, project: str, code: str) -> Voucher:  # type: ignore[type-arg]
    """Change a voucher.

    What the body does not have stays as it is, and metadata is merged by key. The type of a discount cannot change.
    """
    budget: BodyBudget = request.app.state.body_budget
    async with budget.json(request) as body:
        given = objects.read(body, _change)
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        return await update(conn, project, code, given)


@post("/v1/vouchers/{code:str}/enable", status_code=200, operation_id="enable-voucher", tags=["Vouchers"])
async def post_enable(
    request: Request,  # type: ignore[type-arg]
    project: str,
    code: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Voucher]:
    """Enable a voucher."""
    return await _switched(request, project, code, idempotency_key, active=True)


@post("/v1/vouchers/{code:str}/disable", status_code=200, operation_id="disable-voucher", tags=["Vouchers"])
async def post_disable(
    request: Request,  # type: ignore[type-arg]
    project: str,
    code: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Voucher]:
    """Disable a voucher."""
    return await _switched(request, project, code, idempotency_key, active=False)


async def _switched(
    request: Request,  # type: ignore[type-arg]
    project: str,
    code: str,
    idempotency_key: str | None,
    *,
    active: bool,
) -> Response[Any]:
    key = idempotency.checked(request, idempotency_key)
    once = await idempotency.once(request, project, key, b"")
    if (repeated := await once.repeated()) is not None:
        return repeated

    async def act(conn: Conn) -> Voucher:
        return await set_active(conn, project, code, active=active)

    return await once.take_effect(act)


@delete("/v1/vouchers/{code:str}", operation_id="delete-voucher", tags=["Vouchers"])
async def delete_voucher(
    request: Request,  # type: ignore[type-arg]
    project: str,
    code: str,
    force: Annotated[Flag, Parameter(description="`true`: delete it for good. Else it goes to the bin.")] = "false",
) -> None:
    """Delete a voucher.

    In the bin it still blocks its code.
    """
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        await remove(conn, project, code, force=force == "true")


ROUTES = [post_voucher, post_voucher_with_code, put_voucher, delete_voucher, post_enable, post_disable]
