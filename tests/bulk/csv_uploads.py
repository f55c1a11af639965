"""CSV files as a user uploads them, and what comes of them."""

from typing import Any

import httpx

from tests.deployment import Project

EXPECTED = {"customers": 202, "products": 200, "skus": 200}


def upload(project: Project, resource: str, file: str | bytes, **headers: str) -> httpx.Response:
    """Send a file; the answer, whatever it is."""
    content = file.encode() if isinstance(file, str) else file
    return project.http.post(
        f"/v1/{resource}/importCSV", files={"file": ("records.csv", content, "text/csv")}, headers=headers
    )


def imported(project: Project, resource: str, file: str | bytes) -> Any:
    """Send a file that must be accepted; its action once it is finished."""
    answer = upload(project, resource, file)
    assert answer.status_code == EXPECTED[resource], answer.text
    return project.finished(answer.json()["async_action_id"])


def all_imported(project: Project, resource: str, file: str | bytes) -> Any:
    """Send a file of which nothing may fail; its action."""
    action = imported(project, resource, file)
    assert action["result"]["failed_count"] == 0, action
    return action


def failures(project: Project, resource: str, file: str | bytes) -> list[tuple[int, str]]:
    """Row and reason of all failures of a file."""
    return [(each["row"], each["reason"]) for each in imported(project, resource, file)["result"]["failed"]]


def refusal(project: Project, resource: str, file: str | bytes) -> str:
    """The details of a file that must be refused with 400."""
    answer = upload(project, resource, file)
    assert (answer.status_code, answer.json()["key"]) == (400, "invalid_payload"), answer.text
    return str(answer.json()["details"])
