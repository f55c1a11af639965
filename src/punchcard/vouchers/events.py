"""The events of vouchers: their payloads, and the campaign as other objects' payloads show it.

They are written for what a request does to one voucher. Jobs that make, change or delete many write none for each.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from punchcard.db import statements
from punchcard.db.database import Conn
from punchcard.events import events
from punchcard.events.events import Cause, Event
from punchcard.vouchers.codes import CodeConfig
from punchcard.vouchers.discounts import StoredGift
from punchcard.vouchers.vouchers import Voucher

SQL = statements.beside(__file__)

CREATED, UPDATED, DELETED = "voucher.created", "voucher.updated", "voucher.deleted"
ENABLED, DISABLED = "voucher.enabled", "voucher.disabled"

# ---- payloads ----------------------------------------------------------------------------------


class SimpleGift(Struct):
    """The gift credits of a campaign's new vouchers: none of them are used."""

    amount: int
    balance: int
    effect: str


class SimpleRedemption(Struct):
    """How often a campaign's new vouchers can be and were redeemed."""

    quantity: int | None
    redeemed_quantity: int = 0


class SimpleTemplate(Struct):
    """What a campaign's vouchers are made from."""

    type: str
    discount: Raw | None
    gift: SimpleGift | None
    loyalty_card: None
    redemption: SimpleRedemption
    code_config: CodeConfig


class SimpleCampaign(Struct):
    """A campaign inside the payload of another event."""

    id: str
    name: str
    campaign_type: str
    type: str
    is_referral_code: bool
    voucher: SimpleTemplate
    auto_join: bool
    join_once: bool
    active: bool
    category_id: str | None
    category: str | None
    metadata: Raw
    start_date: datetime | None
    expiration_date: datetime | None
    description: str | None
    created_at: datetime
    updated_at: datetime | None
    object: str = "campaign"


class VoucherPayload(Struct):
    """The documented payload of a voucher's event; without a campaign that is null."""

    voucher: Voucher
    campaign: SimpleCampaign | None


# ---- operations --------------------------------------------------------------------------------


async def record(conn: Conn, project: str, cause: Cause, voucher: Voucher, kinds: Sequence[str]) -> None:
    """Write events of these types about a voucher, as it is given. Needs the transaction of their cause."""
    campaign = await simple_campaign(conn, project, voucher.campaign_id)
    payload = VoucherPayload(voucher, campaign)
    about = [Event(kind, voucher.id, payload, campaign_id=voucher.campaign_id) for kind in kinds]
    await events.record(conn, project, cause, about)


async def simple_campaign(conn: Conn, project: str, campaign_id: str | None) -> SimpleCampaign | None:
    """A campaign, in the bin or not; none if there is no such campaign."""
    if campaign_id is None:
        return None
    row = await (await conn.execute(SQL.campaign_simple, {"project_id": project, "id": campaign_id})).fetchone()
    if row is None:
        return None
    values = row._asdict()
    template = msgspec.json.decode(values.pop("voucher"), type=_Template)
    return SimpleCampaign(
        **values, is_referral_code=template.is_referral_code, voucher=_simple_template(template), category_id=None
    )


class _Template(Struct):
    """What of `campaigns.voucher` is shown."""

    type: str
    redemption: SimpleRedemption
    code_config: CodeConfig
    is_referral_code: bool
    discount: Raw | UnsetType = UNSET
    gift: StoredGift | None = None


def _simple_template(stored: _Template) -> SimpleTemplate:
    gift = None if stored.gift is None else SimpleGift(stored.gift.amount, stored.gift.amount, stored.gift.effect)
    return SimpleTemplate(
        type=stored.type,
        discount=None if isinstance(stored.discount, UnsetType) else stored.discount,
        gift=gift,
        loyalty_card=None,
        redemption=stored.redemption,
        code_config=stored.code_config,
    )
