"""Activity: the event log as lists, of a customer and of the project.

A list is read by the index of one filter, which should leave few events; other filters are applied to what it gives.
It is named in the order and narrowed as a range, `type >= 'x' AND type <= 'x'`: an equality would let PostgreSQL walk
through the project's events by time instead, in the hope of meeting some of the type soon.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Request, get
from litestar.params import Parameter
from msgspec import UNSET, Struct, UnsetType
from psycopg import sql

from punchcard.db import statements
from punchcard.db.database import Conn, Database
from punchcard.errors import NotFound
from punchcard.http import lists, pages

SQL = statements.beside(__file__)

# ---- types -------------------------------------------------------------------------------------

CampaignType: TypeAlias = Literal[
    "PROMOTION", "GIFT_VOUCHERS", "REFERRAL_PROGRAM", "DISCOUNT_COUPONS", "LOYALTY_PROGRAM"
]
Category: TypeAlias = Literal["ACTION", "EFFECT"]
# what a customer or the shop did, by the second part of the type; all else came of something
ACTIONS = (
    "confirmed", "created", "updated", "deleted", "referred", "custom_event", "order", "redemption", "validation",
    "reward_redemptions",
)  # fmt: skip
CustomerEventType: TypeAlias = Literal[
    "customer.confirmed", "customer.created", "customer.updated", "customer.deleted", "customer.referred",
    "customer.custom_event",
    "customer.segment.entered", "customer.segment.left",
    "customer.sms.sent", "customer.sms.recovered", "customer.sms.failed",
    "customer.email.sent", "customer.email.recovered", "customer.email.failed",
    "customer.activecampaign.sent", "customer.activecampaign.recovered", "customer.activecampaign.failed",
    "customer.braze.sent", "customer.braze.recovered", "customer.braze.failed",
    "customer.mailchimp.sent", "customer.mailchimp.recovered", "customer.mailchimp.failed",
    "customer.intercom.sent", "customer.intercom.recovered", "customer.intercom.failed",
    "customer.shopify.sent", "customer.shopify.recovered", "customer.shopify.failed",
    "customer.klaviyo.sent", "customer.klaviyo.recovered", "customer.klaviyo.failed",
    "customer.batch.sent", "customer.batch.recovered", "customer.batch.failed",
    "customer.rewarded", "customer.rewarded.loyalty_points",
    "customer.voucher.gift.balance_added", "customer.voucher.deleted",
    "customer.voucher.loyalty_card.points_activated", "customer.voucher.loyalty_card.points_added",
    "customer.voucher.loyalty_card.points_transferred", "customer.voucher.loyalty_card.points_expired",
    "customer.voucher.loyalty_card.pending_points.activated", "customer.voucher.loyalty_card.pending_points.added",
    "customer.voucher.loyalty_card.pending_points.canceled", "customer.voucher.loyalty_card.pending_points.updated",
    "customer.publication.succeeded", "customer.publication.failed",
    "customer.validation.succeeded", "customer.validation.failed",
    "customer.redemption.failed", "customer.redemption.succeeded",
    "customer.redemption.rollback.failed", "customer.redemption.rollback.succeeded",
    "customer.order.canceled", "customer.order.created", "customer.order.fulfilled", "customer.order.paid",
    "customer.order.processing", "customer.order.updated",
    "customer.reward_redemptions.created", "customer.reward_redemptions.pending",
    "customer.reward_redemptions.completed", "customer.reward_redemptions.rolledback",
    "customer.loyalty.updated", "customer.loyalty.tier.upgraded", "customer.loyalty.tier.downgraded",
    "customer.loyalty.tier.prolonged", "customer.loyalty.tier.expiration.changed", "customer.loyalty.tier.joined",
    "customer.loyalty.tier.left",
    "customer.holder.assignment.created", "customer.holder.assignment.deleted",
]  # fmt: skip


class ActivityData(Struct):
    """The documented payload of an event, and who caused it."""

    data: Any
    event_source: Any


class Activity(Struct):
    """An event in the Activity of a customer; `group_id` is the id of the request that caused it."""

    id: str
    type: str
    data: ActivityData
    created_at: datetime
    group_id: str


class ProjectActivity(Activity):
    """An event in the activity of the project. `depth` is how many events led to it."""

    object_id: str
    customer_id: str | None
    async_action_id: str | None
    depth: int


class CustomerActivityList(Struct, omit_defaults=True):
    """A page of a customer's events; `more_starting_after` is the cursor of the next."""

    object: str
    data_ref: str
    data: list[Activity]
    has_more: bool
    more_starting_after: str | UnsetType = UNSET


