"""Vouchers that are added to a campaign: one at once, more by a job.

How many a campaign can have is checked under its lock. Who adds one voucher only shares it, so that many can do that at
the same time; near the limit, where they could pass it together, they come one by one.
"""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from msgspec import Struct
from psycopg import Rollback

from punchcard.bulk.async_actions import Scheduled
from punchcard.campaigns import events, inheritance, requests, storage
from punchcard.campaigns.generation import VouchersGeneration, Wanted
from punchcard.campaigns.inheritance import Overrides
from punchcard.campaigns.requests import STANDALONE, AdditionIn, InvalidStandalone
from punchcard.campaigns.storage import CampaignRow
from punchcard.db.database import Conn
from punchcard.errors import InvalidPayload
from punchcard.events.events import Cause, of_request
from punchcard.http import idempotency, objects
from punchcard.http.bodies import BodyBudget
from punchcard.vouchers import codes, validity, vouchers
from punchcard.vouchers import events as voucher_events
from punchcard.vouchers import storage as stored_vouchers
from punchcard.vouchers.requests import TooManyVouchers, check_metadata_schema
from punchcard.vouchers.vouchers import Voucher

# what the interactive page offers to send
EXAMPLE = {"metadata": {"channel": "newsletter"}, "redemption": {"quantity": 1}}
# More than requests run at the same time: so far from the limit those that share a campaign cannot pass it together.
NEAR_THE_LIMIT = 10_000

Count = Annotated[
    int, Parameter(ge=1, le=2**31 - 1, description="How many vouchers to add; above 1 by an async action.")
]


class Asked(Struct, frozen=True):
    """How many vouchers are to be added, perhaps with a code, and what they have otherwise than the campaign says.

    `path` is where the `code_config` stands in the request. `first`: they come with a new campaign.
    """

    count: int
    overrides: Overrides
    code: str | None = None
    path: str = ".code_config"
    first: bool = False


# ---- operations --------------------------------------------------------------------------------


async def add_to(
    conn: Conn, project: str, key: str, asked: Asked, cause: Cause, *, vouchers_max: int
) -> Voucher | Scheduled:
    """Add vouchers to the campaign with an id or name. Needs a transaction. Raises `NotFound` and what `add` does."""
    campaign = await _held(conn, project, key, asked, vouchers_max=vouchers_max)
    if campaign.type == STANDALONE:
        raise InvalidStandalone
    added = await add(conn, project, campaign, asked, cause, vouchers_max=vouchers_max)
    await record_events(conn, project, campaign.id, asked, added, cause)
    return added


async def _held(conn: Conn, project: str, key: str, asked: Asked, *, vouchers_max: int) -> CampaignRow:
    """The campaign, shared where that is enough."""
    if asked.count == 1:
        async with conn.transaction() as attempt:
            campaign = await storage.share(conn, project, key)
            size = await storage.size(conn, project, campaign.id)
            if size.total + NEAR_THE_LIMIT < vouchers_max:
                return campaign
            raise Rollback(attempt)  # which lets go of it
    return await storage.lock(conn, project, key)


async def add(
    conn: Conn, project: str, campaign: CampaignRow, asked: Asked, cause: Cause, *, vouchers_max: int
) -> Voucher | Scheduled:
    """Add vouchers to a campaign that is held: one at once, which is returned, more by a job. `record_events` follows.

    Raises `TooManyVouchers`, `DuplicateFound`, `InvalidCodeConfig`, `MetadataInvalid`, `InvalidExpirationDate`.
    """
    size = await storage.size(conn, project, campaign.id)
    if size.total + asked.count > vouchers_max:
        raise TooManyVouchers(size.made, vouchers_max, asked_for=size.asked_for)
    attributes = inheritance.attributes(campaign, asked.overrides)
    validity.check_dates(attributes.start_date, attributes.expiration_date)
    metadata = inheritance.metadata(campaign, asked.overrides)
    await check_metadata_schema(conn, project, metadata, creating=True, resource=campaign.metadata_schema)
    config = asked.overrides.code_config or campaign.voucher.code_config
    if asked.count == 1:
        return await vouchers.create(conn, project, attributes, code=asked.code, config=config, path=asked.path)
    case_sensitive = await stored_vouchers.case_sensitive(conn, project)
    codes.require_room(config, asked.count, case_sensitive=case_sensitive, path=asked.path)
    wanted = Wanted(campaign.id, asked.count, asked.overrides, cause, asked.first)
    action_id = await storage.schedule(
        conn, project, VouchersGeneration(), wanted,
        campaign_id=campaign.id, vouchers_count=asked.count, request_id=cause.group_id,
    )  # fmt: skip
    return Scheduled(action_id)


