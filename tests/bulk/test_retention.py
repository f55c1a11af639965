"""What is kept for a time is deleted after it, and not before."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from punchcard.bulk import retention
from punchcard.bulk.retention import LOCK, PIECES_MAX, ROWS_MAX, Sweeper
from punchcard.bulk.worker import session_options
from punchcard.db.database import conninfo
from punchcard.settings import load
from tests.bulk.test_failures import bad, finished, listed
from tests.crash import targets
from tests.customers import updating
from tests.deployment import Deployment, Project, until
from tests.http.refusals import refused

PAYLOAD_DAYS, FAILURES_DAYS, REPORT_DAYS = 2, 3, 4
PAYLOAD = "SELECT count(*) FROM async_action_pieces WHERE project_id = %s AND action_id = %s"
FAILURES = "SELECT count(*) FROM async_action_failures WHERE project_id = %s AND action_id = %s"
REPORT = "SELECT count(*) FROM async_action_reports WHERE project_id = %s AND action_id = %s"
KEY = "SELECT count(*) FROM idempotency_keys WHERE project_id = %s AND key = %s"
PROJECTS = 40


@pytest.fixture(scope="module")
def keeping() -> Iterator[Deployment]:
    """A deployment that keeps payloads too, and looks every second."""
    settings: dict[str, object] = {"payload_days": PAYLOAD_DAYS, "failures_days": FAILURES_DAYS}
    settings["report_days"] = REPORT_DAYS
    deployment = Deployment("--workers", "1", settings=settings | {"retention_sweep_seconds": 1})
    deployment.start()
    yield deployment
    deployment.close()


@pytest.fixture
def kept(keeping: Deployment) -> Iterator[Project]:
    """A project whose payloads are kept."""
    with closing(keeping.new_project()) as project:
        yield project


def value(project: Project, query: str, *parameters: Any) -> Any:
    with psycopg.connect(project.deployment.dsn) as conn:
        row = conn.execute(query.encode(), [project.id, *parameters]).fetchone()
    return row[0] if row else None


def make_older(project: Project, action: Any, age: str) -> None:
    """Let the action have finished so long ago."""
    with psycopg.connect(project.deployment.dsn) as conn:
        changed = conn.execute(
            "UPDATE async_actions SET finished_at = clock_timestamp() - %s::interval WHERE project_id = %s AND id = %s",
            [age, project.id, action["id"]],
        )
        assert changed.rowcount == 1


# ---- payloads ----


def test_payloads_are_kept_as_long_as_the_setting_says(kept: Project) -> None:
    """And are in the way of nothing meanwhile: the pieces of a request are processed one by one."""
    orders = [{"source_id": f"o-{no}", "metadata": {"text": "x" * 200_000}} for no in range(12)]
    actions = [finished(kept, orders) for _ in range(3)]
    assert [action["result"]["created_count"] for action in actions] == [12, 0, 0]
    assert [action["result"]["unchanged_count"] for action in actions] == [0, 12, 12]
    pieces = [value(kept, PAYLOAD, action["id"]) for action in actions]
    assert pieces == [3, 3, 3]
    make_older(kept, actions[0], f"{PAYLOAD_DAYS} days -1 minute")
    make_older(kept, actions[1], f"{PAYLOAD_DAYS} days 1 minute")
    until(lambda: value(kept, PAYLOAD, actions[1]["id"]) == 0)
    assert value(
        kept, "SELECT payload_deleted_at FROM async_actions WHERE project_id = %s AND id = %s", actions[1]["id"]
    )
    assert [value(kept, PAYLOAD, actions[no]["id"]) for no in (0, 2)] == [3, 3]


def test_the_payload_of_an_action_under_way_is_not_old(kept: Project) -> None:
    """However long ago it arrived."""
    done = finished(kept, [{"source_id": "done"}])
    with psycopg.connect(kept.deployment.dsn) as blocker:
        kept.imported({"source_id": "o", "customer": {"source_id": "c"}, "status": "PAID", "amount": 1})
        blocker.execute("SELECT 1 FROM customers WHERE project_id = %s FOR UPDATE", [kept.id])
        waiting = kept.post_import([{"source_id": "o", "status": "CREATED"}])
        with psycopg.connect(kept.deployment.dsn) as conn:
            conn.execute(
                "UPDATE async_actions SET created_at = created_at - interval '1 year' WHERE project_id = %s", [kept.id]
            )
        make_older(kept, done, "1 year")
        until(lambda: value(kept, PAYLOAD, done["id"]) == 0)
        assert value(kept, PAYLOAD, waiting) == 1
    assert kept.finished(waiting)["result"]["updated_count"] == 1


def test_without_the_setting_a_payload_goes_with_its_portion(project_18: Project) -> None:
    action = finished(project_18, [{"source_id": f"o-{no}", "metadata": {"t": "x" * 300_000}} for no in range(8)])
    assert value(project_18, PAYLOAD, action["id"]) == 0
    query = "SELECT payload_deleted_at = finished_at AND emptied_at = finished_at FROM async_actions"
    assert value(project_18, f"{query} WHERE project_id = %s AND id = %s", action["id"])


# ---- failures ----


def test_failures_are_kept_as_long_as_the_setting_says(kept: Project) -> None:
    actions = [finished(kept, [{"source_id": "good"}, *(bad(no) for no in range(3))]) for _ in range(3)]
    make_older(kept, actions[0], f"{FAILURES_DAYS} days -1 minute")
    make_older(kept, actions[1], f"{FAILURES_DAYS} days 1 minute")
    until(lambda: value(kept, FAILURES, actions[1]["id"]) == 0)
    mark = "SELECT emptied_at FROM async_actions WHERE project_id = %s AND id = %s"
    until(lambda: value(kept, mark, actions[1]["id"]))
    for no in (0, 2):
        assert value(kept, FAILURES, actions[no]["id"]) == 3
        page = listed(kept, actions[no]["id"])
        assert (len(page["data"]), page["total"], "failures_deleted_at" in page) == (3, 3, False)
    page = listed(kept, actions[1]["id"])
    assert (page["data"], page["total"], page["has_more"]) == ([], 3, False)
    assert page["failures_deleted_at"].startswith(f"{value(kept, mark, actions[1]['id']):%Y-%m-%dT%H:%M:%S}")
    answer = kept.http.get(f"/v1/async-actions/{actions[1]['id']}/failures.jsonl")
    assert "3 failures" in refused(answer, 410, "failures_deleted")["details"]
    assert kept.get(f"/v1/async-actions/{actions[1]['id']}")["result"] == actions[1]["result"]


@pytest.mark.parametrize(("age", "gone"), [("30 days -1 minute", False), ("30 days 1 minute", True)])
def test_old_failures_are_gone_also_before_they_are_deleted(project: Project, age: str, *, gone: bool) -> None:
    action = finished(project, [bad(0), bad(1)])
    make_older(project, action, age)
    page = listed(project, action["id"], limit=1)
    assert (len(page["data"]), page["total"], page["has_more"]) == ((0, 2, False) if gone else (1, 2, True))
    assert ("failures_deleted_at" in page) == gone
    file = project.http.get(f"/v1/async-actions/{action['id']}/failures.jsonl")
    assert file.status_code == (410 if gone else 200)


def test_an_old_action_without_failures_says_nothing_of_deletion(kept: Project) -> None:
    action = finished(kept, [{"source_id": "good"}])
    make_older(kept, action, "1 year")
    until(lambda: value(kept, PAYLOAD, action["id"]) == 0)
    page = listed(kept, action["id"])
    assert (page["total"], "failures_deleted_at" in page) == (0, False)
    assert kept.http.get(f"/v1/async-actions/{action['id']}/failures.jsonl").content == b""


# ---- reports ----


def test_reports_are_kept_as_long_as_the_setting_says(kept: Project) -> None:
    updates = [{"source_id": f"c-{no}", "name": "Ann"} for no in range(3)]
    actions = [updating.finished(kept, "customers/bulk", updates) for _ in range(3)]
    make_older(kept, actions[0], f"{REPORT_DAYS} days -1 minute")
    make_older(kept, actions[1], f"{REPORT_DAYS} days 1 minute")
    until(lambda: value(kept, REPORT, actions[1]["id"]) == 0)
    mark = "SELECT report_deleted_at FROM async_actions WHERE project_id = %s AND id = %s"
    until(lambda: value(kept, mark, actions[1]["id"]))
    for no in (0, 2):
        assert value(kept, REPORT, actions[no]["id"]) == 1
        assert value(kept, mark, actions[no]["id"]) is None
        again = kept.get(f"/v1/async-actions/{actions[no]['id']}")
        assert [row[0] for row in updating.report(kept, again)] == ["c-0", "c-1", "c-2"]
    result = kept.get(f"/v1/async-actions/{actions[1]['id']}")["result"]
    assert (result["done_count"], result["reports"]) == (3, [])
    for link in actions[1]["result"]["reports"]:
        refused(httpx.get(link, trust_env=False), 410, "reports_deleted")


# ---- keys ----


def test_keys_are_deleted_after_a_day(kept: Project) -> None:
    headers = {"content-type": "application/json"}
    for key in ("old", "younger", "new"):
        kept.call("POST", "/v1/orders/import", content=b"[]", headers=headers | {"idempotency-key": key})
    with psycopg.connect(kept.deployment.dsn) as conn:
        for key, age in (("younger", "24 hours -1 minute"), ("old", "24 hours 1 minute")):
            conn.execute(
                "UPDATE idempotency_keys SET created_at = clock_timestamp() - %s::interval"
                " WHERE project_id = %s AND key = %s",
                [age, kept.id, key],
            )
    until(lambda: value(kept, KEY, "old") == 0)
    assert [value(kept, KEY, key) for key in ("younger", "new")] == [1, 1]


# ---- the sweeper ----


def test_it_goes_on_after_the_database_was_restarted(kept: Project) -> None:
    action = finished(kept, [bad(0)])
    before = targets.children(kept.deployment, "postgres")
    for pid in before:
        targets.kill(pid)
    until(lambda: set(targets.children(kept.deployment, "postgres")) - set(before))
    until(kept.deployment.is_ready)
    make_older(kept, action, "1 year")
    until(lambda: value(kept, FAILURES, action["id"]) == 0)
    until(lambda: value(kept, PAYLOAD, action["id"]) == 0)


def test_an_error_does_not_end_it(kept: Project) -> None:
    """A lost session, as any other error, is logged, and the next sweep comes."""
    action = finished(kept, [bad(0)])
    with psycopg.connect(kept.deployment.dsn, autocommit=True) as conn:
        ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'punchcard retention'"
        until(lambda: conn.execute(ends.encode()).fetchall())
    make_older(kept, action, "1 year")
    until(lambda: value(kept, FAILURES, action["id"]) == 0)


@pytest.fixture
def sweeper(workerless: str) -> Sweeper:
    """One of a database that has no workers."""
    settings = load(environment={})
    return Sweeper(workerless, settings, options=session_options(settings))


@pytest.fixture
def conn(workerless: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of that database."""
    with psycopg.connect(conninfo(workerless, part="test"), autocommit=True) as session:
        yield session


