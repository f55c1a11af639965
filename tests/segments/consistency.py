"""What is true of a project's segments whenever nothing waits, whatever has happened before.

But for silent imports: whoever enters by one has no event of that, and may leave by another one that has.
"""

import itertools
from typing import Any

from tests.deployment import Project
from tests.orders.stored import rows

# of each customer and active segment: what its events were, in the order of the log
_TOLD = """
SELECT customer_id, object_id AS segment_id, array_agg(type ORDER BY created_at, id) AS told
  FROM events
 WHERE project_id = %(project)s AND type IN ('customer.segment.entered', 'customer.segment.left')
 GROUP BY customer_id, object_id
"""
_MEMBERS = """
SELECT m.customer_id, m.segment_id
  FROM segment_members AS m JOIN segments AS s ON s.project_id = m.project_id AND s.id = m.segment_id
 WHERE m.project_id = %(project)s
"""
_LEFT = {
    "a row of the inbox": "SELECT 1 FROM segment_inbox WHERE project_id = %(project)s",
    "a row that was set aside": "SELECT 1 FROM segment_failures WHERE project_id = %(project)s",
    "a member of a segment that is gone": """
        SELECT 1 FROM segment_members AS m WHERE m.project_id = %(project)s AND NOT EXISTS
        (SELECT FROM segments AS s WHERE s.project_id = m.project_id AND s.id = m.segment_id)""",
    "a member who is gone": """
        SELECT 1 FROM segment_members AS m WHERE m.project_id = %(project)s AND NOT EXISTS
        (SELECT FROM customers AS c WHERE c.project_id = m.project_id AND c.id = m.customer_id)""",
}


def told(project: Project) -> dict[tuple[str, str], list[str]]:
    """By customer and segment: `entered` and `left`, as events say."""
    return {
        (row["customer_id"], row["segment_id"]): [kind.rpartition(".")[2] for kind in row["told"]]
        for row in rows(project, _TOLD)
    }


def check(project: Project) -> None:
    """Memberships are right, nothing is left over, and the events of each customer and segment make sense."""
    for what, query in _LEFT.items():
        assert rows(project, query) == [], what
    found = project.deployment.command("segments", "verify", project.id)
    assert (found.returncode, found.stdout) == (0, "0 difference(s)\n"), found.stdout + found.stderr
    members = {(row["customer_id"], row["segment_id"]) for row in rows(project, _MEMBERS)}
    segments: dict[str, Any] = {
        row["id"]: row for row in rows(project, "SELECT * FROM segments WHERE project_id = %(project)s")
    }
    for (customer_id, segment_id), kinds in told(project).items():
        assert all(one != other for one, other in itertools.pairwise(kinds)), (customer_id, segment_id, kinds)
        if segment_id in segments:
            assert segments[segment_id]["type"] == "auto-update", "only active segments have events"
            assert (kinds[-1] == "entered") == ((customer_id, segment_id) in members), (customer_id, segment_id, kinds)
