"""Vouchers as a shop's developer makes them."""

from typing import Any

from tests.deployment import Deployment, Project

PERCENT: dict[str, Any] = {"type": "PERCENT", "percent_off": 10}
DISCOUNT: dict[str, Any] = {"type": "DISCOUNT_VOUCHER", "discount": PERCENT}
GIFT: dict[str, Any] = {"type": "GIFT_VOUCHER", "gift": {"amount": 5000}}


def made(project: Project, code: str | None = None, **fields: Any) -> Any:
    """A new voucher: 10 percent off unless something else is said."""
    worth = {} if fields.keys() & {"discount", "gift", "type"} else DISCOUNT
    path = "/v1/vouchers" if code is None else f"/v1/vouchers/{code}"
    return project.call("POST", path, json=worth | fields)


def refusal(project: Project, method: str, path: str, body: Any = None, *, status: int = 400, **options: Any) -> Any:
    """The error object of a request that must be refused."""
    answer = project.http.request(method, path, json=body, **options)
    assert answer.status_code == status, answer.text[:500]
    error = answer.json()
    assert error["code"] == status
    return error


def project_that_ignores_case(deployment: Deployment) -> Project:
    """A project in which `Code` and `CODE` are one code, as an operator makes it."""
    project_id = deployment.command("projects", "create", "Loud", "--codes-ignore-case").stdout.strip()
    said = deployment.command("keys", "create", "--project", project_id).stdout.split()
    return Project(deployment, project_id, said[1], said[3])
