"""What the vouchers of a campaign have from it, and what a request that adds some says otherwise."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from punchcard.campaigns.storage import CampaignRow
from punchcard.http.shapes import same_json
from punchcard.vouchers.codes import CodeConfig
from punchcard.vouchers.storage import Attributes


class Overrides(Struct, omit_defaults=True):
    """What vouchers that are added to a campaign have otherwise than it says; kept as JSON. None: as it says."""

    category: str | None = None
    start_date: datetime | None = None
    expiration_date: datetime | None = None
    active: bool | None = None
    additional_info: str | None = None
    # beside the campaign's
    metadata: dict[str, Any] | None = None
    # here none means any number of times
    redemption_quantity: int | UnsetType | None = UNSET
    code_config: CodeConfig | None = None


def attributes(campaign: CampaignRow, overrides: Overrides) -> Attributes:
    """All of new vouchers of a campaign but their codes."""
    template = campaign.voucher
    quantity = overrides.redemption_quantity
    return Attributes(
        type=template.type,
        campaign_id=campaign.id,
        discount=_encoded(template.discount),
        gift=_encoded(template.gift),
        category=overrides.category or campaign.category,
        start_date=overrides.start_date or campaign.start_date,
        expiration_date=overrides.expiration_date or campaign.expiration_date,
        validity_timeframe=_encoded(campaign.validity_timeframe),
        validity_day_of_week=_encoded(campaign.validity_day_of_week),
        validity_hours=_encoded(campaign.validity_hours),
        active=overrides.active is not False,
        additional_info=overrides.additional_info,
        metadata=msgspec.json.encode(metadata(campaign, overrides)),
        is_referral_code=template.is_referral_code,
        redemption_quantity=template.redemption.quantity if isinstance(quantity, UnsetType) else quantity,
    )


def metadata(campaign: CampaignRow, overrides: Overrides) -> dict[str, Any]:
    """The metadata of new vouchers: the campaign's, and beside it or in its place what is given."""
    return {**campaign.metadata, **(overrides.metadata or {})}


def _encoded(value: Raw | UnsetType | None) -> bytes | None:
    return None if value is None or isinstance(value, UnsetType) else bytes(value)


# what of a campaign its vouchers have beside its metadata: of its own, and of what stands in `voucher`
COLUMNS = (
    "category",
    "start_date",
    "expiration_date",
    "validity_timeframe",
    "validity_day_of_week",
    "validity_hours",
)
TEMPLATE = ("discount", "gift")


class Changes(Struct, frozen=True):
    """What vouchers have to take over from their campaign: names of fields, and keys of its metadata."""

    fields: tuple[str, ...] = ()
    metadata_keys: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fields or self.metadata_keys)

    def joined(self, other: "Changes") -> "Changes":
        """What is in either."""
        fields = dict.fromkeys((*self.fields, *other.fields))
        return Changes(tuple(fields), tuple(dict.fromkeys((*self.metadata_keys, *other.metadata_keys))))


def changes(before: CampaignRow, after: CampaignRow) -> Changes:
    """What of a campaign has changed that vouchers have from it."""
    fields = [name for name in COLUMNS if not _same(getattr(before, name), getattr(after, name))]
    fields += [name for name in TEMPLATE if not _same(getattr(before.voucher, name), getattr(after.voucher, name))]
    keys = sorted(before.metadata.keys() | after.metadata.keys())
    changed = [key for key in keys if not _same_entry(before.metadata, after.metadata, key)]
    return Changes(tuple(fields), tuple(changed))


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Raw) and isinstance(right, Raw):
        return same_json(msgspec.json.decode(left), msgspec.json.decode(right))
    return bool(left == right)


def _same_entry(before: dict[str, Any], after: dict[str, Any], key: str) -> bool:
    return key in before and key in after and same_json(before[key], after[key])
