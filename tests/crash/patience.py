"""A client of a server that may be away: what was refused is known to be, and what was accepted is waited for."""

import contextlib
from typing import Any

import httpx

from tests.deployment import Project, until

RECOVERY_SECONDS = 240.0


def send(project: Project, orders: list[dict[str, Any]]) -> str | None:
    """Send an import once; its action, if it was accepted."""
    try:
        answer = project.http.post("/v1/orders/import", json=orders)
    except httpx.HTTPError:
        return None
    if answer.status_code == 200:
        return str(answer.json()["async_action_id"])
    assert answer.status_code == 503, answer.text
    return None


def ended(project: Project, action: str, seconds: float = RECOVERY_SECONDS) -> Any:
    """The action once it has ended, however often it cannot be asked for before."""
    found: list[Any] = []

    def look() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            answer = project.http.get(f"/v1/async-actions/{action}")
            assert answer.status_code in {200, 503}, answer.text
            if answer.status_code == 200 and answer.json()["status"] in {"DONE", "FAILED"}:
                found.append(answer.json())
        return bool(found)

    until(look, seconds)
    return found[0]
