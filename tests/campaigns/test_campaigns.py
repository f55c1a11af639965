"""Campaigns one by one: what a new one is, what is refused, what a change does, and what a deletion leaves."""

from typing import Any

import httpx
import pytest

from tests.campaigns.campaigns import (
    COUPONS,
    DIGITS,
    GIFTS,
    PERCENT,
    added,
    changed,
    coded,
    created,
    deleted,
    path_of,
    read,
    settled,
    vouchers_of,
)
from tests.deployment import Deployment, Project
from tests.metadata_schemas.defining import define, schema

# ---- a new campaign ----------------------------------------------------------------------------


def test_what_is_not_given(project: Project) -> None:
    campaign = created(project, "A/1 ü")
    assert read(project, "A/1 ü") == read(project, campaign["id"]) == campaign
    assert campaign["id"].startswith("camp_")
    expected: dict[str, Any] = {
        "name": "A/1 ü", "description": None, "campaign_type": "DISCOUNT_COUPONS", "type": "STATIC",
        "auto_join": False, "join_once": False, "use_voucher_metadata_schema": False, "vouchers_count": 0,
        "active": True, "metadata": {}, "creation_status": "DONE", "vouchers_generation_status": "DONE",
        "protected": False, "category_id": None, "categories": [], "object": "campaign",
        "validation_rules_assignments": {"object": "list", "data_ref": "data", "data": [], "total": 0},
    }  # fmt: skip
    assert campaign == expected | {name: campaign[name] for name in ("id", "created_at", "voucher")}
    assert campaign["voucher"] == {
        "type": "DISCOUNT_VOUCHER",
        "discount": {"type": "PERCENT", "percent_off": 10, "effect": "APPLY_TO_ORDER"},
        "redemption": {"quantity": None},
        "code_config": {
            "length": 8,
            "charset": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
            "prefix": "",
            "postfix": "",
            "pattern": "########",
        },
        "is_referral_code": False,
    }


def test_all_that_can_be_given(project: Project) -> None:
    validity: dict[str, Any] = {
        "start_date": "2026-01-01T01:00:00+01:00",
        "expiration_date": "2026-12-31T00:00:00Z",
        "validity_timeframe": {"interval": "P2D", "duration": "P1D"},
        "validity_day_of_week": [0, 1, 2],
        "validity_hours": {"daily": [{"start_time": "12:00", "expiration_time": "14:00", "days_of_week": [1]}]},
    }
    given: dict[str, Any] = {
        "campaign_type": "GIFT_VOUCHERS", "type": "AUTO_UPDATE", "auto_join": True, "join_once": True,
        "use_voucher_metadata_schema": True, "description": "For all", "category": "First",
        "activity_duration_after_publishing": "P24D", "metadata": {"region": "AMER", "none": None},
    }  # fmt: skip
    template = {
        "type": "GIFT_VOUCHER",
        "gift": {"amount": 1000.0, "effect": "APPLY_TO_ITEMS"},
        "redemption": {"quantity": 3},
        "code_config": {"pattern": "G-####", "charset": "01", "prefix": "<", "postfix": ">", "initial_count": 7},
    }
    campaign = created(project, voucher=template, vouchers_count=1, unknown=1, **validity, **given)
    validity["start_date"] = "2026-01-01T00:00:00Z"
    assert {name: campaign[name] for name in given} == given
    assert {name: campaign[name] for name in validity} == validity
    assert campaign["voucher"] == validity | {
        "type": "GIFT_VOUCHER",
        "gift": {"amount": 1000, "effect": "APPLY_TO_ITEMS"},
        "redemption": {"quantity": 3},
        "code_config": {"length": 4, "charset": "01", "prefix": "<", "postfix": ">", "pattern": "G-####"},
        "is_referral_code": False,
    }
    (voucher,) = vouchers_of(project, campaign["id"])
    assert set(voucher["code"]) <= set("<G-01>")
    assert voucher["gift"] == {"amount": 1000, "subtracted_amount": 0, "balance": 1000, "effect": "APPLY_TO_ITEMS"}
    assert {name: voucher[name] for name in validity} == validity
    assert (voucher["campaign"], voucher["category"], voucher["metadata"]) == ("Spring", "First", given["metadata"])
    assert voucher["redemption"]["quantity"] == 3


