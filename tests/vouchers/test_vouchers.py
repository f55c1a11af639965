"""Vouchers one by one: what is made, shown, changed, deleted, and refused."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.deployment import Deployment, Project
from tests.metadata_schemas.defining import define, schema
from tests.vouchers.making import DISCOUNT, GIFT, PERCENT, made, project_that_ignores_case, refusal

# ---- creating ----


def test_a_voucher_is_shown_with_all_its_documented_fields(project: Project) -> None:
    voucher = made(project, "WELCOME")
    created_at = voucher.pop("created_at")
    assert created_at.endswith("Z")
    assert voucher.pop("id").startswith("v_")
    assert voucher == {
        "code": "WELCOME", "campaign": None, "campaign_id": None, "category": None, "category_id": None,
        "categories": [], "type": "DISCOUNT_VOUCHER", "gift": None, "loyalty_card": None,
        "discount": {"type": "PERCENT", "percent_off": 10, "effect": "APPLY_TO_ORDER"},
        "start_date": None, "expiration_date": None, "validity_timeframe": None, "validity_day_of_week": None,
        "validity_hours": None, "active": True, "additional_info": None, "metadata": {},
        "assets": {"qr": {"id": None, "url": None}, "barcode": {"id": None, "url": None}},
        "is_referral_code": False, "updated_at": None,
        "publish": {"object": "list", "count": 0, "url": "/v1/vouchers/WELCOME/publications?page=1&limit=10"},
        "redemption": {"quantity": None, "redeemed_quantity": 0, "object": "list",
                       "url": "/v1/vouchers/WELCOME/redemptions?page=1&limit=10"},
        "object": "voucher",
        "validation_rules_assignments": {"object": "list", "data_ref": "data", "data": [], "total": 0},
    }  # fmt: skip


def test_everything_that_is_given_is_kept(project: Project) -> None:
    fields: dict[str, Any] = {
        "category": "New", "validity_timeframe": {"duration": "PT1H", "interval": "P2D"},
        "validity_day_of_week": [1, 2, 5], "active": False, "additional_info": "until enabled",
        "validity_hours": {"daily": [{"start_time": "12:00", "expiration_time": "14:00", "days_of_week": [0, 6]}]},
        "metadata": {"test": True, "tags": ["a", {"b": None}], "n": 1.5},
    }  # fmt: skip
    dates = {"start_date": "2026-01-01T00:00:00+02:00", "expiration_date": "2026-12-31T23:59:59Z"}
    voucher = made(project, **fields, **dates, redemption={"quantity": 3}, validation_rules=[])
    assert {name: voucher[name] for name in fields} == fields
    assert voucher["start_date"] == "2025-12-31T22:00:00Z"
    assert voucher["expiration_date"] == "2026-12-31T23:59:59Z"
    assert voucher["redemption"]["quantity"] == 3
    assert project.get(f"/v1/vouchers/{voucher['id']}") == project.get(f"/v1/vouchers/{voucher['code']}") == voucher


def test_a_gift_voucher_has_a_balance(project: Project) -> None:
    voucher = project.call("POST", "/v1/vouchers/CARD", json={"gift": {"amount": 10000.0, "balance": 1}})
    assert voucher["type"] == "GIFT_VOUCHER"
    assert voucher["gift"] == {"amount": 10000, "subtracted_amount": 0, "balance": 10000, "effect": "APPLY_TO_ORDER"}
    assert (voucher["discount"], voucher["redemption"]["redeemed_amount"]) == (None, 0)


def test_codes_are_random_or_given_or_made_by_a_config(project_18: Project) -> None:
    random = made(project_18)["code"]
    assert random.isalnum()
    assert len(random) == 8
    assert project_18.call("POST", "/v1/vouchers", json=DISCOUNT | {"code": "In Body/1"})["code"] == "In Body/1"
    # the path wins, and its code may have a slash
    body = DISCOUNT | {"code": "other"}
    assert project_18.call("POST", "/v1/vouchers/A%2FB%20C", json=body)["code"] == "A/B C"
    assert project_18.get("/v1/vouchers/A%2FB%20C")["publish"]["url"].startswith("/v1/vouchers/A%2FB%20C/")
    config = {"pattern": "GIFT-####", "prefix": "New-", "postfix": "0", "charset": "01", "initial_count": 5}
    code = made(project_18, code_config=config)["code"]
    assert code.startswith("New-GIFT-")
    assert set(code[9:]) <= {"0", "1"}


def test_the_last_free_code_is_found_and_then_there_is_none(project: Project) -> None:
    config = {"pattern": "#", "charset": "abcdefghijklmnopqrstuvwxyz"}
    made_codes = {made(project, code_config=config)["code"] for _ in range(26)}
    assert made_codes == set(config["charset"])
    error = refusal(project, "POST", "/v1/vouchers", DISCOUNT | {"code_config": config})
    assert (error["key"], error["details"]) == ("invalid_code_config", "Property .code_config has no free code left")
    assert project.get("/v1/vouchers")["total"] == 26


def test_a_code_is_taken_once(project: Project) -> None:
    made(project, "ONCE")
    for path, body in (("/v1/vouchers/ONCE", DISCOUNT), ("/v1/vouchers", GIFT | {"code": "ONCE"})):
        error = refusal(project, "POST", path, body, status=409)
        assert (error["key"], error["resource_id"], error["resource_type"]) == ("duplicate_found", "ONCE", "voucher")
        assert error["details"] == "Duplicated voucher exists with id ONCE"
    assert made(project, "once")["code"] == "once"
    assert project.get("/v1/vouchers")["total"] == 2


def test_where_cases_are_not_told_apart_two_spellings_are_one_code(deployment_18: Deployment) -> None:
    project = project_that_ignores_case(deployment_18)
    made(project, "Summer")
    assert refusal(project, "POST", "/v1/vouchers/sUMMER", DISCOUNT, status=409)["resource_id"] == "sUMMER"
    assert project.get("/v1/vouchers/SUMMER")["code"] == "Summer"
    assert [voucher["code"] for voucher in project.get("/v1/vouchers", code="summer")["vouchers"]] == ["Summer"]
    assert {made(project, code_config={"pattern": "#", "charset": "aAbB"})["code"] for _ in range(2)} == {"a", "b"}
    body = DISCOUNT | {"code_config": {"pattern": "#", "charset": "aAbB"}}
    assert refusal(project, "POST", "/v1/vouchers", body)["key"] == "invalid_code_config"
    assert made(project, "ΜΑΣ")["code"] == "ΜΑΣ"
    refusal(project, "POST", "/v1/vouchers/μασ", DISCOUNT, status=409)
    project.close()


def test_of_many_who_create_one_code_one_does(project: Project) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: project.http.post("/v1/vouchers/RACE", json=DISCOUNT), range(24)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 23
    assert project.get("/v1/vouchers")["total"] == 1
    # and those who create different ones do not hinder each other
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: project.http.post(f"/v1/vouchers/C{n}", json=DISCOUNT), range(40)))
    assert [answer.status_code for answer in answers] == [200] * 40
    assert len({answer.json()["created_at"] for answer in answers}) == 40
    assert project.get("/v1/vouchers")["total"] == 41


def test_a_repeat_with_its_key_gets_the_same_voucher(project_18: Project) -> None:
    for path in ("/v1/vouchers", "/v1/vouchers/KEYED"):
        answers = [project_18.http.post(path, json=DISCOUNT, headers={"Idempotency-Key": path}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()
        assert answers[1].headers["idempotent-replayed"] == "true"
    assert project_18.get("/v1/vouchers")["total"] == 2
    headers = {"Idempotency-Key": "switch"}
    for _ in range(2):
        assert project_18.call("POST", "/v1/vouchers/KEYED/disable", headers=headers)["active"] is False
    error = refusal(project_18, "POST", "/v1/vouchers/KEYED/enable", headers=headers, status=409)
    assert error["key"] == "idempotency_key_reused"


# ---- what is refused ----

BAD: list[tuple[dict[str, Any], str, str]] = [
    ({}, "invalid_payload", "Payload should have required property 'type', or one of 'discount' and 'gift'"),
    (GIFT | DISCOUNT | {"type": None}, "invalid_payload", "Payload should have required property 'type'"),
    ({"type": "DISCOUNT_VOUCHER"}, "invalid_payload", "Payload should have required property 'discount'"),
    ({"type": "GIFT_VOUCHER"} | {"discount": PERCENT},
     "invalid_payload", "Payload should have required property 'gift'"),
    ({"type": "TICKET"}, "invalid_payload", "Property .type has an unknown value 'TICKET'"),
    ({"type": "LOYALTY_CARD", "loyalty_card": {"points": 1}},
     "invalid_voucher", "A loyalty card needs a loyalty campaign"),
    ({"gift": {"amount": -1}}, "invalid_payload", "Property .gift.amount cannot be lower than 0"),
    ({"gift": {"amount": 1.5}}, "invalid_payload", "Property .gift.amount should be integer"),
    ({"gift": {}}, "invalid_payload", "Property .gift should have required property 'amount'"),
    ({"gift": {"amount": 1, "effect": "X"}}, "invalid_payload", "Property .gift.effect has an unknown value 'X'"),
    (DISCOUNT | {"redemption": {"quantity": 0}},
     "invalid_payload", "Property .redemption.quantity cannot be lower than 1"),
    (DISCOUNT | {"redemption": {"quantity": 2**31}},
     "invalid_payload", "Property .redemption.quantity cannot be higher"),
    (DISCOUNT | {"validity_day_of_week": [7]},
     "invalid_payload", "Property .validity_day_of_week[0] cannot be higher than 6"),
    (DISCOUNT | {"validity_timeframe": {"duration": "PT1H", "interval": "P1D"}}, "invalid_payload",
     "Property .start_date is required with .validity_timeframe"),
    (DISCOUNT | {"start_date": "2026-01-01T00:00:00Z", "validity_timeframe": {"duration": "1h", "interval": "P1D"}},
     "invalid_payload", "Property .validity_timeframe.duration must be an ISO 8601 duration"),
    (DISCOUNT | {"validity_hours": {"daily": [{"start_time": "25:00"}]}}, "invalid_payload",
     "Property .validity_hours.daily[0].start_time must be a time in the format HH:mm"),
    (DISCOUNT | {"start_date": "soon"}, "invalid_payload", "Property .start_date"),
    (DISCOUNT | {"start_date": "0001-01-01T00:00:00+14:00"},
     "invalid_payload", "Property .start_date cannot be recognized"),
    (DISCOUNT | {"start_date": "2026-02-01T00:00:00Z", "expiration_date": "2026-01-01T00:00:00Z"},
     "invalid_expiration_date", "Property .expiration_date cannot be before .start_date"),
    (DISCOUNT | {"code": ""}, "invalid_payload", "Property .code must have 1 to 255 characters"),
    (DISCOUNT | {"code": "x" * 256}, "invalid_payload", "Property .code must have 1 to 255 characters"),
    (DISCOUNT | {"code": "a\tb"}, "invalid_payload", "Property .code must have printable characters only"),
    (DISCOUNT | {"code": "."},
     "invalid_payload", "Property .code must be neither . nor .. nor look like the id of a voucher (v_ and 32 hex"),
    (DISCOUNT | {"code": ".."}, "invalid_payload", "Property .code must be neither . nor .."),
    (DISCOUNT | {"code": "v_" + "0123456789abcdef" * 2}, "invalid_payload", "Property .code must be neither . nor .."),
    (DISCOUNT | {"code": "V_" + "0123456789ABCDEF" * 2}, "invalid_payload", "Property .code must be neither . nor .."),
    (DISCOUNT | {"code_config": {"prefix": "v_", "length": 32}},
     "invalid_code_config", "Property .code_config could make a code that must be neither . nor .. nor look like"),
    (DISCOUNT | {"code_config": {"pattern": "#", "charset": "0.a"}},
     "invalid_code_config", "Property .code_config could make a code that must be neither . nor .."),
    (DISCOUNT | {"category": "c" * 256}, "invalid_payload", "Property .category must have at most 255 characters"),
    (DISCOUNT | {"code_config": {"length": 0}},
     "invalid_payload", "Property .code_config.length cannot be lower than 1"),
    (DISCOUNT | {"code_config": {"charset": ""}},
     "invalid_code_config", "Property .code_config.charset must have 1 to"),
    (DISCOUNT | {"additional_info": "a\x00b"}, "invalid_payload", "Property .additional_info must not contain a NUL"),
    (DISCOUNT | {"metadata": {"a": "\x00"}}, "invalid_payload", "Property .metadata.a must not contain a NUL"),
    (DISCOUNT | {"metadata": {"a": 2**80}}, "invalid_payload", "Property .metadata.a must be a number that can be"),
    (DISCOUNT | {"metadata": []}, "invalid_payload", "Property .metadata must be an object"),
    (DISCOUNT | {"metadata": {"a": "x" * 16_377}},
     "invalid_payload", "Property .metadata must have at most 16384 bytes"),
    (DISCOUNT | {"metadata": {"a": "é" * 8_189}},
     "invalid_payload", "Property .metadata must have at most 16384 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "key", "complaint"), BAD, ids=lambda value: str(value)[:60])
def test_a_bad_voucher_is_refused_with_the_path(project_18: Project, body: Any, key: str, complaint: str) -> None:
    error = refusal(project_18, "POST", "/v1/vouchers", body)
    assert error["key"] == key
    assert error["details"].startswith(complaint), error["details"]
    assert project_18.get("/v1/vouchers")["total"] == 0


def test_codes_that_only_resemble_what_is_refused(project_18: Project) -> None:
    for code in ("...", "v_", "v_" + "0" * 31, "v_" + "0" * 33, "v_" + "0" * 31 + "g", "w_" + "0" * 32):
        assert project_18.call("POST", "/v1/vouchers", json=DISCOUNT | {"code": code})["code"] == code
    for config in ({"prefix": "v_", "length": 31}, {"prefix": "v_", "length": 32, "charset": "ghi"}, {"length": 34}):
        made(project_18, code_config=config)
    metadata = {"a": "x" * 16_376}
    assert made(project_18, "largest", metadata=metadata)["metadata"] == metadata


def test_a_change_brings_no_more_metadata_than_a_new_voucher(project_18: Project) -> None:
    made(project_18, "A")
    for key in ("a", "b"):
        body = {"metadata": {key: "x" * 16_376}}
        assert len(project_18.call("PUT", "/v1/vouchers/A", json=body)["metadata"][key]) == 16_376
    error = refusal(project_18, "PUT", "/v1/vouchers/A", {"metadata": {"c": "x" * 16_377}})
    assert (error["key"], error["details"]) == ("invalid_payload", "Property .metadata must have at most 16384 bytes")


def test_what_there_is_none_of_is_not_found(project_18: Project) -> None:
    for given, kind in (
        ({"campaign": "None"}, "campaign"), ({"campaign_id": "camp_1"}, "campaign"),
        ({"category_id": "cat_1"}, "category"), ({"validation_rules": ["val_1"]}, "validation_rules"),
    ):  # fmt: skip
        error = refusal(project_18, "POST", "/v1/vouchers/X", DISCOUNT | given, status=404)
        assert (error["key"], error["resource_type"]) == ("not_found", kind)
    assert project_18.get("/v1/vouchers")["total"] == 0


@pytest.mark.parametrize("path", ["import", "importCSV", "qualification"])
def test_a_path_that_is_still_to_come_is_no_code(project_18: Project, path: str) -> None:
    """Whoever sends vouchers to be imported must not get one with the code `import`."""
    discount = {"type": "PERCENT", "percent_off": 10}
    refused = project_18.call("POST", f"/v1/vouchers/{path}", json={"discount": discount}, expect=404)
    assert refused["key"] == "resource_not_found"


def test_hostile_bodies_are_refused(project_18: Project) -> None:
    deep = '{"discount": {"type": "PERCENT", "percent_off": 1}, "metadata": {"a": ' + "[" * 40 + "]" * 40 + "}}"
    for body, complaint in (
        (deep, "Property .metadata is nested deeper than 32 levels"),
        ('{"a":' * 300 + "1" + "}" * 300, "Payload is nested deeper than 200 levels"),
        ("[]", "Payload must be an object"), ("null", "Payload must be an object"), ("{", "Payload is not valid JSON"),
        (b'{"code": "\xff"}', "Payload is not encoded in UTF-8"), ("", "Payload is empty: send a JSON object"),
    ):  # fmt: skip
        answer = project_18.http.post("/v1/vouchers", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, answer.text
        assert answer.json()["details"].startswith(complaint), answer.text
    for method in ("GET", "PUT", "DELETE"):
        error = refusal(project_18, method, "/v1/vouchers/a%00b", {}, status=404)
        assert (error["resource_id"], error["resource_type"]) == ("a\x00b", "voucher")
    assert project_18.http.get(f"/v1/vouchers/{'x' * 5000}").status_code == 404
    assert project_18.http.post(f"/v1/vouchers/{'x' * 5000}", json=DISCOUNT).status_code == 400


def test_metadata_is_held_to_the_project_s_schema(project_18: Project) -> None:
    define(project_18, schema("voucher", season={"type": "string", "eq": ["spring", "fall"], "optional": False}))
    error = refusal(project_18, "POST", "/v1/vouchers/S", DISCOUNT)
    assert error["key"] == "metadata_validation_failed"
    assert error["details"].startswith("season: ")
    made(project_18, "S", metadata={"season": "fall", "other": 1})
    # an update is judged by what it supplies
    assert project_18.call("PUT", "/v1/vouchers/S", json={"metadata": {"other": 2}})["metadata"]["season"] == "fall"
    error = refusal(project_18, "PUT", "/v1/vouchers/S", {"metadata": {"season": "winter"}})
    assert error["key"] == "metadata_validation_failed"
    assert project_18.get("/v1/vouchers/S")["metadata"] == {"season": "fall", "other": 2}


# ---- changing ----


def test_what_is_given_changes_and_the_rest_stays(project: Project) -> None:
    before = made(
        project, "V", category="a", additional_info="x", metadata={"a": 1, "b": {"c": 1}},
        start_date="2026-01-01T00:00:00Z", validity_timeframe={"duration": "PT1H", "interval": "P2D"},
    )  # fmt: skip
    after = project.call(
        "PUT", "/v1/vouchers/V", json={"metadata": {"b": 2, "n": None}, "category": "b", "active": None}
    )
    assert after["updated_at"] > before["created_at"]
    changed = {"metadata": {"a": 1, "b": 2, "n": None}, "category": "b"}
    for name in before.keys() - {"updated_at"}:
        assert after[name] == changed.get(name, before[name])
    cleared = project.call(
        "PUT",
        "/v1/vouchers/V",
        json={"start_date": None, "validity_timeframe": None, "category": None, "additional_info": None},
    )
    assert [cleared[name] for name in ("start_date", "validity_timeframe", "category", "additional_info")] == [None] * 4
    assert cleared["metadata"] == changed["metadata"]
    assert project.get("/v1/vouchers/V") == cleared
    # nothing at all is given
    assert project.call("PUT", "/v1/vouchers/V", json={})["metadata"] == changed["metadata"]


def test_what_a_change_leaves_must_make_sense(project_18: Project) -> None:
    made(project_18, "V", start_date="2026-01-01T00:00:00Z", validity_timeframe={"duration": "PT1H", "interval": "P2D"})
    for change, key in (
        ({"start_date": None}, "invalid_payload"),
        ({"expiration_date": "2025-01-01T00:00:00Z"}, "invalid_expiration_date"),
        ({"validity_day_of_week": [9]}, "invalid_payload"), ({"discount": {"amount_off": 1}}, "invalid_payload"),
    ):  # fmt: skip
        assert refusal(project_18, "PUT", "/v1/vouchers/V", change | {"active": False})["key"] == key
    voucher = project_18.get("/v1/vouchers/V")
    assert (voucher["active"], voucher["updated_at"]) == (True, None)


def test_the_type_of_a_discount_cannot_change(project: Project) -> None:
    made(project, "V")
    error = refusal(project, "PUT", "/v1/vouchers/V", {"discount": {"type": "AMOUNT", "amount_off": 1}})
    assert error["key"] == "invalid_voucher"
    assert error["message"] == "Invalid Voucher"
    assert error["details"] == "It is not possible to change Voucher discount type"
    body = {"type": "DISCOUNT_VOUCHER", "discount": {"type": "PERCENT", "percent_off": 45.5, "amount_limit": 1800}}
    shown = project.call("PUT", "/v1/vouchers/V", json=body)["discount"]
    assert shown == {"type": "PERCENT", "percent_off": 45.5, "amount_limit": 1800, "effect": "APPLY_TO_ORDER"}


def test_what_cannot_be_changed_is_skipped(project_18: Project) -> None:
    card = made(project_18, "CARD", **GIFT, redemption={"quantity": 2})
    body = {
        "code": "X",
        "type": "DISCOUNT_VOUCHER",
        "discount": PERCENT,
        "gift": {"amount": 1},
        "redemption": {"quantity": 9},
    }
    after = project_18.call("PUT", "/v1/vouchers/CARD", json=body)
    assert after | {"updated_at": None} == card


def test_a_voucher_is_disabled_and_enabled(project: Project) -> None:
    voucher = made(project, "V")
    assert project.call("POST", "/v1/vouchers/V/disable") == project.get("/v1/vouchers/V")
    assert project.get("/v1/vouchers/V")["active"] is False
    assert project.call("POST", f"/v1/vouchers/{voucher['id']}/enable")["active"] is True


def test_changes_at_the_same_time_lose_nothing(project: Project) -> None:
    made(project, "V")
    with ThreadPoolExecutor(8) as threads:
        changes = [{"metadata": {f"k{n}": n}} for n in range(16)]
        answers = list(threads.map(lambda change: project.http.put("/v1/vouchers/V", json=change), changes))
    assert [answer.status_code for answer in answers] == [200] * 16
    assert project.get("/v1/vouchers/V")["metadata"] == {f"k{n}": n for n in range(16)}


# ---- deleting ----


def test_the_bin_hides_a_voucher_and_blocks_its_code(project: Project) -> None:
    voucher = made(project, "V")
    made(project, "W")
    assert project.http.delete("/v1/vouchers/V").status_code == 204
    for method, path in (
        ("GET", "/v1/vouchers/V"), ("GET", f"/v1/vouchers/{voucher['id']}"), ("PUT", "/v1/vouchers/V"),
        ("DELETE", "/v1/vouchers/V"), ("DELETE", "/v1/vouchers/V?force=true"), ("POST", "/v1/vouchers/V/enable"),
        ("POST", "/v1/vouchers/V/disable"),
    ):  # fmt: skip
        error = refusal(project, method, path, {}, status=404)
        assert (error["key"], error["resource_type"]) == ("not_found", "voucher")
        assert error["details"].startswith("Cannot find voucher with id ")
    assert refusal(project, "POST", "/v1/vouchers/V", DISCOUNT, status=409)["key"] == "duplicate_found"
    for order in ("created_at", "-updated_at", "code"):
        listed = project.get("/v1/vouchers", order=order)
        assert ([each["code"] for each in listed["vouchers"]], listed["total"]) == (["W"], 1)
    assert project.get("/v1/vouchers", code="V")["total"] == 0


def test_a_forced_deletion_frees_the_code(project: Project) -> None:
    before = made(project, "V")
    assert project.http.delete("/v1/vouchers/V?force=true").status_code == 204
    assert project.get("/v1/vouchers") | {"object": 0} == {
        "object": 0, "data_ref": "vouchers", "vouchers": [], "total": 0, "has_more": False
    }  # fmt: skip
    assert made(project, "V")["id"] != before["id"]
    assert refusal(project, "DELETE", "/v1/vouchers/V?force=maybe")["key"] == "invalid_query_params"


# ---- two projects ----


def test_projects_share_no_vouchers(deployment: Deployment) -> None:
    ours, theirs = deployment.new_project(), deployment.new_project()
    mine, other = made(ours, "SAME", category="ours"), made(theirs, "SAME", category="theirs")
    only = made(theirs, "ONLY")
    for name in (other["id"], only["id"], "ONLY"):
        for method, path in (
            ("GET", ""), ("PUT", ""), ("DELETE", ""), ("DELETE", "?force=true"), ("POST", "/enable"),
            ("POST", "/disable"),
        ):  # fmt: skip
            refusal(ours, method, f"/v1/vouchers/{name}{path}", {"active": False}, status=404)
    assert ours.get("/v1/vouchers", **{"ids[]": other["id"]})["total"] == 0
    assert ours.call("PUT", "/v1/vouchers/SAME", json={"category": "changed"})["id"] == mine["id"]
    assert ours.http.delete("/v1/vouchers/SAME?force=true").status_code == 204
    assert theirs.get("/v1/vouchers/SAME") == other
    assert theirs.get("/v1/vouchers/ONLY") == only
    assert theirs.get("/v1/vouchers")["total"] == 2
    ours.close()
    theirs.close()
