"""A Punchcard as its users run it: `punchcard serve` in a process of its own, spoken to over HTTP."""

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from punchcard.db.database import connect
from punchcard.projects import projects
from tests import commands

PUNCHCARD = [sys.executable, "-m", "punchcard"]
READY_SECONDS = 60.0
ACTION_SECONDS = 120.0
LOOK_SECONDS = 0.02


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition; fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(LOOK_SECONDS)


def open_directory() -> Path:
    """A new directory that PostgreSQL's user can enter: pytest's own are closed to it when we are root."""
    directory = Path(tempfile.mkdtemp(prefix="punchcard-")).resolve()
    directory.chmod(0o755)
    return directory


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Deployment:
    """`punchcard serve` with a data directory and a port of its own."""

    def __init__(self, *arguments: str, settings: dict[str, object] | None = None, data: Path | None = None) -> None:
        self.folder = open_directory()
        self.data = data or self.folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.folder / "serve.log"
        self._arguments = arguments
        self._environment = {f"PUNCHCARD_{name.upper()}": str(value) for name, value in (settings or {}).items()}
        self.process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PUNCHCARD_")}
        kept.pop("DATABASE_URL", None)
        if self._external:
            kept["DATABASE_URL"] = self._external
        # where the import client keeps its journals
        kept["XDG_STATE_HOME"] = str(self.folder / "state")
        return kept | self._environment

    def launch(self) -> None:
        """Start `serve` and return at once."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*PUNCHCARD, "serve", "--data", str(self.data), "--port", str(self.port), *self._arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> "Deployment":
        """Start `serve` and return when it is ready."""
        self.launch()
        until(self.is_ready, READY_SECONDS)
        return self

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"serve ended: {self.log_text()[-2000:]}"
        with contextlib.suppress(httpx.HTTPError):
            return self._http.get("/readyz", timeout=5).status_code == 200
        return False

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self) -> None:
        """Stop what runs and remove what it wrote."""
        self._http.close()
        if self.process is not None and self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def command(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        """Run another `punchcard` command against this deployment's data directory."""
        return commands.run([*arguments, "--data", str(self.data)], self.environment, stdin=stdin)

    @property
    def _external(self) -> str | None:
        """The DSN of a server that is not the embedded one."""
        pairs = zip(self._arguments, self._arguments[1:], strict=False)
        return next((following for argument, following in pairs if argument == "--database-url"), None)

    @functools.cached_property
    def dsn(self) -> str:
        if self._external:
            return self._external
        found = self.command("database-url")
        assert found.returncode == 0, found.stderr
        return found.stdout.strip()

    def first_project(self) -> "Project":
        """The project that the first start made."""
        credentials = projects.read_credentials(self.data)
        return Project(self, credentials.project_id, credentials.application_id, credentials.application_token)

    def new_project(self) -> "Project":
        """A project that nobody else uses."""
        return asyncio.run(self._create_project())

    async def _create_project(self) -> "Project":
        async with await connect(self.dsn, part="test") as conn, conn.transaction():
            project_id = await projects.create_project(conn, "Test")
            pair = await projects.create_key(conn, project_id, name="test")
        return Project(self, project_id, pair.id, pair.token)


class Project:
    """A project seen by a shop's developer: requests with its keys."""

    def __init__(self, deployment: Deployment, project_id: str, application_id: str, application_token: str) -> None:
        self.deployment, self.id = deployment, project_id
        self.application_id, self.application_token = application_id, application_token
        self.http = httpx.Client(
            base_url=deployment.url,
            timeout=60,
            trust_env=False,
            headers={"X-App-Id": application_id, "X-App-Token": application_token},
        )
        # a project that nobody closes, because its test failed, must not leave sockets to fail another test
        self.close = weakref.finalize(self, self.http.close)

    def call(self, method: str, path: str, *, expect: int = 200, **arguments: Any) -> Any:
        """One request; its JSON. Fails when the status is another than `expect`."""
        answer = self.http.request(method, path, **arguments)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def get(self, path: str, *, expect: int = 200, **parameters: Any) -> Any:
        return self.call("GET", path, expect=expect, params=parameters)

    def post_import(self, orders: Any) -> str:
        """Send an import; the action's id."""
        body = orders if isinstance(orders, bytes) else msgspec.json.encode(orders)
        headers = {"content-type": "application/json"}
        return str(self.call("POST", "/v1/orders/import", content=body, headers=headers)["async_action_id"])

    def refused_import(self, body: Any, *, expect: int = 400) -> Any:
        """Send an import that must be refused; the error body."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self.call(
            "POST", "/v1/orders/import", content=content, headers={"content-type": "application/json"}, expect=expect
        )

    def finished(self, action_id: str, *, seconds: float = ACTION_SECONDS) -> Any:
        """The action once it is finished."""
        deadline = time.monotonic() + seconds
        while True:
            action = self.get(f"/v1/async-actions/{action_id}", wait=20)
            if action["status"] in {"DONE", "FAILED"}:
                return action
            assert time.monotonic() < deadline, f"not finished in {seconds} s: {action}"

    def import_orders(self, orders: Any) -> Any:
        """Import and wait; the result."""
        return self.finished(self.post_import(orders))["result"]

    def imported(self, *orders: Any) -> None:
        """Import orders that all must go in."""
        result = self.import_orders(list(orders))
        assert result["failed_count"] == 0, result

    def all_orders(self) -> Iterator[Any]:
        """Every order of the project (at most 10,000), oldest first."""
        for page in range(1, 101):
            orders = self.get("/v1/orders", limit=100, page=page)["orders"]
            yield from orders
            if len(orders) < 100:
                return