class CustomerActivitiesList(Struct):
    """A page of a customer's events, and how many they are."""

    object: str
    data_ref: str
    data: list[Activity]
    total: int


class ProjectActivityList(Struct, omit_defaults=True):
    """A page of the project's events; `more_starting_after` is the cursor of the next."""

    object: str
    data_ref: str
    data: list[ProjectActivity]
    has_more: bool
    more_starting_after: str | UnsetType = UNSET


class Wanted(Struct, frozen=True, kw_only=True):
    """Which events a list shows; `start` and `end` included."""

    object_id: str | None = None
    group_id: str | None = None
    customer_id: str | None = None
    async_action_id: str | None = None
    type: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    # of a customer's Activity alone
    about_customers: bool = False
    category: Category | None = None
    campaign_id: str | None = None
    campaign_type: CampaignType | None = None
    product_id: str | None = None


class Turn(Struct, frozen=True):
    """In which direction a list goes, and the place in it behind which it begins: a moment, or a moment and an id."""

    descending: bool
    place: tuple[Any, ...] = ()


# ---- reading the log ---------------------------------------------------------------------------

# Filters that have an index of their own, those that usually leave fewer events first.
LEADS = ("object_id", "group_id", "customer_id", "async_action_id", "type")
# so many events may be read for a page of those that pass other filters too
FEW = 1000
_CREATED, _ID = sql.SQL("created_at"), sql.SQL("id")
_EQUAL = {
    "object_id": sql.SQL("object_id = %(object_id)s"),
    "group_id": sql.SQL("group_id = %(group_id)s"),
    "customer_id": sql.SQL("customer_id = %(customer_id)s"),
    "async_action_id": sql.SQL("async_action_id = %(async_action_id)s"),
    "type": sql.SQL("type = %(type)s"),
    "campaign_id": sql.SQL("campaign_id = %(campaign_id)s"),
    # no join, which could begin with the campaigns
    "campaign_type": sql.SQL(
        "(SELECT c.campaign_type FROM campaigns AS c WHERE c.project_id = %(project_id)s AND c.id = listed.campaign_id)"
        " = %(campaign_type)s"
    ),
    "product_id": sql.SQL(
        "jsonb_path_exists(data::jsonb, '$.order.items[*] ? (@.product_id == $id || @.product.id == $id)',"
        " jsonb_build_object('id', %(product_id)s::text))"
    ),
}


def selected(
    project: str, wanted: Wanted, turn: Turn, *, lead: str | None
) -> tuple[pages.Rows, pages.Order, tuple[Any, ...] | None]:
    """The rows of a list, the order to read them in, and the place in that order behind which they begin.

    `lead` is the filter whose index is read.
    """
    rows = pages.Rows(SQL.activity_list, {"project_id": project})
    for field, condition in _EQUAL.items():
        value = getattr(wanted, field)
        if value is not None and field != lead:
            rows.where(field, condition, **{field: value})
    if wanted.about_customers:
        rows.where("type", sql.SQL("starts_with(type, 'customer.')"))
    if wanted.category is not None:
        family = sql.SQL("(split_part(type, '.', 2) = ANY (%(actions)s::text[])) = %(is_action)s")
        rows.where("type", family, actions=list(ACTIONS), is_action=wanted.category == "ACTION")
    key, value = ((sql.SQL(lead),), (getattr(wanted, lead),)) if lead else ((), ())
    place = _bound(rows, wanted, turn, key=key, value=value)
    order = pages.Order((pages.Run((*key, _CREATED, _ID)),), serves=frozenset({*_EQUAL, "created_at"}))
    return rows, order, (*value, *place) if place else None


