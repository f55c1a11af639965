"""Vouchers: how the API shows one, reading it, and making one with a given or a random code.

What requests do to them is in `requests`, lists are in `listing`, many vouchers at once in `storage`.
"""

from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request, get
from msgspec import UNSET, Raw, Struct, UnsetType

from punchcard.bulk.requests import METADATA_BYTES_MAX
from punchcard.db import statements
from punchcard.db.database import Conn, Database
from punchcard.errors import ApiError, InvalidPayload, NotFound
from punchcard.http import shapes
from punchcard.http.shapes import or_unset
from punchcard.vouchers import codes, storage
from punchcard.vouchers.codes import CodeConfig
from punchcard.vouchers.discounts import StoredGift
from punchcard.vouchers.storage import Attributes

SQL = statements.beside(__file__)

# ---- types -------------------------------------------------------------------------------------


class Gift(Struct):
    """Gift credits; the balance is what is left of them."""

    amount: int
    subtracted_amount: int
    balance: int
    effect: str


class Image(Struct):
    """A picture of a code. There are none yet."""

    id: str | None = None
    url: str | None = None


class Assets(Struct):
    """Pictures of a code."""

    qr: Image
    barcode: Image


class Publish(Struct):
    """How often a voucher was given to customers."""

    object: str
    count: int
    url: str


class Redemption(Struct, omit_defaults=True):
    """How often a voucher can be and was redeemed; the amount only of gift credits."""

    quantity: int | None
    redeemed_quantity: int
    object: str
    url: str
    redeemed_amount: int | UnsetType = UNSET


class Assignments(Struct):
    """The validation rules of a voucher. There are none yet."""

    object: str
    data_ref: str
    data: list[dict[str, Any]]
    total: int


class Voucher(Struct):
    """A voucher as the API shows it; in a list without its validation rules."""

    id: str
    code: str
    campaign: str | None
    campaign_id: str | None
    category: str | None
    category_id: str | None
    categories: list[dict[str, Any]]
    type: str
    discount: Raw | None
    gift: Gift | None
    loyalty_card: Raw | None
    start_date: datetime | None
    expiration_date: datetime | None
    validity_timeframe: Raw | None
    validity_day_of_week: Raw | None
    validity_hours: Raw | None
    active: bool
    additional_info: str | None
    metadata: Raw
    assets: Assets
    is_referral_code: bool
    created_at: datetime
    updated_at: datetime | None
    publish: Publish
    redemption: Redemption
    object: str
    holder_id: str | UnsetType = UNSET
    validation_rules_assignments: Assignments | UnsetType = UNSET


class DuplicateFound(ApiError):
    """The project has a voucher with this code, perhaps in the bin."""

    status = 409
    key = "duplicate_found"
    message = "Duplicated resource found"

    def __init__(self, code: str) -> None:
        super().__init__(f"Duplicated voucher exists with id {code}", resource_id=code, resource_type="voucher")


# ---- reading -----------------------------------------------------------------------------------


async def get_voucher(conn: Conn, project: str, voucher_id: str) -> Voucher:
    """One voucher by id or code. Raises `NotFound`."""
    voucher = shown(await find(conn, project, voucher_id))
    voucher.validation_rules_assignments = Assignments("list", "data", [], total=0)
    return voucher


async def find(conn: Conn, project: str, voucher_id: str) -> Any:
    """The row of a voucher, by id or code. Raises `NotFound`."""
    parameters = {
        "project_id": project,
        "id": voucher_id,
        "code": codes.key_of(voucher_id, case_sensitive=True),
        "code_lower": codes.key_of(voucher_id, case_sensitive=False),
    }
    row = await (await conn.execute(SQL.voucher_get, parameters)).fetchone()
    if row is None:
        raise NotFound("voucher", voucher_id)
    return row


