"""Bulk order import: accepting a request, and one portion of it.

Accepting checks the shape of the whole request and stores it as it was sent. A portion reads one piece,
decides everything set-wise and in memory, writes, and deletes the piece, in one transaction: a crash
repeats it from the start or not at all. Nothing here writes events: what hangs on orders does not happen.
"""

import asyncio
from typing import Annotated, Any, Literal

from litestar import Request, Response, post
from litestar.params import Parameter
from msgspec import Struct

from punchcard.bulk import requests
from punchcard.bulk.async_actions import Flag, Scheduled
from punchcard.bulk.jobs import Batch, Failure, Lane, Outcome, Part
from punchcard.bulk.requests import RecordShape
from punchcard.db import row_totals
from punchcard.db.database import Conn, StaleRead
from punchcard.errors import RecordError
from punchcard.events import segment_inbox
from punchcard.events.segment_inbox import Origin
from punchcard.http import idempotency, shapes
from punchcard.metadata_schemas import metadata_schemas
from punchcard.orders import lookups, placed_at, storage
from punchcard.orders.orders import OrderIn
from punchcard.orders.placed_at import PlacedAt
from punchcard.orders.planning import Planner
from punchcard.segments.silence import SilentChange

CAUSE = "orders.import"
SILENT = "silent"
# what the interactive page offers to send
EXAMPLE = [
    {
        "source_id": "order-1000",
        "status": "PAID",
        "customer": {"source_id": "ann", "name": "Ann"},
        "items": [{"source_id": "mug", "related_object": "product", "quantity": 2, "price": 900}],
        "metadata": {"ordered_at": "2024-05-04"},
    }
]
# a whole request, if its orders are not large: new customers are then written once, with all that they bought in it
FIRST_PORTION_RECORDS = 2000
# how many orders are applied before other tasks of the worker get their turn: half a millisecond
ORDERS_AT_A_STRETCH = 16
# what becomes of an order that goes in
EFFECTS = ("created", "updated", "unchanged")
# further counts of a result
TOUCHED = ("customers_created", "customers_updated", "products_created", "products_updated", "skus_created",
           "skus_updated")  # fmt: skip


# ---- accepting ---------------------------------------------------------------------------------


def _is_plain(order: OrderIn) -> bool:
    """Whether no metadata of the order needs a closer look."""
    plain = shapes.is_plain
    if order.metadata and not plain(order.metadata):
        return False
    for person in (order.customer, order.referrer):
        if person is not None and person.metadata and not plain(person.metadata):
            return False
    for item in order.items or ():
        if item.metadata and not plain(item.metadata):
            return False
        product, sku = item.product, item.sku
        if product is not None and product.metadata and not plain(product.metadata):
            return False
        if sku is not None and sku.metadata and not plain(sku.metadata):
            return False
    return True


def check_metadata(order: OrderIn, path: str) -> None:
    """Refuse metadata that could not be stored; `path` is where the order stands."""
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


SHAPE = RecordShape(OrderIn, nouns="orders", is_plain=_is_plain, check_metadata=check_metadata)


@post("/v1/orders/import", status_code=200, operation_id="import-orders", tags=["Orders"])
async def post_import(
    request: Request,  # type: ignore[type-arg]
    project: str,
    dry_run: Annotated[Flag, Parameter(description="`true`: check and count everything, and write nothing.")] = "false",
    effects: Annotated[
        Literal["documented", "silent"],
        Parameter(description="`silent`: customers are placed into segments, and nothing hangs on that (ours)."),
    ] = "documented",
    idempotency_key: idempotency.KeyHeader = None,
) -> Response[Scheduled]:
    """Import historical orders.

    Up to 2,000 orders (a setting of the server) are accepted as one async action. Imports of a project run
    one after another. An order that cannot go in is listed in the result and costs the others nothing. Customers,
    referrers, and products and SKUs with `override` are upserted; the customers concerned are placed into segments,
    and what hangs on entering one happens. No webhooks, no order, product or SKU events, no order distributions, no
    points for paid orders.
    """
    answer: Response[Scheduled] = await requests.accept_records(
        request, project, idempotency_key, OrdersImport(), SHAPE,
        records_max=request.app.state.settings.orders_per_import_max, dry_run=dry_run == "true",
        parameters={"effects": effects} if effects == SILENT else None,
    )  # fmt: skip
    return answer


# ---- one portion -------------------------------------------------------------------------------


class Plan(Struct):
    """What a portion will write: the state after all its orders, the failures, and what became of the others.

    `action_id` is that of the async action; a `silent` one places customers without events.
    """

    planner: Planner
    failures: list[Failure]
    counts: dict[str, int]
    action_id: str
    silent: bool

    @classmethod
    def empty(cls, planner: Planner, batch: Batch) -> "Plan":
        """A plan in which nothing has become of any order yet."""
        silent = batch.parameters.get("effects") == SILENT
        return cls(planner, [], dict.fromkeys(EFFECTS, 0), batch.action_id, silent)

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number


