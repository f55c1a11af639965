"""Reports: by a link that needs no keys, for a time, in the order of the records."""

import csv
import io
import itertools
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard import ids, secret_key
from punchcard.bulk import downloads
from punchcard.bulk.reports import Links, csv_header, csv_lines
from punchcard.http.signing import Signer
from punchcard.settings import load
from punchcard.vouchers.bulk import VouchersBulkUpdate
from tests.bulk.test_failures import everything, slow_download
from tests.deployment import Deployment, Project, until
from tests.http.refusals import refused
from tests.serving.running import running

COLUMNS = VouchersBulkUpdate.report_columns
DAYS = 7
Row = Sequence[Any]


def finished(project: Project, *portions: Sequence[Row], age: str = "0 s", kind: str = VouchersBulkUpdate.type) -> str:
    """A finished action, so long ago, with a report of these portions; its id."""
    action_id = ids.new("aa")
    total = sum(map(len, portions))
    with psycopg.connect(project.deployment.dsn) as conn:
        conn.execute(
            "INSERT INTO async_actions (project_id, id, type, lane, status, operation_status, request_id, created_at,"
            " updated_at, started_at, finished_at, records_total, records_next, records_done, portion_records, result)"
            " SELECT %s, %s, %s, 'fifo', 'DONE', 'SUCCESS', 'v-1', t.at, t.at, t.at, t.at, %s, %s, %s, 1, %s"
            " FROM (SELECT clock_timestamp() - %s::interval AS at) AS t",
            [project.id, action_id, kind, total, total, total, b'{"done_count": 0, "errors": []}'.decode(), age],
        )
        first = 0
        for rows in portions:
            lines = b"".join(msgspec.json.encode(dict(zip(COLUMNS, row, strict=True))) + b"\n" for row in rows)
            conn.execute(
                "INSERT INTO async_action_reports (project_id, action_id, first_record, records, body)"
                " VALUES (%s, %s, %s, %s, %s)",
                [project.id, action_id, first, len(rows), lines],
            )
            first += len(rows)
    return action_id


def links(project: Project, action_id: str) -> list[str]:
    found = project.get(f"/v1/async-actions/{action_id}")["result"]["reports"]
    assert all(isinstance(url, str) for url in found)
    return list(found)


def opened(url: str) -> httpx.Response:
    """What somebody without keys gets."""
    return httpx.get(url, trust_env=False, timeout=60)


def table(url: str) -> list[list[str]]:
    answer = opened(url)
    assert answer.status_code == 200, answer.text
    return list(csv.reader(io.StringIO(answer.text, newline="")))


def signer(deployment: Deployment) -> Signer:
    return Signer(secret_key.of_directory(deployment.data), "reports")


def signed(project: Project, action_id: str, expires: datetime, *, name: str = "csv") -> str:
    """A link as the server makes it, with an end of our choosing."""
    query = signer(project.deployment).query(project.id, action_id, name, expires=int(expires.timestamp()))
    return f"{project.deployment.url}/reports/{project.id}/{action_id}.{name}?{query}"


def till(url: str) -> datetime:
    return datetime.fromtimestamp(int(parse_qs(urlsplit(url).query)["expires"][0]), UTC)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# ---- the result ----


def test_the_result_of_a_finished_action_has_links(project: Project) -> None:
    action_id = finished(project, [("a", True, True, None)])
    action = project.get(f"/v1/async-actions/{action_id}")
    result = action["result"]
    assert result.keys() == {"done_count", "errors", "reports", "reports_available_till"}
    places = [urlsplit(url) for url in result["reports"]]
    assert [f"{place.scheme}://{place.netloc}" for place in places] == [project.deployment.url] * 2
    assert [place.path for place in places] == [
        f"/reports/{project.id}/{action_id}.{name}" for name in ("csv", "jsonl")
    ]
    # the action was updated last when it finished
    assert moment(result["reports_available_till"]) == moment(action["updated_at"]) + timedelta(days=DAYS)
    assert "result" not in project.get("/v1/async-actions")["async_actions"][0]


