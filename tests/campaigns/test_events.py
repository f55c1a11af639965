"""The events of campaigns and of the generation of their vouchers: when they are written, and what stands in them."""

from typing import Any

import pytest

from tests.bulk.conftest import workerless
from tests.bulk.queue import in_loop
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
    filled,
    path_of,
    read,
    settled,
    vouchers_of,
)
from tests.campaigns.lane import CampaignLane
from tests.campaigns.test_cancelling import cancel, newest, paused
from tests.deployment import Project
from tests.events.log import LoggedEvent, events_of

__all__ = ["workerless"]

STARTED, COMPLETED, FAILED = (f"campaign.vouchers.generation.{end}" for end in ("started", "completed", "failed"))
SIMPLE_CAMPAIGN = {
    "id", "name", "campaign_type", "type", "is_referral_code", "voucher", "auto_join", "join_once", "active",
    "category_id", "category", "metadata", "start_date", "expiration_date", "description", "created_at", "updated_at",
    "object",
}  # fmt: skip
SIMPLE_VOUCHER = {"type", "discount", "gift", "loyalty_card", "redemption", "code_config"}


def types_of(project: Project) -> list[str]:
    return [one.type for one in events_of(project)]


def news(project: Project, before: int) -> list[LoggedEvent]:
    """The events that have come since there were `before`."""
    return events_of(project)[before:]


# ---- campaigns ---------------------------------------------------------------------------------


def test_a_campaign_that_is_created(project: Project) -> None:
    campaign = created(project, description="Now", metadata={"region": "EMEA"})
    (event,) = events_of(project)
    assert (event.type, event.object_id, event.campaign_id) == ("campaign.created", campaign["id"], campaign["id"])
    assert event.data == {"campaign": campaign, "created_at": campaign["created_at"]}
    assert (event.customer_id, event.async_action_id, event.depth) == (None, None, 0)
    assert event.event_source == {
        "channel": "API",
        "api_key": {"name": "test", "app_id": project.application_id},
    }
    created(project, expect=409)
    created(project, "Other", voucher={"type": "DISCOUNT_VOUCHER"}, expect=400)
    assert types_of(project) == ["campaign.created"]


def test_a_campaign_with_one_voucher(project_18: Project) -> None:
    campaign = created(project_18, vouchers_count=1)
    standalone = created(project_18, "One", type="STANDALONE", voucher={**COUPONS, "code": "ONE"})
    first, voucher, second, other = events_of(project_18)
    assert [one.type for one in (first, voucher, second, other)] == ["campaign.created", "voucher.created"] * 2
    assert first.data["campaign"] == campaign
    assert (voucher.campaign_id, voucher.data["voucher"]["campaign"]) == (campaign["id"], "Spring")
    assert other.data["voucher"] == project_18.get("/v1/vouchers/ONE")
    assert other.data["campaign"]["id"] == standalone["id"]


def test_changes_are_told_and_what_changes_nothing_is_not(project: Project) -> None:
    campaign = created(project, description="Now", metadata={"a": 1, "b": [1]}, validity_day_of_week=[1])
    for fields in (
        {},
        {"description": "Now", "validity_day_of_week": [1], "metadata": {"b": [1]}, "discount": PERCENT},
        {"start_date": None, "unset_metadata_fields": ["c"], "gift": {"amount": 5}},
    ):
        assert changed(project, **fields) == campaign, fields
    assert types_of(project) == ["campaign.created"]
    after = changed(project, description=None, metadata={"a": 1.5}, discount={**PERCENT, "percent_off": 20})
    (event,) = news(project, 1)
    assert (event.type, event.object_id, event.campaign_id) == ("campaign.updated", campaign["id"], campaign["id"])
    assert event.data == {"campaign": after}
    assert after["updated_at"] > campaign["created_at"]
    changed(project, type="STANDALONE", expect=400)
    changed(project, "Nobody", description="?", expect=404)
    assert len(events_of(project)) == 2


def test_switching_is_told_once(project: Project) -> None:
    campaign = created(project)
    for action in ("enable", "disable", "disable", "enable", "enable"):
        assert project.call("POST", path_of("Spring", action)) == {}
    disabled, enabled = news(project, 1)
    assert (disabled.type, disabled.object_id) == ("campaign.disabled", campaign["id"])
    assert (enabled.type, enabled.campaign_id) == ("campaign.enabled", campaign["id"])
    assert enabled.data == {"campaign": read(project)}
    assert set(disabled.data) == {"campaign"}
    assert (disabled.data["campaign"]["active"], enabled.data["campaign"]["active"]) == (False, True)


