"""The state machine of imports while its server is killed: before, while and after a request arrives and is written.

PUNCHCARD_CRASH_ROUNDS sets how many histories are tried. Each prints what was killed.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from tests.crash import targets
from tests.crash.test_rounds import RECOVERY_SECONDS, SETTINGS, CrashDeployment
from tests.deployment import Deployment, Project, until
from tests.orders.drawn import Random
from tests.orders.machine import MANY, SEED, ImportMachine
from tests.orders.model import Row

ROUNDS = int(os.environ.get("PUNCHCARD_CRASH_ROUNDS", "2"))
STEPS = 6
RETRY_SECONDS = 0.1
ROLES = ("worker", "api", "postgres")
# nobody but the one that holds them can change the project's rows
HOLD = [
    f"SELECT FROM {table} WHERE project_id = %s FOR UPDATE" for table in ("customers", "products", "skus", "orders")
]
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
UNFINISHED = "SELECT count(*) FROM async_actions WHERE project_id = %s AND finished_at IS NULL"


class PatientProject(Project):
    """A client that asks again when its server was away; it sends nothing twice."""

    def call(self, method: str, path: str, *, expect: int = 200, **arguments: Any) -> Any:
        deadline = time.monotonic() + RECOVERY_SECONDS
        while True:
            with contextlib.suppress(httpx.HTTPError):
                answer = self.http.request(method, path, **arguments)
                if answer.status_code != 503:
                    assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
                    return answer.json()
            assert time.monotonic() < deadline, f"{method} {path} was not answered"
            time.sleep(RETRY_SECONDS)

    def actions(self) -> list[str]:
        """The ids of the project's actions."""
        return [action["id"] for action in self.get("/v1/async-actions", limit=100)["async_actions"]]

    def post_once(self, orders: list[Row]) -> str | None:
        """Send an import, once; the action's id, or none if there is none. Whether it came in is seen in the list."""
        before, answered = self.actions(), None
        with contextlib.suppress(httpx.HTTPError):
            answer = self.http.post("/v1/orders/import", json=orders)
            assert answer.status_code in {200, 503}, answer.text
            answered = answer.json().get("async_action_id")
        added = [action for action in self.actions() if action not in before]
        assert answered is None or added == [answered], "an import that was answered is there"
        assert len(added) <= 1, "an import that was sent once is there once"
        return added[0] if added else None


class CrashMachine(ImportMachine):
    """All that a shop does, and kills between and during it."""

    project: PatientProject

    def __init__(self, deployment: CrashDeployment) -> None:
        self.deployment = deployment
        super().__init__(deployment)

    @rule(seed=SEED, role=st.sampled_from([*ROLES, "everything"]))
    def kill_between_requests(self, seed: int, role: str) -> None:
        """The next request meets what is left, or what comes back."""
        self.kill(role)
        self.send_many(seed)

    @rule(seed=SEED, role=st.sampled_from([*ROLES, "everything"]), milliseconds=st.integers(0, 60))
    def kill_while_a_request_arrives(self, seed: int, role: str, milliseconds: int) -> None:
        """Not answered, perhaps stored, perhaps done: the list of actions says what it became."""
        draw = Random(seed)
        orders = self.orders(draw.randrange(2**32) for _ in range(MANY))
        killer = threading.Timer(milliseconds / 1000, self.kill, [role])
        killer.start()
        action = self.project.post_once(orders)
        killer.join()
        self.check([(orders, action or self.post(orders))])

    @rule(seed=SEED, role=st.sampled_from(ROLES))
    def kill_while_a_request_is_written(self, seed: int, role: str) -> None:
        """In the middle of a portion, which waits for rows that this test holds."""
        draw = Random(seed)
        orders = self.orders(draw.randrange(2**32) for _ in range(MANY))
        with self.rows_held() as holder:
            action = self.post(orders)
            with psycopg.connect(self.deployment.dsn, autocommit=True) as watch:
                until(
                    lambda: (
                        _number(watch, BLOCKED, holder.info.backend_pid)
                        or not _number(watch, UNFINISHED, self.project.id)
                    )
                )
            self.kill(role)
        self.check([(orders, action)])

    # ---- what the rules do ----

    def new_project(self, deployment: Deployment) -> PatientProject:
        made: list[PatientProject] = []

        def make() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                new = deployment.new_project()
                new.close()
                made.append(PatientProject(deployment, new.id, new.application_id, new.application_token))
            return bool(made)

        until(make, RECOVERY_SECONDS)
        return made[0]

    def post(self, orders: list[Row]) -> str:
        """Send a request until it has come in."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while (action := self.project.post_once(orders)) is None:
            assert time.monotonic() < deadline
            time.sleep(RETRY_SECONDS)
        return action

    def kill(self, role: str) -> None:
        """SIGKILL one process of that role, or all there are."""
        print(f"killing {role}")
        if role == "everything":
            targets.kill_everything(self.deployment)
            self.deployment.launch()
        else:
            until(lambda: any(targets.kill(pid) for pid in targets.children(self.deployment, role)[:1]))

    @contextlib.contextmanager
    def rows_held(self) -> Iterator[psycopg.Connection[Any]]:
        """A session that holds all rows of the project; it may be killed meanwhile."""
        connected: list[psycopg.Connection[Any]] = []

        def connect() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                connected.append(psycopg.connect(self.deployment.dsn))
            return bool(connected)

        until(connect, RECOVERY_SECONDS)
        try:
            for statement in HOLD:
                connected[0].execute(statement.encode(), [self.project.id])
            yield connected[0]
        finally:
            with contextlib.suppress(psycopg.OperationalError):
                connected[0].rollback()
            connected[0].close()


def _number(conn: psycopg.Connection[Any], query: str, *parameters: Any) -> int:
    row = conn.execute(query.encode(), parameters).fetchone()
    return int(row[0]) if row else 0


@pytest.fixture(scope="module")
def crash_deployment() -> Iterator[CrashDeployment]:
    one = CrashDeployment("--workers", "2", settings=SETTINGS)
    one.start()
    assert one.dsn
    yield one
    one.close()


@pytest.mark.crash
@pytest.mark.timeout(7200)
def test_the_server_holds_what_the_model_holds_whatever_is_killed(crash_deployment: CrashDeployment) -> None:
    class Machine(CrashMachine):
        def __init__(self) -> None:
            super().__init__(crash_deployment)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=ROUNDS,
            stateful_step_count=STEPS,
            deadline=None,
            # a history that failed need not fail again: it is shown as it was
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
