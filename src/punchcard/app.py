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

from punchcard.bulk import async_actions, failures, health, signals
from punchcard.bulk.jobs import Job
from punchcard.bulk.worker import Worker
from punchcard.customers import customers
from punchcard.db.database import Database
from punchcard.http import answers, openapi
from punchcard.http.authentication import authenticated_project
from punchcard.http.bodies import BodyBudget, drained, return_freed_bodies
from punchcard.metadata_schemas import metadata_schemas
from punchcard.orders import imports, orders
from punchcard.orders.imports import OrdersImport
from punchcard.orders.orders import OrderIn
from punchcard.orders.redating import OrdersRedating
from punchcard.products import products
from punchcard.settings import Settings

ROUTES = [
    *orders.ROUTES,
    *imports.ROUTES,
    *customers.ROUTES,
    *products.ROUTES,
    *metadata_schemas.ROUTES,
    *async_actions.ROUTES,
    *failures.ROUTES,
    *health.ROUTES,
    *openapi.ROUTES,
]
# bodies that handlers read themselves, for the description
BODIES = {"import-orders": openapi.Body(list[OrderIn], imports.EXAMPLE)}
JOBS: tuple[Job, ...] = (OrdersImport(), OrdersRedating())


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
                "body_budget": BodyBudget(
                    body_bytes_max=settings.body_bytes_max, in_flight_bytes_max=settings.bodies_in_flight_bytes_max
                ),
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
    return Worker(dsn, {job.type: job for job in JOBS}, settings)
