"""What every refusal must look like."""

from typing import Any

import httpx


def refused(answer: httpx.Response, status: int, key: str) -> Any:
    """The error object of an answer that must be a refusal with this status and key."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert (body["code"], body["key"]) == (status, key)
    assert isinstance(body["message"], str)
    assert body["message"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body
