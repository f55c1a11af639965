"""Bulk order import: accepting a request, and one portion of it.

Accepting checks the shape of the whole request and stores it as it was sent. A portion reads one piece,
decides everything set-wise and in memory, writes, and deletes the piece, in one transaction: a crash
repeats it from the start or not at all. Nothing here writes events: what hangs on orders does not happen.
"""

import asyncio
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from litestar import Request, post
from msgspec import Raw, Struct

from punchcard.bulk import async_actions
from punchcard.bulk.async_actions import Record, Scheduled
from punchcard.bulk.jobs import Batch, Failure, Lane, Outcome, StaleRead
from punchcard.customers import customers
from punchcard.db.database import Conn, Database
from punchcard.errors import InvalidPayload, RecordError
from punchcard.http import shapes
from punchcard.http.answers import request_id_of
from punchcard.http.bodies import BodyBudget
from punchcard.orders import placed_at, storage
from punchcard.orders.orders import ItemIn, OrderIn
from punchcard.orders.planning import OrderRow, Planner, is_named, product_names, sku_names
from punchcard.products import catalogue
from punchcard.segments import inbox

CAUSE = "orders.import"
# what the interactive page offers to send
EXAMPLE = [
    {
        "source_id": "A-1",
        "status": "PAID",
        "customer": {"source_id": "ann", "name": "Ann"},
        "items": [{"source_id": "mug", "related_object": "product", "quantity": 2, "price": 900}],
        "metadata": {"ordered_at": "2024-05-04"},
    }
]
FIRST_PORTION_RECORDS = 1000

# Decoded, a short value takes up to thirty times the bytes it was sent in, and a text with one character
# outside Latin-1 up to four times. Only an order that is large is looked through.
ORDER_VALUES_MAX = 500_000
ORDER_WIDE_BYTES_MAX = 12 * 1024 * 1024
_LARGE_BYTES = 1024 * 1024

# beside the event loop, since a hostile body takes seconds. Two, and not as many as there are bodies, because
# each takes memory; not one, because small bodies need not wait for the large one whose turn it is
_readers = ThreadPoolExecutor(2, thread_name_prefix="read_orders")

_decoder = msgspec.json.Decoder(OrderIn)
_untyped = msgspec.json.Decoder()
_ABSENT = Raw(b"")


# ---- accepting ---------------------------------------------------------------------------------


def read_orders(body: bytes, *, orders_max: int) -> list[Record]:
    """The orders of an import request, as JSON each. Raises `InvalidPayload` with the path of the first shape error.

    The array is split before anything is decoded: a body of millions of empty orders is refused in milliseconds.
    """
    nul = b"\\u0000" in body
    return [_checked(raw, index, nul=nul) for index, raw in enumerate(_split(body, orders_max))]


def _split(body: bytes, orders_max: int) -> list[Raw]:
    try:
        array = _array_decoder(orders_max).decode(body)
    except msgspec.ValidationError as error:
        if "at most length" in str(error):
            raise InvalidPayload(f"Payload must have at most {orders_max} orders") from None
        raise InvalidPayload("Payload must be an array of orders") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(shapes.complaint(error)) from None
    return [raw for raw in msgspec.structs.astuple(array) if raw is not _ABSENT]


@functools.lru_cache(maxsize=4)
def _array_decoder(orders_max: int) -> "msgspec.json.Decoder[Any]":
    """Decodes an array of at most so many elements into undecoded slices.

    A struct written as an array is the one shape for which msgspec stops at the first element too many.
    """
    fields: list[tuple[str, Any, Any]] = [(f"order_{index}", Raw, _ABSENT) for index in range(orders_max)]
    return msgspec.json.Decoder(msgspec.defstruct("Orders", fields, array_like=True, forbid_unknown_fields=True))


def _checked(raw: Raw, index: int, *, nul: bool) -> Record:
    path = f".[{index}]"
    if len(raw) > _LARGE_BYTES:
        _refuse_inflatable(bytes(raw), path)
    try:
        order = _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        body, order = _with_integral_floats(raw, error, path)
        _check_storable(order, path, nul=nul)
        return body
    _check_storable(order, path, nul=nul)
    return raw