async def lead_of(conn: Conn, project: str, wanted: Wanted) -> str | None:
    """The filter whose index is read: of several the first that leaves few events, if one does."""
    given = [name for name in LEADS if getattr(wanted, name) is not None]
    for name in given if len(given) > 1 else ():
        alone = Wanted(start=wanted.start, end=wanted.end)
        alone = msgspec.structs.replace(alone, **{name: getattr(wanted, name)})
        rows, order, _ = selected(project, alone, Turn(descending=True), lead=name)
        if not (await rows.page(conn, order, descending=True, limit=1, page=FEW)).rows:
            return name
    return given[0] if given else None


def _bound(
    rows: pages.Rows, wanted: Wanted, turn: Turn, *, key: tuple[sql.SQL, ...], value: tuple[str, ...]
) -> tuple[Any, ...]:
    """Leave what lies between two ends in the index; the place, if it is one of them.

    Each end is one comparison with all that is known of it, because a scan of an index begins and stops at such: of two
    it might take the weaker.
    """
    place = turn.place
    for relation, moment in ((">=", wanted.start), ("<=", wanted.end)):
        if place and (relation == "<=") == turn.descending:
            before_the_end = moment is not None and (place[0] > moment if turn.descending else place[0] < moment)
            if not before_the_end:  # the page compares with the place; partitions are chosen by a moment alone
                _compare(rows, relation, (_CREATED,), (place[0],))
                continue
            place = ()
        if moment is not None:
            _compare(rows, relation, (_CREATED,), (moment,))
        if key:
            end = (*value, moment) if moment is not None else value
            _compare(rows, relation, (*key, _CREATED)[: len(end)], end)
    for column in key:  # the indexes leave nulls out, and PostgreSQL does not see that a comparison of rows does too
        rows.where("created_at", sql.SQL("{} IS NOT NULL").format(column))
    return place


def _compare(rows: pages.Rows, relation: str, columns: tuple[sql.SQL, ...], values: tuple[Any, ...]) -> None:
    names = [f"{'start' if relation == '>=' else 'end'}_{len(columns)}_{no}" for no in range(len(values))]
    left, right = sql.SQL(", ").join(columns), sql.SQL(", ").join(map(sql.Placeholder, names))
    condition = sql.SQL("({}) {} ({})").format(left, sql.SQL(relation), right)
    rows.where("created_at", condition, **dict(zip(names, values, strict=True)))


# an id begins with the milliseconds since 1970 at which it was made: see ids
_EVENT_ID = re.compile(r"ev[a-z]+_([0-9a-f]{12})[0-9a-f]{20}", re.ASCII)
# between making an id and writing its event, and between the clocks of two machines
_ID_SPAN = timedelta(days=1)


async def place_of(conn: Conn, project: str, event_id: str) -> tuple[datetime, str]:
    """The place of an event in lists. Raises `CursorUnknown`."""
    row = None
    try:
        made = (
            datetime.fromtimestamp(int(match[1], 16) / 1000, UTC) if (match := _EVENT_ID.fullmatch(event_id)) else None
        )
        span = made and (made - _ID_SPAN, made + _ID_SPAN)
    except (ValueError, OverflowError):  # further away than the calendar goes
        span = None
    if span:
        key = {"project_id": project, "id": event_id, "earliest": span[0], "latest": span[1]}
        row = await (await conn.execute(SQL.activity_place, key)).fetchone()
    if row is None:
        raise lists.CursorUnknown(f"Property .starting_after_id: cannot find event with id {event_id}")
    return row.created_at, row.id


# ---- operations --------------------------------------------------------------------------------


class Paging(Struct, frozen=True):
    """How a list is asked for: `starting_after` is a moment, `starting_after_id` an event."""

    limit: int
    descending: bool
    starting_after_id: str | None
    starting_after: datetime | None = None


