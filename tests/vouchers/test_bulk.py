"""Bulk updates of vouchers' metadata: what becomes of the vouchers, and what is said about it."""

import csv
import io
import time
from contextlib import closing
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import voucherify

from tests.customers.updating import finished, refusal, send
from tests.deployment import Project, until
from tests.metadata_schemas.defining import define, schema
from tests.orders.stored import rows, session

NOT_FOUND = {"message": "Resource not found", "key": "not_found"}


def missing(code: str) -> str:
    return f"Cannot find voucher with id {code}"


def create(project: Project, code: str, **fields: Any) -> Any:
    """A voucher with this code."""
    body = {"type": "GIFT_VOUCHER", "gift": {"amount": 500}} | fields
    return project.call("POST", f"/v1/vouchers/{code}", json=body)


def metadata(project: Project, code: str) -> Any:
    return project.get(f"/v1/vouchers/{code}")["metadata"]


def updated(project: Project, *records: Any) -> Any:
    """A bulk update of which nothing may fail; its action."""
    action = finished(project, "vouchers/bulk", list(records))
    assert action["result"]["failed_count"] == 0, action
    return action


def report(action: Any) -> list[tuple[Any, ...]]:
    """The rows of an action's report, which both files have: code, found, updated, reason."""
    as_csv, as_json_lines = (httpx.get(link, trust_env=False) for link in action["result"]["reports"])
    found = [msgspec.json.decode(line) for line in as_json_lines.content.splitlines()]
    header, *lines = csv.reader(io.StringIO(as_csv.text, newline=""))
    assert all(list(row) == header == ["code", "found", "updated", "reason"] for row in found)
    assert [line[0] for line in lines] == [row["code"] for row in found]
    return [tuple(row.values()) for row in found]


# ---- what becomes of vouchers ------------------------------------------------------------------


def test_metadata_merges_by_key_and_nothing_else_changes(project: Project) -> None:
    before = create(project, "A-1", metadata={"a": 1, "b": {"x": 1}, "c": [1]})
    updated(project, {"code": "A-1", "metadata": {"b": {"y": 2}, "c": None, "d": "ü"}, "active": False, "gift": 1})
    after = project.get("/v1/vouchers/A-1")
    assert after["metadata"] == {"a": 1, "b": {"y": 2}, "c": None, "d": "ü"}
    assert after["updated_at"] > before["created_at"]
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed <= {"metadata", "updated_at", "validation_rules_assignments"}


def test_of_one_code_the_records_are_applied_in_their_order(project: Project) -> None:
    create(project, "A")
    create(project, "B")
    action = updated(
        project,
        {"code": "A", "metadata": {"a": 1}}, {"code": "B", "metadata": {"a": 2}},
        {"code": "A", "metadata": {"b": 3}}, {"code": "A", "metadata": {"a": 4}}, {"code": "A", "metadata": {"a": 4}},
    )  # fmt: skip
    assert (metadata(project, "A"), metadata(project, "B")) == ({"a": 4, "b": 3}, {"a": 2})
    assert action["counts"] == {"created": 0, "updated": 4, "unchanged": 1}


def test_a_metadata_update_gives_the_keys_to_every_listed_voucher(project: Project) -> None:
    create(project, "A", metadata={"a": 1, "b": 1})
    create(project, "B")
    action = finished(project, "vouchers/metadata", {"codes": ["B", "A", "C", "A"], "metadata": {"b": 2}})
    assert (action["type"], action["operation_status"]) == ("VOUCHERS.METADATA_UPDATE", "SUCCESS")
    assert (metadata(project, "A"), metadata(project, "B")) == ({"a": 1, "b": 2}, {"b": 2})
    assert (action["result"]["done_count"], action["result"]["failed_count"]) == (3, 1)
    assert action["result"]["errors"] == [{**NOT_FOUND, "details": missing("C"), "code": "C"}]
    assert report(action) == [
        ("B", True, True, None), ("A", True, True, None), ("C", False, False, missing("C")), ("A", True, True, None),
    ]  # fmt: skip