@pytest.mark.parametrize(
    ("voucher", "kind"),
    [(COUPONS, "DISCOUNT_COUPONS"), (GIFTS, "GIFT_VOUCHERS"), ({"discount": PERCENT}, "DISCOUNT_COUPONS")],
)
def test_the_type_is_told_by_the_vouchers(project_18: Project, voucher: Any, kind: str) -> None:
    assert created(project_18, voucher=voucher)["campaign_type"] == kind


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"name": None}, "invalid_payload", "Property .name must be string"),
    ({"name": ""}, "invalid_payload", "Property .name must have at least 1 characters"),
    ({"name": "x" * 256}, "invalid_payload", "Property .name must have at most 255 characters"),
    ({"name": "camp_" + "0123456789abcdef" * 2}, "invalid_payload", "Property .name must not look like the id of"),
    ({"name": "."}, "invalid_payload", "Property .name must be neither . nor .. nor spaces only"),
    ({"name": ".."}, "invalid_payload", "Property .name must be neither . nor .. nor spaces only"),
    ({"name": " \t\u3000"}, "invalid_payload", "Property .name must be neither . nor .. nor spaces only"),
    ({"name": "a\x00b"}, "invalid_payload", "Property .name must not contain a NUL character"),
    ({"voucher": None}, "invalid_payload", "Payload should have required property 'campaign_type', or 'voucher'"),
    ({"voucher": {"type": "LOYALTY_CARD"}}, "invalid_campaign", "type LOYALTY_PROGRAM are not supported yet; there"),
    ({"campaign_type": "PROMOTION"}, "invalid_campaign", "Campaigns of the type PROMOTION are not supported yet"),
    ({"campaign_type": "LOYALTY_PROGRAM"}, "invalid_campaign", "LOYALTY_PROGRAM are not supported yet"),
    ({"campaign_type": "REFERRAL_PROGRAM"}, "invalid_campaign", "REFERRAL_PROGRAM are not supported yet"),
    ({"voucher": COUPONS | {"is_referral_code": True}}, "invalid_campaign", "REFERRAL_PROGRAM are not supported yet"),
    ({"campaign_type": "OTHER"}, "invalid_payload", "Property .campaign_type has an unknown value 'OTHER'"),
    ({"voucher": None, "campaign_type": "GIFT_VOUCHERS"}, "invalid_campaign", "Property 'voucher' is required for"),
    ({"campaign_type": "GIFT_VOUCHERS"}, "invalid_campaign", "Property .voucher.type must be GIFT_VOUCHER for"),
    ({"voucher": {"type": "DISCOUNT_VOUCHER"}}, "invalid_campaign", "Property 'discount' is required for DISCOUNT_C"),
    ({"voucher": {"type": "GIFT_VOUCHER"}}, "invalid_campaign", "Property 'gift' is required for GIFT_VOUCHERS"),
    ({"voucher": {"discount": {"type": "NONE"}}}, "invalid_payload", "Property .voucher.discount"),
    ({"voucher": {"discount": {"type": "UNIT"}}}, "invalid_payload", "Property .voucher.discount should have required"),
    ({"voucher": COUPONS | {"code_config": {"length": 0}}}, "invalid_payload",
     "Property .voucher.code_config.length cannot be lower than 1"),
    ({"voucher": COUPONS | {"code_config": {"charset": ""}}}, "invalid_code_config", ".voucher.code_config.charset"),
    ({"voucher": COUPONS | {"code_config": DIGITS}, "vouchers_count": 11}, "invalid_code_config",
     "Property .voucher.code_config can make 10 different codes, and 11 are wanted"),
    ({"voucher": COUPONS | {"redemption": {"quantity": 0}}}, "invalid_payload",
     "Property .voucher.redemption.quantity cannot be lower than 1"),
    ({"vouchers_count": -1}, "invalid_payload", "Property .vouchers_count cannot be lower than 0"),
    ({"vouchers_count": 1.5}, "invalid_payload", "Property .vouchers_count should be integer"),
    ({"vouchers_count": 100_001}, "invalid_campaign", "A campaign can have at most 100000 vouchers"),
    ({"start_date": "tomorrow"}, "invalid_payload", "Property .start_date cannot be recognized as a ISO-8601"),
    ({"start_date": "2026-02-01T00:00:00Z", "expiration_date": "2026-01-01T00:00:00Z"}, "invalid_expiration_date",
     "Property .expiration_date cannot be before .start_date"),
    ({"validity_timeframe": {"interval": "P2D", "duration": "P1D"}}, "invalid_payload",
     "Property .start_date is required with .validity_timeframe"),
    ({"validity_day_of_week": [7]}, "invalid_payload", "Property .validity_day_of_week[0] cannot be higher than 6"),
    ({"activity_duration_after_publishing": "soon"}, "invalid_payload",
     "Property .activity_duration_after_publishing must be an ISO 8601 duration"),
    ({"metadata": {"n": 2**70}}, "invalid_payload", "Property .metadata.n must be a number that can be represented"),
    ({"metadata": {"a": "x" * 16_377}}, "invalid_payload", "Property .metadata must have at most 16384 bytes"),
    ({"voucher": COUPONS | {"code_config": {"prefix": "v_", "length": 32}}}, "invalid_code_config",
     "Property .voucher.code_config could make a code that must be neither . nor .. nor look like"),
    ({"type": "STANDALONE"}, "invalid_campaign", "Property .voucher.code is required for a STANDALONE"),
    ({"type": "STANDALONE", "voucher": COUPONS | {"code": "v_" + "0" * 32}}, "invalid_payload",
     "Property .voucher.code must be neither . nor .. nor look like the id of a voucher"),
    ({"type": "STANDALONE", "voucher": COUPONS | {"code": "ONE"}, "vouchers_count": 2}, "invalid_campaign",
     "You can not generate vouchers for STANDALONE type campaign."),
    ({"type": "STANDALONE", "voucher": COUPONS | {"code": ""}}, "invalid_payload", "Property .voucher.code must have"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "key", "details"), REFUSED)
