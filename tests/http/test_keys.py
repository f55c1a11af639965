"""`X-App-Id` and `X-App-Token`: who gets in, and into which project."""

import asyncio

import httpx
import pytest

from punchcard.db.database import connect
from punchcard.projects import projects
from punchcard.projects.projects import KeyPair
from tests.deployment import Deployment, Project, until
from tests.http.refusals import refused

MISSING = "Send the headers X-App-Id and X-App-Token"
WRONG = "No such application id, or the token does not belong to it"


def listed(deployment: Deployment, headers: list[tuple[bytes, bytes]]) -> httpx.Response:
    """The orders, asked for with these headers and no others of ours."""
    with httpx.Client(base_url=deployment.url, trust_env=False) as http:
        return http.get("/v1/orders", headers=headers)


def pair(app_id: str, token: str) -> list[tuple[bytes, bytes]]:
    return [(b"X-App-Id", app_id.encode()), (b"X-App-Token", token.encode())]


def new_key(project: Project) -> KeyPair:
    """A further key pair of the project."""

    async def create() -> KeyPair:
        async with await connect(project.deployment.dsn, part="test") as conn:
            return await projects.create_key(conn, project.id, name="second")

    return asyncio.run(create())


def execute(project: Project, statement: str, *parameters: object) -> None:
    async def run() -> None:
        async with await connect(project.deployment.dsn, part="test") as conn:
            await conn.execute(statement.encode(), parameters)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("headers", "details"),
    [
        ([], MISSING),
        ([(b"X-App-Id", b"ID")], MISSING),
        ([(b"X-App-Token", b"TOKEN")], MISSING),
        ([(b"X-App-Id", b""), (b"X-App-Token", b"")], MISSING),
        ([(b"Authorization", b"Bearer TOKEN")], MISSING),
        ([(b"X-Client-Application-Id", b"ID"), (b"X-Client-Token", b"TOKEN")], MISSING),
        ([(b"X-App-Id", b"x" * 5000), (b"X-App-Token", b"TOKEN")], MISSING),
        ([(b"X-App-Id", b"ID"), (b"X-App-Token", b"wrong")], WRONG),
        ([(b"X-App-Id", b"ID"), (b"X-App-Token", b"y" * 50_000)], WRONG),
        ([(b"X-App-Id", b"unknown"), (b"X-App-Token", b"TOKEN")], WRONG),
        ([(b"X-App-Id", b"TOKEN"), (b"X-App-Token", b"ID")], WRONG),
        ([(b"X-App-Id", b"\xe9\xff\x80"), (b"X-App-Token", b"\xe9\xff\x80")], WRONG),
        ([(b"X-App-Id", b"a\tb"), (b"X-App-Token", b"TOKEN")], WRONG),
        ([(b"X-App-Id", b"' OR 1=1 --"), (b"X-App-Token", b"TOKEN")], WRONG),
    ],
)
def test_missing_and_wrong_keys(project_18: Project, headers: list[tuple[bytes, bytes]], details: str) -> None:
    app_id, token = project_18.application_id.encode(), project_18.application_token.encode()
    filled = [(name, value.replace(b"ID", app_id).replace(b"TOKEN", token)) for name, value in headers]
    body = refused(listed(project_18.deployment, filled), 401, "unauthorized")
    assert (body["message"], body["details"]) == ("Unauthorized", details)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/orders"), ("GET", "/v1/orders/x"), ("POST", "/v1/orders/import"), ("GET", "/v1/customers"),
     ("GET", "/v1/customers/x"), ("GET", "/v1/products/x"), ("GET", "/v1/products/x/skus"), ("GET", "/v1/skus/x"),
     ("GET", "/v1/async-actions"), ("GET", "/v1/async-actions/x")],
)  # fmt: skip
def test_every_path_of_the_api_wants_keys(deployment_18: Deployment, method: str, path: str) -> None:
    with httpx.Client(base_url=deployment_18.url, trust_env=False) as http:
        refused(http.request(method, path), 401, "unauthorized")


def test_keys_of_other_kinds_open_nothing(deployment_18: Deployment) -> None:
    made = projects.read_credentials(deployment_18.data)
    assert listed(deployment_18, pair(made.application_id, made.application_token)).status_code == 200
    refused(listed(deployment_18, pair(made.client_application_id, made.client_token)), 401, "unauthorized")
    refused(listed(deployment_18, pair(made.management_id, made.management_token)), 401, "unauthorized")


def test_a_project_has_several_pairs_and_each_can_be_blocked(project_18: Project) -> None:
    second = new_key(project_18)
    first = pair(project_18.application_id, project_18.application_token)
    project_18.imported({"source_id": "o"})
    assert listed(project_18.deployment, pair(second.id, second.token)).json()["total"] == 1
    assert listed(project_18.deployment, first).json()["total"] == 1
    # the id of one with the token of the other
    refused(listed(project_18.deployment, pair(second.id, project_18.application_token)), 401, "unauthorized")
    execute(project_18, "UPDATE api_keys SET blocked = true WHERE app_id = %s", second.id)
    until(lambda: listed(project_18.deployment, pair(second.id, second.token)).status_code != 200)
    refused(listed(project_18.deployment, pair(second.id, second.token)), 401, "unauthorized")
    assert listed(project_18.deployment, first).status_code == 200


def test_tokens_are_not_stored(project_18: Project) -> None:
    async def stored() -> list[object]:
        async with await connect(project_18.deployment.dsn, part="test") as conn:
            cursor = await conn.execute("SELECT api_keys::text FROM api_keys")
            return [row[0] for row in await cursor.fetchall()]

    assert project_18.application_token not in str(asyncio.run(stored()))


def test_a_project_sees_only_its_own(project_18: Project, deployment_18: Deployment) -> None:
    record = {
        "source_id": "shared",
        "customer": {"source_id": "shared"},
        "items": [
            {
                "product": {"source_id": "shared", "override": True},
                "sku": {"source_id": "s", "override": True},
            }
        ],
    }
    project_18.imported(record)
    other = deployment_18.new_project()
    try:
        order = project_18.get("/v1/orders/shared")
        action_id = project_18.get("/v1/async-actions")["async_actions"][0]["id"]
        product_id = project_18.get("/v1/products/shared")["id"]
        sku_id = project_18.get("/v1/skus/s")["id"]
        for path in (
            "/v1/orders/shared", f"/v1/orders/{order['id']}", "/v1/customers/shared",
            f"/v1/customers/{order['customer_id']}", "/v1/products/shared", f"/v1/products/{product_id}",
            f"/v1/products/{product_id}/skus", "/v1/skus/s", f"/v1/skus/{sku_id}", f"/v1/async-actions/{action_id}",
        ):  # fmt: skip
            assert project_18.http.get(path).status_code == 200
            refused(other.http.get(path), 404, "not_found")
        assert other.get("/v1/orders")["total"] == other.get("/v1/customers")["total"] == 0
        assert other.get("/v1/async-actions")["async_actions"] == []
        # the other project's ids name nothing here, and the same source ids other records
        result = other.import_orders([{"source_id": "mine", "customer": {"id": order["customer_id"]}}])
        assert result["failed_count"] == 1
        other.imported({"source_id": "shared", "amount": 5, "customer": {"source_id": "shared", "name": "Other"}})
        assert project_18.get("/v1/orders/shared") == order
        assert "name" not in project_18.get("/v1/customers/shared")
    finally:
        other.close()