def test_unknown_codes_are_errors_and_make_nothing(project: Project) -> None:
    create(project, "A")
    create(project, "binned")
    project.http.delete("/v1/vouchers/binned").raise_for_status()
    codes = ["a", "A ", "binned", "%", "🎁"]
    action = finished(project, "vouchers/bulk", [{"code": code, "metadata": {"x": 1}} for code in [*codes, "A"]])
    assert (action["type"], action["status"], action["operation_status"]) == ("VOUCHERS.BULK_UPDATE", "DONE", "SUCCESS")
    result = action["result"]
    assert result.keys() == {"done_count", "failed_count", "errors", "reports", "reports_available_till"}
    assert (result["done_count"], result["failed_count"]) == (1, len(codes))
    assert result["errors"] == [{**NOT_FOUND, "details": missing(code), "code": code} for code in codes]
    assert report(action)[:-1] == [(code, False, False, missing(code)) for code in codes]
    assert project.get("/v1/vouchers")["total"] == 1
    [row] = rows(project, "SELECT metadata FROM vouchers WHERE project_id = %(project)s AND code = 'binned'")
    assert bytes(row["metadata"]) == b"{}"


def test_where_all_fail_the_action_has_failed(project_18: Project) -> None:
    action = finished(project_18, "vouchers/metadata", {"codes": ["x"], "metadata": {}})
    assert (action["status"], action["operation_status"]) == ("DONE", "FAILED")


@pytest.mark.parametrize("case_sensitive", [True, False])
def test_the_project_says_whether_cases_are_told_apart(project: Project, *, case_sensitive: bool) -> None:
    with psycopg.connect(project.deployment.dsn) as conn:
        conn.execute("UPDATE projects SET case_sensitive_codes = %s WHERE id = %s", [case_sensitive, project.id])
    create(project, "Code")
    action = finished(project, "vouchers/bulk", [{"code": code, "metadata": {code: 1}} for code in ("CODE", "Code")])
    expected = {"Code": 1} if case_sensitive else {"CODE": 1, "Code": 1}
    assert metadata(project, "Code") == expected
    assert [row[:2] for row in report(action)] == [("CODE", not case_sensitive), ("Code", True)]


def test_metadata_is_held_to_the_schema_of_vouchers(project: Project) -> None:
    define(project, schema("voucher", tier={"type": "string", "eq": ["gold"], "optional": False}))
    create(project, "A", metadata={"tier": "gold"})
    action = finished(
        project,
        "vouchers/bulk",
        [{"code": "A", "metadata": {"other": 1}}, {"code": "A", "metadata": {"tier": "tin", "x": 1}}],
    )
    details = "tier: must be a string, must be equal to one of gold, property is required (actual value is 'tin')"
    failed = {"message": "Metadata validation failed", "key": "metadata_validation_failed", "details": details}
    assert action["result"]["errors"] == [{**failed, "code": "A"}]
    assert report(action) == [("A", True, True, None), ("A", True, False, details)]
    assert metadata(project, "A") == {"tier": "gold", "other": 1}
    listed = project.get(f"/v1/async-actions/{action['id']}/failures")["data"]
    assert [failure["record"] for failure in listed] == [{"code": "A", "metadata": {"tier": "tin", "x": 1}}]


@pytest.mark.parametrize(("of_vouchers", "fails"), [(True, "v"), (False, "c")])
def test_vouchers_of_a_campaign_follow_the_schema_that_it_has_chosen(
    project_18: Project, *, of_vouchers: bool, fails: str
) -> None:
    define(project_18, [schema("voucher", v="number"), schema("campaign", c="number")])
    create(project_18, "A")
    with psycopg.connect(project_18.deployment.dsn) as conn:
        conn.execute(
            "INSERT INTO campaigns (project_id, id, name, campaign_type, type, voucher, use_voucher_metadata_schema,"
            " created_at) VALUES (%s, 'camp_1', 'C', 'GIFT_VOUCHERS', 'STATIC', '{}', %s, clock_timestamp())",
            [project_18.id, of_vouchers],
        )
        conn.execute("UPDATE vouchers SET campaign_id = 'camp_1' WHERE project_id = %s", [project_18.id])
    action = finished(project_18, "vouchers/bulk", [{"code": "A", "metadata": {key: "text"}} for key in ("v", "c")])
    assert [error["details"][0] for error in action["result"]["errors"]] == [fails]