def test_other_kinds_of_job_have_no_reports(project_18: Project) -> None:
    action_id = finished(project_18, kind="ORDERS.IMPORT")
    assert project_18.get(f"/v1/async-actions/{action_id}")["result"] == {"done_count": 0, "errors": []}


@pytest.mark.parametrize(
    ("age", "hours"),
    [("0 s", 24), ("5 days", 24), ("6 days 1 hour", 23), ("6 days 23 hours", 1)],
)
def test_a_link_opens_for_a_day_and_no_longer_than_the_report_is_kept(
    project_18: Project, age: str, hours: int
) -> None:
    found = project_18.get(f"/v1/async-actions/{finished(project_18, age=age)}")["result"]
    for url in found["reports"]:
        assert abs(till(url) - datetime.now(UTC) - timedelta(hours=hours)) < timedelta(minutes=5)
        assert till(url) <= moment(found["reports_available_till"])
        assert opened(url).status_code == 200


@pytest.mark.parametrize(("age", "kept"), [("7 days -1 minute", True), ("7 days 1 minute", False)])
def test_there_are_no_links_once_the_time_is_over(project: Project, age: str, *, kept: bool) -> None:
    """Whether the report was deleted yet or not; and a link that is still valid opens nothing."""
    action_id = finished(project, [("a", True, True, None)], age=age)
    result = project.get(f"/v1/async-actions/{action_id}")["result"]
    assert len(result["reports"]) == (2 if kept else 0)
    assert (moment(result["reports_available_till"]) > datetime.now(UTC)) == kept
    answer = opened(signed(project, action_id, datetime.now(UTC) + timedelta(hours=1)))
    if kept:
        assert answer.status_code == 200
    else:
        assert "kept until" in refused(answer, 410, "reports_deleted")["details"]


def test_links_begin_with_the_public_address() -> None:
    """Also behind a proxy that puts the server below a path."""
    arguments = {"public_url": "https://shop.example/punchcard/", "secret_key": "k" * 32}
    made = Links([VouchersBulkUpdate()], load(environment={}, arguments=arguments))
    row = msgspec.defstruct("Row", ["id", "type", "finished_at", "now"])
    now = datetime.now(UTC)
    result = made.added(b"{}", "proj_1", row("aa_1", VouchersBulkUpdate.type, now, now))
    assert [url.partition("?")[0] for url in result["reports"]] == [
        f"https://shop.example/punchcard/reports/proj_1/aa_1.{name}" for name in ("csv", "jsonl")
    ]


# ---- the files ----


def test_a_csv_is_a_download_for_everybody_who_has_the_link(project: Project) -> None:
    action_id = finished(project, [("a,b", True, True, None), ('"q"', False, False, "line\r\nline")])
    answer = opened(links(project, action_id)[0])
    assert answer.content == b'code,found,updated,reason\r\n"a,b",true,true,\r\n"""q""",false,false,"line\r\nline"\r\n'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="{action_id}.csv"'
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-request-id"]


def test_json_lines_have_the_values_as_they_are(project: Project) -> None:
    rows = [("=1+1", True, True, None), ("ü\n'", None, False, "why"), ("12", False, True, "")]
    action_id = finished(project, rows[:1], rows[1:])
    answer = opened(links(project, action_id)[1])
    assert [tuple(msgspec.json.decode(line).values()) for line in answer.content.splitlines()] == rows
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == f'attachment; filename="{action_id}.jsonl"'


def test_a_report_of_nothing_has_its_header(project_18: Project) -> None:
    as_csv, as_json_lines = links(project_18, finished(project_18))
    assert opened(as_csv).content == b"code,found,updated,reason\r\n"
    assert opened(as_json_lines).content == b""