def test_what_is_refused_leaves_nothing(project_18: Project, fields: dict[str, Any], key: str, details: str) -> None:
    error = created(project_18, expect=400, **({"name": "Spring", "voucher": COUPONS} | fields))
    assert error["key"] == key
    assert details in error["details"]
    assert project_18.get("/v1/campaigns") | {"has_more": 0} == {
        "object": "list", "data_ref": "campaigns", "campaigns": [], "total": 0, "has_more": 0,
    }  # fmt: skip
    assert project_18.get("/v1/async-actions")["async_actions"] == []


@pytest.mark.parametrize(
    ("fields", "kind"), [({"category_id": "cat_1"}, "category"), ({"validation_rules": ["val_1"]}, "validation_rules")]
)
def test_what_does_not_exist_is_not_found(project_18: Project, fields: dict[str, Any], kind: str) -> None:
    assert created(project_18, expect=404, **fields)["resource_type"] == kind


def test_a_name_is_taken_also_by_a_campaign_in_the_bin(project: Project) -> None:
    created(project)
    for in_bin in (False, True):
        if in_bin:
            deleted(project)
        error = created(project, expect=409, vouchers_count=5)
        assert (error["key"], error["resource_id"], error["resource_type"]) == ("duplicate_found", "Spring", "campaign")
        assert error["details"] == "Duplicated campaign exists with name Spring"
    assert project.get("/v1/vouchers")["total"] == 0
    created(project, "Summer")
    deleted(project, "Summer", force=True)
    created(project, "Summer")


def test_a_standalone_campaign_has_one_code(project: Project) -> None:
    campaign = created(project, type="STANDALONE", voucher=COUPONS | {"code": "FOR-ALL"}, join_once=True)
    assert (campaign["vouchers_count"], campaign["join_once"]) == (1, False)
    assert [voucher["code"] for voucher in vouchers_of(project, campaign["id"])] == ["FOR-ALL"]
    for refused in (
        added(project, expect=400), added(project, count=2, expect=400), coded(project, "B", expect=400),
    ):  # fmt: skip
        assert refused["details"] == "You can not generate vouchers for STANDALONE type campaign."
    assert changed(project, type="STATIC", expect=400)["key"] == "invalid_campaign"
    error = created(project, "Other", type="STANDALONE", voucher=COUPONS | {"code": "FOR-ALL"}, expect=409)
    assert error["resource_type"] == "voucher"
    read(project, "Other", expect=404)


def test_a_voucher_that_names_a_standalone_campaign_is_of_its_type(project: Project) -> None:
    campaign = created(project, type="STANDALONE", voucher=COUPONS | {"code": "FOR-ALL"})
    gift = {"gift": {"amount": 5}, "campaign": "Spring"}
    for path, body in (
        ("/v1/vouchers/GIFT", gift | {"type": "GIFT_VOUCHER"}),
        ("/v1/vouchers", gift | {"campaign": None, "campaign_id": campaign["id"], "code": "GIFT"}),
    ):
        error = project.call("POST", path, json=body, expect=400)
        assert (error["key"], error["details"]) == (
            "invalid_voucher", f"Vouchers of the campaign {campaign['id']} are of the type DISCOUNT_VOUCHER",
        )  # fmt: skip
    made = project.call("POST", "/v1/vouchers/MORE", json={"discount": PERCENT, "campaign": "Spring"})
    assert (made["campaign_id"], made["type"]) == (campaign["id"], "DISCOUNT_VOUCHER")
    changed(project, discount={"type": "PERCENT", "percent_off": 50})
    settled(project)
    shown = [(voucher["discount"]["percent_off"], voucher["gift"]) for voucher in vouchers_of(project, campaign["id"])]
    assert shown == [(50, None), (50, None)]


