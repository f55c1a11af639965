"""Accepting waits for no portion, and what users see of an action."""

import random
import statistics
import time
from typing import Any

import psycopg

from tests.deployment import Project, until

POSTS = 40
ACCEPT_SECONDS_MAX = 0.05


def orders(name: str, count: int) -> list[dict[str, Any]]:
    return [
        {"source_id": f"{name}-{n}", "status": "PAID", "amount": 5, "customer": {"source_id": f"c-{n}"}}
        for n in range(count)
    ]


def is_blocked(project: Project, conn: psycopg.Connection[Any]) -> bool:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'punchcard worker' AND wait_event_type = 'Lock'"
    )
    row = conn.execute(query).fetchone()
    return bool(row and row[0])


def test_accepting_waits_for_no_portion(project: Project) -> None:
    """While a portion is held open, imports of the same project are accepted in less than 50 ms, and so are others'."""
    project.imported(*orders("o", 1))
    other = project.deployment.new_project()
    dsn = project.deployment.dsn
    with psycopg.connect(dsn) as blocker, psycopg.connect(dsn, autocommit=True) as observer:
        blocker.execute("SELECT 1 FROM customers WHERE project_id = %s FOR UPDATE", [project.id])
        held = project.post_import([{"source_id": "o-0", "status": "CREATED"}])
        until(lambda: is_blocked(project, observer))
        seconds, behind = [], []
        for no in range(POSTS):
            began = time.perf_counter()
            behind.append(project.post_import(orders(f"behind {no}", 3)))
            seconds.append(time.perf_counter() - began)
        other.imported(*orders("other", 20))
        waiting = project.get(f"/v1/async-actions/{behind[-1]}")
        running = project.get(f"/v1/async-actions/{held}")
    print(f"accepted in {statistics.median(seconds) * 1000:.1f} ms (median), {max(seconds) * 1000:.1f} ms at most")
    # whoever has to wait for the portion does so each time; the machine is slow now and then
    assert min(seconds) < ACCEPT_SECONDS_MAX
    assert (waiting["status"], waiting["operation_status"], waiting["progress"]) == ("ENQUEUED", "UNKNOWN", 0)
    assert (running["status"], running["operation_status"], running["progress"]) == ("IN_PROGRESS", "UNKNOWN", 0)
    assert "result" not in running
    assert project.finished(behind[-1])["result"]["done_count"] == 3
    other.close()


def test_what_an_action_tells(project: Project) -> None:
    action = project.finished(project.post_import(orders("o", 3)))
    assert (action["status"], action["operation_status"], action["progress"]) == ("DONE", "SUCCESS", 100)
    assert 0 < action["processing_time"] < 60_000
    later = project.get(f"/v1/async-actions/{action['id']}")
    assert later["processing_time"] == action["processing_time"], "of a finished action it stands still"
    failed = project.finished(project.post_import([{"source_id": "x", "customer": {"id": "cust_unknown"}}]))
    assert (failed["status"], failed["operation_status"]) == ("DONE", "FAILED")
    partly = project.finished(
        project.post_import([{"source_id": "x", "customer": {"id": "cust_unknown"}}, *orders("y", 1)])
    )
    assert (partly["operation_status"], partly["result"]["failed_count"]) == ("SUCCESS", 1)
    listed = [one["id"] for one in project.get("/v1/async-actions")["async_actions"]]
    assert listed == [partly["id"], failed["id"], action["id"]]


def test_progress_grows_while_an_action_runs(project_18: Project) -> None:
    project_18.imported({"source_id": "last", "status": "PAID", "amount": 1, "customer": {"source_id": "last"}})
    with psycopg.connect(project_18.deployment.dsn) as blocker:
        blocker.execute("SELECT 1 FROM customers WHERE project_id = %s FOR UPDATE", [project_18.id])
        # too much for one portion: the last order is in the second one and waits
        wide = [{**order, "metadata": {"note": "x" * 3000}} for order in orders("o", 1500)]
        held = project_18.post_import([*wide, {"source_id": "last", "status": "CREATED"}])
        until(lambda: project_18.get(f"/v1/async-actions/{held}")["progress"] > 0)
        seen = project_18.get(f"/v1/async-actions/{held}")
        assert 0 < seen["progress"] < 100
        assert seen["processing_time"] > 0
    assert project_18.finished(held)["progress"] == 100


def test_an_order_that_no_index_can_hold_does_not_block_the_queue(project: Project) -> None:
    """PostgreSQL refuses it with an error of class 54; whoever sends it gets a reason, and the next import runs."""
    text = random.Random(7).randbytes(20_000).hex()  # long, and not to be compressed
    product = {"source_id": text, "name": "n", "override": True}
    body = [{"source_id": "good"}, {"source_id": "bad", "items": [{"quantity": 1, "product": product}]}]
    answer = project.http.post("/v1/orders/import", json=body)
    if answer.status_code == 400:  # refused at once: better still
        return
    result = project.finished(answer.json()["async_action_id"])["result"]
    assert [(failure["index"], failure["source_id"]) for failure in result["failed"]] == [(1, "bad")]
    project.imported({"source_id": "next"})