def test_a_deletion_is_told_at_once_and_its_vouchers_are_silent(project: Project) -> None:
    for name, force in (("Binned", False), ("Gone", True)):
        created(project, name, vouchers_count=3)
        settled(project)
        campaign, before = read(project, name), len(events_of(project))
        deleted(project, name, force=force)
        (event,) = news(project, before)
        assert (event.type, event.object_id, event.async_action_id) == ("campaign.deleted", campaign["id"], None)
        assert event.data == {"campaign": campaign, "deleted_at": event.data["deleted_at"]}
        assert event.data["deleted_at"] > campaign["created_at"]
        project.call("DELETE", path_of(name), expect=404)
        assert len(news(project, before)) == 1


def test_a_deletion_that_is_asked_for_again_is_not_told_again(project_18: Project) -> None:
    created(project_18, vouchers_count=1)
    with paused(project_18):
        cancel(project_18, project_18.call("DELETE", path_of("Spring"), expect=202)["async_action_id"])
    deleted(project_18, force=True)
    assert types_of(project_18) == ["campaign.created", "voucher.created", "campaign.deleted"]


# ---- vouchers ----------------------------------------------------------------------------------


def test_a_voucher_that_is_added(project: Project) -> None:
    campaign = created(project, voucher=GIFTS, category="gold")
    voucher = added(project, metadata={"a": 1})
    _, made, event = events_of(project)
    assert (made.type, made.object_id, made.campaign_id) == ("voucher.created", voucher["id"], campaign["id"])
    assert made.data["voucher"] == voucher
    assert (event.type, event.object_id, event.campaign_id) == (
        "campaign.vouchers.added",
        campaign["id"],
        campaign["id"],
    )
    assert (event.group_id, event.async_action_id) == (made.group_id, None)
    assert event.data == {"campaign": made.data["campaign"], "count": 1, "added_at": voucher["created_at"]}
    simple = event.data["campaign"]
    assert set(simple) == SIMPLE_CAMPAIGN
    assert set(simple["voucher"]) == SIMPLE_VOUCHER
    assert simple["voucher"]["gift"] == {"amount": 10_000, "balance": 10_000, "effect": "APPLY_TO_ORDER"}
    assert simple["voucher"]["redemption"] == {"quantity": None, "redeemed_quantity": 0}
    same = SIMPLE_CAMPAIGN & campaign.keys() - {"voucher"}
    assert {name: simple[name] for name in same} == {name: campaign[name] for name in same}
    coded(project, voucher["code"], expect=409)
    assert len(events_of(project)) == 3


def test_a_generation_from_its_request_to_its_end(project: Project) -> None:
    campaign = created(project, vouchers_count=7)
    action = settled(project)
    first, started, completed = events_of(project)
    assert (first.type, first.data["campaign"]) == ("campaign.created", campaign)
    assert (started.type, completed.type) == (STARTED, COMPLETED)
    for one in (started, completed):
        assert (one.object_id, one.campaign_id, one.depth) == (campaign["id"], campaign["id"], 0)
        assert (one.group_id, one.event_source) == (first.group_id, first.event_source)
        assert one.async_action_id == action["id"]
        assert set(one.data["campaign"]) == SIMPLE_CAMPAIGN
    assert first.async_action_id is None
    assert {**started.data, "campaign": 0} == {"campaign": 0, "count": 7, "started_at": action["created_at"]}
    assert {**completed.data, "campaign": 0} == {
        "campaign": 0,
        "count": 7,
        "completed_at": completed.data["completed_at"],
    }
    assert completed.data["completed_at"] > started.data["started_at"]


def test_a_generation_for_a_campaign_that_is_there(project_18: Project) -> None:
    created(project_18)
    answer = project_18.http.post(path_of("Spring", "vouchers"), params={"vouchers_count": 5})
    project_18.finished(answer.json()["async_action_id"])
    started, more, completed = news(project_18, 1)
    assert [one.type for one in (started, more, completed)] == [STARTED, "campaign.vouchers.added", COMPLETED]
    assert {one.group_id for one in (started, more, completed)} == {answer.headers["X-Request-Id"]}
    assert {one.async_action_id for one in (started, more, completed)} == {answer.json()["async_action_id"]}
    assert more.data == {
        "campaign": completed.data["campaign"],
        "count": 5,
        "added_at": completed.data["completed_at"],
    }


