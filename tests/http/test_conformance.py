"""The description is kept: requests that it allows, and requests that it does not, get answers that it describes."""

import functools
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from tests.deployment import Deployment
from tests.http.operations import OPERATIONS, Operation, Stock, every_operation, example_of

KEPT = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.allow_header_conformance,
]
EXAMPLES = settings(
    max_examples=int(os.environ.get("PUNCHCARD_CONFORMANCE_EXAMPLES", "15")),
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
WITHOUT_SUCCESS = {
    # a finished action cannot be cancelled, and how far one that is under way has come is a matter of luck
    "POST /v1/async-actions/{async_action_id}/cancel",
    "GET /reports/{project_id}/{file_name}",  # its link is signed
}
THAT_CREATE_CODES = {"POST /v1/vouchers/{code}", "POST /v1/campaigns/{campaign_id}/vouchers/{code}"}
Description = Any


@schemathesis.deserializer("application/x-ndjson")
def read_lines(context: Any, response: Any) -> Any:
    """Lines of JSON are described as one text."""
    return response.content.decode()


@functools.cache
def described_by(url: str) -> tuple[Description, Any]:
    """What a server says of itself, and what makes requests of it."""
    description = httpx.get(f"{url}/openapi.json", trust_env=False).json()
    return description, schemathesis.openapi.from_dict(description)


@pytest.fixture
def description(deployment_18: Deployment) -> Description:
    return described_by(deployment_18.url)[0]


@pytest.fixture
def schema(deployment_18: Deployment) -> Any:
    return described_by(deployment_18.url)[1]


@pytest.fixture
def stock(deployment_18: Deployment) -> Iterator[Stock]:
    project = deployment_18.new_project()
    yield Stock(project)
    project.close()


@pytest.fixture
def session(stock: Stock) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.headers.update(
            {"X-App-Id": stock.project.application_id, "X-App-Token": stock.project.application_token}
        )
        yield session


def test_every_operation_is_tried(description: Description) -> None:
    described = {f"{method.upper()} {path}" for path, methods in description["paths"].items() for method in methods}
    assert {str(operation) for operation in OPERATIONS} == described


@every_operation
def test_the_example_of_a_body_is_accepted(operation: Operation, stock: Stock, description: Description) -> None:
    described = operation.described(description)
    if str(operation) in THAT_CREATE_CODES:
        stock.names["code"] = ("WELCOME-20",)
    answer = stock.project.http.request(operation.method, stock.path(operation), **example_of(described))
    assert str(answer.status_code) in described["responses"]
    assert answer.is_success or str(operation) in WITHOUT_SUCCESS, answer.text


@every_operation
def test_answers_are_as_described(operation: Operation, stock: Stock, schema: Any, session: requests.Session) -> None:
    """Paths lead to what there is, as long as it is there, or anywhere."""
    described = schema[operation.path][operation.method.lower()]
    cases = st.one_of(
        [described.as_strategy(generation_mode=GenerationMode(mode)) for mode in ("positive", "negative")]
    )
    known = st.fixed_dictionaries({name: st.sampled_from(names) for name, names in stock.names.items()})

    @EXAMPLES
    @given(cases, known, st.booleans())
    def check(case: Any, names: dict[str, str], is_known: bool) -> None:
        if is_known:
            case.path_parameters = {name: names[name] for name in case.path_parameters}
        case.call_and_validate(base_url=stock.project.deployment.url, session=session, checks=KEPT)

    check()
    for action in stock.project.get("/v1/async-actions", limit=100)["async_actions"]:
        stock.project.finished(action["id"])
