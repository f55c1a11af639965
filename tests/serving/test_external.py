"""`serve` on a PostgreSQL of the operator's: 15, the oldest that will do, and what never leaves the process."""

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from punchcard.projects import projects
from tests.conftest import POSTGRES_15
from tests.deployment import Deployment
from tests.serving.running import nothing_left, running

PASSWORD = "pa55-of-the-operator"

pytestmark = pytest.mark.skipif(
    not os.environ.get(POSTGRES_15), reason=f"{POSTGRES_15} does not name the programs of a PostgreSQL 15"
)


@pytest.fixture(scope="module")
def dsn(postgres_15: str) -> str:
    """A database of this file's own, with a password in its address."""
    with psycopg.connect(postgres_15, autocommit=True) as conn:
        conn.execute("CREATE DATABASE external")
    address = urlsplit(postgres_15)
    return address._replace(netloc=f"punchcard:{PASSWORD}@", path="/external").geturl()


@pytest.fixture(scope="module")
def external(dsn: str) -> Iterator[Deployment]:
    """A deployment that takes the address from the environment, as an operator with a secret would give it."""
    deployment = Deployment(settings={"database_url": dsn, "workers": 1, "log_level": "debug"})
    deployment.start()
    yield deployment
    deployment.close()


def test_first_start_makes_the_credentials_file(external: Deployment) -> None:
    file = external.data / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "postgres" not in running(external).values()
    assert json.loads(external.command("credentials", "--json").stdout) == json.loads(file.read_text())


def test_data_and_keys_outlive_a_restart(external: Deployment) -> None:
    before = projects.read_credentials(external.data)
    with contextlib.closing(external.first_project()) as project:
        project.imported({"source_id": "external", "amount": 12})
        assert external.stop() == 0
        nothing_left(external)
        external.start()
        assert projects.read_credentials(external.data) == before
        assert project.get("/v1/orders/external")["amount"] == 12


def test_another_machine_gets_no_second_set_of_keys(external: Deployment, dsn: str) -> None:
    """A second `serve` on the same database finds it set up: it makes no keys, and says so when asked for them."""
    beside = Deployment(settings={"database_url": dsn, "workers": 1})
    try:
        beside.start()
        assert not (beside.data / "credentials.json").exists()
        assert "first starts on an empty database" in beside.command("credentials").stderr
        with contextlib.closing(external.first_project()) as project:
            answer = project.http.get(f"{beside.url}/v1/orders")
            assert answer.status_code == 200
    finally:
        beside.close()


def test_no_secret_in_any_command_line_or_log(external: Deployment) -> None:
    secrets = [PASSWORD, projects.read_credentials(external.data).application_token]
    with contextlib.closing(external.first_project()) as project:
        project.imported({"source_id": "quiet", "amount": 1})
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in running(external)}
    assert len(lines) >= 3
    for secret in secrets:
        assert not [line for line in lines.values() if secret in line]
        assert secret not in external.log_text()
