"""What does not start: one line that says why and what to do, a status, no traceback."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from punchcard import demo
from punchcard.processes import PortTaken, claimed_port
from punchcard.settings import load
from tests.deployment import PUNCHCARD, Deployment, free_port, open_directory
from tests.serving.running import Relay

NOTHING_SECONDS = 60


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A `punchcard` command to its end, without settings of the caller's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PUNCHCARD_")}
    kept.pop("DATABASE_URL", None)
    return subprocess.run(
        [*PUNCHCARD, *arguments],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=NOTHING_SECONDS,
    )


def refused(*arguments: str, status: int = 1, **environment: str) -> str:
    """What the command says when it refuses: one line, besides lines of the log."""
    ended = run(*arguments, **environment)
    said = ended.stdout + ended.stderr
    assert ended.returncode == status, said
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if not line.startswith(("{", "Starting PostgreSQL"))]
    assert len(lines) == 1, said
    assert lines[0].startswith("punchcard: ")
    return lines[0]


@pytest.fixture
def folder() -> Iterator[Path]:
    new = open_directory()
    yield new
    shutil.rmtree(new)


@contextlib.contextmanager
def database(deployment: Deployment, name: str, extra: str = "") -> Iterator[str]:
    """The DSN of another database on the deployment's server."""
    with psycopg.connect(deployment.dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} {extra}".encode())
    try:
        yield urlsplit(deployment.dsn)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(deployment.dsn, autocommit=True) as conn:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


# ---- settings ----


def test_settings_errors_are_one_line(folder: Path) -> None:
    (folder / "own.toml").write_text("prot = 1\n")
    assert "Unknown setting 'prot'" in refused("serve", "--config", str(folder / "own.toml"))
    assert "Setting port" in refused("serve", PUNCHCARD_PORT="many")
    assert "PUNCHCARD_PROT; is PUNCHCARD_PORT meant?" in refused("serve", PUNCHCARD_PROT="8001")
    assert "postgres_connections_max" in refused("serve", "--workers", "1000")


