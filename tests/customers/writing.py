"""Customers as requests write them one by one, and what the log says about it."""

from typing import Any

import msgspec

from tests.deployment import Project
from tests.events.log import LoggedEvent, events_of

FULL: dict[str, Any] = {
    "source_id": "ann", "name": "Ann", "description": "d", "email": "ann@example.com", "phone": "+1 2",
    "birthdate": "1990-01-02", "birthday": "1991-01-02", "metadata": {"a": 1, "tags": ["x"], "none": None},
    "address": {"city": "London", "state": "s", "line_1": "1", "line_2": "2", "country": "UK", "postal_code": "p"},
}  # fmt: skip


def post(project: Project, *, expect: int = 200, key: str | None = None, **customer: Any) -> Any:
    """Create or update a customer; the answer's JSON."""
    headers = {"content-type": "application/json"} | ({} if key is None else {"idempotency-key": key})
    content = msgspec.json.encode(customer)
    return project.call("POST", "/v1/customers", content=content, headers=headers, expect=expect)


def put(project: Project, customer_id: str, *, expect: int = 200, **change: Any) -> Any:
    """Change a customer; the answer's JSON."""
    content, headers = msgspec.json.encode(change), {"content-type": "application/json"}
    return project.call("PUT", f"/v1/customers/{customer_id}", content=content, headers=headers, expect=expect)


def deleted(project: Project, customer_id: str) -> None:
    """Delete a customer that must be there."""
    answer = project.http.delete(f"/v1/customers/{customer_id}")
    assert (answer.status_code, answer.content) == (204, b""), answer.text


def attributes(project: Project, customer_id: str = "ann") -> dict[str, Any]:
    """What requests can change of a customer."""
    found = project.get(f"/v1/customers/{customer_id}")
    return {name: found[name] for name in FULL if name in found}


def history(project: Project) -> list[tuple[str, str | None]]:
    """The types of the project's events, and the source id of the customer that each shows."""
    return [(event.type, event.data["customer"].get("source_id")) for event in events_of(project)]


def newest(project: Project) -> LoggedEvent:
    """The project's newest event."""
    return events_of(project)[-1]
