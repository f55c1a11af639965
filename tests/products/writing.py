"""Products and SKUs as a shop's back office writes them, and what is noted of it."""

from typing import Any

import msgspec

from tests.deployment import Project
from tests.orders.stored import rows


def put(project: Project, path: str, *, expect: int = 200, **values: Any) -> Any:
    """One PUT; its answer."""
    return project.call("PUT", f"/v1/products/{path}", json=values, expect=expect)


def post(project: Project, path: str = "", *, expect: int = 200, **values: Any) -> Any:
    """One POST; its answer. A product's without a path, else a SKU's."""
    return project.call("POST", f"/v1/products{path}", json=values, expect=expect)


def delete(project: Project, path: str, *, expect: int = 204, **query: Any) -> Any:
    """One DELETE; its error, if there is one."""
    answer = project.http.request("DELETE", f"/v1/products/{path}", params=query)
    assert answer.status_code == expect, answer.text
    return answer.json() if answer.content else None


def noted(project: Project) -> list[dict[str, Any]]:
    """The events of products and SKUs, in their order."""
    query = "SELECT type, object_id, customer_id, data FROM events WHERE project_id = %(project)s ORDER BY created_at"
    return [row | {"data": msgspec.json.decode(row["data"])} for row in rows(project, query)]


def types(project: Project) -> list[str]:
    """The types of those events."""
    return [event["type"] for event in noted(project)]


def totals(project: Project) -> dict[str, int]:
    """How many products and SKUs are counted."""
    query = """SELECT resource, sum(total)::int AS total FROM row_totals
                WHERE project_id = %(project)s AND resource IN ('products', 'skus') GROUP BY resource"""
    return {row["resource"]: row["total"] for row in rows(project, query)}
