"""The key and the zone of `ordered_at` change: every stored order learns anew when it was placed."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import psycopg

from tests.crash import targets
from tests.deployment import Project, until
from tests.orders.lineage import hold_segments
from tests.orders.stored import rows, session

MANY = 20_000


def update(project: Project, *changes: str) -> str | None:
    """Change settings by the command; the id of the job that redates the orders, if one was scheduled."""
    said = project.deployment.command("projects", "update", project.id, *changes)
    assert said.returncode == 0, said.stderr
    return dict(line.split(maxsplit=1) for line in said.stdout.splitlines()).get("redating")


def redated(project: Project, *changes: str) -> Any:
    """Change settings and wait; the job's result."""
    action_id = update(project, *changes)
    assert action_id is not None
    return project.finished(action_id)["result"]


def dates(project: Project) -> dict[str, str | None]:
    return {order["source_id"]: order.get("ordered_at") for order in project.all_orders()}


def versions(project: Project, table: str = "orders") -> dict[str, str]:
    found = rows(project, f"SELECT source_id, xmin::text AS version FROM {table} WHERE project_id = %(project)s")
    return {row["source_id"]: row["version"] for row in found}


def inbox(project: Project) -> list[tuple[str, str]]:
    """Who was announced to the segment lane since this was last asked, and why."""
    taken = rows(
        project,
        """WITH taken AS (DELETE FROM segment_inbox WHERE project_id = %(project)s RETURNING customer_id, cause)
           SELECT c.source_id, t.cause FROM taken AS t JOIN customers AS c ON c.id = t.customer_id
            WHERE c.project_id = %(project)s ORDER BY 1, 2""",
    )
    return [(row["source_id"], row["cause"]) for row in taken]


def summary(project: Project, customer: str) -> tuple[Any, Any, Any]:
    orders = project.get(f"/v1/customers/{customer}")["summary"]["orders"]
    return orders["total_count"], orders["last_order_amount"], orders.get("last_order_date")


def test_another_key(project: Project) -> None:
    project.imported(
        {"source_id": "both", "metadata": {"ordered_at": "2011-01-01", "bought": "2012-02-02"}},
        {"source_id": "new only", "metadata": {"bought": "2012-02-03T04:05:06Z"}},
        {"source_id": "old only", "metadata": {"ordered_at": "2011-01-01"}},
        {"source_id": "none", "metadata": {"x": 1}},
        {"source_id": "no text", "metadata": {"bought": 20120101}},
        {"source_id": "no date", "metadata": {"ordered_at": "2011-01-01", "bought": "soon"}},
        {"source_id": "null", "metadata": {"ordered_at": "2011-01-01", "bought": None}},
        {"source_id": "list", "metadata": {"bought": ["2012-01-01"]}},
        {"source_id": "same", "metadata": {"ordered_at": "2011-01-01", "bought": "2011-01-01T00:00:00Z"}},
    )
    before, edited = versions(project), {o["source_id"]: o.get("updated_at") for o in project.all_orders()}
    result = redated(project, "--ordered-at-key", "bought")
    assert (result["done_count"], result["updated_count"], result["unchanged_count"]) == (9, 5, 4)
    assert (result["failed_count"], result["failed"], result["invalid_ordered_at_count"]) == (0, [], 3)
    assert result["message"] == "Looked at 9 order(s): 5 got another ordered_at, 0 failed."
    assert dates(project) == {
        "both": "2012-02-02T00:00:00Z",
        "new only": "2012-02-03T04:05:06Z",
        "old only": None,
        "none": None,
        "no text": None,
        "no date": None,
        "null": None,
        "list": None,
        "same": "2011-01-01T00:00:00Z",
    }
    rewritten = {name for name, version in versions(project).items() if version != before[name]}
    assert rewritten == {"both", "new only", "old only", "no date", "null"}
    assert {o["source_id"]: o.get("updated_at") for o in project.all_orders()} == edited


def test_another_zone_moves_local_times_alone(project: Project) -> None:
    sent = {"winter": "2011-01-01", "summer": "2011-07-01T12:00", "skipped hour": "2011-03-27T02:30:00",
            "doubled hour": "2011-10-30T02:30:00", "offset": "2011-07-01T00:00:00Z"}  # fmt: skip
    project.imported(*({"source_id": name, "metadata": {"ordered_at": text}} for name, text in sent.items()))
    result = redated(project, "--timezone", "europe/warsaw")
    assert (result["updated_count"], result["unchanged_count"]) == (4, 1)
    assert dates(project) == {
        "winter": "2010-12-31T23:00:00Z",
        "summer": "2011-07-01T10:00:00Z",
        "skipped hour": "2011-03-27T01:30:00Z",
        "doubled hour": "2011-10-30T01:30:00Z",
        "offset": "2011-07-01T00:00:00Z",
    }


