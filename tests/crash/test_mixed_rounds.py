"""Imports, bulk updates, orders by API, campaigns and cancels, while processes are killed at random moments.

PUNCHCARD_CRASH_ROUNDS sets how many rounds, PUNCHCARD_CRASH_SEED the seed of the first; each prints its own.
"""

import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from tests.crash import targets
from tests.crash.mixed_shop import MixedShop
from tests.crash.proxy import Proxy
from tests.crash.test_rounds import (
    LOG_CHARACTERS,
    RECOVERY_SECONDS,
    ROUNDS,
    SEED,
    SETTINGS,
    SILENT_MS,
    CrashDeployment,
    Killer,
    connected,
    unfinished,
)
from tests.crash.test_silence import Worker
from tests.deployment import until

WORKERS = 3
PROJECTS = 2
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'punchcard worker'"
HELD = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"


class MixedKiller(Killer):
    """Also restarts PostgreSQL, and cuts the link of a worker that is not the server's own."""

    def __init__(self, deployment: CrashDeployment, rng: random.Random, over: threading.Event, proxy: Proxy) -> None:
        super().__init__(deployment, rng, over)
        self._proxy = proxy
        self._kinds += [self.restart, self.link]

    def restart(self) -> bool:
        """A fast shutdown of PostgreSQL, which is then started again."""
        if not self.deployment.is_answering():
            return False
        return any(targets.kill(pid, signal.SIGINT) for pid in targets.children(self.deployment, "postgres"))

    def link(self) -> bool:
        """Nothing passes for longer than the others wait for a sign of life."""
        self._proxy.silence()
        time.sleep(SILENT_MS / 1000 + 1.5)
        self._proxy.resume()
        return True


@pytest.fixture
def proxy(deployment: CrashDeployment) -> Iterator[Proxy]:
    """A link to the database, and a worker at its end."""
    one = Proxy(deployment.dsn)
    worker = Worker(deployment, one.dsn, ())
    yield one
    worker.close()
    one.close()


@pytest.fixture(scope="module")
def deployment() -> Iterator[CrashDeployment]:
    one = CrashDeployment("--workers", str(WORKERS), settings=SETTINGS)
    one.start()
    assert one.dsn
    yield one
    print(one.log_text()[-LOG_CHARACTERS:])
    one.close()


@pytest.fixture(params=range(ROUNDS))
def seed(request: pytest.FixtureRequest) -> int:
    return SEED + int(request.param)


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_mixed_jobs_survive(deployment: CrashDeployment, proxy: Proxy, seed: int) -> None:
    print(f"seed {seed}: repeat with PUNCHCARD_CRASH_SEED={seed} PUNCHCARD_CRASH_ROUNDS=1")
    rng, over = random.Random(seed), threading.Event()
    shops = [MixedShop(deployment, random.Random(rng.random()), over) for _ in range(PROJECTS)]
    killer = MixedKiller(deployment, random.Random(rng.random()), over, proxy)
    actors: list[MixedShop | MixedKiller] = [*shops, killer]
    began = time.monotonic()
    for actor in actors:
        actor.thread.start()
    for actor in actors:
        actor.thread.join()
    print("killed:", " ".join(killer.done), f"in {time.monotonic() - began:.0f} s")
    for actor in actors:
        if actor.failure:
            raise actor.failure
    until(deployment.is_answering, RECOVERY_SECONDS)
    with connected(deployment.dsn) as conn:
        until(lambda: not unfinished(conn), RECOVERY_SECONDS)
        for shop in shops:
            shop.use_lanes()
        until(lambda: not conn.execute("SELECT 1 FROM segment_inbox LIMIT 1").fetchall(), RECOVERY_SECONDS)
        until(lambda: not conn.execute("SELECT 1 FROM event_outbox LIMIT 1").fetchall(), RECOVERY_SECONDS)
        for shop in shops:
            shop.check(conn)
            shop.project.close()
        until(lambda: conn.execute(SESSIONS.encode()).fetchone() == (WORKERS + 1,), RECOVERY_SECONDS)
        until(lambda: conn.execute(HELD.encode()).fetchone() == (0,), RECOVERY_SECONDS)
