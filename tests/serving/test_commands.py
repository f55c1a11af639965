"""The other commands: keys, projects, addresses, the parts alone, the import client without a server."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from punchcard import processes
from punchcard.http.signing import Signer
from tests.deployment import PUNCHCARD, Deployment, Project, free_port, until
from tests.serving.running import started
from tests.serving.test_refusals import database, refused, run

SECRET_KEY = "the-same-key-on-every-machine-of-a-shop"
NAMES = [
    "project_id",
    "application_id",
    "application_token",
    "client_application_id",
    "client_token",
    "management_id",
    "management_token",
]


def test_credentials_in_both_forms(deployment_18: Deployment) -> None:
    as_json = deployment_18.command("credentials", "--json")
    assert as_json.returncode == 0
    values = json.loads(as_json.stdout)
    assert list(values) == NAMES
    as_text = deployment_18.command("credentials").stdout
    assert dict(line.split() for line in as_text.splitlines()) == values
    file = deployment_18.data / "credentials.json"
    assert json.loads(file.read_text()) == values
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_credentials_of_a_directory_without_any(tmp_path: Path) -> None:
    assert "first starts on an empty database" in refused("credentials", "--data", str(tmp_path), "--json")


def test_database_url(deployment_18: Deployment, tmp_path: Path) -> None:
    with psycopg.connect(deployment_18.command("database-url").stdout.strip()) as conn:
        assert conn.execute("SELECT count(*) > 0 FROM projects").fetchone() == (True,)
    said = refused("database-url", "--data", str(tmp_path))
    assert said.endswith(f"No embedded PostgreSQL runs in {tmp_path}: start `punchcard serve`")


def test_new_project_and_key_work_at_once(deployment_18: Deployment) -> None:
    project_id = deployment_18.command("projects", "create", "Filiale Köln").stdout.strip()
    assert project_id.startswith("proj_")
    made = deployment_18.command("keys", "create", "--project", project_id, "--name", "till")
    values = dict(line.split() for line in made.stdout.splitlines())
    assert list(values) == ["application_id", "application_token"]
    with contextlib.closing(Project(deployment_18, project_id, **values)) as project:
        assert project.get("/v1/orders")["total"] == 0
    with psycopg.connect(deployment_18.dsn) as conn:
        stored = conn.execute("SELECT * FROM api_keys WHERE app_id = %s", [values["application_id"]]).fetchone()
        assert values["application_token"] not in str(stored)


def test_a_project_needs_a_name() -> None:
    said = run("projects", "create", " ")
    assert (said.returncode, said.stdout) == (2, "")
    assert "a project needs a name" in said.stderr


def test_keys_for_an_unknown_project_are_refused(deployment_18: Deployment) -> None:
    said = deployment_18.command("keys", "create", "--project", "proj_none")
    assert (said.returncode, said.stderr) == (1, "punchcard: No project has the id proj_none\n")


def test_parts_alone_make_a_whole(deployment_18: Deployment, tmp_path: Path) -> None:
    """`migrate`, `api` and `worker` on a database of their own, as on several machines; several APIs share a port."""
    port = free_port()
    environment = deployment_18.environment | {"PUNCHCARD_PORT": str(port), "PUNCHCARD_SECRET_KEY": SECRET_KEY}
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(database(deployment_18, "apart"))
        environment["DATABASE_URL"] = dsn
        assert run("migrate", **environment).stdout.startswith("applied 0001_pre_")
        assert run("migrate", **environment).stdout == "nothing to apply\n"
        project_id = run("projects", "create", "Apart", **environment).stdout.strip()
        made = run("keys", "create", "--project", project_id, **environment).stdout
        keys = dict(line.split() for line in made.splitlines())
        headers = {"X-App-Id": keys["application_id"], "X-App-Token": keys["application_token"]}
        http = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False))

        def status(path: str) -> int:
            with contextlib.suppress(httpx.HTTPError):
                return http.get(path).status_code
            return 0

        parts = [
            stack.enter_context(started([*PUNCHCARD, role], environment, tmp_path / role))
            for role in ("api", "api", "worker")
        ]
        until(lambda: status("/readyz") == 200)
        accepted = http.post("/v1/orders/import", json=[{"source_id": "a", "amount": 3}]).json()["async_action_id"]
        until(lambda: http.get(f"/v1/async-actions/{accepted}").json()["status"] == "DONE")
        assert http.get("/v1/orders/a").json()["amount"] == 3
        updating = http.post("/v1/customers/bulk/async", json=[{"source_id": "ann"}]).json()["async_action_id"]
        until(lambda: http.get(f"/v1/async-actions/{updating}").json()["status"] == "DONE")
        link = http.get(f"/v1/async-actions/{updating}").json()["result"]["reports"][0]
        assert {httpx.get(link, trust_env=False).status_code for _ in range(8)} == {200}, "whoever answers"
        given = dict(pair.split("=") for pair in urlsplit(link).query.split("&"))
        Signer(SECRET_KEY, "reports").check(project_id, updating, "csv", **given)
        for part in reversed(parts):
            part.terminate()
            assert part.wait(20) == 0
        assert status("/healthz") == 0


def test_import_without_a_server(deployment_18: Deployment, tmp_path: Path) -> None:
    """Status 2: it could not be done, as scripts read it from the client's own refusals."""
    file = tmp_path / "orders.json"
    file.write_text("[]")
    nobody = ["--url", f"http://127.0.0.1:{free_port()}"]
    keys = ["--application-id", "x", "--application-token", "y"]
    assert "No server answers at http://127.0.0.1:" in refused("import", str(file), *keys, *nobody, status=2)
    assert "--application-id" in refused("import", str(file), "--data", str(tmp_path), *nobody, status=2)
    wrong = run("import", str(file), *keys, "--url", deployment_18.url)
    assert wrong.returncode in (0, 2)  # nothing to send, nothing refused