def store(
    conn: psycopg.Connection[Any], *, actions: int, failures: int, keys: int, age: str, report_rows: int = 1
) -> str:
    """A new project with finished actions, failures and rows of a report each, and keys, all of that age; its id."""
    project = f"proj_{uuid.uuid4().hex}"
    conn.execute("INSERT INTO projects (id, name) VALUES (%s, 'Test')", [project])
    conn.execute(
        "INSERT INTO async_actions (project_id, id, type, lane, status, operation_status, request_id, created_at,"
        " updated_at, finished_at, records_total, records_next, records_failed, portion_records)"
        " SELECT %s, 'aa_' || g, 'TESTS.OLD', 'fifo', 'DONE', 'FAILED', 'v-1', t.at + g * interval '1 microsecond',"
        " t.at, t.at, %s, %s, %s, 1"
        " FROM generate_series(1, %s) AS g, (SELECT clock_timestamp() - %s::interval AS at) AS t",
        [project, failures, failures, failures, actions, age],
    )
    conn.execute(
        "INSERT INTO async_action_failures (project_id, action_id, record, reason, body)"
        " SELECT %s, 'aa_' || g, r, 'why', '{}' FROM generate_series(1, %s) AS g, generate_series(1, %s) AS r",
        [project, actions, failures],
    )
    conn.execute(
        "INSERT INTO async_action_pieces (project_id, action_id, first_record, records, body)"
        " SELECT %s, 'aa_' || g, 0, 1, '[{}]' FROM generate_series(1, %s) AS g",
        [project, actions],
    )
    conn.execute(
        "INSERT INTO async_action_reports (project_id, action_id, first_record, records, body)"
        " SELECT %s, 'aa_' || g, r, 1, '{}' FROM generate_series(1, %s) AS g, generate_series(1, %s) AS r",
        [project, actions, report_rows],
    )
    conn.execute(
        "INSERT INTO idempotency_keys (project_id, key, fingerprint, answer, created_at)"
        " SELECT %s, 'key-' || g, %s, '{}', clock_timestamp() - %s::interval FROM generate_series(1, %s) AS g",
        [project, bytes(32), age, keys],
    )
    return project


