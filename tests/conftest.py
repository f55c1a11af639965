"""Servers and projects for the tests.

`project` runs a test on the embedded PostgreSQL 18, on 16 from the same wheel, and on 15 where
POSTGRES_15_BIN names the directory of its programs; `project_18` only on 18, for what the database's
version cannot change.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import Deployment, Project, open_directory

POSTGRES_15 = "POSTGRES_15_BIN"
VERSIONS = ["18", "16", *(["15"] if os.environ.get(POSTGRES_15) else [])]


@pytest.fixture(scope="session")
def deployments() -> Iterator[dict[str, Deployment]]:
    """The deployments that have been started, by PostgreSQL's version."""
    started: dict[str, Deployment] = {}
    yield started
    for deployment in started.values():
        deployment.close()


@pytest.fixture(scope="session")
def postgres_15() -> Iterator[str]:
    """The DSN of a PostgreSQL 15 of the test's own."""
    programs = os.environ[POSTGRES_15]
    folder = open_directory()
    user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    cluster = folder / "cluster"
    initdb: list[str | Path] = [
        *user,
        f"{programs}/initdb",
        "-D",
        cluster,
        "-U",
        "punchcard",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
    ]
    subprocess.run(initdb, check=True, capture_output=True)
    control: list[str | Path] = [*user, f"{programs}/pg_ctl", "-D", cluster, "-w"]
    options = f"-k {folder} -c listen_addresses= -c max_connections=60"
    with (folder / "log").open("w") as log:
        subprocess.run([*control, "-o", options, "start"], check=True, stdout=log, stderr=log)
    yield f"postgresql://punchcard@/postgres?host={folder}"
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)
    shutil.rmtree(folder)


def started_deployment(request: pytest.FixtureRequest, deployments: dict[str, Deployment], version: str) -> Deployment:
    if version not in deployments:
        if version == "15":
            deployment = Deployment("--database-url", request.getfixturevalue("postgres_15"))
        else:
            deployment = Deployment(settings={"postgres_version": version})
        deployments[version] = deployment
        deployment.start()
    return deployments[version]


@pytest.fixture(params=VERSIONS)
def deployment(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Deployment:
    """A running deployment, once for each version of PostgreSQL."""
    return started_deployment(request, deployments, request.param)


@pytest.fixture
def deployment_18(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Deployment:
    """A running deployment on the embedded PostgreSQL 18."""
    return started_deployment(request, deployments, "18")


@pytest.fixture
def project(deployment: Deployment) -> Iterator[Project]:
    """A new project on each version of PostgreSQL."""
    new = deployment.new_project()
    yield new
    new.close()


@pytest.fixture
def project_18(deployment_18: Deployment) -> Iterator[Project]:
    """A new project on the embedded PostgreSQL 18."""
    new = deployment_18.new_project()
    yield new
    new.close()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent
