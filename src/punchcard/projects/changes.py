"""What can be changed of a project, and what follows: another key or zone of dates moves its orders and segments."""

import msgspec
from msgspec import Struct

from punchcard.bulk import async_actions
from punchcard.db import statements
from punchcard.db.database import Conn
from punchcard.orders import redating
from punchcard.orders.redating import OrdersRedating
from punchcard.projects import projects
from punchcard.segments import lane

SQL = statements.beside(__file__)

KEY_LENGTH_MAX = 255


class Updated(Struct, frozen=True):
    """A project after a change, and the async action that redates its orders, if that is needed."""

    project: projects.Project
    redating_action_id: str | None


async def update_project(
    conn: Conn,
    project_id: str,
    *,
    name: str | None = None,
    timezone: str | None = None,
    ordered_at_key: str | None = None,
    request_id: str,
) -> Updated:
    """Change what is given. Another key or zone has all stored orders redated, behind the imports that wait already.

    Raises `ProjectMissing`, `SettingInvalid`.
    """
    row = await (await conn.execute(SQL.project_lock, {"project_id": project_id})).fetchone()
    before = projects.found(row, project_id)
    after = msgspec.structs.replace(
        before,
        name=before.name if name is None else projects.checked_text(name, "name", projects.NAME_LENGTH_MAX),
        timezone=before.timezone if timezone is None else await _known_zone(conn, timezone),
        ordered_at_key=before.ordered_at_key
        if ordered_at_key is None
        else projects.checked_text(ordered_at_key, "ordered_at_key", KEY_LENGTH_MAX),
    )
    if after == before:
        return Updated(before, None)
    columns = {"name": after.name, "timezone": after.timezone, "ordered_at_key": after.ordered_at_key}
    await conn.execute(SQL.project_update, {"project_id": project_id, **columns})
    if (after.timezone, after.ordered_at_key) == (before.timezone, before.ordered_at_key):
        return Updated(after, None)
    if after.timezone != before.timezone:
        await lane.append_task(conn, project_id, lane.EVERYBODY, cause="projects.update")
    rows_estimate = await redating.rows_estimate(conn, project_id)
    action_id = await async_actions.schedule_walk(
        conn, project_id, OrdersRedating(), rows_estimate=rows_estimate, request_id=request_id
    )
    return Updated(after, action_id)


async def _known_zone(conn: Conn, name: str) -> str:
    """The zone as PostgreSQL writes it. Raises `SettingInvalid`."""
    projects.checked_text(name, "timezone", projects.NAME_LENGTH_MAX)
    row = await (await conn.execute(SQL.timezone_named, {"name": name})).fetchone()
    if row is None:
        raise projects.SettingInvalid(
            f"PostgreSQL knows no time zone {name!r}; one is written like Europe/Warsaw, or UTC"
        )
    return str(row.name)
