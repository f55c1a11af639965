"""What the API does not show: rows, read straight from the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.deployment import Deployment, Project


@contextmanager
def session(deployment: Deployment) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A second session, in autocommit mode."""
    with psycopg.connect(deployment.dsn, autocommit=True, row_factory=dict_row) as conn:
        yield conn


def rows(project: Project, query: str, **parameters: Any) -> list[dict[str, Any]]:
    """The rows of a query that has the project's id as `%(project)s`."""
    with session(project.deployment) as conn:
        return conn.execute(query.encode(), {"project": project.id, **parameters}).fetchall()


def inbox(project: Project) -> list[str]:
    """Source ids (else ids) of the customers that were announced to the segment lane, since this was last asked."""
    taken = rows(
        project,
        """WITH taken AS (DELETE FROM segment_inbox WHERE project_id = %(project)s RETURNING customer_id, cause)
           SELECT coalesce(c.source_id, t.customer_id) AS customer, t.cause
             FROM taken AS t LEFT JOIN customers AS c ON c.project_id = %(project)s AND c.id = t.customer_id""",
    )
    assert {row["cause"] for row in taken} <= {"orders.import"}
    return sorted(row["customer"] for row in taken)
