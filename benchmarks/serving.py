"""A real `punchcard serve` on loopback: reads at a million stored orders, and what imports and reads do to each other.

One connection sends one request after the other. Every figure stands beside `/healthz` of the same server in
the same round, which has all that a request costs before it does anything.
"""

import functools
import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from statistics import median

import msgspec
from msgspec import Struct

from benchmarks import orders, stored
from benchmarks.stored import Stored
from punchcard import ids
from tests.deployment import Deployment, Project

LIKE = "like"


class Sizes(Struct):
    """What is stored, how many orders an import has, and how often each thing is done in each of the rounds."""

    stored: Stored
    orders: int = 2000
    customers: int = 1500
    products: int = 500
    rounds: int = 7
    reads: int = 300
    # imports of one round, sent one after the other while the first of them runs
    imports: int = 10


class Figures(Struct):
    """Seconds of each request, by what was asked and by round."""

    idle: dict[str, list[list[float]]]
    busy: dict[str, list[list[float]]]
    json_loads: list[float]
    body_bytes: int


HEALTH, ONE, IMPORT = "GET /healthz", "GET /v1/orders/{id}", "POST /v1/orders/import"
LISTS = {
    f"GET /v1/orders, limit {limit}, page {page}": f"/v1/orders?limit={limit}&page={page}"
    for limit in (10, 100)
    for page in (1, 100)
}
# what is read while an import runs
FIRST_PAGE = "GET /v1/orders, limit 10, page 1"


class Client:
    """One kept connection with a project's keys."""

    def __init__(self, project: Project) -> None:
        self._keys = {"X-App-Id": project.application_id, "X-App-Token": project.application_token}
        self._http = http.client.HTTPConnection("127.0.0.1", project.deployment.port, timeout=120)

    def close(self) -> None:
        self._http.close()

    def timed(self, path: str, body: bytes | None = None) -> tuple[float, bytes]:
        """Seconds from the first byte sent to the last one received, and the answer's body."""
        headers = self._keys if body is None else {**self._keys, "content-type": "application/json"}
        started = time.perf_counter()
        self._http.request("GET" if body is None else "POST", path, body, headers)
        answer = self._http.getresponse()
        content = answer.read()
        seconds = time.perf_counter() - started
        assert answer.status == 200, content
        return seconds, content


def measure(deployment: Deployment, sizes: Sizes) -> Figures:
    """Fill a new project and run the rounds, each after one that is not counted."""
    project = deployment.new_project()
    project.imported(*(msgspec.json.decode(one) for one in orders.request(1, customers=1, products=5, run=LIKE)))
    like, customer_like = f"{LIKE}-order-0000000", f"{LIKE}-customer-000000"
    stored.fill(deployment.dsn, project.id, sizes.stored, like=like, customer_like=customer_like)
    client = Client(project)
    figures = Figures({}, {}, [], len(_body(sizes)))
    try:
        for number in range(sizes.rounds + 1):
            idle = _read_idle(client, sizes)
            idle[IMPORT], loads = _import_idle(client, project, sizes)
            busy = _read_busy(client, project, sizes)
            busy[IMPORT] = _import_busy(client, project, sizes)
            if number:
                figures.json_loads.append(median(loads))
                for kept, found in ((figures.idle, idle), (figures.busy, busy)):
                    for what, seconds in found.items():
                        kept.setdefault(what, []).append(seconds)
    finally:
        client.close()
        project.close()
    return figures


def _paths(sizes: Sizes) -> dict[str, Callable[[], str]]:
    """A path to read for each thing that is read; of single orders a new one each time."""
    draw = random.Random(7)
    fixed = {HEALTH: "/healthz", **LISTS}
    found: dict[str, Callable[[], str]] = {what: functools.partial(str, path) for what, path in fixed.items()}
    found[ONE] = lambda: f"/v1/orders/stored-{draw.randint(1, sizes.stored.orders)}"
    return found


def _read_idle(client: Client, sizes: Sizes) -> dict[str, list[float]]:
    return {what: [client.timed(path())[0] for _ in range(sizes.reads)] for what, path in _paths(sizes).items()}