def _refuse_inflatable(order: bytes, path: str) -> None:
    """Refuse an order that would take far more memory than the body budget has counted for it."""
    if order.count(b",") + order.count(b"[") + order.count(b"{") > ORDER_VALUES_MAX:
        raise InvalidPayload(f"Property {path} must have at most {ORDER_VALUES_MAX} values")
    if len(order) > ORDER_WIDE_BYTES_MAX and (not order.isascii() or b"\\u" in order):
        raise InvalidPayload(f"Property {path} must have at most {ORDER_WIDE_BYTES_MAX} bytes unless it is all ASCII")


def _with_integral_floats(raw: Raw, error: Exception, path: str) -> tuple[bytes, OrderIn]:
    """The order with `70000.0` written as `70000`, if that was all that was wrong with it."""
    if "got `float`" in str(error):
        try:
            body = msgspec.json.encode(shapes.integers_from_floats(_untyped.decode(raw)))
            return body, _decoder.decode(body)
        except (msgspec.MsgspecError, RecursionError) as still:
            error = still
    raise InvalidPayload(shapes.complaint(error, prefix=path)) from None


def _check_storable(order: OrderIn, path: str, *, nul: bool) -> None:
    """Refuse what is JSON and yet cannot be stored; NUL characters are only looked for where there may be any."""
    shapes.check_metadata(order.metadata, f"{path}.metadata")
    for role in ("customer", "referrer"):
        person = getattr(order, role)
        if person is not None:
            shapes.check_metadata(person.metadata, f"{path}.{role}.metadata")
    for no, item in enumerate(order.items or ()):
        if item.metadata:
            shapes.check_metadata(item.metadata, f"{path}.items[{no}].metadata")
        if item.product is not None:
            shapes.check_metadata(item.product.metadata, f"{path}.items[{no}].product.metadata")
        if item.sku is not None:
            shapes.check_metadata(item.sku.metadata, f"{path}.items[{no}].sku.metadata")
    if nul and shapes.holds_nul(msgspec.json.encode(order)):
        shapes.refuse_nul(msgspec.to_builtins(order), path)


@post("/v1/orders/import", status_code=200, operation_id="import-orders", tags=["Orders"])
async def post_import(request: Request, project: str) -> Scheduled:  # type: ignore[type-arg]
    """Import historical orders.

    Up to 2,000 orders (a setting of the server) are accepted as one async action. Imports of a project run
    one after another. Customers, referrers, and products and SKUs with `override` are upserted; the customers
    concerned are placed into segments. No webhooks, no events, no order distributions, no points for paid orders.
    """
    budget: BodyBudget = request.app.state.body_budget
    database: Database = request.app.state.database
    async with budget.json(request) as body:
        orders_max = request.app.state.settings.orders_per_import_max
        records = await asyncio.get_running_loop().run_in_executor(
            _readers, functools.partial(read_orders, body, orders_max=orders_max)
        )
        async with database.transaction() as conn:
            action_id = await async_actions.schedule(
                conn, project, OrdersImport(), records=records, request_id=request_id_of(request)
            )
    request.app.state.work_notifier.ask()
    return Scheduled(action_id)


# ---- one portion -------------------------------------------------------------------------------


class Plan(Struct):
    """What a portion will write: the state after all its orders, the failures, and what became of the others."""

    planner: Planner
    failures: list[Failure]
    counts: dict[str, int]