def test_a_server_without_workers_says_so(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ended = run("serve", "--workers", "0", "--data", str(folder / "data"), "--port", str(other.getsockname()[1]))
    assert "no_workers" in ended.stderr
    assert "until a `punchcard worker` runs" in ended.stderr


# ---- the port ----


def test_taken_port_is_refused(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused("serve", "--data", str(folder / "data"), "--port", str(port))
    assert f"Cannot listen on 127.0.0.1:{port}: another program listens there; choose another port" in said
    assert not (folder / "data").exists()


def never() -> bool:
    return False


def test_port_that_was_closed_a_moment_ago_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        served, _ = listener.accept()
        served.close()  # the side that closes first keeps the port in TIME_WAIT
        client.close()
    with claimed_port("127.0.0.1", port, never):
        pass


def test_two_servers_cannot_begin_on_one_port() -> None:
    """API processes share their port with each other: two servers that start at once would mix their answers."""
    port = free_port()
    with claimed_port("127.0.0.1", port, never):
        with pytest.raises(PortTaken, match="another program listens there"), claimed_port("127.0.0.1", port, never):
            pass
        with claimed_port("127.0.0.1", free_port(), never):
            pass


def test_addresses_that_are_none_of_ours() -> None:
    with pytest.raises(PortTaken, match="name another address"), claimed_port("192.0.2.1", free_port(), never):
        pass
    with pytest.raises(PortTaken, match="name another address"), claimed_port("no.such.host.invalid", 8000, never):
        pass


# ---- the data directory ----


def test_second_server_on_a_directory_is_refused(deployment_18: Deployment) -> None:
    said = refused("serve", "--data", str(deployment_18.data), "--port", str(free_port()))
    assert deployment_18.process is not None
    assert f"is in use by the process {deployment_18.process.pid}" in said
    assert deployment_18.is_ready()


def test_directory_that_cannot_be_made(folder: Path, deployment_18: Deployment) -> None:
    (folder / "file").write_text("")
    port = str(free_port())
    assert "Cannot use" in refused("serve", "--data", str(folder / "file"), "--port", port)
    with database(deployment_18, "elsewhere") as dsn:
        assert "Cannot use" in refused("serve", "--data", str(folder / "file"), "--port", port, DATABASE_URL=dsn)


def test_two_servers_side_by_side(deployment_18: Deployment) -> None:
    beside = Deployment(settings={"workers": 1})
    try:
        beside.start()
        project, other = deployment_18.first_project(), beside.first_project()
        project.imported({"source_id": "side", "amount": 1})
        assert other.get("/v1/orders")["total"] == 0
        assert beside.stop() == 0
        assert project.get("/v1/orders/side")["amount"] == 1
        project.close()
        other.close()
    finally:
        beside.close()


# ---- the database's address ----

SERVERS = ["serve", "api", "worker", "migrate"]


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_database_that_does_not_answer(command: str, folder: Path) -> None:
    address = f"postgresql://shop:pa55word@127.0.0.1:{free_port()}/shop"
    said = refused(command, "--data", str(folder), PUNCHCARD_PORT=str(free_port()), DATABASE_URL=address)
    assert "does not answer" in said
    assert "Connection refused" in said
    assert "pa55word" not in said


@pytest.mark.parametrize("command", SERVERS)
def test_address_that_is_none(command: str) -> None:
    said = refused(command, DATABASE_URL="postgresql://shop:pa55word@[1:2/shop", PUNCHCARD_PORT=str(free_port()))
    assert "not a DSN such as postgresql://" in said
    assert "pa55word" not in said


@pytest.mark.parametrize("command", ["api", "worker"])
def test_parts_need_an_address(command: str) -> None:
    assert "--database-url or DATABASE_URL" in refused(command)


def test_database_that_does_not_exist(deployment_18: Deployment, folder: Path) -> None:
    dsn = urlsplit(deployment_18.dsn)._replace(path="/nowhere").geturl()
    assert 'database "nowhere" does not exist' in refused("migrate", DATABASE_URL=dsn)
    assert 'database "nowhere" does not exist' in refused("worker", DATABASE_URL=dsn)
    arguments = ["serve", "--data", str(folder), "--port", str(free_port())]
    assert 'database "nowhere" does not exist' in refused(*arguments, DATABASE_URL=dsn)


def test_old_server() -> None:
    with Relay("", version="14.11") as relay:
        assert "PostgreSQL 15 or newer is needed; this server is 14" in refused("migrate", DATABASE_URL=relay.dsn)


def test_database_of_another_encoding(deployment_18: Deployment) -> None:
    with database(deployment_18, "latin", "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0") as dsn:
        assert "must be encoded in UTF8, not in LATIN1" in refused("migrate", DATABASE_URL=dsn)


def test_database_that_is_not_migrated(deployment_18: Deployment) -> None:
    with database(deployment_18, "bare") as dsn:
        for command in (["api"], ["worker"], ["keys", "create", "--project", "proj_x"], ["projects", "create", "X"]):
            assert "run punchcard migrate" in refused(*command, DATABASE_URL=dsn, PUNCHCARD_PORT=str(free_port()))


def test_api_alone_on_a_taken_port(deployment_18: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused("api", "--port", str(port), DATABASE_URL=deployment_18.dsn)
    assert f"127.0.0.1:{port}" in said


# ---- make run ----


def test_demo_takes_another_port_unless_one_was_chosen(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = load(environment={}, arguments={"port": port})
        assert demo.with_free_port(taken).port > port
        said = refused("demo", "--data", str(folder / "data"), "--port", str(port))
    assert "another program listens there" in said
    assert demo.with_free_port(taken).port == port


def test_second_demo_in_a_folder_is_refused(deployment_18: Deployment) -> None:
    said = refused("demo", "--data", str(deployment_18.data), "--port", str(free_port()))
    assert "is in use by the process" in said
