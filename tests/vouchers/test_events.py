"""The events of single vouchers: when they are written, and what stands in them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.campaigns.campaigns import added
from tests.campaigns.campaigns import created as campaign_created
from tests.deployment import Project
from tests.events.log import LoggedEvent, events_of

DISCOUNT = {"type": "PERCENT", "percent_off": 10, "amount_limit": 500}


def created(project: Project, code: str = "ONE", *, expect: int = 200, **fields: Any) -> Any:
    body = {"discount": DISCOUNT} | fields
    return project.call("POST", f"/v1/vouchers/{code}", json=body, expect=expect)


def changed(project: Project, code: str = "ONE", *, expect: int = 200, **fields: Any) -> Any:
    return project.call("PUT", f"/v1/vouchers/{code}", json=fields, expect=expect)


def types_of(project: Project) -> list[str]:
    return [one.type for one in events_of(project)]


def last(project: Project) -> LoggedEvent:
    return events_of(project)[-1]


def test_a_voucher_that_is_created(project: Project) -> None:
    voucher = created(project, metadata={"a": 1})
    (event,) = events_of(project)
    assert (event.type, event.object_id, event.campaign_id) == ("voucher.created", voucher["id"], None)
    assert event.data == {"voucher": voucher, "campaign": None}
    assert (event.customer_id, event.async_action_id, event.depth) == (None, None, 0)
    assert event.event_source == {
        "channel": "API",
        "api_key": {"name": "test", "app_id": project.application_id},
    }
    other = project.call("POST", "/v1/vouchers", json={"gift": {"amount": 500}})
    assert last(project).data["voucher"] == other
    created(project, expect=409)
    created(project, "TWO", metadata={"a": "\0"}, expect=400)
    assert types_of(project) == ["voucher.created"] * 2


def test_a_repeat_with_its_key_is_one_event(project_18: Project) -> None:
    body, headers = {"discount": DISCOUNT}, {"Idempotency-Key": "1"}
    first, second = (project_18.call("POST", "/v1/vouchers", json=body, headers=headers) for _ in range(2))
    assert first == second
    assert types_of(project_18) == ["voucher.created"]


def test_changes_are_told_and_what_changes_nothing_is_not(project: Project) -> None:
    voucher = created(project, metadata={"a": 1}, start_date="2030-01-01T00:00:00Z", validity_day_of_week=[1, 2])
    for fields in (
        {},
        {"discount": DISCOUNT, "metadata": {"a": 1}, "validity_day_of_week": [1, 2], "active": True},
        {"start_date": "2030-01-01T01:00:00+01:00", "category": None, "additional_info": None},
    ):
        assert changed(project, **fields) == voucher, fields
    assert types_of(project) == ["voucher.created"]
    after = changed(project, metadata={"b": None}, validity_day_of_week=[2, 1])
    event = last(project)
    assert (event.type, event.object_id, event.data) == (
        "voucher.updated",
        voucher["id"],
        {"voucher": after, "campaign": None},
    )
    assert after["updated_at"] is not None
    changed(project, discount={"type": "AMOUNT", "amount_off": 1}, expect=400)
    changed(project, "NOBODY", category="x", expect=404)
    assert len(events_of(project)) == 2


def test_switching_is_told_once_whichever_way_it_is_asked_for(project: Project) -> None:
    created(project)
    for action in ("enable", "disable", "disable", "enable"):
        answer = project.call("POST", f"/v1/vouchers/ONE/{action}")
    assert last(project).data == {"voucher": answer, "campaign": None}
    assert (answer["active"], answer["updated_at"] is not None) == (True, True)
    changed(project, active=False)
    changed(project, active=False, category="gold")
    after = changed(project, active=True, category=None)
    assert types_of(project) == [
        "voucher.created",
        "voucher.disabled",
        "voucher.enabled",
        "voucher.disabled",
        "voucher.updated",
        "voucher.updated",
        "voucher.enabled",
    ]
    assert [one.data["voucher"] for one in events_of(project)[-2:]] == [after, after]


def test_a_voucher_that_is_deleted(project: Project) -> None:
    for code, parameters in (("BINNED", {}), ("GONE", {"force": "true"})):
        voucher = created(project, code)
        assert project.http.delete(f"/v1/vouchers/{code}", params=parameters).status_code == 204
        event = last(project)
        assert (event.type, event.object_id) == ("voucher.deleted", voucher["id"])
        assert event.data == {"voucher": voucher, "campaign": None}
        project.call("DELETE", f"/v1/vouchers/{code}", expect=404)
    assert types_of(project) == ["voucher.created", "voucher.deleted"] * 2


def test_a_voucher_of_a_campaign_shows_the_campaign(project: Project) -> None:
    campaign = campaign_created(project, metadata={"region": "EMEA"})
    voucher = added(project)
    project.call("POST", f"/v1/vouchers/{voucher['id']}/disable")
    changed(project, voucher["id"], category="gold")
    project.http.delete(f"/v1/vouchers/{voucher['id']}")
    found = [one for one in events_of(project) if one.type.startswith("voucher.")]
    kinds = ("created", "disabled", "updated", "deleted")
    assert [one.type for one in found] == [f"voucher.{kind}" for kind in kinds]
    for one in found:
        assert (one.object_id, one.campaign_id) == (voucher["id"], campaign["id"])
        assert one.data["campaign"]["name"] == "Spring"
        assert one.data["campaign"]["metadata"] == {"region": "EMEA"}
        assert one.data["campaign"]["voucher"]["discount"] == campaign["voucher"]["discount"]


def test_a_standalone_campaign_s_voucher(project_18: Project) -> None:
    template = {"discount": DISCOUNT, "code": "FIRST"}
    campaign = campaign_created(project_18, "Alone", type="STANDALONE", voucher=template)
    created(project_18, "SECOND", campaign="Alone")
    event = last(project_18)
    assert (event.type, event.campaign_id) == ("voucher.created", campaign["id"])
    assert event.data["campaign"]["type"] == "STANDALONE"


def test_each_project_has_events_of_its_own(project: Project) -> None:
    other = project.deployment.new_project()
    voucher = created(project)
    for method, path in (("PUT", ""), ("DELETE", ""), ("POST", "/disable")):
        other.call(method, f"/v1/vouchers/{voucher['id']}{path}", expect=404, json={"category": "gold"})
    created(other)
    assert types_of(other) == types_of(project) == ["voucher.created"]
    other.close()


def test_many_changes_at_once_are_told_each(project_18: Project) -> None:
    created(project_18)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda no: changed(project_18, metadata={f"k{no}": no}), range(18)))
    told = [one.data["voucher"]["metadata"] for one in events_of(project_18)]
    assert [len(metadata) for metadata in told] == list(range(19))
    assert told[-1] == project_18.get("/v1/vouchers/ONE")["metadata"]