class OrdersImport:
    """The job behind `POST /v1/orders/import`."""

    type = "ORDERS.IMPORT"
    lane = Lane.FIFO
    portion_records = FIRST_PORTION_RECORDS

    def source_id(self, body: bytes) -> str | None:
        """The source id of an order as it was sent."""
        try:
            return _decoder.decode(body).source_id
        except msgspec.MsgspecError:
            return None

    async def plan(self, conn: Conn, project: str, batch: Batch) -> Plan:
        """Read what the orders name and apply them to it in memory."""
        orders = [_decoded(body) for body in batch.bodies]
        planner = await _read_named(conn, project, orders)
        moments = await placed_at.resolve(conn, project, [order.metadata for order in orders])
        plan = Plan(planner, [], {"created": 0, "updated": 0, "unchanged": 0})
        for no, (order, placed) in enumerate(zip(orders, moments, strict=True)):
            try:
                effect = planner.apply(order, ordered_at=placed.moment, ordered_at_given=placed.given)
            except RecordError as error:
                failure = Failure(batch.first_record + no, order.source_id, str(error), batch.bodies[no])
                plan.failures.append(failure)
                continue
            plan.counts[effect] += 1
            if placed.invalid:
                plan.counts["invalid_ordered_at"] = plan.counts.get("invalid_ordered_at", 0) + 1
        return plan

    async def lock(self, conn: Conn, project: str, plan: Plan) -> None:
        """Lock what the plan would change, changed meanwhile or not."""
        await storage.lock(conn, project, storage.Changes.of(plan.planner))

    async def write(self, conn: Conn, project: str, plan: Plan) -> Outcome:
        """Write the plan. Locks in the one order: customers, products, SKUs, orders."""
        changes = storage.Changes.of(plan.planner)
        if not await storage.lock(conn, project, changes):
            raise StaleRead
        if not changes.is_empty:
            await storage.write(conn, project, changes, plan.planner)
            await inbox.append(conn, project, changes.concerned, cause=CAUSE)
        done = plan.counts["created"] + plan.counts["updated"] + plan.counts["unchanged"]
        return Outcome(done, plan.failures, plan.counts)

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int]
    ) -> dict[str, Any]:
        """The documented result, and (ours) what became of the orders that went in."""
        message = f"{done} order(s) imported successfully, {failed} failed."
        if failed > len(failures):
            message += f" The first {len(failures)} failures are listed."
        ours = {f"{name}_count": counts.get(name, 0) for name in ("created", "updated", "unchanged")}
        if counts.get("invalid_ordered_at"):
            ours["invalid_ordered_at_count"] = counts["invalid_ordered_at"]
        return {"message": message, "failed": failures, "done_count": done, "failed_count": failed, **ours}


def _decoded(body: bytes) -> OrderIn:
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError as error:  # accepted by another version of this program
        raise RecordError(shapes.complaint(error)) from None


async def _read_named(conn: Conn, project: str, orders: Sequence[OrderIn]) -> Planner:
    """Everything stored that the orders name, with one query a table."""
    stored = await storage.resolve(
        conn,
        project,
        ids={order.id for order in orders if order.id},
        source_ids={order.source_id for order in orders if order.source_id},
    )
    customer_ids, customer_sources = _people_named(orders, stored)
    people = await customers.resolve(conn, project, ids=customer_ids, source_ids=customer_sources)
    named = _catalogue_named(item for order in orders for item in order.items or ())
    skus = await catalogue.resolve_skus(conn, project, named)
    products = await catalogue.resolve_products(conn, project, named, skus)
    return Planner(customers=people, products=products, skus=skus, orders=stored)


def _people_named(orders: Sequence[OrderIn], stored: Sequence[OrderRow]) -> tuple[set[str], set[str]]:
    ids = {order.referrer_id for order in orders if order.referrer_id}
    ids |= {person for order in stored for person in (order.customer_id, order.referrer_id) if person}
    source_ids: set[str] = set()
    for order in orders:
        for person in (order.customer, order.referrer):
            if person is not None and is_named(person):
                if person.id:
                    ids.add(person.id)
                elif person.source_id:
                    source_ids.add(person.source_id)
    return ids, source_ids


def _catalogue_named(items: Any) -> catalogue.References:
    named = catalogue.References()
    item: ItemIn
    for item in items:
        sku_id, sku_source = sku_names(item)
        product_id, product_source = product_names(item)
        for key, keys in (
            (sku_id, named.sku_ids),
            (sku_source, named.sku_source_ids),
            (product_id, named.product_ids),
            (product_source, named.product_source_ids),
        ):
            if key:
                keys.add(key)
    return named


ROUTES = [post_import]
