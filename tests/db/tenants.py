"""All that is stored of a project, whatever the tables are called."""

from tests.deployment import Project
from tests.orders.stored import session


def rows_of(project: Project) -> dict[str, list[str]]:
    """Each table's rows of the project, shown as text."""
    with session(project.deployment) as conn:
        tables = conn.execute(
            """SELECT c.relname AS name FROM pg_class AS c
                 JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'project_id'
                WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"""
        ).fetchall()
        assert {"customers", "events", "async_action_failures"} <= {table["name"] for table in tables}
        found = {}
        for table in tables:
            query = f"SELECT t::text AS text FROM {table['name']} AS t WHERE project_id = %s ORDER BY 1"
            found[table["name"]] = [row["text"] for row in conn.execute(query.encode(), [project.id])]
    return found