async def list_events(conn: Conn, project: str, *, wanted: Wanted, paging: Paging) -> pages.Page:
    """A page of events. Raises `CursorUnknown`. Needs a transaction."""
    place: tuple[Any, ...] = () if paging.starting_after is None else (paging.starting_after,)
    if paging.starting_after_id is not None:
        place = await place_of(conn, project, paging.starting_after_id)
    lead = await lead_of(conn, project, wanted)
    rows, order, beyond = selected(project, wanted, Turn(paging.descending, place), lead=lead)
    return await rows.page(conn, order, descending=paging.descending, limit=paging.limit, beyond=beyond)


async def count_events(conn: Conn, project: str, wanted: Wanted) -> int:
    """How many events there are: reads them."""
    lead = await lead_of(conn, project, wanted)
    rows, _, _ = selected(project, wanted, Turn(descending=True), lead=lead)
    return await rows.count(conn)


async def customer_id_of(conn: Conn, project: str, customer: str) -> str:
    """The id of a customer by id or source id. Raises `NotFound`."""
    row = await (await conn.execute(SQL.activity_customer, {"project_id": project, "id": customer})).fetchone()
    if row is None:
        raise NotFound("customer", customer)
    return str(row.id)


def _activity(row: Any) -> Activity:
    return Activity(row.id, row.type, ActivityData(row.data, row.event_source), row.created_at, row.group_id)


def _project_activity(row: Any) -> ProjectActivity:
    return ProjectActivity(
        row.id, row.type, ActivityData(row.data, row.event_source), row.created_at, row.group_id, row.object_id,
        row.customer_id, row.async_action_id, row.depth,
    )  # fmt: skip


def _next(page: pages.Page) -> str | UnsetType:
    return page.rows[-1].id if page.has_more else UNSET


# ---- handlers ----------------------------------------------------------------------------------

_Order: TypeAlias = Annotated[str | None, Parameter(description="created_at or -created_at, the default.")]
_AfterId: TypeAlias = Annotated[str | None, Parameter(description="Cursor: the id of the last event seen.")]
_CampaignId: TypeAlias = Annotated[str | None, Parameter(description="Only events about the campaign with this id.")]
_OfCampaigns: TypeAlias = Annotated[
    CampaignType | None, Parameter(description="Only events about campaigns of this type.")
]


def _paging(limit: int, order: str | None, starting_after_id: str | None, starting_after: str | None = None) -> Paging:
    _, descending = lists.ordering(order, ("created_at",), "-created_at")
    after_id = lists.text_of(starting_after_id, "starting_after_id")
    return Paging(limit, descending, after_id, _moment(starting_after, "starting_after"))


def _moment(text: str | None, name: str) -> datetime | None:
    return lists.moment(text, name) if text else None


@get("/v1/customers/{customer_id:str}/activity", operation_id="list-customer-activity", tags=["Customers"])
async def get_customer_activity(
    request: Request,  # type: ignore[type-arg]
    project: str,
    customer_id: str,
    limit: lists.Limit = lists.LIMIT_DEFAULT,
    order: _Order = None,
    starting_after_id: _AfterId = None,
    start_date: lists.StartDate = None,
    end_date: lists.EndDate = None,
    campaign_id: _CampaignId = None,
    campaign_type: _OfCampaigns = None,
    category: Annotated[
        Category | None,
        Parameter(description="ACTION: what the customer or the shop did. EFFECT: what came of something."),
    ] = None,
    type: Annotated[  # noqa: A002 - the parameter's name
        CustomerEventType | None, Parameter(description="Only events of this type.")
    ] = None,
) -> CustomerActivityList:
    """List what happened to a customer, by id or source id, newest first."""
    paging = _paging(limit, order, starting_after_id)
    wanted = Wanted(
        about_customers=True, type=type, category=category, campaign_type=campaign_type,
        campaign_id=lists.text_of(campaign_id, "campaign_id"), start=_moment(start_date, "start_date"),
        end=_moment(end_date, "end_date"),
    )  # fmt: skip
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        customer = await customer_id_of(conn, project, customer_id)
        wanted = msgspec.structs.replace(wanted, customer_id=customer)
        page = await list_events(conn, project, wanted=wanted, paging=paging)
    found = [_activity(row) for row in page.rows]
    return CustomerActivityList("list", "data", found, page.has_more, _next(page))


