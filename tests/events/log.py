"""The event log of a project as its rows: for tests of what writes events."""

from datetime import datetime
from typing import Any

import msgspec
import psycopg
from msgspec import Struct
from psycopg.rows import dict_row

from punchcard.db.database import conninfo
from tests.deployment import Project


class LoggedEvent(Struct):
    """A row of the log; `data` and `event_source` are decoded."""

    id: str
    created_at: datetime
    type: str
    object_id: str
    customer_id: str | None
    referrer_id: str | None
    campaign_id: str | None
    data: Any
    event_source: Any
    group_id: str
    async_action_id: str | None
    depth: int


_ROWS = f"SELECT {', '.join(LoggedEvent.__struct_fields__)} FROM events WHERE project_id = %s ORDER BY created_at, id"


def events_of(project: Project) -> list[LoggedEvent]:
    """All events of a project, oldest first."""
    with psycopg.connect(conninfo(project.deployment.dsn, part="test"), row_factory=dict_row) as conn:
        rows = conn.execute(_ROWS.encode(), [project.id]).fetchall()
    return [LoggedEvent(**row | {name: _decoded(row[name]) for name in ("data", "event_source")}) for row in rows]


def _decoded(document: Any) -> Any:
    # as raw JSON where punchcard.db.database has set the loader, which its import has
    return msgspec.json.decode(document)