def test_a_large_report_comes_in_the_order_of_the_records(project: Project) -> None:
    """Several pages, in pieces large and small."""
    sizes = [1, 3000, 1, 1, 2500, 4000, *[1] * (downloads.PAGE_ROWS + 10)]
    rows = [(f"code-{no}", True, no % 2 == 0, "x" * (no % 200)) for no in range(sum(sizes))]
    edges = [sum(sizes[:no]) for no in range(len(sizes) + 1)]
    action_id = finished(project, *(rows[first:end] for first, end in itertools.pairwise(edges)))
    header, *lines = table(links(project, action_id)[0])
    assert header == list(COLUMNS)
    assert lines == [[code, "true", "true" if updated else "false", reason] for code, _, updated, reason in rows]
    as_json_lines = opened(links(project, action_id)[1]).content
    assert [msgspec.json.decode(line)["code"] for line in as_json_lines.splitlines()] == [row[0] for row in rows]


FORMULA = set("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - full width


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(["=1", "-", "'+", "@a"]))
)
def test_no_text_of_a_csv_is_a_formula_and_none_is_lost(texts: list[str]) -> None:
    lines = b"".join(msgspec.json.encode({"code": text}) + b"\n" for text in texts)
    written = (csv_header(("code",)) + csv_lines(("code",), lines)).decode()
    [header], *rows = csv.reader(io.StringIO(written, newline=""), strict=True)
    assert header == "code"
    assert not [row for row in rows if row and row[0][:1] in FORMULA]
    assert [row[0].removeprefix("'") for row in rows] == texts


def test_numbers_of_a_csv_are_numbers() -> None:
    line = msgspec.json.encode({"a": -5, "b": 1.5, "c": False, "d": None, "e": ["=1"]})
    assert csv_lines(("a", "b", "c", "d", "e", "f"), line) == b'-5,1.5,false,,"[""=1""]",\r\n'


# ---- links that open nothing ----


def changed(url: str) -> list[str]:
    """A link with one thing changed, in every way somebody could try."""
    address, _, query = url.partition("?")
    parameters = dict(pair.split("=") for pair in query.split("&"))
    expires, signature = parameters["expires"], parameters["signature"]
    other = "0" if signature[-1] != "0" else "1"
    queries = [
        f"expires={int(expires) + 1}&signature={signature}",
        f"expires={expires}0&signature={signature}",
        f"expires=0{expires}&signature={signature}",
        f"expires=&signature={signature}",
        f"expires=%00&signature={signature}",
        f"expires=later&signature={signature}",
        f"signature={signature}",
        f"expires={expires}",
        f"expires={expires}&signature=",
        f"expires={expires}&signature={signature[:-1]}{other}",
        f"expires={expires}&signature={signature}0",
        f"expires={expires}&signature={signature.upper()}",
        f"expires={expires}&signature=%C3%BC%FF",
        "",
    ]
    return [f"{address}?{query}" for query in queries] + [
        url.replace(".csv?", name) for name in (".jsonl?", ".CSV?", "?", ".?", ".xml?", ".csv.csv?")
    ]


def test_a_link_that_was_changed_says_nothing(project_18: Project) -> None:
    """Neither whether there is such an action, nor such a project: the answer is always the same."""
    url = links(project_18, finished(project_18, [("a", True, True, None)]))[0]
    with closing(project_18.deployment.new_project()) as other:
        tried = changed(url)
        assert len(set(tried)) == len(tried) == 20
        tried.append(url.replace(project_18.id, other.id))
        tried.append(url.replace(project_18.id, "proj_nothing"))
        tried.append(url.replace("/aa_", "/aa_0"))
        bodies = [refused(opened(link), 403, "forbidden") for link in tried]
    said = [{key: value for key, value in body.items() if key != "request_id"} for body in bodies]
    assert all(one == said[0] for one in said)
    assert opened(url).status_code == 200