@get(
    "/v1/customers/{customer_id:str}/activities", operation_id="list-customer-activities", tags=["Customers"],
    deprecated=True,
)  # fmt: skip
async def get_customer_activities(
    request: Request,  # type: ignore[type-arg]
    project: str,
    customer_id: str,
    limit: lists.Limit = lists.LIMIT_DEFAULT,
    order: _Order = None,
    starting_after: Annotated[
        str | None, Parameter(description="Cursor: the `created_at` of the last event seen.")
    ] = None,
    starting_after_id: _AfterId = None,
    start_date: lists.StartDate = None,
    end_date: lists.EndDate = None,
    campaign_id: _CampaignId = None,
    campaign_type: _OfCampaigns = None,
    product_id: Annotated[
        str | None, Parameter(description="Only events about orders with an item of this product.")
    ] = None,
) -> CustomerActivitiesList:
    """List what happened to a customer, newest first, and count it.

    Counting reads all of it: use `/activity`.
    """
    paging = _paging(limit, order, starting_after_id, starting_after)
    wanted = Wanted(
        about_customers=True, campaign_type=campaign_type, campaign_id=lists.text_of(campaign_id, "campaign_id"),
        product_id=lists.text_of(product_id, "product_id"), start=_moment(start_date, "start_date"),
        end=_moment(end_date, "end_date"),
    )  # fmt: skip
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        customer = await customer_id_of(conn, project, customer_id)
        wanted = msgspec.structs.replace(wanted, customer_id=customer)
        page = await list_events(conn, project, wanted=wanted, paging=paging)
        total = await count_events(conn, project, wanted)
    return CustomerActivitiesList("list", "data", [_activity(row) for row in page.rows], total)


@get("/v1/activity", operation_id="list-activity", tags=["Events"])
async def get_activity(
    request: Request,  # type: ignore[type-arg]
    project: str,
    limit: lists.Limit = lists.LIMIT_DEFAULT,
    order: _Order = None,
    starting_after_id: _AfterId = None,
    start_date: lists.StartDate = None,
    end_date: lists.EndDate = None,
    type: Annotated[  # noqa: A002
        str | None, Parameter(description="Only events of this type.")
    ] = None,
    object_id: Annotated[str | None, Parameter(description="Only events about the object with this id.")] = None,
    customer_id: Annotated[
        str | None, Parameter(description="Only events in the Activity of the customer with this id.")
    ] = None,
    request_id: Annotated[
        str | None, Parameter(description="Only events that the request with this id caused: its `X-Request-Id`.")
    ] = None,
    async_action_id: Annotated[
        str | None, Parameter(description="Only events that the async action with this id caused.")
    ] = None,
) -> ProjectActivityList:
    """List what happened in the project, newest first."""
    paging = _paging(limit, order, starting_after_id)
    wanted = Wanted(
        type=lists.text_of(type, "type"),
        object_id=lists.text_of(object_id, "object_id"),
        customer_id=lists.text_of(customer_id, "customer_id"),
        group_id=lists.text_of(request_id, "request_id"),
        async_action_id=lists.text_of(async_action_id, "async_action_id"),
        start=_moment(start_date, "start_date"),
        end=_moment(end_date, "end_date"),
    )
    database: Database = request.app.state.database
    async with database.transaction() as conn:
        page = await list_events(conn, project, wanted=wanted, paging=paging)
    found = [_project_activity(row) for row in page.rows]
    return ProjectActivityList("list", "data", found, page.has_more, _next(page))


ROUTES = [get_customer_activity, get_customer_activities, get_activity]