async def record_events(
    conn: Conn, project: str, campaign_id: str, asked: Asked, added: Voucher | Scheduled, cause: Cause
) -> None:
    """Write what has happened with `add`, in its transaction."""
    if isinstance(added, Scheduled):
        await events.record_start(conn, project, cause, campaign_id, added.async_action_id, asked.count)
        return
    await voucher_events.record(conn, project, cause, added, [voucher_events.CREATED])
    if not asked.first:
        await events.record_added(conn, project, cause, added)


# ---- handlers ----------------------------------------------------------------------------------

_addition = msgspec.json.Decoder(AdditionIn)


@post(
    "/v1/campaigns/{campaign_id:str}/vouchers",
    status_code=200,
    operation_id="add-vouchers-to-campaign",
    tags=["Campaigns"],
    responses={202: ResponseSpec(Scheduled, generate_examples=False, description="They are made by an async action.")},
)
async def post_vouchers(
    request: Request,  # type: ignore[type-arg]
    project: str,
    campaign_id: str,
    vouchers_count: Count = 1,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Voucher]:
    """Add vouchers to a campaign.

    One is answered at once. For more the answer is 202 with an `async_action_id`. They are as the campaign says, but
    for what the body says otherwise; it may be empty.
    """
    return await _added(request, project, campaign_id, idempotency_key, count=vouchers_count)


@post(
    "/v1/campaigns/{campaign_id:str}/vouchers/{code:str}",
    status_code=200,
    operation_id="add-voucher-with-specific-code-to-campaign",
    tags=["Campaigns"],
)
async def post_voucher_with_code(
    request: Request,  # type: ignore[type-arg]
    project: str,
    campaign_id: str,
    code: str,
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Voucher]:
    """Add a voucher with a given code to a campaign."""
    return await _added(request, project, campaign_id, idempotency_key, count=1, code=code)


async def _added(
    request: Request,  # type: ignore[type-arg]
    project: str,
    campaign_id: str,
    idempotency_key: str | None,
    *,
    count: int,
    code: str | None = None,
) -> Response[Any]:
    status = 200 if count == 1 else 202
    key = idempotency.checked(request, idempotency_key)
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_object(request) as body:
        once = await idempotency.once(request, project, key, body)
        if (answer := await once.repeated()) is not None:
            answer.status_code = status
            return answer
        given = objects.read(body, _addition, empty_allowed=True)
    chosen = given.code if code is None else code
    if chosen is not None:
        vouchers.checked_code(chosen)
        if count > 1:
            raise InvalidPayload("Property .code cannot be given for more than one voucher")
    asked = Asked(count, requests.overrides(given), code=chosen)
    vouchers_max = request.app.state.settings.vouchers_per_campaign_max
    cause = of_request(request)

    async def act(conn: Conn) -> Voucher | Scheduled:
        return await add_to(conn, project, campaign_id, asked, cause, vouchers_max=vouchers_max)

    answer = await once.take_effect(act)
    answer.status_code = status
    request.app.state.work_notifier.ask()
    return answer


ROUTES = [post_vouchers, post_voucher_with_code]