def test_vouchers_that_do_not_change_are_neither_written_nor_locked(project: Project) -> None:
    create(project, "A", metadata={"a": 1.5})
    query = "SELECT code, xmin::text FROM vouchers WHERE project_id = %(project)s"
    before = rows(project, query)
    with session(project.deployment) as other, other.transaction():
        other.execute("SELECT FROM vouchers WHERE project_id = %s FOR UPDATE", [project.id])
        action = updated(project, {"code": "A", "metadata": {"a": 1.5}}, {"code": "A", "metadata": {}})
    assert action["counts"] == {"created": 0, "updated": 0, "unchanged": 2}
    assert rows(project, query) == before


def test_who_changes_a_voucher_meanwhile_keeps_it(project: Project) -> None:
    """A change that is committed while the portion waits for the row is not overwritten."""
    create(project, "A", metadata={"a": 1})
    with session(project.deployment) as watch, session(project.deployment) as ours:
        with ours.transaction():
            ours.execute("SELECT FROM vouchers WHERE project_id = %s FOR UPDATE", [project.id])
            action = send(project, "vouchers/bulk", [{"code": "A", "metadata": {"b": 2}}])["async_action_id"]
            query = "SELECT pid FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
            until(lambda: watch.execute(query, [ours.info.backend_pid]).fetchall())
            ours.execute("""UPDATE vouchers SET metadata = '{"a": 7}' WHERE project_id = %s""", [project.id])
        assert project.finished(action)["result"]["failed_count"] == 0
    assert metadata(project, "A") == {"a": 7, "b": 2}


def test_projects_do_not_see_each_other(project_18: Project) -> None:
    with closing(project_18.deployment.new_project()) as other:
        create(project_18, "A")
        create(other, "A")
        finished(other, "vouchers/metadata", {"codes": ["A"], "metadata": {"theirs": 1}})
        assert (metadata(project_18, "A"), metadata(other, "A")) == ({}, {"theirs": 1})


def test_a_large_update_takes_many_portions(project_18: Project) -> None:
    """Each record once, in the report as in the vouchers, whatever the size of the metadata that all get."""
    with psycopg.connect(project_18.deployment.dsn) as conn:
        conn.execute(
            "INSERT INTO vouchers (project_id, id, code, code_key, type, created_at)"
            " SELECT %s, 'v_' || g, 'C-' || g, 'C-' || g, 'GIFT_VOUCHER', clock_timestamp() + g * interval '1 us'"
            " FROM generate_series(1, 3000) AS g",
            [project_18.id],
        )
    codes = [f"C-{no}" for no in range(1, 3001)]
    action = finished(project_18, "vouchers/metadata", {"codes": codes, "metadata": {"text": "x" * 10_000}})
    assert (action["result"]["done_count"], action["result"]["failed_count"]) == (3000, 0)
    assert [row[0] for row in report(action)] == codes
    query = "SELECT count(*) AS n FROM vouchers WHERE project_id = %(project)s AND length(metadata ->> 'text') = 10000"
    assert rows(project_18, query) == [{"n": 3000}]


