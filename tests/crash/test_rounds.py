"""Imports while processes are killed at random moments: what was accepted is done, once, and in order.

PUNCHCARD_CRASH_ROUNDS sets how many rounds, PUNCHCARD_CRASH_SEED the seed of the first; each prints its own.
"""

import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from psycopg.rows import namedtuple_row
from psycopg.types.json import set_json_loads

from tests.crash import targets
from tests.crash.model import Model, an_import
from tests.deployment import Deployment, until
from tests.segments import consistency

ROUNDS = int(os.environ.get("PUNCHCARD_CRASH_ROUNDS", "2"))
SEED = int(os.environ.get("PUNCHCARD_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
PROJECTS = 3
IMPORTS = 5
PAUSE_SECONDS = 1.0
LOG_CHARACTERS = 4000
RECORDS_MIN, RECORDS_MAX = 1050, 1400
RECOVERY_SECONDS = 240.0
SILENT_MS = 2000
SETTINGS: dict[str, object] = {
    "poll_ms": 200,
    "heartbeat_ms": 400,
    "worker_silent_ms": SILENT_MS,
    "worker_idle_in_transaction_ms": 3000,
    "portion_ms": 40,
    "restarts_per_minute_max": 10_000,
    "orders_per_import_max": RECORDS_MAX,
}
BUYERS = {"summary.orders.total_count": {"conditions": {"$more_than": 0}}}
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name ~ '^punchcard (worker|pulse|api)'"
DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


class Shop:
    """A client that sends one import after another, and whatever happens goes on with the next one."""

    def __init__(self, deployment: "CrashDeployment", rng: random.Random, killing_is_over: threading.Event) -> None:
        self._deployment, self._rng, self._killing_is_over = deployment, rng, killing_is_over
        self.project = deployment.new_project()
        buyers = {"name": "Buyers", "type": "auto-update", "filter": BUYERS}
        self.buyers = self.project.call("POST", "/v1/segments", json=buyers)["id"]
        # what was sent, by its number of records, which is the import's name: unique within the project
        self.sent: dict[int, list[dict[str, Any]]] = {}
        self.answered: dict[str, int] = {}
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._send_all)

    def _send_all(self) -> None:
        try:
            sizes = self._rng.sample(range(RECORDS_MIN, RECORDS_MAX), RECORDS_MAX - RECORDS_MIN)
            while len(self.answered) < IMPORTS or not self._killing_is_over.is_set():
                self._send(sizes.pop())
                if len(self.answered) >= IMPORTS:
                    self._killing_is_over.wait(PAUSE_SECONDS)
        except BaseException as error:
            self.failure = error
        finally:
            self.project.close()

    def _send(self, size: int) -> None:
        orders = an_import(self._rng, len(self.sent), size)
        self.sent[size] = orders
        try:
            answer = self.project.http.post(
                "/v1/orders/import", content=msgspec.json.encode(orders), headers={"content-type": "application/json"}
            )
        except httpx.HTTPError:
            until(self._deployment.is_answering, RECOVERY_SECONDS)
            return
        if answer.status_code == 200:
            self.answered[answer.json()["async_action_id"]] = size
        else:
            assert answer.status_code == 503, answer.text
            time.sleep(0.1)


class CrashDeployment(Deployment):
    """A deployment whose requests may fail."""

    def is_answering(self) -> bool:
        try:
            return self._http.get("/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


class Killer:
    """Kills or freezes each kind of process once, and the workers and sessions twice, in any order."""

    def __init__(self, deployment: CrashDeployment, rng: random.Random, over: threading.Event) -> None:
        self.deployment, self._rng, self._over = deployment, rng, over
        self.done: list[str] = []
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self._kinds: list[Callable[[], bool]] = [
            self.worker, self.worker, self.api, self.postgres, self.backend, self.backend, self.freeze, self.everything,
        ]  # fmt: skip

    def _run(self) -> None:
        try:
            self._rng.shuffle(self._kinds)
            for kind in self._kinds:
                time.sleep(self._rng.uniform(0.05, 1.2))
                until(kind)
                self.done.append(kind.__name__)
        except BaseException as error:
            self.failure = error
        finally:
            self._over.set()

    def _kill_one(self, role: str) -> bool:
        pids = targets.children(self.deployment, role)
        return bool(pids) and targets.kill(self._rng.choice(pids))

    def worker(self) -> bool:
        return self._kill_one("worker")

    def api(self) -> bool:
        return self._kill_one("api")

    def postgres(self) -> bool:
        """Kill PostgreSQL, and perhaps again while it recovers; not while a server makes its first steps."""
        if not self.deployment.is_answering():
            return False
        before = targets.children(self.deployment, "postgres")
        killed = self._kill_one("postgres")
        if killed and self._rng.random() < 0.5:
            until(lambda: set(targets.children(self.deployment, "postgres")) - set(before))
            time.sleep(self._rng.uniform(0, 0.3))
            self._kill_one("postgres")
        return killed

    def backend(self) -> bool:
        try:
            with psycopg.connect(self.deployment.dsn, autocommit=True, connect_timeout=3) as conn:
                pids = conn.execute(SESSIONS).fetchall()
                return bool(pids) and bool(conn.execute("SELECT pg_terminate_backend(%s)", self._rng.choice(pids)))
        except psycopg.OperationalError:
            return False

    def freeze(self) -> bool:
        """Stop a worker for longer than the others wait for a sign of life, and wake it."""
        pids = targets.children(self.deployment, "worker")
        if not pids or not targets.kill(pid := self._rng.choice(pids), signal.SIGSTOP):
            return False
        time.sleep(SILENT_MS / 1000 + 1.5)
        targets.kill(pid, signal.SIGCONT)
        return True

    def everything(self) -> bool:
        targets.kill_everything(self.deployment)
        self.deployment.launch()
        return True


@pytest.fixture(params=range(ROUNDS))
def seed(request: pytest.FixtureRequest) -> int:
    return SEED + int(request.param)


@pytest.fixture
def deployment() -> Iterator[CrashDeployment]:
    one = CrashDeployment("--workers", "2", settings=SETTINGS)
    one.start()
    yield one
    print(one.log_text()[-LOG_CHARACTERS:])
    one.close()


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_accepted_imports_survive(deployment: CrashDeployment, seed: int) -> None:
    print(f"seed {seed}: repeat with PUNCHCARD_CRASH_SEED={seed} PUNCHCARD_CRASH_ROUNDS=1")
    rng = random.Random(seed)
    assert deployment.dsn
    over = threading.Event()
    shops = [Shop(deployment, random.Random(rng.random()), over) for _ in range(PROJECTS)]
    killer = Killer(deployment, random.Random(rng.random()), over)
    actors: list[Shop | Killer] = [*shops, killer]
    for actor in actors:
        actor.thread.start()
    for actor in actors:
        actor.thread.join()
    print("killed:", " ".join(killer.done))
    for actor in actors:
        if actor.failure:
            raise actor.failure
    until(deployment.is_answering, RECOVERY_SECONDS)
    with connected(deployment.dsn) as conn:
        set_json_loads(msgspec.json.decode, conn)
        for name in DURABLE:
            assert conn.execute(f"SHOW {name}".encode()).fetchone() == ("on",)
        until(lambda: not unfinished(conn), RECOVERY_SECONDS)
        until(lambda: not conn.execute("SELECT 1 FROM segment_inbox LIMIT 1").fetchall(), RECOVERY_SECONDS)
        for shop in shops:
            check_actions(conn, shop)
            check_state(conn, shop)
        assert conn.execute("SELECT count(*) FROM async_action_pieces").fetchone() == (0,)


def connected(dsn: str) -> psycopg.Connection[Any]:
    """A session, once PostgreSQL gives one: the last thing killed may have been PostgreSQL."""
    made: list[psycopg.Connection[Any]] = []

    def try_it() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            conn: psycopg.Connection[Any] = psycopg.connect(dsn, autocommit=True, row_factory=namedtuple_row)
            made.append(conn)
        return bool(made)

    until(try_it, RECOVERY_SECONDS)
    return made[0]


def unfinished(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute("SELECT count(*) FROM async_actions WHERE finished_at IS NULL").fetchone()
    return int(row[0]) if row else 0


def check_actions(conn: psycopg.Connection[Any], shop: Shop) -> None:
    """Every answered import is done with exact counts; the others are there whole, or not at all; one at a time."""
    actions = conn.execute(
        "SELECT id, seq, status, records_total, started_at, finished_at, result FROM async_actions"
        " WHERE project_id = %s ORDER BY seq",
        [shop.project.id],
    ).fetchall()
    assert set(shop.answered) <= {action.id for action in actions}
    sizes = [action.records_total for action in actions]
    assert len(set(sizes)) == len(sizes), "an import was stored twice"
    assert set(sizes) <= set(shop.sent)
    answered = [size for size in sizes if size in shop.answered.values()]
    assert answered == list(shop.answered.values()), "the order of arrival"
    model = Model()
    for action in actions:
        assert action.status == "DONE"
        expected = model.apply(shop.sent[action.records_total])
        assert {name: action.result[name] for name in expected} == expected, action.id
    assert all(a.finished_at <= b.started_at for a, b in itertools.pairwise(actions))


def check_state(conn: psycopg.Connection[Any], shop: Shop) -> None:
    """Orders, customers and products are those of the imports, applied in the order of the queue."""

    def rows(query: str) -> list[Any]:
        return conn.execute(query.encode(), [shop.project.id]).fetchall()

    model = Model()
    for action in rows("SELECT records_total FROM async_actions WHERE project_id = %s ORDER BY seq"):
        model.apply(shop.sent[action.records_total])
    orders = rows(
        "SELECT o.source_id, o.status, o.total_amount, o.metadata, c.source_id AS customer"
        " FROM orders AS o LEFT JOIN customers AS c ON c.project_id = o.project_id AND c.id = o.customer_id"
        " WHERE o.project_id = %s"
    )
    assert len(orders) == len(model.orders)
    assert {o.source_id: {"status": o.status, "customer": o.customer, "metadata": o.metadata, "amount": o.total_amount}
            for o in orders} == model.orders  # fmt: skip
    customers = rows(
        "SELECT source_id, name, orders_total_amount, orders_total_count FROM customers WHERE project_id = %s"
    )
    assert {c.source_id: c.name for c in customers} == model.customers
    assert {c.source_id: (c.orders_total_amount, c.orders_total_count) for c in customers} == model.summaries()
    products = rows("SELECT source_id, name FROM products WHERE project_id = %s")
    assert {p.source_id: p.name for p in products} == model.products
    members = rows(
        "SELECT c.source_id FROM segment_members AS m JOIN customers AS c ON c.id = m.customer_id"
        " AND c.project_id = m.project_id WHERE m.project_id = %s"
    )
    assert {member.source_id for member in members} == {name for name, (_, count) in model.summaries().items() if count}
    consistency.check(shop.project)
    for table in ("orders", "customers", "products", "async_actions"):
        clashes = rows(f"SELECT created_at FROM {table} WHERE project_id = %s GROUP BY created_at HAVING count(*) > 1")
        assert not clashes, table
    last = rows(
        "SELECT c.source_id FROM customers AS c JOIN LATERAL ("
        "  SELECT o.id, o.total_amount FROM orders AS o WHERE o.project_id = c.project_id AND o.customer_id = c.id"
        "     AND o.status IN ('PAID', 'FULFILLED')"
        "   ORDER BY coalesce(o.ordered_at, o.created_at) DESC, o.id DESC LIMIT 1"
        " ) AS newest ON true WHERE c.project_id = %s"
        " AND (c.orders_last_id, c.orders_last_amount) IS DISTINCT FROM (newest.id, newest.total_amount)"
    )
    assert not last, "the last order of a customer"