def test_a_generation_that_fails_tells_what_it_has_made(project_18: Project) -> None:
    created(project_18, voucher=COUPONS | {"code_config": DIGITS})
    for digit in range(6):
        coded(project_18, str(digit), "Spring")
    before = len(events_of(project_18))
    assert filled(project_18, count=8)["operation_status"] == "FAILED"
    started, more, failed = news(project_18, before)
    assert [one.type for one in (started, more, failed)] == [STARTED, "campaign.vouchers.added", FAILED]
    assert (started.data["count"], more.data["count"], failed.data["count"]) == (8, 4, 4)
    assert set(failed.data) == {"campaign", "count", "failed_at"}


def test_a_generation_that_is_cancelled_has_failed(project_18: Project) -> None:
    with paused(project_18):
        created(project_18, vouchers_count=5)
        action = newest(project_18)
        cancel(project_18, action)
    _, started, failed = events_of(project_18)
    assert (started.type, failed.type, failed.data["count"]) == (STARTED, FAILED, 0)
    assert (failed.async_action_id, failed.group_id) == (action, started.group_id)


def test_a_generation_whose_campaign_is_deleted_meanwhile(project_18: Project) -> None:
    with paused(project_18):
        campaign = created(project_18, vouchers_count=5)
        answer = project_18.call("DELETE", path_of("Spring"), params={"force": "true"}, expect=202)
    project_18.finished(answer["async_action_id"])
    settled(project_18)
    assert types_of(project_18) == ["campaign.created", STARTED, "campaign.deleted", FAILED]
    failed = events_of(project_18)[-1]
    assert (failed.data["campaign"]["id"], failed.data["campaign"]["object"]) == (campaign["id"], "campaign")


def test_what_flows_to_the_vouchers_is_silent(project: Project) -> None:
    campaign = created(project, vouchers_count=4)
    settled(project)
    before = len(events_of(project))
    changed(project, expiration_date="2031-01-01T00:00:00Z", metadata={"a": 1})
    assert settled(project)["type"] == "CAMPAIGN.VOUCHERS_UPDATE"
    codes = [voucher["code"] for voucher in vouchers_of(project, campaign["id"])]
    for path, body in (
        ("/v1/vouchers/bulk/async", [{"code": codes[0], "metadata": {"b": 1}}]),
        ("/v1/vouchers/metadata/async", {"codes": codes, "metadata": {"c": 1}}),
    ):
        project.finished(project.call("POST", path, json=body, expect=202)["async_action_id"])
    assert project.get(f"/v1/vouchers/{codes[0]}")["metadata"] == {"a": 1, "b": 1, "c": 1}
    assert [one.type for one in news(project, before)] == ["campaign.updated"]


def test_each_project_has_events_of_its_own(project: Project) -> None:
    other = project.deployment.new_project()
    campaign = created(project)
    for method, path in (("PUT", ()), ("DELETE", ()), ("POST", ("disable",)), ("POST", ("vouchers",))):
        other.call(method, path_of(campaign["id"], *path), expect=404, **_body(method, path))
    created(other)
    assert types_of(other) == types_of(project) == ["campaign.created"]
    assert events_of(other)[0].data["campaign"]["id"] != campaign["id"]
    other.close()


def _body(method: str, path: tuple[str, ...]) -> dict[str, Any]:
    return {} if method == "DELETE" or path else {"json": {"description": "Mine"}}


# ---- portions that do not come to their end ----------------------------------------------------


class Crash(Exception):
    """The worker ends here."""


@in_loop
async def test_a_crash_at_the_end_of_a_generation_tells_its_end_once(workerless: str) -> None:
    """The events are in the transaction of the last portion: with it they are lost, and come again."""

    async def crash() -> None:
        raise Crash

    async with CampaignLane.opened(workerless) as lane:
        campaign = await lane.create("a", 5)
        assert await lane.portion(3)
        for _ in range(2):
            lane.concluded = crash
            with pytest.raises(Crash):
                await lane.portion(3)
        assert await lane.portion(3)
        query = "SELECT type, async_action_id FROM events WHERE project_id = %s AND object_id = %s ORDER BY created_at"
        rows = await lane.queue.rows(query, lane.project, campaign)
        assert [row.type for row in rows] == ["campaign.created", STARTED, COMPLETED]
        assert len(await lane.vouchers(campaign)) == 5
