"""`/healthz`: this process answers. `/readyz`: the database is migrated and a worker is alive."""

from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from punchcard.bulk.worker import SQL
from punchcard.db import migrate
from punchcard.db.database import Database
from punchcard.errors import Unavailable
from punchcard.settings import Settings


class Health(Struct):
    """That the process answers."""

    status: str = "ok"


class Readiness(Struct):
    """What is ready; `trouble` is a failure that a worker is retrying now, none while all goes well."""

    status: str
    database: str
    workers_alive: int
    trouble: str | None


@get("/healthz", operation_id="healthz", tags=["Operations"], security=[{}])
async def get_healthz() -> Health:
    """Whether this process answers."""
    return Health()


@get(
    "/readyz",
    operation_id="readyz",
    tags=["Operations"],
    security=[{}],
    responses={503: ResponseSpec(Readiness, generate_examples=False, description="Not ready; the body says why.")},
)
async def get_readyz(request: Request) -> Response[Readiness]:  # type: ignore[type-arg]
    """Whether requests can be served: 200, or 503 with what is missing."""
    database: Database = request.app.state.database
    settings: Settings = request.app.state.settings
    readiness = Readiness("not ready", "unreachable", 0, None)
    try:
        async with database.connection() as conn:
            readiness.database = "migrated" if await migrate.is_current(conn) else "not migrated"
            if readiness.database == "migrated":
                row = await (await conn.execute(SQL.workers_alive, {"silent_ms": settings.worker_silent_ms})).fetchone()
                assert row is not None
                readiness.workers_alive, readiness.trouble = row.alive, row.trouble
    except Unavailable:
        pass
    ready = readiness.workers_alive > 0
    readiness.status = "ready" if ready else "not ready"
    return Response(readiness, status_code=200 if ready else 503)


ROUTES = [get_healthz, get_readyz]