def test_what_the_import_would_have_stored_is_what_the_walk_stores(project_18: Project) -> None:
    values = ["2011-03-01", "2011-03-01 10:00", "2011-03-01T10:00:00,123456789Z", "0001-01-01", "9999-12-31T23:59:59",
              "2011-02-29", "", True, {}, {"a": "2011-03-01"}, 1.5, "2011-03-01T10+0200"]  # fmt: skip
    project_18.imported(*({"source_id": f"{n}", "metadata": {"bought": value}} for n, value in enumerate(values)))
    walked = redated(project_18, "--ordered-at-key", "bought", "--timezone", "America/Adak")
    by_walk = dates(project_18)
    project_18.imported(*({"source_id": f"i{n}", "metadata": {"bought": value}} for n, value in enumerate(values)))
    by_import = dates(project_18)
    assert [by_import[f"i{n}"] for n in range(len(values))] == [by_walk[f"{n}"] for n in range(len(values))]
    again = project_18.import_orders([{"source_id": f"{n}", "metadata": {"bought": v}} for n, v in enumerate(values)])
    assert again["unchanged_count"] == len(values)
    assert again["invalid_ordered_at_count"] == walked["invalid_ordered_at_count"]


def test_the_last_order_of_customers_moves(project: Project) -> None:
    hold_segments(project)

    def order(source_id: str, customer: str, amount: int, old: str, new: str, status: str = "PAID") -> dict[str, Any]:
        metadata = {"ordered_at": old, "bought": new}
        return {"source_id": source_id, "status": status, "amount": amount, "metadata": metadata,
                "customer": {"source_id": customer}}  # fmt: skip

    project.imported(
        order("a1", "moves", 1, "2011-01-01", "2013-01-01"),
        order("a2", "moves", 2, "2012-01-01", "2010-01-01"),
        order("b1", "canceled", 1, "2011-01-01", "2011-01-01"),
        order("b2", "canceled", 2, "2010-01-01", "2013-01-01", status="CANCELED"),
        order("c1", "same date", 1, "2011-01-01", "2015-01-01"),
        order("c2", "same date", 2, "2012-01-01", "2015-01-01"),
        order("d1", "not concerned", 1, "2011-01-01", "2011-01-01"),
    )
    inbox(project)
    edited = {row["source_id"]: row.get("updated_at") for row in project.get("/v1/customers")["customers"]}
    before = versions(project, "customers")
    redated(project, "--ordered-at-key", "bought")
    assert summary(project, "moves") == (2, 1, "2013-01-01T00:00:00Z")
    assert summary(project, "canceled") == (1, 1, "2011-01-01T00:00:00Z")
    assert summary(project, "same date") == (2, 2, "2015-01-01T00:00:00Z")
    assert summary(project, "not concerned") == (1, 1, "2011-01-01T00:00:00Z")
    # in one row each, however many of their orders changed
    assert inbox(project) == [(name, "orders.redating") for name in ("canceled", "moves", "same date")]
    # a lock leaves a mark on the row too: only those whose orders did not change are surely untouched
    assert versions(project, "customers")["not concerned"] == before["not concerned"]
    assert {row["source_id"]: row.get("updated_at") for row in project.get("/v1/customers")["customers"]} == edited


def test_a_project_without_orders(project_18: Project) -> None:
    result = redated(project_18, "--ordered-at-key", "bought")
    assert (result["done_count"], result["updated_count"], result["failed_count"]) == (0, 0, 0)


def test_no_change_is_no_job(project_18: Project) -> None:
    assert update(project_18, "--ordered-at-key", "ordered_at", "--timezone", "utc", "--name", "New name") is None
    assert project_18.get("/v1/async-actions", internal="true")["async_actions"] == []


def test_the_job_is_seen_by_those_who_ask_for_it(project_18: Project) -> None:
    """A client that was generated from the documented description fails on a type that is not in its list."""
    action_id = update(project_18, "--ordered-at-key", "bought")
    assert action_id is not None
    action = project_18.finished(action_id)
    assert (action["type"], action["status"]) == ("PUNCHCARD.ORDERS_REDATING", "DONE")
    assert project_18.get("/v1/async-actions")["async_actions"] == []
    assert [a["id"] for a in project_18.get("/v1/async-actions", internal="true")["async_actions"]] == [action_id]
    project_18.get("/v1/async-actions", internal="1", expect=400)


# ---- beside others -----------------------------------------------------------------------------


def fill(project: Project, count: int = MANY) -> None:
    """So many orders of a hundred customers, each dated under two keys."""
    rows(
        project,
        """INSERT INTO customers (project_id, id, source_id, created_at, orders_total_amount, orders_total_count)
           SELECT %(project)s, 'cust_' || lpad(n::text, 8, '0'), 'c-' || n, now() - n * interval '1 s', 0, 0
             FROM generate_series(1, 100) AS n RETURNING 1""",
    )
    rows(
        project,
        """INSERT INTO orders (project_id, id, source_id, status, customer_id, amount, total_amount, metadata,
                               ordered_at, created_at)
           SELECT %(project)s, 'ord_' || lpad(n::text, 8, '0'), 'o-' || n, 'PAID',
                  'cust_' || lpad((1 + n %% 100)::text, 8, '0'), n, n,
                  jsonb_build_object('ordered_at', '2011-01-01', 'bought', '2012-01-01', 'n', n),
                  '2011-01-01', now() - n * interval '1 s'
             FROM generate_series(1, %(count)s) AS n RETURNING 1""",
        count=count,
    )


