"""Workers that fall silent in the middle of a portion: another commits it in time, the silent one commits nothing.

The portion is held open by a session of the test that locks a customer it must lock.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import psycopg
import pytest

from tests.crash.proxy import Proxy
from tests.deployment import PUNCHCARD, Deployment, Project, until

TAKEOVER_SECONDS_MAX = 30.0
ORDERS = 300
AMOUNT = 7
BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'punchcard worker' AND wait_event_type = 'Lock'"
)
REPORTING = "SELECT count(*) FROM workers WHERE seen_at > clock_timestamp() - interval '5 s'"


class Worker:
    """A `punchcard worker`, on a link of its own; `inside` is a command that runs another one on another host."""

    def __init__(self, deployment: Deployment, dsn: str, inside: Sequence[str]) -> None:
        with deployment.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*inside, *PUNCHCARD, "worker", "--database-url", dsn],
                env=deployment.environment,
                stdout=log,
                stderr=log,
            )

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


class Scene:
    """An API without workers of its own, a session that looks and locks, and the workers of a test."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.conn = psycopg.connect(deployment.dsn, autocommit=True, row_factory=psycopg.rows.namedtuple_row)
        # what a test that failed left would be taken for this one's
        self.conn.execute("DELETE FROM async_actions WHERE finished_at IS NULL")
        self.project: Project = deployment.new_project()
        self._workers: list[Worker] = []
        # the hosts from which a database address can be reached, if not from this one
        self.inside: dict[str, Sequence[str]] = {}

    def worker(self, dsn: str | None = None) -> Worker:
        """Start a worker and return when it reports."""
        before = self.value("SELECT count(*) FROM workers")
        dsn = dsn or self.deployment.dsn
        self._workers.append(Worker(self.deployment, dsn, self.inside.get(dsn, ())))
        until(lambda: self.value("SELECT count(*) FROM workers") > before)
        return self._workers[-1]

    def value(self, query: str, *parameters: Any) -> Any:
        row = self.conn.execute(query.encode(), parameters).fetchone()
        return row and row[0]

    def has_blocked_portion(self) -> bool:
        return bool(self.value(BLOCKED))

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
        self.conn.execute("DELETE FROM workers")
        self.project.close()
        self.conn.close()


@pytest.fixture(scope="module")
def api_alone() -> Iterator[Deployment]:
    """A server whose workers are the test's, with the default intervals."""
    deployment = Deployment("--workers", "0")
    deployment.launch()

    def answers() -> bool:
        try:
            return httpx.get(f"{deployment.url}/healthz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    until(answers)
    yield deployment
    deployment.close()


@pytest.fixture
def scene(api_alone: Deployment) -> Iterator[Scene]:
    one = Scene(api_alone)
    yield one
    one.close()


@pytest.fixture
def proxy(api_alone: Deployment) -> Iterator[Proxy]:
    one = Proxy(api_alone.dsn)
    yield one
    one.close()


def orders(name: str, count: int = ORDERS, pad: int = 0) -> list[dict[str, Any]]:
    customer, padding = {"source_id": "regular"}, {"pad": "x" * pad} if pad else {}
    return [
        {"source_id": f"{name}-{n}", "status": "PAID", "amount": AMOUNT, "customer": customer, "metadata": padding}
        for n in range(count)
    ]


def known_customer(scene: Scene) -> None:
    """The customer that the portions of the test must lock, and the lock of one."""
    action = scene.project.post_import(orders("first", 1))
    scene.worker()
    scene.project.finished(action)
    scene._workers.pop().close()
    until(
        lambda: (
            scene.value("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'punchcard worker%%'") == 0
        )
    )
    scene.conn.execute("DELETE FROM workers")


def assert_written_once(scene: Scene, action: str) -> None:
    result = scene.project.finished(action)["result"]
    assert (result["done_count"], result["failed_count"], result["created_count"]) == (ORDERS, 0, ORDERS)
    summary = scene.project.get("/v1/customers/regular")["summary"]["orders"]
    assert (summary["total_count"], summary["total_amount"]) == (ORDERS + 1, (ORDERS + 1) * AMOUNT)
    assert scene.project.get("/v1/orders")["total"] == ORDERS + 1


def takeover(
    scene: Scene,
    dsn: str,
    lose: Callable[[Worker], None],
    regain: Callable[[Worker], None],
    *,
    other: str | None = None,
) -> float:
    """Have the one worker lose its hold in the middle of a portion; the seconds until the other has committed it."""
    known_customer(scene)
    first = scene.worker(dsn)
    with psycopg.connect(scene.deployment.dsn) as blocker:
        blocker.execute("SELECT 1 FROM customers WHERE project_id = %s FOR UPDATE", [scene.project.id])
        action = scene.project.post_import(orders("second"))
        until(scene.has_blocked_portion)
        scene.worker(other)
        lose(first)
        began = time.monotonic()
    scene.project.finished(action)
    seconds = time.monotonic() - began
    regain(first)
    third = scene.project.post_import([])
    scene.project.finished(third)
    assert_written_once(scene, action)
    assert first.process.poll() is None, "the first worker goes on"
    until(lambda: scene.value(REPORTING) == 2)
    assert_written_once(scene, action)
    return seconds


@pytest.mark.crash
def test_a_frozen_worker_loses_its_portion(scene: Scene) -> None:
    def freeze(worker: Worker) -> None:
        os.kill(worker.process.pid, signal.SIGSTOP)

    def wake(worker: Worker) -> None:
        os.kill(worker.process.pid, signal.SIGCONT)

    seconds = takeover(scene, scene.deployment.dsn, freeze, wake)
    print(f"SIGSTOP: taken over after {seconds:.1f} s")
    assert seconds < TAKEOVER_SECONDS_MAX


@pytest.mark.crash
def test_a_worker_with_a_cut_link_loses_its_portion(scene: Scene, proxy: Proxy) -> None:
    seconds = takeover(scene, proxy.dsn, lambda _: proxy.silence(), lambda _: proxy.resume())
    print(f"link cut: taken over after {seconds:.1f} s")
    assert seconds < TAKEOVER_SECONDS_MAX


@pytest.mark.crash
@pytest.mark.parametrize("also_frozen", [False, True], ids=["link cut", "frozen"])
def test_silence_inside_copy_does_not_hold_the_lane(scene: Scene, proxy: Proxy, also_frozen: bool) -> None:
    """PostgreSQL then reads rows and looks neither at its clock nor at cancellations: the watchdog ends the session."""
    known_customer(scene)
    first = scene.worker(proxy.dsn)
    proxy.silence_in_copy(2_000)
    action = scene.project.post_import(orders("second", pad=2_000))
    until(proxy.went_silent.is_set)
    copying = "SELECT count(*) FROM pg_stat_progress_copy"
    assert scene.value(copying) == 1
    if also_frozen:
        os.kill(first.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    scene.worker()
    scene.project.finished(action)
    seconds = time.monotonic() - began
    print(f"inside COPY: taken over after {seconds:.1f} s")
    assert seconds < TAKEOVER_SECONDS_MAX
    os.kill(first.process.pid, signal.SIGCONT)
    proxy.resume()
    scene.project.finished(scene.project.post_import([]))
    until(lambda: scene.value(REPORTING) == 2)
    assert_written_once(scene, action)