# ---- requests ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({}, "Payload must be an array of vouchers"),
        ([1], "Property .[0] must be an object"),
        ([{"metadata": {}}], "Property .[0] should have required property 'code'"),
        ([{"code": "A"}], "Property .[0] should have required property 'metadata'"),
        ([{"code": "A", "metadata": None}], "Property .[0].metadata must be an object"),
        ([{"code": "A", "metadata": {}}, {"code": 1, "metadata": {}}], "Property .[1].code must be string"),
        ([{"code": "", "metadata": {}}], "Property .[0].code must have at least 1 characters"),
        ([{"code": "A" * 256, "metadata": {}}], "Property .[0].code must have at most 255 characters"),
        ([{"code": "\x00", "metadata": {}}], "Property .[0].code must not contain a NUL character"),
        ([{"code": "A", "metadata": {}}, {"code": "A", "metadata": {"a": "x" * 16_377}}],
         "Property .[1].metadata must have at most 16384 bytes"),
        ([{"code": "A", "metadata": {"a": 2**64}}],
         "Property .[0].metadata.a must be a number that can be represented"),
    ],
)  # fmt: skip
def test_bulk_updates_that_are_refused(project_18: Project, body: Any, details: str) -> None:
    assert refusal(project_18, "vouchers/bulk", body) == details
    assert project_18.get("/v1/async-actions")["async_actions"] == []


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"metadata": {}}, "Payload should have required property 'codes'"),
        ({"codes": ["A"]}, "Payload should have required property 'metadata'"),
        ({"codes": "A", "metadata": {}}, "Property .codes must be an array"),
        ({"codes": ["A"], "metadata": []}, "Property .metadata must be an object"),
        ({"codes": ["A"], "metadata": {"a": "x" * 16_377}}, "Property .metadata must have at most 16384 bytes"),
        ({"codes": ["A"], "metadata": {"a": 2**64}}, "Property .metadata.a must be a number that can be represented"),
    ],
)
def test_metadata_updates_that_are_refused(project_18: Project, body: Any, details: str) -> None:
    assert refusal(project_18, "vouchers/metadata", body).startswith(details)


def test_a_body_may_have_ten_megabytes(project_18: Project) -> None:
    body = msgspec.json.encode([{"code": "A", "metadata": {"x": "y" * 10_485_760}}])
    refused = send(project_18, "vouchers/bulk", body, expect=413)
    assert refused["message"] == "Payload content length greater than maximum allowed: 10485760"


def test_a_repeated_request_takes_effect_once(project_18: Project) -> None:
    bodies = {"vouchers/bulk": [{"code": "A", "metadata": {}}], "vouchers/metadata": {"codes": ["A"], "metadata": {}}}
    for path, body in bodies.items():
        headers: Any = {"Idempotency-Key": path}
        assert send(project_18, path, body, **headers) == send(project_18, path, body, **headers)
    assert len(project_18.get("/v1/async-actions")["async_actions"]) == 2


# ---- the official client -----------------------------------------------------------------------


def test_the_official_client_updates_and_reads_the_report(project_18: Project) -> None:
    keys = {"X-App-Id": project_18.application_id, "X-App-Token": project_18.application_token}
    configuration = voucherify.Configuration(host=project_18.deployment.url, api_key=keys)
    create(project_18, "A", metadata={"a": 1})
    with voucherify.ApiClient(configuration) as client:
        vouchers, actions = voucherify.VouchersApi(client), voucherify.AsyncActionsApi(client)
        item = voucherify.VouchersUpdateInBulkItemRequestBody
        first = vouchers.update_vouchers_in_bulk(
            [item(code="A", metadata={"b": 2}), item(code="gone", metadata={"b": 2})]
        )
        second = vouchers.update_vouchers_metadata_in_bulk(
            voucherify.VouchersMetadataUpdateInBulkRequestBody(codes=["A"], metadata={"c": 3})
        )
        deadline = time.monotonic() + 120
        while (done := actions.get_async_action(second.async_action_id)).status != "DONE":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        done_first = actions.get_async_action(first.async_action_id)
        assert (done_first.type, done.type) == ("VOUCHERS.BULK_UPDATE", "VOUCHERS.METADATA_UPDATE")
        assert [error["key"] for error in done_first.result["errors"]] == ["not_found"]
        answer = httpx.get(done_first.result["reports"][0], trust_env=False)
        assert answer.text == f"code,found,updated,reason\r\nA,true,true,\r\ngone,false,false,{missing('gone')}\r\n"
        assert vouchers.get_voucher("A").metadata == {"a": 1, "b": 2, "c": 3}
        client.rest_client.pool_manager.clear()