def test_a_repeat_with_the_same_key_takes_effect_once(project_18: Project) -> None:
    body = {"name": "Spring", "voucher": COUPONS, "vouchers_count": 3}
    headers = {"Idempotency-Key": "once"}
    first = project_18.call("POST", "/v1/campaigns", json=body, headers=headers)
    settled(project_18)
    assert project_18.call("POST", "/v1/campaigns", json=body, headers=headers) == first
    assert read(project_18)["vouchers_count"] == 3


# ---- changes -----------------------------------------------------------------------------------


def test_what_is_absent_stays_and_null_clears(project: Project) -> None:
    before = created(
        project, description="Old", category="First", start_date="2026-01-01T00:00:00Z",
        expiration_date="2026-12-31T00:00:00Z", validity_day_of_week=[1], metadata={"a": 1, "b": 2, "c": 3},
    )  # fmt: skip
    after = changed(project, name="Other", voucher={}, vouchers_count=9, expiration_date=None, active=False)
    gone = {"expiration_date", "updated_at"}
    assert "expiration_date" not in after
    assert after["updated_at"] > after["created_at"]
    for shown in (before, after):
        shown["voucher"].pop("expiration_date", None)
    assert {name: value for name, value in after.items() if name not in gone} == {
        name: value for name, value in before.items() if name not in gone
    }
    after = changed(
        project, description=None, category=None, start_date=None, validity_day_of_week=None, type="AUTO_UPDATE",
        metadata={"b": None, "d": 4}, unset_metadata_fields=["a", "nothing"], join_once=True, auto_join=True,
    )  # fmt: skip
    assert (after["description"], after["type"], after["metadata"]) == (
        None,
        "AUTO_UPDATE",
        {"b": None, "c": 3, "d": 4},
    )
    assert not {"category", "start_date", "validity_day_of_week"} & after.keys()
    assert (after["join_once"], after["auto_join"]) == (True, True)
    assert read(project) == after
    # it has no vouchers that would have to follow
    assert project.get("/v1/async-actions")["async_actions"] == []


def test_an_empty_category_is_none(project: Project) -> None:
    created(project, category="First")
    assert "category" not in changed(project, category="")
    assert "category" not in read(project)


def test_what_a_change_refuses(project_18: Project) -> None:
    campaign = created(project_18, start_date="2026-02-01T00:00:00Z")
    for fields, key in (
        ({"expiration_date": "2026-01-01T00:00:00Z"}, "invalid_expiration_date"),
        ({"type": "STANDALONE"}, "invalid_campaign"),
        ({"discount": {"type": "PERCENT", "percent_off": 101}}, "invalid_payload"),
        ({"activity_duration_after_publishing": "P"}, "invalid_payload"),
        ({"metadata": {"n": 2**70}}, "invalid_payload"),
        ({"metadata": {"n": "x" * 16_377}}, "invalid_payload"),
    ):
        assert changed(project_18, expect=400, **fields)["key"] == key
    assert changed(project_18, category_id="cat_1", expect=404)["resource_type"] == "category"
    assert read(project_18) == campaign
    # a gift is none of a discount campaign's
    assert changed(project_18, gift={"amount": 5})["voucher"] == campaign["voucher"]


def test_enable_and_disable(project: Project) -> None:
    created(project)
    for action, active in (("disable", False), ("disable", False), ("enable", True)):
        assert project.call("POST", path_of("Spring", action)) == {}
        assert read(project)["active"] is active


