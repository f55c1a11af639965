"""A server that gives no more connections, then does again: what was accepted is done, what cannot be is refused."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.crash.patience import ended, send
from tests.crash.test_rounds import RECOVERY_SECONDS, SESSIONS, SETTINGS, CrashDeployment
from tests.deployment import until

EXHAUSTED_SECONDS = 2.0
ORDERS = 200
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"


@pytest.fixture
def deployment() -> Iterator[CrashDeployment]:
    one = CrashDeployment("--workers", "2", settings=SETTINGS)
    one.start()
    yield one
    one.close()


def orders(name: str) -> list[dict[str, Any]]:
    customer = {"source_id": "regular"}
    return [{"source_id": f"{name}-{n}", "status": "PAID", "amount": 3, "customer": customer} for n in range(ORDERS)]


class Crowd:
    """Sessions that take every connection there is."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._sessions: list[psycopg.Connection[Any]] = []

    def take_all(self) -> None:
        """Take what is free, and what the server's own sessions hold; until they have none for a while."""
        alone_since = time.monotonic()
        while time.monotonic() < alone_since + EXHAUSTED_SECONDS:
            self._take_free()
            ended = self._sessions[0].execute(
                SESSIONS.replace("pid FROM", "pg_terminate_backend(pid) FROM", 1).encode()
            )
            if ended.fetchall():
                alone_since = time.monotonic()

    def _take_free(self) -> None:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                self._sessions.append(psycopg.connect(self._dsn, autocommit=True))

    def leave(self) -> None:
        for session in self._sessions:
            session.close()


@pytest.mark.crash
def test_without_connections_nothing_is_lost(deployment: CrashDeployment) -> None:
    project = deployment.new_project()
    project.imported({"source_id": "first", "status": "PAID", "amount": 3, "customer": {"source_id": "regular"}})
    crowd = Crowd(deployment.dsn)
    with psycopg.connect(deployment.dsn) as blocker, psycopg.connect(deployment.dsn, autocommit=True) as watch:
        blocker.execute("SELECT 1 FROM customers WHERE project_id = %s FOR UPDATE", [project.id])
        accepted = [action for name in ("a", "b", "c") if (action := send(project, orders(name)))]
        until(lambda: (watch.execute(BLOCKED, [blocker.info.backend_pid]).fetchone() or [0])[0])
        crowd.take_all()
        assert not deployment.is_answering()
        assert send(project, orders("refused")) is None
    crowd.leave()
    for action in accepted:
        end = ended(project, action)
        assert (end["status"], end["result"]["done_count"]) == ("DONE", ORDERS)
    until(deployment.is_answering, RECOVERY_SECONDS)
    written = 1 + ORDERS * len(accepted)
    summary = project.get("/v1/customers/regular")["summary"]["orders"]
    assert (summary["total_count"], summary["total_amount"]) == (written, 3 * written)
    assert project.get("/v1/orders")["total"] == written, "what was refused has left nothing"
    project.close()
