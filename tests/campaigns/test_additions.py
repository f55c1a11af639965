"""Vouchers that are added to a campaign: one at once, with a code, many; what they have, how many there can be."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from punchcard.db.database import connect
from tests.campaigns.campaigns import (
    COUPONS,
    DIGITS,
    added,
    changed,
    coded,
    created,
    filled,
    path_of,
    read,
    settled,
    vouchers_of,
)
from tests.deployment import Deployment, Project, until
from tests.orders.stored import session

VOUCHERS_MAX = 30


@pytest.fixture(scope="module")
def small_deployment() -> Iterator[Deployment]:
    """A deployment whose campaigns are small, and whose portions are too."""
    settings: dict[str, object] = {"vouchers_per_campaign_max": VOUCHERS_MAX, "workers": 1, "portion_ms": 10}
    deployment = Deployment(settings=settings).start()
    yield deployment
    deployment.close()


@pytest.fixture
def small(small_deployment: Deployment) -> Iterator[Project]:
    """A project whose campaigns have at most `VOUCHERS_MAX` vouchers."""
    project = small_deployment.new_project()
    yield project
    project.close()


# ---- one ---------------------------------------------------------------------------------------


def test_one_voucher_is_as_the_campaign_says_but_for_what_is_given(project: Project) -> None:
    campaign = created(
        project, category="First", metadata={"region": "AMER", "season": "Spring"}, start_date="2026-01-01T00:00:00Z",
        voucher=COUPONS | {"redemption": {"quantity": 4}, "code_config": {"pattern": "AB-##"}},
    )  # fmt: skip
    plain = added(project)
    assert plain["code"].startswith("AB-")
    assert (plain["campaign"], plain["campaign_id"], plain["object"]) == ("Spring", campaign["id"], "voucher")
    assert (plain["category"], plain["metadata"], plain["active"]) == ("First", campaign["metadata"], True)
    assert (plain["start_date"], plain["redemption"]["quantity"]) == ("2026-01-01T00:00:00Z", 4)
    given: dict[str, Any] = {
        "category": "Second", "active": False, "additional_info": "By hand", "expiration_date": "2026-09-25T23:59:59Z",
        "start_date": "2026-09-24T00:00:00Z",
    }  # fmt: skip
    metadata, redemption = {"season": "Fall", "n": 1}, {"quantity": None}
    code_config = {"length": 3, "charset": "x", "prefix": "P-"}
    other = added(project, count=1, metadata=metadata, redemption=redemption, code_config=code_config, **given)
    assert {name: other[name] for name in given} == given
    assert other["code"] == "P-xxx"
    assert other["metadata"] == {"region": "AMER", "season": "Fall", "n": 1}
    assert other["redemption"]["quantity"] is None
    assert added(project, code="MINE", redemption={}, metadata=None)["redemption"]["quantity"] == 4
    assert project.get("/v1/vouchers/MINE")["campaign"] == "Spring"
    assert read(project)["vouchers_count"] == 3
    assert project.get("/v1/vouchers")["total"] == 3


def test_a_code_of_ones_own(project: Project) -> None:
    created(project)
    assert coded(project, "a/b c", additional_info="x")["code"] == "a/b c"
    error = coded(project, "a/b c", expect=409)
    assert (error["key"], error["resource_id"], error["resource_type"]) == ("duplicate_found", "a/b c", "voucher")
    assert error["details"] == "Duplicated voucher exists with id a/b c"
    assert read(project)["vouchers_count"] == 1
    assert coded(project, "v_" + "0" * 32, expect=400)["details"].startswith("Property .code must be neither . nor ..")
    project.http.delete("/v1/vouchers/a%2Fb%20c")
    assert read(project)["vouchers_count"] == 0
    coded(project, "a/b c", expect=409)  # in the bin it is still taken


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"count": 0}, "Property .vouchers_count cannot be lower than 1"),
        ({"count": 2, "code": "A"}, "Property .code cannot be given for more than one voucher"),
        ({"code": "x" * 256}, "Property .code must have"),
        ({"code_config": {"length": 0}}, "Property .code_config.length cannot be lower than 1"),
        ({"count": 11, "code_config": DIGITS}, "Property .code_config can make 10 different codes, and 11 are wanted"),
        ({"expiration_date": "2025-01-01T00:00:00Z"}, "Property .expiration_date cannot be before .start_date"),
        ({"redemption": {"quantity": 0}}, "Property .redemption.quantity cannot be lower than 1"),
        ({"metadata": []}, "Property .metadata must be an object"),
        ({"metadata": {"a": "x" * 16_377}}, "Property .metadata must have at most 16384 bytes"),
        ({"code": "v_" + "0" * 32}, "Property .code must be neither . nor .. nor look like the id of a voucher"),
        ({"count": 2, "code_config": {"pattern": "v_" + "#" * 32}}, "Property .code_config could make a code that"),
    ],
)
def test_what_is_refused(project_18: Project, fields: dict[str, Any], details: str) -> None:
    created(project_18, start_date="2026-01-01T00:00:00Z")
    assert details in added(project_18, expect=400, **fields)["details"]
    assert read(project_18)["vouchers_count"] == 0
    assert added(project_18, category_id="cat_1", expect=404)["resource_type"] == "category"


# ---- many --------------------------------------------------------------------------------------


def test_many_by_an_action(project: Project) -> None:
    campaign = created(project, vouchers_count=2, metadata={"region": "AMER"})
    assert (campaign["vouchers_count"], campaign["vouchers_generation_status"]) == (0, "IN_PROGRESS")
    action = settled(project)
    assert (action["type"], action["status"], action["operation_status"]) == (
        "CAMPAIGN.VOUCHERS_GENERATE", "DONE", "SUCCESS",
    )  # fmt: skip
    assert action["result"] == {"message": "Generated 2 vouchers.", "done_count": 2}
    action = filled(project, count=5000, metadata={"n": 1}, code_config={"pattern": "X-######"})
    assert action["result"] == {"message": "Generated 5000 vouchers.", "done_count": 5000}
    assert (action["progress"], action["records_total"], action["records_processed"]) == (100, 5000, 5000)
    found = read(project)
    assert (found["vouchers_count"], found["vouchers_generation_status"]) == (5002, "DONE")
    assert found["creation_status"] == "DONE"
    listed = vouchers_of(project, campaign["id"])
    assert len({voucher["code"] for voucher in listed}) == len({voucher["created_at"] for voucher in listed}) == 5002
    of_second = [voucher for voucher in listed if voucher["metadata"] == {"region": "AMER", "n": 1}]
    assert len(of_second) == 5000
    assert all(voucher["code"].startswith("X-") for voucher in of_second)
    assert project.get("/v1/vouchers")["total"] == 5002


def test_a_repeat_of_a_request_for_many(project_18: Project) -> None:
    created(project_18)
    answers = [
        project_18.http.post(
            path_of("Spring", "vouchers"), params={"vouchers_count": 3}, json={}, headers={"Idempotency-Key": "k"}
        )
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    settled(project_18)
    assert read(project_18)["vouchers_count"] == 3


# ---- no more codes -----------------------------------------------------------------------------


def test_all_codes_of_a_small_space_are_found(project: Project) -> None:
    campaign = created(project, vouchers_count=7, voucher=COUPONS | {"code_config": DIGITS})
    assert settled(project)["operation_status"] == "SUCCESS"
    action = filled(project, count=5)
    assert (action["status"], action["operation_status"]) == ("FAILED", "FAILED")
    assert action["result"]["done_count"] == 3
    assert (action["records_total"], action["records_processed"], action["progress"]) == (5, 3, 60)
    assert action["result"]["message"] == (
        "No free code is left that its code_config can make: 3 of 5 vouchers were made"
    )
    found = read(project)
    assert (found["vouchers_count"], found["vouchers_generation_status"]) == (10, "FAILED")
    assert sorted(voucher["code"] for voucher in vouchers_of(project, campaign["id"])) == list("0123456789")
    assert added(project, expect=400)["key"] == "invalid_code_config"
    # what failed is not on its way any more, and the next one that goes well makes good for it
    assert filled(project, count=2, code_config={"pattern": "##"})["operation_status"] == "SUCCESS"
    assert read(project)["vouchers_generation_status"] == "DONE"


def test_codes_of_others_are_left_out(project_18: Project) -> None:
    created(project_18, "Other", voucher=COUPONS | {"code_config": DIGITS})
    for code in "13579":
        coded(project_18, code, "Other")
    campaign = created(project_18, vouchers_count=5, voucher=COUPONS | {"code_config": DIGITS})
    assert settled(project_18)["operation_status"] == "SUCCESS"
    assert sorted(voucher["code"] for voucher in vouchers_of(project_18, campaign["id"])) == list("02468")


# ---- how many there can be ---------------------------------------------------------------------


def test_a_campaign_can_be_full_and_not_fuller(small: Project) -> None:
    details = f"A campaign can have at most {VOUCHERS_MAX} vouchers (setting vouchers_per_campaign_max); this one has "
    error = created(small, vouchers_count=VOUCHERS_MAX + 1, expect=400)
    assert (error["key"], error["details"]) == ("invalid_campaign", f"{details}0")
    created(small, vouchers_count=VOUCHERS_MAX - 1)
    settled(small)
    assert added(small, count=2, expect=400)["details"] == f"{details}{VOUCHERS_MAX - 1}"
    code = added(small)["code"]
    assert added(small, expect=400)["details"] == coded(small, "MINE", expect=400)["details"] == f"{details}30"
    # in the bin a voucher does not count
    small.http.delete(f"/v1/vouchers/{code}")
    added(small)
    created(small, "Full", vouchers_count=VOUCHERS_MAX)
    assert settled(small)["result"]["done_count"] == VOUCHERS_MAX


def test_what_is_on_its_way_counts(small: Project) -> None:
    deployment = small.deployment
    created(small)
    assert deployment.command("lanes", "pause", small.id, "round_robin").returncode == 0
    first = added(small, count=VOUCHERS_MAX - 1, expect=202)["async_action_id"]
    error = added(small, count=2, expect=400)
    assert error["details"].endswith("this one has 0 and 29 on their way")
    added(small)
    assert added(small, expect=400)["details"].endswith("this one has 1 and 29 on their way")
    # what is cancelled is not on its way any more
    small.call("POST", f"/v1/async-actions/{first}/cancel", expect=202)
    assert deployment.command("lanes", "resume", small.id, "round_robin").returncode == 0
    assert small.finished(first)["status"] == "FAILED"
    assert read(small)["vouchers_generation_status"] == "FAILED"
    assert filled(small, count=VOUCHERS_MAX - 1)["operation_status"] == "SUCCESS"
    assert (read(small)["vouchers_count"], read(small)["vouchers_generation_status"]) == (VOUCHERS_MAX, "DONE")


def test_the_limit_holds_for_vouchers_that_name_a_standalone_campaign(small: Project) -> None:
    created(small, type="STANDALONE", voucher=COUPONS | {"code": "FOR-ALL"})

    def post(no: int) -> int:
        body = {"discount": COUPONS["discount"], "campaign": "Spring"}
        return small.http.post(f"/v1/vouchers/code-{no}", json=body).status_code

    assert {post(no) for no in range(2, VOUCHERS_MAX)} == {200}
    # nobody may count while the last one is being written
    with ThreadPoolExecutor(3) as threads, session(small.deployment) as watch, session(small.deployment) as ours:
        with ours.transaction():
            ours.execute("LOCK TABLE row_totals IN EXCLUSIVE MODE")
            asked = [threads.submit(post, no) for no in range(100, 103)]
            waiting = "SELECT FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
            until(lambda: len(watch.execute(waiting).fetchall()) >= len(asked))
        assert sorted(answer.result() for answer in asked) == [200, 400, 400]
    assert read(small)["vouchers_count"] == VOUCHERS_MAX
    body = {"discount": COUPONS["discount"], "campaign": "Spring", "code": "LAST"}
    error = small.call("POST", "/v1/vouchers", json=body, expect=400)
    assert (error["key"], error["details"].split("; ")[1]) == ("invalid_campaign", f"this one has {VOUCHERS_MAX}")


def test_many_at_once_do_not_pass_the_limit_together(small: Project) -> None:
    created(small)
    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(
                lambda no: (
                    small.http.post(
                        path_of("Spring", "vouchers"), params={"vouchers_count": 1 + no % 2}, json={}
                    ).status_code
                ),
                range(40),
            )
        )
    asked_for = sum({200: 1, 202: 2}.get(status, 0) for status in answers)
    assert (asked_for, set(answers)) == (VOUCHERS_MAX, {200, 202, 400})
    settled(small)
    assert read(small)["vouchers_count"] == VOUCHERS_MAX


# ---- what follows the campaign -----------------------------------------------------------------


def test_vouchers_follow_their_campaign_unless_published_or_redeemed(project: Project) -> None:
    campaign = created(
        project, metadata={"a": 1, "b": 1}, expiration_date="2026-12-31T00:00:00Z", category="First",
        voucher={"type": "GIFT_VOUCHER", "gift": {"amount": 100, "effect": "APPLY_TO_ITEMS"}},
    )  # fmt: skip
    for code in ("plain", "published", "redeemed", "held", "own"):
        coded(project, code, metadata={"own": 1, "b": 5}, additional_info="Mine")
    facts = {"published": "published_count = 1", "redeemed": "redeemed_quantity = 1", "held": "holder_id = 'cust_1'"}
    run_sql(project, *(f"UPDATE vouchers SET {fact} WHERE code = '{code}'" for code, fact in facts.items()))
    before = {voucher["code"]: voucher for voucher in vouchers_of(project, campaign["id"])}
    answer = changed(
        project, gift={"amount": 300}, metadata={"a": 2, "new": [1]}, unset_metadata_fields=["b"], category=None,
        expiration_date=None, start_date="2026-01-01T00:00:00Z", validity_hours={"daily": []}, description="New",
    )  # fmt: skip
    assert (answer["vouchers_generation_status"], answer["creation_status"]) == ("MODIFYING", "MODIFYING")
    action = settled(project)
    assert (action["type"], action["operation_status"]) == ("CAMPAIGN.VOUCHERS_UPDATE", "SUCCESS")
    assert action["result"] == {"message": "Updated 2 vouchers.", "done_count": 2}
    assert read(project)["vouchers_generation_status"] == "DONE"
    after = {voucher["code"]: voucher for voucher in vouchers_of(project, campaign["id"])}
    assert {code: after[code] for code in facts} == {code: before[code] for code in facts}
    expected = before["plain"] | {
        "gift": {"amount": 300, "subtracted_amount": 0, "balance": 300, "effect": "APPLY_TO_ORDER"},
        "metadata": {"own": 1, "a": 2, "new": [1]},
        "category": None,
        "expiration_date": None,
        "start_date": "2026-01-01T00:00:00Z",
        "validity_hours": {"daily": []},
    }
    assert after["plain"] == expected | {"updated_at": after["plain"]["updated_at"]}
    assert added(project)["metadata"] == {"a": 2, "new": [1]}
    # nothing that vouchers have has changed
    changed(project, gift={"amount": 300, "effect": "APPLY_TO_ORDER"}, metadata={"a": 2}, auto_join=True)
    assert settled(project)["id"] == action["id"]


def run_sql(project: Project, *statements: str) -> None:
    """Statements of somebody else, on the project's rows."""

    async def run() -> None:
        async with await connect(project.deployment.dsn, part="test") as conn:
            for statement in statements:
                await conn.execute(f"{statement} AND project_id = '{project.id}'".encode())

    asyncio.run(run())