def _body(sizes: Sizes) -> bytes:
    run = ids.new("run")[-8:]
    made = orders.request(sizes.orders, customers=sizes.customers, products=sizes.products, run=run)
    return b"[" + b",".join(made) + b"]"


def _import_idle(client: Client, project: Project, sizes: Sizes) -> tuple[list[float], list[float]]:
    """Seconds of accepting, each import sent when the one before it is done; and of json.loads of the same body."""
    accepted, loads = [], []
    for body in [_body(sizes) for _ in range(sizes.imports)]:
        started = time.perf_counter()
        json.loads(body)
        loads.append(time.perf_counter() - started)
        seconds, answer = client.timed("/v1/orders/import", body)
        accepted.append(seconds)
        project.finished(_action(answer))
    return accepted, loads


def _import_busy(client: Client, project: Project, sizes: Sizes) -> list[float]:
    """Seconds of accepting while another import runs; what was accepted when the queue was empty is left out."""
    bodies = [_body(sizes) for _ in range(sizes.imports + 2)]
    actions = [_action(client.timed("/v1/orders/import", body)[1]) for body in bodies[:2]]
    accepted = []
    for body in bodies[2:]:
        seconds, answer = client.timed("/v1/orders/import", body)
        if project.get(f"/v1/async-actions/{actions[-1]}")["operation_status"] != "SUCCESS":
            accepted.append(seconds)
        actions.append(_action(answer))
    project.finished(actions[-1])
    return accepted


def _read_busy(client: Client, project: Project, sizes: Sizes) -> dict[str, list[float]]:
    """Reads in turns until the imports are done, at most as many as of an idle server."""
    last = [_action(client.timed("/v1/orders/import", _body(sizes))[1]) for _ in range(sizes.imports)][-1]
    done = threading.Event()

    def wait() -> None:
        project.finished(last)
        done.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    paths = {what: path for what, path in _paths(sizes).items() if what in {HEALTH, ONE, FIRST_PAGE}}
    found: dict[str, list[float]] = {what: [] for what in paths}
    for _ in range(sizes.reads):
        for what, path in paths.items():
            seconds = client.timed(path())[0]
            if not done.is_set():
                found[what].append(seconds)
    waiting.join()
    return found


def _action(answer: bytes) -> str:
    return str(json.loads(answer)["async_action_id"])


# ---- what is printed ---------------------------------------------------------------------------


def table(figures: Figures) -> list[tuple[str, ...]]:
    """What was asked, of an idle server and while imports run; the ratio is to /healthz in the same rounds."""
    return [
        (f"{what}{beside}", *_row(rounds, measured[HEALTH]))
        for beside, measured in (("", figures.idle), (", while imports run", figures.busy))
        for what, rounds in measured.items()
    ]


def accept_table(figures: Figures) -> list[tuple[str, str, str]]:
    """Accepting against json.loads of the same body; medians of the rounds' medians, ratios round by round."""
    rows = [("json.loads of the body", f"{median(figures.json_loads) * 1000:.1f} ms", "1")]
    for what, rounds in (("idle", figures.idle[IMPORT]), ("while imports run", figures.busy[IMPORT])):
        middles = [median(seconds) if seconds else None for seconds in rounds]
        pairs = [(one, loads) for one, loads in zip(middles, figures.json_loads, strict=True) if one is not None]
        rows.append((f"accepting it over HTTP, {what}", _ms([one for one, _ in pairs]), _range(pairs)))
    return rows


def _row(rounds: list[list[float]], yardstick: list[list[float]]) -> tuple[str, str, str, str]:
    seconds = sorted(one for in_round in rounds for one in in_round)
    if not seconds:
        return ("none", "", "", "")
    pairs = [(median(one), median(health)) for one, health in zip(rounds, yardstick, strict=True) if one and health]
    per_s = f"{len(seconds) / sum(seconds):,.0f}/s"
    return per_s, _ms(seconds), f"{seconds[int(len(seconds) * 0.99)] * 1000:.2f} ms", _range(pairs)


def _ms(seconds: list[float]) -> str:
    return f"{median(seconds) * 1000:.2f} ms" if seconds else "none"


def _range(pairs: list[tuple[float, float]]) -> str:
    ratios = [ours / theirs for ours, theirs in pairs]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