def shown(row: Any) -> Voucher:
    """The voucher of a row of `voucher_get` or `vouchers_list`."""
    gift = None
    if row.gift is not None:
        stored = msgspec.json.decode(row.gift, type=StoredGift)
        balance = stored.amount - stored.subtracted_amount - row.redeemed_amount
        gift = Gift(stored.amount, stored.subtracted_amount, balance, stored.effect)
    path = f"/v1/vouchers/{quote(row.code, safe='')}"
    redemption = Redemption(
        quantity=row.redemption_quantity,
        redeemed_quantity=row.redeemed_quantity,
        object="list",
        url=f"{path}/redemptions?page=1&limit=10",
        redeemed_amount=UNSET if gift is None else row.redeemed_amount,
    )
    return Voucher(
        id=row.id,
        code=row.code,
        campaign=row.campaign,
        campaign_id=row.campaign_id,
        category=row.category,
        category_id=None,
        categories=[],
        type=row.type,
        discount=row.discount,
        gift=gift,
        loyalty_card=row.loyalty_card,
        start_date=row.start_date,
        expiration_date=row.expiration_date,
        validity_timeframe=row.validity_timeframe,
        validity_day_of_week=row.validity_day_of_week,
        validity_hours=row.validity_hours,
        active=row.active,
        additional_info=row.additional_info,
        metadata=row.metadata,
        assets=Assets(Image(), Image()),
        is_referral_code=row.is_referral_code,
        created_at=row.created_at,
        updated_at=row.updated_at,
        publish=Publish("list", row.published_count, f"{path}/publications?page=1&limit=10"),
        redemption=redemption,
        object="voucher",
        holder_id=or_unset(row.holder_id),
    )


# ---- creating ----------------------------------------------------------------------------------


async def create(
    conn: Conn,
    project: str,
    attributes: Attributes,
    *,
    code: str | None = None,
    config: CodeConfig | None = None,
    path: str = ".code_config",
) -> Voucher:
    """Write one voucher, with a code that is given (`checked_code`) or a random one of a config.

    `path` is where the config stands in the request. Needs a transaction, and takes the lock of a total. Raises
    `DuplicateFound`, or `InvalidCodeConfig` when all codes of the config are taken.
    """
    case_sensitive = await storage.case_sensitive(conn, project)
    while True:
        chosen = [code] if code is not None else await storage.free_codes(
            conn, project, config or CodeConfig(), 1, case_sensitive=case_sensitive
        )  # fmt: skip
        if not chosen:
            raise codes.InvalidCodeConfig(f"Property {path} has no free code left")
        (row,) = storage.rows(chosen, attributes, case_sensitive=case_sensitive)
        if await storage.insert_one(conn, project, row):
            return await get_voucher(conn, project, row.id)
        if code is not None:
            raise DuplicateFound(code)


def checked_code(code: str, *, path: str = ".code") -> str:
    """A code that can be stored and typed. Raises `InvalidPayload`."""
    if not 1 <= len(code) <= codes.CODE_LENGTH_MAX:
        raise InvalidPayload(f"Property {path} must have 1 to {codes.CODE_LENGTH_MAX} characters")
    if not code.isprintable():
        raise InvalidPayload(f"Property {path} must have printable characters only")
    if codes.is_reserved(code):
        raise InvalidPayload(f"Property {path} must be {codes.RESERVED}")
    return code


def is_plain_metadata(metadata: dict[str, Any]) -> bool:
    """Whether `check_metadata` can have nothing against it: a quick look."""
    return shapes.is_plain(metadata) and len(msgspec.json.encode(metadata)) <= METADATA_BYTES_MAX


def check_metadata(metadata: dict[str, Any] | None, path: str) -> None:
    """Refuse metadata of a voucher or campaign that is too large or cannot be stored. Raises `InvalidPayload`."""
    shapes.check_metadata(metadata, path)
    if metadata and len(msgspec.json.encode(metadata)) > METADATA_BYTES_MAX:
        raise InvalidPayload(f"Property {path} must have at most {METADATA_BYTES_MAX} bytes")


# ---- handlers ----------------------------------------------------------------------------------


@get("/v1/vouchers/{code:str}", operation_id="get-voucher", tags=["Vouchers"])
async def get_voucher_by_code(request: Request, project: str, code: str) -> Voucher:  # type: ignore[type-arg]
    """Get a voucher by code or id."""
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await get_voucher(conn, project, code)


ROUTES = [get_voucher_by_code]