def left(conn: psycopg.Connection[Any], project: str) -> dict[str, int]:
    """Rows of a project, by table."""
    found = {}
    for table in ("async_action_failures", "async_action_pieces", "async_action_reports", "idempotency_keys"):
        row = conn.execute(f"SELECT count(*) FROM {table} WHERE project_id = %s".encode(), [project]).fetchone()
        assert row is not None
        found[table] = row[0]
    return found


@pytest.mark.parametrize("failures", [ROWS_MAX - 1, ROWS_MAX, 2 * ROWS_MAX + 1])
def test_one_sweep_deletes_all_that_is_due(
    sweeper: Sweeper, conn: psycopg.Connection[Any], failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much it is, and in however many projects; what is younger stays."""
    monkeypatch.setattr(retention, "PROJECTS_A_PAGE", 2)
    monkeypatch.setattr(retention, "ACTIONS_A_PAGE", 2)
    asyncio.run(sweeper.sweep())
    many: dict[str, Any] = {"failures": failures, "keys": failures, "report_rows": PIECES_MAX + 1}
    old = [store(conn, actions=3, age="31 days", **many) for _ in range(3)]
    young = store(conn, actions=3, failures=2, keys=2, age="23 hours")
    swept = asyncio.run(sweeper.sweep())
    assert swept is not None
    assert (swept.keys, swept.failures, swept.reports) == (3 * failures, 9 * failures, 9 * (PIECES_MAX + 1))
    for project in old:
        assert set(left(conn, project).values()) == {0}
    # of a payload nothing is kept by default
    assert left(conn, young) == {
        "async_action_failures": 6,
        "async_action_pieces": 0,
        "async_action_reports": 3,
        "idempotency_keys": 2,
    }
    assert asyncio.run(sweeper.sweep()) == retention.Swept(), "nothing is left to do"


def test_one_worker_sweeps_at_a_time(sweeper: Sweeper, conn: psycopg.Connection[Any]) -> None:
    project = store(conn, actions=1, failures=1, keys=1, age="1 year")
    conn.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    assert asyncio.run(sweeper.sweep()) is None
    assert set(left(conn, project).values()) == {1}
    conn.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    assert asyncio.run(sweeper.sweep()) is not None
    assert set(left(conn, project).values()) == {0}
    assert conn.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


def test_a_sweep_that_is_cut_off_is_continued(sweeper: Sweeper, conn: psycopg.Connection[Any]) -> None:
    """Marks come after deletions: failures that could not be deleted are still due."""
    project = store(conn, actions=2, failures=3, keys=0, age="1 year")
    with psycopg.connect(conn.info.dsn) as holder:
        holder.execute(
            "SELECT 1 FROM async_action_failures WHERE project_id = %s AND action_id = 'aa_2' FOR UPDATE", [project]
        )
        with pytest.raises(psycopg.errors.LockNotAvailable):
            asyncio.run(sweeper.sweep())
        assert left(conn, project)["async_action_failures"] == 3
    asyncio.run(sweeper.sweep())
    assert set(left(conn, project).values()) == {0}
    marked = "SELECT count(*) FROM async_actions WHERE project_id = %s AND emptied_at IS NOT NULL"
    assert conn.execute(marked.encode(), [project]).fetchone() == (2,)


def test_looking_for_work_reads_no_table_but_the_projects(conn: psycopg.Connection[Any]) -> None:
    """One index probe a project and kind, however much there is that is not due."""
    parameters = {"after": "", "limit": PROJECTS}
    parameters |= dict.fromkeys(("keys_before", "pieces_before", "failures_before", "reports_before"), "2000-01-01")
    with conn.transaction(force_rollback=True):
        for _ in range(PROJECTS):
            store(conn, actions=200, failures=1, keys=200, age="1 hour")
        conn.execute("ANALYZE async_actions, idempotency_keys, projects")
        explain = b"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + retention.SQL.retention_projects
        row = conn.execute(explain, parameters).fetchone()
    assert row is not None
    plan = msgspec.json.decode(row[0]) if isinstance(row[0], msgspec.Raw) else row[0]
    for node in nodes(plan[0]["Plan"]):
        if node.get("Relation Name") in {"async_actions", "idempotency_keys"}:
            assert node["Node Type"].startswith("Index"), node
            assert (node["Actual Rows"], node.get("Rows Removed by Filter", 0)) == (0, 0), node


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All nodes of a plan."""
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)
