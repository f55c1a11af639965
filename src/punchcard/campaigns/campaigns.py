"""Campaigns: types, creating, reading, changing, deleting. Lists are in `listing`, new vouchers in `additions`."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.params import Parameter
from msgspec import UNSET, Raw, Struct, UnsetType

from punchcard.bulk.async_actions import Flag, Scheduled
from punchcard.campaigns import additions, events, inheritance, requests, storage
from punchcard.campaigns.additions import Asked
from punchcard.campaigns.deletion import Deletion, VouchersDeletion
from punchcard.campaigns.inheritance import Overrides
from punchcard.campaigns.requests import STANDALONE, CampaignIn, CampaignUpdate
from punchcard.campaigns.spreading import Spread, VouchersUpdate
from punchcard.campaigns.storage import CampaignRow, Redemption, Template
from punchcard.db import statements
from punchcard.db.database import Conn, Database
from punchcard.errors import ApiError, NotFound
from punchcard.events.events import Cause, of_request
from punchcard.http import answers, idempotency, objects
from punchcard.http.bodies import BodyBudget
from punchcard.http.shapes import or_unset
from punchcard.vouchers.codes import CodeConfig
from punchcard.vouchers.requests import check_metadata_schema
from punchcard.vouchers.vouchers import Assignments

SQL = statements.beside(__file__)

# what the interactive page offers to send
EXAMPLE = {
    "name": "Spring 2026",
    "campaign_type": "DISCOUNT_COUPONS",
    "vouchers_count": 100,
    "voucher": {
        "type": "DISCOUNT_VOUCHER",
        "discount": {"type": "PERCENT", "percent_off": 10},
        "redemption": {"quantity": 1},
        "code_config": {"pattern": "SPRING-######"},
    },
}
UPDATE_EXAMPLE = {"description": "For those who were here last year", "expiration_date": "2026-09-30T00:00:00Z"}

# ---- types -------------------------------------------------------------------------------------


class GiftCredits(Struct):
    """The gift credits of a new voucher, in the smallest currency unit."""

    amount: int
    effect: str


class CampaignVoucher(Struct, omit_defaults=True):
    """What the vouchers of a campaign are made from."""

    type: str
    redemption: Redemption
    code_config: CodeConfig
    is_referral_code: bool
    discount: Raw | UnsetType = UNSET
    gift: GiftCredits | UnsetType = UNSET
    start_date: datetime | UnsetType = UNSET
    expiration_date: datetime | UnsetType = UNSET
    validity_timeframe: Raw | UnsetType = UNSET
    validity_day_of_week: Raw | UnsetType = UNSET
    validity_hours: Raw | UnsetType = UNSET


class Campaign(Struct, omit_defaults=True):
    """A campaign as the API shows it; in a list without its validation rules. What is not set is left out."""

    id: str
    name: str
    description: str | None
    campaign_type: str
    type: str
    voucher: CampaignVoucher
    auto_join: bool
    join_once: bool
    use_voucher_metadata_schema: bool
    vouchers_count: int
    active: bool
    metadata: Raw
    created_at: datetime
    creation_status: str
    vouchers_generation_status: str
    protected: bool
    category_id: str | None
    categories: list[dict[str, Any]]
    object: str
    start_date: datetime | UnsetType = UNSET
    expiration_date: datetime | UnsetType = UNSET
    validity_timeframe: Raw | UnsetType = UNSET
    validity_day_of_week: Raw | UnsetType = UNSET
    validity_hours: Raw | UnsetType = UNSET
    activity_duration_after_publishing: str | UnsetType = UNSET
    category: str | UnsetType = UNSET
    updated_at: datetime | UnsetType = UNSET
    validation_rules_assignments: Assignments | UnsetType = UNSET


class NameTaken(ApiError):
    """The project has a campaign with this name, perhaps in the bin."""

    status = 409
    key = "duplicate_found"
    message = "Duplicated resource found"

    def __init__(self, name: str) -> None:
        super().__init__(f"Duplicated campaign exists with name {name}", resource_id=name, resource_type="campaign")


# ---- operations --------------------------------------------------------------------------------


async def get_campaign(conn: Conn, project: str, key: str) -> Campaign:
    """One campaign by id or name. Raises `NotFound`."""
    row = await (await conn.execute(SQL.campaign_get, {"project_id": project, "key": key})).fetchone()
    if row is None:
        raise NotFound("campaign", key)
    campaign = shown(row)
    campaign.validation_rules_assignments = Assignments("list", "data", [], total=0)
    return campaign


def shown(row: Any) -> Campaign:
    """The campaign of a row of `campaign_get` or `campaigns_list`."""
    template = msgspec.json.decode(row.voucher, type=Template)
    validity = {
        name: or_unset(getattr(row, name))
        for name in ("start_date", "expiration_date", "validity_timeframe", "validity_day_of_week", "validity_hours")
    }
    return Campaign(
        id=row.id,
        name=row.name,
        description=row.description,
        campaign_type=row.campaign_type,
        type=row.type,
        voucher=CampaignVoucher(**msgspec.structs.asdict(template) | {"gift": _gift(template)}, **validity),
        auto_join=row.auto_join,
        join_once=row.join_once,
        use_voucher_metadata_schema=row.use_voucher_metadata_schema,
        vouchers_count=row.vouchers_count,
        active=row.active,
        metadata=row.metadata,
        created_at=row.created_at,
        creation_status=row.status,
        vouchers_generation_status=row.status,
        protected=False,
        category_id=None,
        categories=[],
        object="campaign",
        activity_duration_after_publishing=or_unset(row.activity_duration_after_publishing),
        category=or_unset(row.category),
        updated_at=or_unset(row.updated_at),
        **validity,
    )


def _gift(template: Template) -> GiftCredits | UnsetType:
    """What every new voucher is worth: none of it was taken yet."""
    return UNSET if isinstance(template.gift, UnsetType) else msgspec.json.decode(template.gift, type=GiftCredits)


async def create(conn: Conn, project: str, given: CampaignIn, cause: Cause, *, vouchers_max: int) -> Campaign:
    """A new campaign with its first vouchers: one at once, more by a job. Needs a transaction.

    Raises `NameTaken`, and what the request deserves otherwise.
    """
    campaign = requests.new_campaign(given)
    standalone = requests.standalone_code(given) if campaign.type == STANDALONE else None
    resource = campaign.metadata_schema
    await check_metadata_schema(conn, project, campaign.metadata, creating=True, resource=resource)
    if not await storage.insert(conn, project, campaign):
        raise NameTaken(campaign.name)
    count = 1 if standalone is not None else given.vouchers_count or 0
    asked = Asked(count, Overrides(), code=standalone, path=".voucher.code_config", first=True)
    added = None
    if count:
        added = await additions.add(conn, project, campaign, asked, cause, vouchers_max=vouchers_max)
    made = await get_campaign(conn, project, campaign.id)
    payload = events.CampaignCreated(made, made.created_at)
    await events.record(conn, project, cause, events.CREATED, made.id, payload)
    if added is not None:
        await additions.record_events(conn, project, made.id, asked, added, cause)
    return made


async def update(conn: Conn, project: str, key: str, given: CampaignUpdate, cause: Cause) -> Campaign:
    """Change what is given, and have the vouchers follow. Needs a transaction. Raises `NotFound` and others."""
    before = await storage.lock(conn, project, key)
    after = requests.changed(before, given)
    removed = given.unset_metadata_fields or ()
    if given.metadata or removed:
        resource = before.metadata_schema
        await check_metadata_schema(conn, project, given.metadata, creating=False, resource=resource, removed=removed)
    if has_changed := not storage.same(before, after):
        await storage.update(conn, project, after)
    await _spread(conn, project, before, after, cause.group_id)
    campaign = await get_campaign(conn, project, before.id)
    if has_changed:
        payload = events.CampaignChanged(campaign)
        await events.record(conn, project, cause, events.UPDATED, campaign.id, payload)
    return campaign


async def _spread(conn: Conn, project: str, before: CampaignRow, after: CampaignRow, request_id: str) -> None:
    """Have the vouchers take over what has changed of their campaign, if there are any, or some are being made.

    Also what an earlier job was to bring to them and did not, because it was cancelled.
    """
    changes = inheritance.changes(before, after)
    for earlier in await storage.broken_off(conn, project, before.id, storage.UPDATE):
        changes = changes.joined(msgspec.json.decode(earlier, type=Spread).changes)
    size = await storage.size(conn, project, before.id)
    if changes and size.total:
        spread = Spread(before.id, changes)
        await storage.schedule(
            conn, project, VouchersUpdate(), spread,
            campaign_id=before.id, vouchers_count=size.made, request_id=request_id,
        )  # fmt: skip


async def set_active(conn: Conn, project: str, key: str, cause: Cause, *, active: bool) -> dict[str, Any]:
    """Enable or disable a campaign. Needs a transaction. Raises `NotFound`."""
    campaign = await storage.lock(conn, project, key)
    if campaign.active is not active:
        await storage.update(conn, project, msgspec.structs.replace(campaign, active=active))
        payload = events.CampaignChanged(await get_campaign(conn, project, campaign.id))
        kind = events.ENABLED if active else events.DISABLED
        await events.record(conn, project, cause, kind, campaign.id, payload)
    return {}


async def remove(conn: Conn, project: str, key: str, cause: Cause, *, force: bool) -> Scheduled:
    """Put a campaign into the bin, and have its vouchers follow; with `force` all of it is then removed.

    One that was broken off can be asked for again. Needs a transaction. Raises `NotFound`.
    """
    campaign_id, binned = await storage.lock_for_deletion(conn, project, key)
    # as it was, before a job of its own shows
    campaign = None if binned else await get_campaign(conn, project, campaign_id)
    await storage.broken_off(conn, project, campaign_id, storage.DELETION)
    size = await storage.size(conn, project, campaign_id)
    action_id = await storage.schedule(
        conn, project, VouchersDeletion(), Deletion(campaign_id, force),
        campaign_id=campaign_id, vouchers_count=size.made, request_id=cause.group_id,
    )  # fmt: skip
    if campaign is not None:
        payload = events.CampaignDeleted(campaign, await storage.bin_(conn, project, campaign_id))
        await events.record(conn, project, cause, events.DELETED, campaign_id, payload)
    return Scheduled(action_id)


# ---- handlers ----------------------------------------------------------------------------------

_new = msgspec.json.Decoder(CampaignIn)
_change = msgspec.json.Decoder(CampaignUpdate)


@post(
    "/v1/campaigns",
    status_code=200,
    operation_id="create-campaign",
    tags=["Campaigns"],
    responses=answers.NAMED_NOT_FOUND,
)
async def post_campaign(
    request: Request,  # type: ignore[type-arg]
    project: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Campaign]:
    """Create a campaign.

    With `vouchers_count` it gets so many vouchers: one at once, more by an async action, during which
    `vouchers_generation_status` is `IN_PROGRESS`. A campaign of the type STANDALONE has one voucher, whose code is
    `voucher.code`. Discount coupons and gift vouchers are supported.
    """
    key = idempotency.checked(request, idempotency_key)
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_object(request) as body:
        once = await idempotency.once(request, project, key, body)
        if (repeated := await once.repeated()) is not None:
            return repeated
        given = objects.read(body, _new)
    vouchers_max = request.app.state.settings.vouchers_per_campaign_max
    cause = of_request(request)

    async def act(conn: Conn) -> Campaign:
        return await create(conn, project, given, cause, vouchers_max=vouchers_max)

    answer = await once.take_effect(act)
    request.app.state.work_notifier.ask()
    return answer


@get("/v1/campaigns/{campaign_id:str}", operation_id="get-campaign", tags=["Campaigns"])
async def get_campaign_by_id(request: Request, project: str, campaign_id: str) -> Campaign:  # type: ignore[type-arg]
    """Get a campaign by id or name."""
    database: Database = request.app.state.database
    async with database.connection() as conn:
        return await get_campaign(conn, project, campaign_id)


@put("/v1/campaigns/{campaign_id:str}", operation_id="update-campaign", tags=["Campaigns"])
async def put_campaign(request: Request, project: str, campaign_id: str) -> Campaign:  # type: ignore[type-arg]
    """Change a campaign by id or name.

    What the body does not have stays as it is, null takes a value away, and metadata is merged by key. Vouchers that
    are neither published nor redeemed take over what has changed, by an async action.
    """
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_object(request) as body:
        given = objects.read(body, _change)
    cause = of_request(request)
    database: Database = request.app.state.database
    campaign = await database.settle(lambda conn: update(conn, project, campaign_id, given, cause))
    request.app.state.work_notifier.ask()
    return campaign


@delete("/v1/campaigns/{campaign_id:str}", status_code=202, operation_id="delete-campaign", tags=["Campaigns"])
async def delete_campaign(
    request: Request,  # type: ignore[type-arg]
    project: str,
    campaign_id: str,
    force: Annotated[Flag, Parameter(description="`true`: delete all for good. Else it goes to the bin.")] = "false",
) -> Scheduled:
    """Delete a campaign by id or name, and by an async action its vouchers.

    In the bin, campaigns still block their names and vouchers their codes.
    """
    cause = of_request(request)
    database: Database = request.app.state.database
    scheduled = await database.settle(lambda conn: remove(conn, project, campaign_id, cause, force=force == "true"))
    request.app.state.work_notifier.ask()
    return scheduled


@post("/v1/campaigns/{campaign_id:str}/enable", status_code=200, operation_id="enable-campaign", tags=["Campaigns"])
async def post_enable(
    request: Request,  # type: ignore[type-arg]
    project: str,
    campaign_id: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[dict[str, Any]]:
    """Enable a campaign by id or name."""
    return await _switched(request, project, campaign_id, idempotency_key, active=True)


@post("/v1/campaigns/{campaign_id:str}/disable", status_code=200, operation_id="disable-campaign", tags=["Campaigns"])
async def post_disable(
    request: Request,  # type: ignore[type-arg]
    project: str,
    campaign_id: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[dict[str, Any]]:
    """Disable a campaign by id or name."""
    return await _switched(request, project, campaign_id, idempotency_key, active=False)


async def _switched(
    request: Request,  # type: ignore[type-arg]
    project: str,
    campaign_id: str,
    idempotency_key: str | None,
    *,
    active: bool,
) -> Response[Any]:
    key = idempotency.checked(request, idempotency_key)
    once = await idempotency.once(request, project, key, b"")
    if (repeated := await once.repeated()) is not None:
        return repeated

    cause = of_request(request)

    async def act(conn: Conn) -> dict[str, Any]:
        return await set_active(conn, project, campaign_id, cause, active=active)

    answer = await once.take_effect(act)
    request.app.state.work_notifier.ask()
    return answer


ROUTES = [post_campaign, get_campaign_by_id, put_campaign, delete_campaign, post_enable, post_disable]