def dated(project: Project, date: str) -> int:
    query = "SELECT count(*) FROM orders WHERE project_id = %(project)s AND ordered_at = %(date)s::timestamptz"
    return int(rows(project, query, date=date)[0]["count"])


@contextlib.contextmanager
def holding_an_order(project: Project) -> Iterator[psycopg.Connection[Any]]:
    """The walk stops in its middle: an order there is locked."""
    with session(project.deployment) as conn, conn.transaction():
        query = "SELECT 1 FROM orders WHERE project_id = %s AND id > 'ord_00015000' ORDER BY id LIMIT 1 FOR UPDATE"
        conn.execute(query, [project.id])
        yield conn


def walked(project: Project, action_id: str) -> int:
    return int(project.get(f"/v1/async-actions/{action_id}")["records_processed"])


def test_a_long_walk_survives_its_worker(project_18: Project) -> None:
    fill(project_18)
    with holding_an_order(project_18):
        action_id = update(project_18, "--ordered-at-key", "bought")
        assert action_id is not None
        until(lambda: walked(project_18, action_id) > 5000 and waits_for_a_lock(project_18))
        assert 0 < dated(project_18, "2012-01-01") < MANY
        workers = targets.children(project_18.deployment, "worker")
        for pid in workers:
            targets.kill(pid, signal.SIGKILL)
    result = project_18.finished(action_id)["result"]
    assert (result["done_count"], result["updated_count"], result["failed_count"]) == (MANY, MANY, 0)
    assert dated(project_18, "2012-01-01") == MANY
    wrong = rows(
        project_18,
        """SELECT c.id FROM customers AS c WHERE c.project_id = %(project)s AND c.orders_last_id IS DISTINCT FROM (
             SELECT o.id FROM orders AS o WHERE o.project_id = %(project)s AND o.customer_id = c.id
              ORDER BY coalesce(o.ordered_at, o.created_at) DESC, o.created_at DESC LIMIT 1)""",
    )
    assert wrong == []


def waits_for_a_lock(project: Project) -> bool:
    query = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'punchcard worker' AND wait_event_type = 'Lock'"
    return bool(rows(project, query))


def test_an_import_behind_it_uses_the_new_key_and_a_second_change_is_fine(project_18: Project) -> None:
    fill(project_18)
    with holding_an_order(project_18):
        first = update(project_18, "--ordered-at-key", "bought")
        assert first is not None
        until(lambda: walked(project_18, first) > 5000)
        behind = project_18.post_import(
            [{"source_id": "new", "metadata": {"bought": "2014-01-01", "placed": "2015-01-01"}},
             {"source_id": "o-19999", "metadata": {"placed": "2016-01-01"}}]
        )  # fmt: skip
        second = update(project_18, "--ordered-at-key", "placed")
        assert second is not None
        assert project_18.get(f"/v1/async-actions/{behind}")["position"] == 1
    assert project_18.finished(first)["result"]["done_count"] == MANY
    assert project_18.finished(behind)["result"]["created_count"] == 1
    assert project_18.finished(second)["result"]["done_count"] == MANY + 1
    assert dated(project_18, "2012-01-01") == dated(project_18, "2011-01-01") == 0
    assert project_18.get("/v1/orders/new")["ordered_at"] == "2015-01-01T00:00:00Z"
    assert project_18.get("/v1/orders/o-19999")["ordered_at"] == "2016-01-01T00:00:00Z"


def test_another_writer_loses_nothing(project_18: Project) -> None:
    """Somebody changes an order between the walk's reading and its writing: it is read again."""
    project_18.imported(
        {"source_id": "o", "status": "PAID", "amount": 3, "customer": {"source_id": "c"},
         "metadata": {"ordered_at": "2011-01-01", "bought": "2012-01-01"}},
    )  # fmt: skip
    with session(project_18.deployment) as conn, conn.transaction():
        conn.execute("SELECT 1 FROM customers WHERE project_id = %s FOR NO KEY UPDATE", [project_18.id])
        action_id = update(project_18, "--ordered-at-key", "bought")
        assert action_id is not None
        until(lambda: waits_for_a_lock(project_18))
        conn.execute(
            """UPDATE orders SET metadata = metadata || '{"bought": "2013-01-01"}', total_amount = 4
                WHERE project_id = %s""",
            [project_18.id],
        )
    assert project_18.finished(action_id)["result"]["updated_count"] == 1
    assert dates(project_18) == {"o": "2013-01-01T00:00:00Z"}
    assert summary(project_18, "c")[1:] == (4, "2013-01-01T00:00:00Z")