def test_metadata_follows_its_schema(project_18: Project) -> None:
    size = {"type": "number", "optional": False}
    define(project_18, [schema("campaign", region="string"), schema("voucher", size=size)])
    assert created(project_18, metadata={"region": 1}, expect=400)["key"] == "metadata_validation_failed"
    created(project_18, metadata={"region": "AMER"})
    assert changed(project_18, metadata={"region": 2}, expect=400)["key"] == "metadata_validation_failed"
    added(project_18, metadata={"size": "large"})
    assert added(project_18, metadata={"region": 3}, expect=400)["key"] == "metadata_validation_failed"
    mine = coded(project_18, "MINE")
    assert mine["metadata"] == {"region": "AMER"}
    for region, status in ((4, 400), ("EMEA", 200)):
        project_18.call("PUT", "/v1/vouchers/MINE", json={"metadata": {"region": region}}, expect=status)
    follows = {"use_voucher_metadata_schema": True}
    assert created(project_18, "Sized", expect=400, **follows)["key"] == "metadata_validation_failed"
    created(project_18, "Sized", metadata={"size": 1}, **follows)
    assert added(project_18, "Sized", metadata={"size": "L"}, expect=400)["key"] == "metadata_validation_failed"
    assert added(project_18, "Sized", metadata={"size": 2})["metadata"] == {"size": 2}


@pytest.mark.parametrize("resource", ["campaign", "voucher"])
def test_metadata_that_a_schema_requires_is_not_unset(project: Project, resource: str) -> None:
    """No voucher can lose it with its campaign either."""
    define(
        project,
        schema(
            resource, allow_defined_only=True, region={"type": "string", "optional": False}, tag="string", gone="string"
        ),
    )
    follows: dict[str, Any] = {"use_voucher_metadata_schema": resource == "voucher"}
    metadata = {"region": "AMER", "tag": "a", "gone": "b"}
    campaign = created(project, metadata=metadata, vouchers_count=1, **follows)
    null = changed(project, metadata={"region": None}, expect=400)
    for fields in (
        {"unset_metadata_fields": ["region"]}, {"unset_metadata_fields": ["tag", "region"], "metadata": {"tag": "c"}},
        {"unset_metadata_fields": ["region"], "metadata": {"region": "EMEA"}},
    ):  # fmt: skip
        error = changed(project, expect=400, **fields)
        assert (error["key"], error["details"]) == ("metadata_validation_failed", null["details"])
    assert read(project) == campaign
    # what is optional, not there, or defined no longer can be
    define(project, schema(resource, gone={"type": "string", "deleted": True}))
    kept = {"region": "AMER"}
    assert changed(project, unset_metadata_fields=["tag", "gone", "nothing"])["metadata"] == kept
    settled(project)
    (voucher,) = vouchers_of(project, campaign["id"])
    assert voucher["metadata"] == kept


# ---- nothing there -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "more"),
    [("GET", ()), ("PUT", ()), ("DELETE", ()), ("POST", ("enable",)), ("POST", ("disable",)), ("POST", ("vouchers",)),
     ("POST", ("vouchers", "CODE"))],
)  # fmt: skip
def test_a_campaign_that_is_not_there(project_18: Project, method: str, more: tuple[str, ...]) -> None:
    body: dict[str, Any] = {"json": {}} if method != "GET" else {}
    error = project_18.call(method, path_of("Spring Campaign", *more), expect=404, **body)
    assert (error["key"], error["resource_id"], error["resource_type"]) == ("not_found", "Spring Campaign", "campaign")
    assert error["details"] == "Cannot find campaign with id Spring Campaign"


def test_two_projects_know_nothing_of_each_other(deployment_18: Deployment, project_18: Project) -> None:
    other = deployment_18.new_project()
    mine, theirs = created(project_18, vouchers_count=1), created(other, vouchers_count=2)
    settled(other)
    coded(project_18, "SAME")
    coded(other, "SAME")
    for method in ("GET", "PUT", "DELETE"):
        other.call(method, path_of(mine["id"]), expect=404, **({} if method == "GET" else {"json": {}}))
    assert (read(project_18)["vouchers_count"], read(other)["vouchers_count"]) == (2, 3)
    deleted(other, force=True)
    assert [campaign["id"] for campaign in project_18.get("/v1/campaigns")["campaigns"]] == [mine["id"]]
    assert len(vouchers_of(project_18, mine["id"])) == 2
    assert theirs["id"] != mine["id"]
    other.close()


def test_bodies_that_may_be_empty(project_18: Project) -> None:
    created(project_18)
    headers = {"Content-Type": "application/json"}

    def sent(*more: str) -> httpx.Response:
        return project_18.http.post(path_of("Spring", *more), content=b"", headers=headers)

    assert sent("vouchers").json()["object"] == "voucher"
    assert sent("vouchers", "MINE").json()["code"] == "MINE"
    assert (sent("enable").json(), sent("disable").json()) == ({}, {})
    assert project_18.http.put(path_of("Spring"), content=b"", headers=headers).status_code == 400
