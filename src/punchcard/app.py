"""The one list of resources; builds the API and the worker."""

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ASGIApp

from punchcard.bulk import async_actions, csv_imports, failures, health, reports, signals
from punchcard.bulk.jobs import Job, places_customers
from punchcard.bulk.worker import Worker
from punchcard.campaigns import additions as campaign_additions
from punchcard.campaigns import campaigns
from punchcard.campaigns import listing as campaigns_listing
from punchcard.campaigns.deletion import VouchersDeletion
from punchcard.campaigns.generation import VouchersGeneration
from punchcard.campaigns.requests import AdditionIn, CampaignIn, CampaignUpdate
from punchcard.campaigns.spreading import VouchersUpdate
from punchcard.custom_events import custom_events
from punchcard.custom_events.custom_events import CustomEventIn
from punchcard.customers import bulk as customers_bulk
from punchcard.customers import csv_imports as customers_csv
from punchcard.customers import customers
from punchcard.customers import deletion as customers_deletion
from punchcard.customers import requests as customers_requests
from punchcard.customers.customers import CustomerAttributes, CustomerIn
from punchcard.db.database import Database
from punchcard.events import activity, partitions
from punchcard.events.reactions import Reactions
from punchcard.http import answers, openapi
from punchcard.http.authentication import KeyPairs, authenticated_project
from punchcard.http.bodies import BodyBudget, drained, return_freed_bodies
from punchcard.http.forms import FORM_TYPE
from punchcard.metadata_schemas import metadata_schemas
from punchcard.orders import imports, orders, writing
from punchcard.orders.imports import OrdersImport
from punchcard.orders.orders import OrderIn, OrderNew, OrderUpdate
from punchcard.orders.redating import OrdersRedating
from punchcard.products import bulk as products_bulk
from punchcard.products import csv_imports as products_csv
from punchcard.products import products, skus
from punchcard.products import requests as products_requests
from punchcard.segments import exporting as segments_exporting
from punchcard.segments import members as segments_members
from punchcard.segments import segments
from punchcard.segments.exporting import MembersExport
from punchcard.segments.lane import Placement
from punchcard.segments.segments import SegmentIn, SegmentUpdate
from punchcard.settings import Settings
from punchcard.vouchers import bulk as vouchers_bulk
from punchcard.vouchers import changes as vouchers_changes
from punchcard.vouchers import listing as vouchers_listing
from punchcard.vouchers import requests as vouchers_requests
from punchcard.vouchers import vouchers
from punchcard.vouchers.changes import VoucherUpdate
from punchcard.vouchers.requests import VoucherIn