def test_import_with_half_a_key_pair(deployment_18: Deployment, tmp_path: Path) -> None:
    """The other half is not taken from the first-start keys, which may be those of another project."""
    file = tmp_path / "orders.json"
    file.write_text("[]")
    arguments = ["import", str(file), "--data", str(deployment_18.data), "--url", deployment_18.url]
    said = refused(*arguments, "--application-id", "x", status=2)
    assert "The application id was given without its token: name --application-token" in said
    assert "without its id" in refused(*arguments, "--application-token", "y", status=2)
    assert "without its token" in refused(*arguments, PUNCHCARD_APPLICATION_ID="x", status=2)
    assert "without its id" in refused(*arguments, PUNCHCARD_APPLICATION_TOKEN="y", status=2)


def test_import_usage_is_refused_in_one_line(deployment_18: Deployment, tmp_path: Path) -> None:
    arguments = ["--data", str(deployment_18.data), "--url", deployment_18.url]
    assert "does not exist" in refused("import", str(tmp_path / "missing"), *arguments, status=2)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "http://127.0.0.1:{}/v1"])
def test_import_takes_the_address_as_users_write_it(deployment_18: Deployment, tmp_path: Path, form: str) -> None:
    file = tmp_path / "orders.json"
    file.write_text('[{"source_id": "by address", "amount": 5}]')
    done = deployment_18.command("import", str(file), "--url", form.format(deployment_18.port))
    assert done.returncode == 0, done.stderr
    assert "1 order in (1 " in done.stderr


def test_ctrl_c_before_the_first_request(tmp_path: Path) -> None:
    """No traceback, and not the word that click has for it."""
    file = tmp_path / "orders.json"
    file.write_text("[]")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        keys = ["--application-id", "x", "--application-token", "y"]
        command = [*PUNCHCARD, "import", str(file), *keys, "--url", url]
        with started(command, dict(os.environ), tmp_path / "out") as importing:
            asked, _ = silent.accept()  # whether it is there
            importing.send_signal(signal.SIGINT)
            assert importing.wait(20) == 130
            asked.close()
    assert (tmp_path / "out").read_text() == ""


def test_import_command_against_a_running_server(deployment_18: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text('{"source_id": "by command", "amount": 5}\n')
    done = deployment_18.command("import", str(file), "--port", str(deployment_18.port))
    assert done.returncode == 0, done.stderr
    assert "1 order in (1 new), 0 failed" in done.stderr
    with contextlib.closing(deployment_18.first_project()) as project:
        assert project.get("/v1/orders/by command")["amount"] == 5


def test_files_of_the_working_directory_are_not_imported(tmp_path: Path) -> None:
    """A `random.py` of the user's beside the data must not become Python's: parts start with -P."""
    (tmp_path / "random.py").write_text("raise SystemExit('taken for a module of Python')")
    ended = subprocess.run(
        [*processes.PUNCHCARD, "--version"],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
