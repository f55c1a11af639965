"""Bulk updates as a user sends and follows them; `resource` is `customers` or `products`."""

from typing import Any

import msgspec

from tests.deployment import Project

JSON = {"content-type": "application/json"}


def send(project: Project, path: str, body: Any, *, expect: int = 202, **headers: str) -> Any:
    """One request, its body given as it is or as what is to be encoded; the answer's JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return project.call("POST", f"/v1/{path}/async", content=content, headers=JSON | headers, expect=expect)


def finished(project: Project, path: str, body: Any) -> Any:
    """A request that must be accepted; its action once it is finished."""
    return project.finished(send(project, path, body)["async_action_id"])


def updated(project: Project, resource: str, *records: Any) -> Any:
    """A bulk update of which nothing may fail; its action."""
    action = finished(project, f"{resource}/bulk", list(records))
    assert action["result"]["failed_count"] == 0, action
    return action


def report(project: Project, action: Any) -> list[tuple[Any, ...]]:
    """The rows of an action's report: source id, found, updated, reason."""
    [link] = [link for link in action["result"]["reports"] if "jsonl" in link]
    answer = project.http.get(link)
    assert answer.status_code == 200, answer.text
    rows = [msgspec.json.decode(line) for line in answer.content.splitlines()]
    assert all(list(row) == ["source_id", "found", "updated", "reason"] for row in rows)
    return [tuple(row.values()) for row in rows]


def refusal(project: Project, path: str, body: Any) -> str:
    """The details of a request that must be refused with 400."""
    refused = send(project, path, body, expect=400)
    assert refused["key"] == "invalid_payload"
    return str(refused["details"])
