"""Requests that change a voucher: update, enable, disable, delete."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, post, put
from litestar.params import Parameter
from msgspec import UNSET, Raw, Struct, UnsetType

from punchcard.bulk.async_actions import Flag
from punchcard.db import row_totals
from punchcard.db.database import Conn, Database
from punchcard.errors import NotFound
from punchcard.events import events
from punchcard.events.events import Cause
from punchcard.http import idempotency, objects
from punchcard.http.bodies import BodyBudget
from punchcard.http.shapes import Identifier, same_json
from punchcard.vouchers import discounts, storage, validity, vouchers
from punchcard.vouchers import events as voucher_events
from punchcard.vouchers.discounts import Discount
from punchcard.vouchers.requests import (
    InvalidVoucher,
    check_metadata_schema,
    refuse_what_is_not_there,
    schema_of,
)
from punchcard.vouchers.validity import DaysOfWeek, Hours, Moment, Timeframe
from punchcard.vouchers.vouchers import SQL, Voucher

# what the interactive page offers to send
UPDATE_EXAMPLE = {"expiration_date": "2027-12-31T23:59:59Z", "active": False}


class VoucherUpdate(Struct):
    """A change of a voucher: what is absent stays, null takes a value away where there can be none."""

    discount: Discount | None = None
    category: Identifier | UnsetType | None = UNSET
    category_id: Identifier | None = None
    start_date: Moment | UnsetType | None = UNSET
    expiration_date: Moment | UnsetType | None = UNSET
    validity_timeframe: Timeframe | UnsetType | None = UNSET
    validity_day_of_week: DaysOfWeek | UnsetType | None = UNSET
    validity_hours: Hours | UnsetType | None = UNSET
    active: bool | None = None
    additional_info: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | None = None


# ---- operations --------------------------------------------------------------------------------


async def update(conn: Conn, project: str, voucher_id: str, given: VoucherUpdate, cause: Cause) -> Voucher:
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
    columns |= _changed_validity(row, given)
    if given.category is not UNSET:
        columns["category"] = given.category or None
    if given.additional_info is not UNSET:
        columns["additional_info"] = given.additional_info
    return await _write(conn, project, row, columns, cause)


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


async def _check_new_metadata(conn: Conn, project: str, row: Any, metadata: dict[str, Any]) -> None:
    campaign = None
    if row.campaign_id is not None:
        parameters = {"project_id": project, "id": row.campaign_id}
        campaign = await (await conn.execute(SQL.voucher_follows_schema, parameters)).fetchone()
    await check_metadata_schema(conn, project, metadata, creating=False, resource=schema_of(campaign))


def _changed_validity(row: Any, given: VoucherUpdate) -> dict[str, Any]:
    before = validity.stored_in(row)
    after = validity.changed(before, given)
    columns = {}
    for name in validity.FIELDS:
        value = getattr(after, name)
        if value != getattr(before, name):
            columns[name] = value if value is None or isinstance(value, datetime) else _json(value)
    return columns


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def set_active(conn: Conn, project: str, voucher_id: str, cause: Cause, *, active: bool) -> Voucher:
    """Enable or disable a voucher. Needs a transaction. Raises `NotFound`."""
    row = await _locked(conn, project, voucher_id)
    columns: dict[str, Any] = {name: _kept(row, name) for name in _CHANGEABLE}
    return await _write(conn, project, row, columns | {"active": active}, cause)


async def _write(conn: Conn, project: str, row: Any, columns: dict[str, Any], cause: Cause) -> Voucher:
    """Write what differs from the row that is locked, and what happened to the voucher with that."""
    changed = {name for name, value in columns.items() if not _same(name, value, _kept(row, name))}
    if changed:
        now = await storage.clock(conn, project)
        await conn.execute(SQL.voucher_update, {"project_id": project, "id": row.id, "updated_at": now, **columns})
    voucher = await vouchers.get_voucher(conn, project, row.id)
    if changed:
        await voucher_events.record(conn, project, cause, voucher, _kinds(changed, active=voucher.active))
    return voucher


def _kinds(changed: set[str], *, active: bool) -> list[str]:
    """The types of the events of a change: each thing that has changed is told once."""
    updated = [voucher_events.UPDATED] if changed - {"active"} else []
    switched = [voucher_events.ENABLED if active else voucher_events.DISABLED] if "active" in changed else []
    return updated + switched


_JSON = frozenset({"discount", "metadata", "validity_timeframe", "validity_day_of_week", "validity_hours"})


def _same(name: str, left: Any, right: Any) -> bool:
    if name in _JSON and left is not None and right is not None:
        return same_json(msgspec.json.decode(left), msgspec.json.decode(right))
    return bool(left == right)


async def remove(conn: Conn, project: str, voucher_id: str, cause: Cause, *, force: bool) -> None:
    """Put a voucher into the bin, where it blocks its code, or delete it. Needs a transaction. Raises `NotFound`."""
    row = await _locked(conn, project, voucher_id)
    voucher = await vouchers.get_voucher(conn, project, row.id)
    parameters = {"project_id": project, "id": row.id}
    if force:
        await conn.execute(SQL.voucher_delete, parameters)
    else:
        now = await storage.clock(conn, project)
        await conn.execute(SQL.voucher_bin, parameters | {"binned_at": now})
    await voucher_events.record(conn, project, cause, voucher, [voucher_events.DELETED])
    gone = {"vouchers": -1}
    if row.campaign_id is not None:
        gone[storage.total_of(row.campaign_id)] = -1
    await row_totals.add(conn, project, gone, slot=row_totals.drawn_slot())


# ---- handlers ----------------------------------------------------------------------------------

_change = msgspec.json.Decoder(VoucherUpdate)


@put("/v1/vouchers/{code:str}", operation_id="update-voucher", tags=["Vouchers"])
async def put_voucher(request: Request, project: str, code: str) -> Voucher:  # type: ignore[type-arg]
    """Change a voucher.

    What the body does not have stays as it is, and metadata is merged by key. The type of a discount cannot change.
    """
    budget: BodyBudget = request.app.state.body_budget
    async with budget.one_object(request) as body:
        given = objects.read(body, _change)
    cause = events.of_request(request)
    database: Database = request.app.state.database
    voucher = await database.settle(lambda conn: update(conn, project, code, given, cause))
    request.app.state.work_notifier.ask()
    return voucher


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

    cause = events.of_request(request)

    async def act(conn: Conn) -> Voucher:
        return await set_active(conn, project, code, cause, active=active)

    answer = await once.take_effect(act)
    request.app.state.work_notifier.ask()
    return answer


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
    cause = events.of_request(request)
    database: Database = request.app.state.database
    await database.settle(lambda conn: remove(conn, project, code, cause, force=force == "true"))
    request.app.state.work_notifier.ask()


ROUTES = [put_voucher, delete_voucher, post_enable, post_disable]