ROUTES = [
    *orders.ROUTES,
    *imports.ROUTES,
    *writing.ROUTES,
    *customers.ROUTES,
    *customers_bulk.ROUTES,
    *customers_csv.ROUTES,
    *customers_requests.ROUTES,
    *customers_deletion.ROUTES,
    *segments.ROUTES,
    *segments_members.ROUTES,
    *segments_exporting.ROUTES,
    *products.ROUTES,
    *products_requests.ROUTES,
    *skus.ROUTES,
    *products_bulk.ROUTES,
    *products_csv.ROUTES,
    *campaigns_listing.ROUTES,
    *campaigns.ROUTES,
    *campaign_additions.ROUTES,
    *vouchers_bulk.ROUTES,
    *vouchers_listing.ROUTES,
    *vouchers.ROUTES,
    *vouchers_requests.ROUTES,
    *vouchers_changes.ROUTES,
    *custom_events.ROUTES,
    *metadata_schemas.ROUTES,
    *activity.ROUTES,
    *async_actions.ROUTES,
    *failures.ROUTES,
    *reports.ROUTES,
    *health.ROUTES,
    *openapi.ROUTES,
]
# bodies that handlers read themselves, for the description
_csv_file = functools.partial(openapi.Body, csv_imports.Upload, media_type=FORM_TYPE)
BODIES = {
    "import-and-update-customers-using-csv": _csv_file(customers_csv.EXAMPLE),
    "import-products-using-csv": _csv_file(products_csv.PRODUCTS_EXAMPLE),
    "import-SKUs-using-csv": _csv_file(products_csv.SKUS_EXAMPLE),
    "import-orders": openapi.Body(list[OrderIn], imports.EXAMPLE),
    "create-order": openapi.Body(OrderNew, writing.EXAMPLE, required=False),
    "update-order": openapi.Body(OrderUpdate, writing.UPDATE_EXAMPLE),
    "create-customer": openapi.Body(CustomerIn, customers_requests.EXAMPLE, required=False),
    "update-customer": openapi.Body(CustomerAttributes, customers_requests.UPDATE_EXAMPLE),
    "update-customers-in-bulk": openapi.Body(list[customers_bulk.CustomerUpdate], customers_bulk.EXAMPLE),
    "update-customers-metadata-in-bulk": openapi.Body(
        customers_bulk.CustomersMetadata, customers_bulk.METADATA_EXAMPLE
    ),
    "create-product": openapi.Body(products_requests.ProductNew, products_requests.EXAMPLE, required=False),
    "update-product": openapi.Body(products_requests.ProductUpdate, products_requests.UPDATE_EXAMPLE, required=False),
    "create-sku": openapi.Body(skus.SkuNew, skus.EXAMPLE, required=False),
    "update-sku": openapi.Body(skus.SkuUpdate, skus.UPDATE_EXAMPLE, required=False),
    "update-products-in-bulk": openapi.Body(list[products_bulk.ProductUpdate], products_bulk.EXAMPLE, required=False),
    "update-products-metadata-in-bulk": openapi.Body(
        products_bulk.ProductsMetadata, products_bulk.METADATA_EXAMPLE, required=False
    ),
    "create-segment": openapi.Body(SegmentIn, segments.EXAMPLE),
    "update-segment": openapi.Body(SegmentUpdate, segments.UPDATE_EXAMPLE),
    "track-custom-event": openapi.Body(CustomEventIn, custom_events.EXAMPLE),
    "create-campaign": openapi.Body(CampaignIn, campaigns.EXAMPLE),
    "update-campaign": openapi.Body(CampaignUpdate, campaigns.UPDATE_EXAMPLE),
    "add-vouchers-to-campaign": openapi.Body(AdditionIn, campaign_additions.EXAMPLE, required=False),
    "add-voucher-with-specific-code-to-campaign": openapi.Body(AdditionIn, campaign_additions.EXAMPLE, required=False),
    "generate-random-code": openapi.Body(VoucherIn, vouchers_requests.EXAMPLE),
    "create-voucher": openapi.Body(VoucherIn, vouchers_requests.EXAMPLE),
    "update-voucher": openapi.Body(VoucherUpdate, vouchers_changes.UPDATE_EXAMPLE),
    "update-vouchers-in-bulk": openapi.Body(list[vouchers_bulk.VoucherMetadata], vouchers_bulk.EXAMPLE),
    "update-vouchers-metadata-in-bulk": openapi.Body(vouchers_bulk.VouchersMetadata, vouchers_bulk.METADATA_EXAMPLE),
}
JOBS: tuple[Job, ...] = (
    OrdersImport(),
    OrdersRedating(),
    customers_bulk.CustomersBulkUpdate(),
    customers_bulk.CustomersMetadataUpdate(),
    customers_csv.CustomersCsvImport(),
    products_bulk.ProductsBulkUpdate(),
    products_bulk.ProductsMetadataUpdate(),
    products_csv.ProductsCsvImport(),
    products_csv.SkusCsvImport(),
    VouchersGeneration(),
    VouchersUpdate(),
    VouchersDeletion(),
    vouchers_bulk.VouchersBulkUpdate(),
    vouchers_bulk.VouchersMetadataUpdate(),
    MembersExport(),
)


def build_api(settings: Settings, dsn: str, stop: asyncio.Event) -> ASGIApp:
    """The ASGI application of one API process. Once `stop` is set, requests that wait for an action are answered."""
    database = Database(dsn, pool_max=settings.api_pool_max)
    done_listener = signals.Listener(dsn, signals.DONE, part="api")

    async def announce_work() -> None:
        async with database.connection() as conn:
            await signals.notify(conn, signals.WORK)

    work_notifier = signals.Notifier(announce_work)

    async def release_waiters() -> None:
        await stop.wait()
        done_listener.release()

    @asynccontextmanager
    async def running(_: Litestar) -> AsyncIterator[None]:
        return_freed_bodies()
        await database.open()
        done_listener.start()
        work_notifier.start()
        releasing = asyncio.create_task(release_waiters())
        try:
            yield
        finally:
            releasing.cancel()
            await work_notifier.stop()
            await done_listener.stop()
            await database.close()

    app = Litestar(
        route_handlers=ROUTES,
        dependencies={"project": Provide(authenticated_project)},
        before_request=answers.prepare,
        exception_handlers=answers.EXCEPTION_HANDLERS,
        lifespan=[running],
        openapi_config=None,  # the description has routes of ours
        logging_config=None,
        state=State(
            {
                "settings": settings,
                "database": database,
                "key_pairs": KeyPairs(database),
                "body_budget": BodyBudget(
                    body_bytes_max=settings.body_bytes_max,
                    in_flight_bytes_max=settings.bodies_in_flight_bytes_max,
                    object_bytes_max=settings.object_bytes_max,
                    order_bytes_max=settings.order_bytes_max,
                ),
                "report_links": reports.Links(JOBS, settings),
                "placing_types": frozenset(job.type for job in JOBS if places_customers(job)),
                "done_listener": done_listener,
                "work_notifier": work_notifier,
            }
        ),
    )
    app.state.openapi_json = functools.cache(
        lambda: msgspec.json.encode(openapi.document(ROUTES, BODIES, public_url=settings.public_url.rstrip("/")))
    )
    # around the application, not inside: paths that lead nowhere get their request id too
    return answers.identified(drained(answers.segmented(app)))


def build_worker(settings: Settings, dsn: str) -> Worker:
    """One worker process's worker, with all kinds of jobs."""
    return Worker(
        dsn,
        {job.type: job for job in JOBS},
        settings,
        inboxes=[Placement(), Reactions()],
        sweeps=[partitions.sweep(settings)],
    )