def test_a_link_expires(project: Project) -> None:
    action_id = finished(project, [("a", True, True, None)])
    for name in ("csv", "jsonl"):
        assert opened(signed(project, action_id, datetime.now(UTC) + timedelta(seconds=30), name=name)).is_success
        old = opened(signed(project, action_id, datetime.now(UTC) - timedelta(seconds=2), name=name))
        assert "could be used until" in refused(old, 410, "link_expired")["details"]


def test_a_link_of_an_action_that_is_gone_or_has_no_report(project_18: Project) -> None:
    for action_id in ("aa_gone", finished(project_18, kind="ORDERS.IMPORT")):
        answer = opened(signed(project_18, action_id, datetime.now(UTC) + timedelta(hours=1)))
        refused(answer, 404, "not_found")


def test_other_methods_are_refused(project_18: Project) -> None:
    url = links(project_18, finished(project_18))[0]
    assert httpx.post(url, trust_env=False).status_code == 405


# ---- slow clients ----


def test_a_report_that_lost_its_end_does_not_look_complete(project_18: Project) -> None:
    """And while a client is slow, others read."""
    rows = [(f"code-{no}", True, True, "x" * 1000) for no in range(500)]
    action_id = finished(project_18, *[rows] * 48)
    url = urlsplit(links(project_18, action_id)[0])
    with slow_download(project_18, f"{url.path}?{url.query}") as link:
        assert len(project_18.get("/v1/async-actions")["async_actions"]) == 1
        with psycopg.connect(project_18.deployment.dsn) as conn:
            deleted = conn.execute(
                "DELETE FROM async_action_reports WHERE project_id = %s AND action_id = %s AND first_record = %s",
                [project_18.id, action_id, 47 * 500],
            )
            assert deleted.rowcount == 1
        received = b""
        with suppress(ConnectionError):
            received = everything(link)
    assert not received.endswith(b"0\r\n\r\n")
    until(lambda: f'"async_action_id": "{action_id}"' in project_18.deployment.log_text())


# ---- the key ----


def test_the_key_is_the_owners_alone(deployment_18: Deployment) -> None:
    file = deployment_18.data / secret_key.FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(file.read_text().strip())) == secret_key.RANDOM_BYTES
    assert not list(deployment_18.data.glob(f".{secret_key.FILE}.*"))


def test_the_key_stands_in_no_command_line_and_no_log(project_18: Project) -> None:
    deployment = project_18.deployment
    url = links(project_18, finished(project_18))[0]
    assert opened(url).status_code == 200
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in running(deployment)]
    assert len(lines) >= 3
    for secret in (secret_key.of_directory(deployment.data), parse_qs(urlsplit(url).query)["signature"][0]):
        assert not [line for line in lines if secret in line]
        assert secret not in deployment.log_text()


def test_whoever_comes_first_makes_the_key(tmp_path: Path) -> None:
    barrier, found = threading.Barrier(8), list[str]()

    def ask() -> None:
        barrier.wait()
        found.append(secret_key.of_directory(tmp_path))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [file.name for file in tmp_path.iterdir()] == [secret_key.FILE]


def test_a_damaged_key_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / secret_key.FILE).write_text("short\n")
    with pytest.raises(secret_key.SecretKeyDamaged, match="put the one that was there back"):
        secret_key.of_directory(tmp_path)


def test_each_purpose_and_each_key_signs_otherwise() -> None:
    what, made = ("proj_1", "aa_1", "csv"), set()
    for key in ("k" * 32, "l" * 32):
        for purpose in ("reports", "exports"):
            made.add(Signer(key, purpose).query(*what, expires=1))
    assert len(made) == 4
    assert Signer("k" * 32, "reports").query(*what, expires=1) in made, "the same on every machine"
    joined = Signer("k" * 32, "reports").query("proj_1aa_1", "", "csv", expires=1)
    assert joined not in made