class OrdersImport:
    """The job behind `POST /v1/orders/import`."""

    type = "ORDERS.IMPORT"
    lane = Lane.FIFO
    portion_records = FIRST_PORTION_RECORDS
    places_customers = True

    def source_id(self, body: bytes) -> str | None:
        """The source id of an order as it was sent."""
        try:
            return SHAPE.decode(body).source_id
        except RecordError:
            return None

    async def plan(self, conn: Conn, project: str, batch: Batch) -> Plan:
        """Read what the orders name and apply them to it in memory."""
        planner = Planner()
        planner.judge_by(await metadata_schemas.load(conn, project))
        plan = Plan.empty(planner, batch)
        if batch.earlier.bodies:
            # of a dry run: applied, but not counted
            await _apply(await _read(conn, project, batch.earlier, planner), Plan.empty(planner, batch))
        await _apply(await _read(conn, project, batch.own, planner), plan)
        return plan

    def outcome(self, plan: Plan) -> Outcome:
        """What becomes of the orders."""
        return Outcome(sum(plan.counts[effect] for effect in EFFECTS), plan.failures, plan.counts)

    async def lock(self, conn: Conn, project: str, plan: Plan) -> None:
        """Lock what the plan would change, changed meanwhile or not."""
        await storage.lock(conn, project, storage.Changes.of(plan.planner))

    async def write(self, conn: Conn, project: str, plan: Plan) -> None:
        """Write the plan. Locks in the one order: customers, products, SKUs, orders."""
        changes = storage.Changes.of(plan.planner)
        if not await storage.lock(conn, project, changes):
            raise StaleRead
        if changes.is_empty:
            return
        silent = await SilentChange.begin(conn, project, changes.concerned) if plan.silent else None
        await storage.write(
            conn, project, changes, plan.planner, slot=row_totals.SLOT_OF_IMPORTS, action_id=plan.action_id
        )
        append = segment_inbox.append if silent is None else silent.append
        await append(conn, project, changes.concerned, Origin(CAUSE, async_action_id=plan.action_id))

    def result(
        self, *, done: int, failed: int, failures: list[dict[str, Any]], counts: dict[str, int], dry_run: bool
    ) -> dict[str, Any]:
        """The documented result, and (ours) what became of the orders that went in."""
        message = f"{done} order(s) imported successfully, {failed} failed."
        if dry_run:
            message = f"Dry run: {done} order(s) would be imported, {failed} would fail. Nothing was written."
        if failed > len(failures):
            message += f" The first {len(failures)} failures are listed."
        ours = {f"{name}_count": counts.get(name, 0) for name in (*EFFECTS, *TOUCHED)}
        if counts.get("invalid_ordered_at"):
            ours["invalid_ordered_at_count"] = counts["invalid_ordered_at"]
        return {"message": message, "failed": failures, "done_count": done, "failed_count": failed, **ours}


class _Reading(Struct):
    """Some orders, and what they say about their dates; the planner knows what else they name."""

    part: Part
    date_key: str
    dates: list[PlacedAt]


async def _read(conn: Conn, project: str, part: Part, planner: Planner) -> _Reading:
    """Have the planner know everything stored that the orders name.

    Each order is decoded here for what it names, and once more when it is applied: all of them at once would take
    more time for their memory than a second decoding takes (2,000 orders: 25 ms against twice 8).
    """
    date_key, timezone = await placed_at.settings(conn, project)
    named, dates = lookups.Named(), []
    for body in part.bodies:
        order = SHAPE.decode(body)
        named.add(order)
        dates.append(lookups.date_of(order, date_key))
    await lookups.learn(conn, project, named, planner)
    return _Reading(part, date_key, await placed_at.understand(conn, dates, timezone))


async def _apply(reading: _Reading, plan: Plan) -> None:
    """Apply some orders to the plan's state, and note in the plan what became of them.

    Gives way now and then: what is written meanwhile has to be sent, and the worker has to report that it is alive.
    """
    part, planner = reading.part, plan.planner
    before = planner.counts()
    for no, (body, date) in enumerate(zip(part.bodies, reading.dates, strict=True), 1):
        order = SHAPE.decode(body)
        given = order.metadata is not None and reading.date_key in order.metadata
        try:
            effect = planner.apply(order, ordered_at=date.moment, ordered_at_given=given)
        except RecordError as error:
            plan.failures.append(Failure(part.records[no - 1], order.source_id, str(error), body))
        else:
            plan.count(effect)
            if date.invalid:
                plan.count("invalid_ordered_at")
        if no % ORDERS_AT_A_STRETCH == 0:
            await asyncio.sleep(0)
    for name, number in planner.counts().items():
        plan.count(name, number - before[name])


ROUTES = [post_import]
