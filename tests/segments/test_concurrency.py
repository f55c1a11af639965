"""Everything that changes memberships, at once, by two workers: they end up right, and events say how."""

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.custom_events.defining import define, event
from tests.deployment import Project
from tests.segments import consistency
from tests.segments.placed import all_placed, having

SEED = 61
PEOPLE = 200
ACTIVE = {
    "buyers": having("summary.orders.total_count", "$more_than", 2),
    "big": having("summary.orders.total_amount", "$more_than_equal", 1000),
    "red": having("metadata.color", "$is", "red"),
    "not red": having("metadata.color", "$is_not", "red"),
    "curious": having("events.looked.count", "$more_than", 1),
    "today": having("summary.orders.last_order_date", "$today", True),
}


class Busy:
    """A thread that does something again and again, on a connection of its own."""

    def __init__(self, work: Callable[[], None], times: int) -> None:
        self.failure: BaseException | None = None
        self._work, self._times = work, times
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            for _ in range(self._times):
                self._work()
        except BaseException as error:
            self.failure = error


def run_all(*busy: Busy) -> None:
    for one in busy:
        one.thread.start()
    for one in busy:
        one.thread.join()
    for one in busy:
        if one.failure is not None:
            raise one.failure


@pytest.mark.timeout(300)
def test_everything_at_once(project: Project) -> None:  # noqa: C901 - six small writers
    rng = random.Random(SEED)
    define(project, event("looked"))
    clients = [
        Project(project.deployment, project.id, project.application_id, project.application_token) for _ in range(5)
    ]
    for name, given in ACTIVE.items():
        project.call("POST", "/v1/segments", json={"name": name, "type": "auto-update", "filter": given})
    passive = project.call(
        "POST",
        "/v1/segments",
        json={"name": "passive", "type": "passive", "filter": having("metadata.color", "$is", "blue")},
    )["id"]

    def person() -> str:
        return f"c{rng.randrange(PEOPLE)}"

    def color() -> str:
        return rng.choice(["red", "blue", "green"])

    def imports() -> None:
        orders: list[dict[str, Any]] = [
            {"source_id": f"o{rng.randrange(1500)}", "status": rng.choice(["PAID", "CANCELED"]), "amount": 300,
             "customer": {"source_id": person(), "metadata": {"color": color()}}}
            for _ in range(400)
        ]  # fmt: skip
        clients[0].call("POST", "/v1/orders/import", json=orders)

    def requests() -> None:
        source_id = person()
        if rng.random() < 0.5:
            clients[1].call("POST", "/v1/customers", json={"source_id": source_id, "metadata": {"color": color()}})
        else:
            body = {
                "source_id": f"r{rng.randrange(300)}",
                "status": "PAID",
                "amount": 700,
                "customer": {"source_id": source_id},
            }
            clients[1].call("POST", "/v1/orders", json=body)

    def looks() -> None:
        clients[2].call("POST", "/v1/events", json={"event": "looked", "customer": {"source_id": person()}})

    def populations() -> None:
        made = clients[3].call(
            "POST",
            "/v1/segments",
            json={"name": "new", "type": "auto-update", "filter": having("metadata.color", "$is", color())},
        )
        if rng.random() < 0.5:
            assert clients[3].http.delete(f"/v1/segments/{made['id']}").status_code == 204
        clients[3].call("PUT", f"/v1/segments/{passive}", json={"filter": having("metadata.color", "$is", color())})

    def deletions() -> None:
        assert clients[4].http.delete(f"/v1/customers/{person()}").status_code in {204, 404}

    run_all(Busy(imports, 12), Busy(requests, 150), Busy(looks, 100), Busy(populations, 15), Busy(deletions, 20))
    for action in project.get("/v1/async-actions", limit=100)["async_actions"]:
        finished = project.finished(action["id"])
        assert finished["result"]["failed_count"] == 0
    all_placed(project)
    consistency.check(project)
    for action in project.get("/v1/async-actions", limit=100)["async_actions"]:
        assert project.get(f"/v1/async-actions/{action['id']}")["effects"]["status"] == "DONE"
    for client in clients:
        client.close()
