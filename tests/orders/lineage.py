"""Which bulk job changed what last, and what the segments lane is told of a change's origin."""

from typing import Any

from tests.deployment import Project
from tests.orders.stored import rows, session


def hold_segments(project: Project) -> None:
    """Let what is appended to the inbox of the segments lane stay there."""
    # by itself: the command line takes a second
    with session(project.deployment) as conn:
        conn.execute("INSERT INTO lane_pauses (project_id, lane) VALUES (%s, 'segments')", [project.id])


def origins(project: Project) -> list[tuple[Any, ...]]:
    """Customer id, cause, request, bulk job and depth of what waits for the segments lane, in its order."""
    waiting = rows(
        project,
        """SELECT customer_id, cause, group_id, async_action_id, depth, accepted_xid::text = xmin::text AS own
             FROM segment_inbox WHERE project_id = %(project)s ORDER BY seq""",
    )
    assert all(row.pop("own") for row in waiting), "by its transaction a lane is found that got work"
    return [tuple(row.values()) for row in waiting]


def actions_of(project: Project, table: str) -> dict[str, str | None]:
    """The bulk job that each row bears, by source id; what the API shows is the same."""
    found = rows(project, f"SELECT source_id, async_action_id FROM {table} WHERE project_id = %(project)s")
    stored = {row["source_id"]: row["async_action_id"] for row in found}
    listed = {one["source_id"]: one for one in project.get(f"/v1/{table}", limit=100)[table]}
    for source_id, action_id in stored.items():
        for shown in (listed[source_id], project.get(f"/v1/{table}/{source_id}")):
            assert shown.get("async_action_id", "none") == (action_id or "none")
    return stored
