"""What a server logs: JSON lines that name the request or the job, and nothing of the shop's customers."""

import contextlib
import json
import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from punchcard import secret_key
from punchcard.projects import projects
from tests.deployment import Deployment, Project, until

SECRET_SHOP = {
    "email": "frieda.lindqvist@example.org",
    "name": "Frieda Lindqvist",
    "phone": "+46 70 555 0142",
    "source_id": "frieda-at-shop",
}
WRONG_TOKEN = "a-token-that-is-wrong"


@pytest.fixture(scope="module")
def loud() -> Iterator[Deployment]:
    """A deployment that logs all it can."""
    deployment = Deployment(settings={"log_level": "debug", "workers": 1})
    deployment.start()
    yield deployment
    deployment.close()


@pytest.fixture(scope="module")
def lines(loud: Deployment) -> list[dict[str, Any]]:
    """The lines of a life with imports, failures, refusals and a database that dies."""
    with contextlib.closing(loud.first_project()) as project:
        _shop(loud, project)
    with psycopg.connect(loud.dsn, autocommit=True) as conn:
        conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    with contextlib.closing(loud.first_project()) as project:
        until(lambda: project.http.get("/v1/orders").status_code == 200)
    assert loud.process is not None
    loud.process.send_signal(signal.SIGTERM)
    assert loud.process.wait(30) == 0
    text = loud.log_text()
    assert all(line.startswith("{") for line in text.splitlines()), text[-20_000:]
    return [json.loads(line) for line in text.splitlines()]


def _shop(loud: Deployment, project: Project) -> None:
    order = {"source_id": "o1", "status": "PAID", "amount": 10, "customer": SECRET_SHOP}
    failing = order | {"source_id": "o2", "customer": {"id": "cust_none", "email": SECRET_SHOP["email"]}}
    project.import_orders([order | {"metadata": {"note": "for Frieda Lindqvist"}}, failing])
    project.refused_import([order | {"amount": "Frieda Lindqvist"}])
    project.get(f"/v1/customers/{SECRET_SHOP['source_id']}")
    project.get(f"/v1/customers/{SECRET_SHOP['email']}", expect=404)
    project.http.get("/v1/orders", headers={"X-App-Token": WRONG_TOKEN})


def test_every_line_is_json_with_its_time_level_and_part(lines: list[dict[str, Any]]) -> None:
    assert len(lines) > 10
    assert all({"event", "level", "timestamp", "part"} <= line.keys() for line in lines)
    assert {line["part"] for line in lines} == {"serve", "api", "worker"}


def test_requests_and_jobs_are_named(lines: list[dict[str, Any]]) -> None:
    requests = [line for line in lines if line["event"] == "request"]
    assert all(line["request_id"].startswith("v-") for line in requests)
    assert len({line["request_id"] for line in requests}) == len(requests)
    finished = [line for line in lines if line["event"] == "action_finished"]
    assert [line["async_action_id"][:3] for line in finished] == ["aa_"]


def test_nothing_personal_and_no_secret_is_logged(lines: list[dict[str, Any]], loud: Deployment) -> None:
    assert lines
    credentials = projects.read_credentials(loud.data)
    text = loud.log_text() + (loud.data / "postgres.log").read_text()
    forbidden = [*SECRET_SHOP.values(), "Frieda", WRONG_TOKEN, credentials.application_token, credentials.client_token]
    forbidden.append(secret_key.of_directory(loud.data))
    assert [word for word in forbidden if word in text] == []
