"""Customers enter and leave segments: whatever changes them, and what is told of it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from punchcard.segments.placing import EVENTS_MAX
from tests.bulk.csv_uploads import all_imported
from tests.custom_events.defining import define, event, track
from tests.customers.updating import finished, updated
from tests.customers.writing import deleted, post, put
from tests.deployment import Project
from tests.events.log import LoggedEvent, events_of
from tests.http.listing import moment
from tests.orders.stored import rows, session
from tests.segments.placed import (
    LONDONERS,
    active,
    all_placed,
    having,
    lane_paused,
    made,
    members,
    segment,
    segments_of,
    summary,
    verified,
)

ENTERED, LEFT = "customer.segment.entered", "customer.segment.left"
BUYERS = having("summary.orders.total_count", "$more_than_equal", 1)
GOLD = having("metadata.tier", "$is", "gold")


def told(project: Project) -> list[LoggedEvent]:
    """The events of segments, oldest first, once all customers are placed."""
    all_placed(project)
    return [one for one in events_of(project) if one.type in {ENTERED, LEFT}]


def moves(project: Project) -> list[tuple[str, str | None, str]]:
    """Who entered and left which segment."""
    return [
        ("entered" if one.type == ENTERED else "left", one.data["customer"]["source_id"], one.object_id)
        for one in told(project)
    ]


# ---- what has customers placed ----


class Cause:
    """Something that has customers placed: `group` and `action` are what its events have to bear."""

    def __init__(self, project: Project) -> None:
        self.project, self.group, self.action = project, "", None

    def request(self, method: str, path: str, body: Any) -> None:
        """A request that changes somebody."""
        answer = self.project.http.request(method, path, json=body)
        assert answer.is_success, answer.text
        self.group = answer.headers["x-request-id"]

    def job(self, action: Any) -> None:
        """A bulk job that has ended."""
        assert action["result"]["failed_count"] == 0, action
        self.group, self.action = action["request_id"], action["id"]

    # each has ann enter (`step` 0) and then leave (`step` 1) the segment of `WAYS`

    def created_and_updated(self, step: int) -> None:
        self.request("POST", "/v1/customers", {"source_id": "ann", "address": {"city": ("London", "Paris")[step]}})

    def put(self, step: int) -> None:
        if step == 0:
            post(self.project, source_id="ann")
            all_placed(self.project)
        self.request("PUT", "/v1/customers/ann", {"address": {"city": ("London", "Paris")[step]}})

    def order(self, step: int) -> None:
        order = {"source_id": "o-1", "customer": {"source_id": "ann"}, "status": ("PAID", "CANCELED")[step]}
        self.request("POST", "/v1/orders", order)

    def order_updated(self, step: int) -> None:
        if step == 0:
            self.project.call("POST", "/v1/orders", json={"source_id": "o-1", "customer": {"source_id": "ann"}})
            all_placed(self.project)
        self.request("PUT", "/v1/orders/o-1", {"status": ("FULFILLED", "CANCELED")[step]})

    def imported(self, step: int) -> None:
        order = {"source_id": "o-1", "customer": {"source_id": "ann"}, "status": ("PAID", "CANCELED")[step]}
        self.job(self.project.finished(self.project.post_import([order])))

    def custom_event(self, step: int) -> None:
        if step == 0:
            define(self.project, event("sign_up"))
        self.request("POST", "/v1/events", {"event": "sign_up", "customer": {"source_id": "ann"}})

    def bulk(self, step: int) -> None:
        record = {"source_id": "ann", "address": {"city": ("London", "Paris")[step]}}
        self.job(updated(self.project, "customers", record))

    def metadata(self, step: int) -> None:
        body = {"source_ids": ["ann"], "metadata": {"tier": ("gold", "silver")[step]}}
        self.job(finished(self.project, "customers/metadata", body))

    def csv(self, step: int) -> None:
        file = f"Source_id,City\nann,{('London', 'Paris')[step]}\n"
        self.job(all_imported(self.project, "customers", file))


WAYS: dict[str, tuple[Callable[[Cause, int], None], Any]] = {
    "POST /v1/customers": (Cause.created_and_updated, LONDONERS),
    "PUT /v1/customers": (Cause.put, LONDONERS),
    "POST /v1/orders": (Cause.order, BUYERS),
    "PUT /v1/orders": (Cause.order_updated, BUYERS),
    "POST /v1/orders/import": (Cause.imported, BUYERS),
    # the second one is one too many
    "POST /v1/events": (Cause.custom_event, having("events.sign_up.count", "$is", 1)),
    "POST /v1/customers/bulk/async": (Cause.bulk, LONDONERS),
    "POST /v1/customers/metadata/async": (Cause.metadata, GOLD),
    "POST /v1/customers/importCSV": (Cause.csv, LONDONERS),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_changes_a_customer_has_it_placed(project: Project, way: str) -> None:
    act, given = WAYS[way]
    active_id, passive_id = active(project, given, name="Active"), segment(project, filter=given)
    for step, kind, there in ((0, ENTERED, ["ann"]), (1, LEFT, [])):
        cause = Cause(project)
        act(cause, step)
        events = told(project)
        assert [one.type for one in events] == [ENTERED, LEFT][: step + 1], "of the active one, and none of the other"
        assert members(project, active_id) == members(project, passive_id) == there
        ann = project.get("/v1/customers/ann")
        # which job changed the customer last is not part of the payload
        assert ann.pop("async_action_id", None) == cause.action
        one = events[-1]
        assert one.data == {
            "customer": ann,
            "segment": {"id": active_id, "name": "Active", "object": "segment"},
        }, "the customer as it is shown elsewhere, with summary, loyalty and referrals"
        assert (one.type, one.object_id, one.customer_id) == (kind, active_id, ann["id"])
        assert (one.referrer_id, one.campaign_id) == (None, None)
        assert one.event_source == {"channel": "INTERNAL"}
        assert (one.group_id, one.async_action_id, one.depth) == (cause.group, cause.action, 1)
    verified(project)


def test_the_payload_has_what_is_documented(project_18: Project) -> None:
    active(project_18)
    post(project_18, source_id="ann", name="Ann", address={"city": "London"}, metadata={"tier": "gold"})
    [one] = told(project_18)
    customer = one.data["customer"]
    assert customer["summary"]["orders"] == {
        "total_amount": 0, "total_count": 0, "average_amount": 0, "last_order_amount": 0
    }  # fmt: skip
    assert customer["summary"]["redemptions"]["total_redeemed"] == 0
    assert customer["loyalty"] == {"points": 0, "referred_customers": 0, "campaigns": {}}
    assert customer["referrals"] == {"total": 0, "campaigns": []}
    assert (customer["name"], customer["metadata"], customer["object"]) == ("Ann", {"tier": "gold"}, "customer")


def test_activity_shows_it_as_an_effect(project_18: Project) -> None:
    segment_id = active(project_18)
    answer = project_18.http.post("/v1/customers", json={"source_id": "ann", "address": {"city": "London"}})
    all_placed(project_18)
    shown = project_18.get("/v1/customers/ann/activity", category="EFFECT")["data"]
    assert [(one["type"], one["group_id"]) for one in shown] == [(ENTERED, answer.headers["x-request-id"])]
    assert project_18.get("/v1/customers/ann/activity", type=ENTERED)["data"] == shown
    ours = project_18.get("/v1/activity", object_id=segment_id)
    assert [(one["type"], one["customer_id"], one["depth"]) for one in ours["data"]] == [
        (ENTERED, answer.json()["id"], 1)
    ]


def test_members_bear_the_bulk_job_that_put_them_there(project_18: Project) -> None:
    segment_id = segment(project_18, filter=LONDONERS)
    action = updated(project_18, "customers", {"source_id": "ann", "address": {"city": "London"}})["id"]
    bob = post(project_18, source_id="bob", address={"city": "London"})
    all_placed(project_18)
    stored = {
        row["customer_id"]: row
        for row in rows(project_18, "SELECT * FROM segment_members WHERE project_id = %(project)s")
    }
    assert {row["segment_id"] for row in stored.values()} == {segment_id}
    ann = project_18.get("/v1/customers/ann")
    assert {key: row["async_action_id"] for key, row in stored.items()} == {ann["id"]: action, bob["id"]: None}
    for one in (ann, bob):
        assert stored[one["id"]]["customer_created_at"] == moment(one["created_at"])
        assert stored[one["id"]]["entered_at"] > moment(one["created_at"])


def test_one_change_can_concern_many_segments(project: Project) -> None:
    ids = [active(project, given) for given in (LONDONERS, BUYERS, having("address.city", "$is", "Paris"))]
    post(project, source_id="ann", address={"city": "London"})
    assert moves(project) == [("entered", "ann", ids[0])]
    put(project, "ann", address={"city": "Paris"})
    assert sorted(moves(project)[1:]) == [("entered", "ann", ids[2]), ("left", "ann", ids[0])]
    assert segments_of(project, "ann") == [ids[2]]
    put(project, "ann", phone="1")
    assert len(moves(project)) == 3, "nothing has changed for any of them"
    verified(project)


def test_many_customers_of_one_job(project: Project) -> None:
    segment_id = active(project, BUYERS)
    orders = [
        {"source_id": f"o-{n}", "customer": {"source_id": f"c-{n}"}, "status": "PAID" if n % 3 else "CREATED"}
        for n in range(600)
    ]
    action = project.finished(project.post_import(orders))
    events = told(project)
    buyers = {f"c-{n}" for n in range(600) if n % 3}
    assert {one.data["customer"]["source_id"] for one in events} == buyers
    assert len(events) == len(buyers) == summary(project, segment_id)["members"]
    assert {(one.type, one.group_id, one.async_action_id) for one in events} == {
        (ENTERED, action["request_id"], action["id"])
    }
    assert all(one.data["customer"]["summary"]["orders"]["total_count"] == 1 for one in events)
    verified(project)


# ---- who has no events ----


def test_those_who_fit_from_the_start_enter_without_a_word(project: Project) -> None:
    post(project, source_id="ann", address={"city": "London"})
    post(project, source_id="bob", address={"city": "Paris"})
    segment_id = active(project)
    assert moves(project) == []
    found = summary(project, segment_id)
    assert (found["members"], found["entered_today"], found["left_today"]) == (1, 0, 0)
    put(project, "ann", name="Ann")
    assert moves(project) == []
    put(project, "ann", address={"city": "Paris"})
    all_placed(project)
    put(project, "bob", address={"city": "London"})
    assert moves(project) == [("left", "ann", segment_id), ("entered", "bob", segment_id)]


def test_those_who_come_while_a_segment_is_populated_have_events(project: Project) -> None:
    post(project, source_id="ann", address={"city": "London"})
    with lane_paused(project):
        segment_id = made(project, type="auto-update", filter=LONDONERS)["id"]
        post(project, source_id="bob", address={"city": "London"})
    assert moves(project) == [("entered", "bob", segment_id)]
    assert members(project, segment_id) == ["bob", "ann"]
    assert summary(project, segment_id)["members"] == 2
    verified(project)


def test_nor_do_they_wait_for_the_population_to_end(project: Project) -> None:
    """It takes portions, and what comes meanwhile is placed between them: the newcomer loudly, the others by it."""
    names = [f"c-{n}" for n in range(9)]
    for name in names:
        post(project, source_id=name, address={"city": "London" if name < "c-6" else "Paris"})
    all_placed(project)
    with lane_paused(project):
        with session(project.deployment) as conn:
            size = "UPDATE lane_turns SET portion_records = 2 WHERE project_id = %s AND lane = 'segments'"
            assert conn.execute(size, [project.id]).rowcount == 1
        segment_id = made(project, type="auto-update", filter=LONDONERS)["id"]
        post(project, source_id="new", address={"city": "London"})
        put(project, "c-8", address={"city": "London"})
        put(project, "c-5", address={"city": "Paris"})
    assert moves(project) == [("entered", "new", segment_id)]
    assert members(project, segment_id) == ["new", "c-8", "c-4", "c-3", "c-2", "c-1", "c-0"]
    assert summary(project, segment_id)["members"] == 7
    verified(project)


def test_passive_and_static_segments_have_no_events(project: Project) -> None:
    ann = post(project, source_id="ann", address={"city": "London"})["id"]
    ids = [segment(project, filter=LONDONERS), segment(project, customers=[ann])]
    put(project, "ann", address={"city": "Paris"})
    post(project, source_id="bob", address={"city": "London"})
    assert moves(project) == []
    assert [members(project, one) for one in ids] == [["bob"], ["ann"]]


def test_who_comes_and_goes_before_anybody_looks_was_never_there(project: Project) -> None:
    segment_id = active(project)
    with lane_paused(project):
        post(project, source_id="ann", address={"city": "London"})
        put(project, "ann", address={"city": "Paris"})
    assert moves(project) == []
    assert summary(project, segment_id)["entered_today"] == 0


def test_the_first_change_that_waited_is_the_cause(project: Project) -> None:
    active(project)
    with lane_paused(project):
        first = project.http.post("/v1/customers", json={"source_id": "ann", "address": {"city": "London"}})
        updated(project, "customers", {"source_id": "ann", "name": "Ann"})
    [one] = told(project)
    assert (one.group_id, one.async_action_id) == (first.headers["x-request-id"], None)
    assert one.data["customer"]["name"] == "Ann", "as it is by now"


# ---- summaries ----


def numbers(project: Project, segment_id: str) -> tuple[int, int, int]:
    """Members, and who entered and left today."""
    found = summary(project, segment_id)
    return found["members"], found["entered_today"], found["left_today"]


def test_summaries_count(project: Project) -> None:
    began = datetime.now(UTC)
    segment_id = active(project)
    assert numbers(project, segment_id) == (0, 0, 0)
    assert summary(project, segment_id)["changed_at"] is None
    for name in ("ann", "bob", "cid"):
        post(project, source_id=name, address={"city": "London"})
    all_placed(project)
    assert numbers(project, segment_id) == (3, 3, 0)
    put(project, "bob", address={"city": "Paris"})
    all_placed(project)
    found = summary(project, segment_id)
    assert (found["members"], found["entered_today"], found["left_today"]) == (2, 3, 1)
    assert found["population"] == "DONE"
    assert began - timedelta(seconds=1) < moment(found["changed_at"]) < moment(found["right_until"])
    put(project, "ann", name="Ann")
    all_placed(project)
    again = summary(project, segment_id)
    assert again["changed_at"] == found["changed_at"]
    assert again["right_until"] > found["right_until"]
    listed = project.get("/v1/segments")["data"][0]["summary"]
    assert {**listed, "right_until": None} == {**again, "right_until": None}


def test_what_came_and_went_counts_by_the_day_of_the_project(project: Project) -> None:
    now = datetime.now(UTC)
    # one of them has another date than UTC
    zone = next(
        one for one in ("Pacific/Kiritimati", "Pacific/Midway") if now.astimezone(ZoneInfo(one)).date() != now.date()
    )
    done = project.deployment.command("projects", "update", project.id, "--timezone", zone)
    assert done.returncode == 0, done.stderr
    segment_id = active(project)
    for name in ("ann", "bob"):
        post(project, source_id=name, address={"city": "London"})
    all_placed(project)
    put(project, "ann", address={"city": "Paris"})
    all_placed(project)
    assert numbers(project, segment_id) == (1, 2, 1)
    with session(project.deployment) as conn:
        found = conn.execute(
            """UPDATE segment_summaries SET counted_on = counted_on - 1 WHERE project_id = %s
               RETURNING counted_on + 1 AS day""",
            [project.id],
        ).fetchone()
    assert found is not None
    assert found["day"] in {(at.astimezone(ZoneInfo(zone))).date() for at in (now, datetime.now(UTC))}
    assert numbers(project, segment_id) == (1, 0, 0), "that was yesterday"
    put(project, "bob", address={"city": "Paris"})
    all_placed(project)
    assert numbers(project, segment_id) == (0, 0, 1)


def test_what_was_answered_before_a_summary_is_right_is_in_it(project_18: Project) -> None:
    segment_id = segment(project_18, type="passive", filter=LONDONERS)
    for no in range(1, 41):
        post(project_18, address={"city": "London"})
        answered = datetime.now(UTC)
        while moment((found := summary(project_18, segment_id))["right_until"]) <= answered:
            pass
        assert found["members"] == no


def test_customers_who_enter_very_many_segments_are_placed_a_few_at_a_time(project: Project) -> None:
    """A portion writes a bounded number of events; the lane goes on behind it."""
    segments = [active(project, BUYERS, name=f"{no}") for no in range(EVENTS_MAX // 100)]
    customers = 250
    turn = "SELECT max(turn) AS turn FROM lane_turns WHERE project_id = %(project)s AND lane = 'segments'"
    (before,) = rows(project, turn)
    project.imported(*({"status": "PAID", "amount": 1, "customer": {"source_id": f"{no}"}} for no in range(customers)))
    all_placed(project)
    (after,) = rows(project, turn)
    assert after["turn"] - before["turn"] >= 3
    assert [numbers(project, one) for one in segments] == [(customers, customers, 0)] * len(segments)
    (counted,) = rows(project, "SELECT count(*) AS n FROM events WHERE project_id = %(project)s AND type = %(type)s",
                      type=ENTERED)  # fmt: skip
    assert counted["n"] == customers * len(segments)
    verified(project)


def test_a_summary_says_until_when_it_is_right(project: Project) -> None:
    segment_id = active(project)
    with lane_paused(project):
        before = moment(summary(project, segment_id)["right_until"])
        ann = post(project, source_id="ann", address={"city": "London"})
        late = summary(project, segment_id)
        # everything before the first change that waits
        assert before < moment(late["right_until"])
        assert abs(moment(late["right_until"]) - moment(ann["created_at"])) < timedelta(seconds=5)
        post(project, source_id="bob", address={"city": "London"})
        assert summary(project, segment_id) == late
        assert late["members"] == 0
        assert project.get("/v1/segments")["data"][0]["summary"] == late
    found = summary(project, segment_id)
    assert moment(found["right_until"]) > moment(ann["created_at"])
    assert found["members"] == 2


# ---- deleted customers ----


@pytest.mark.parametrize("permanent", [False, True], ids=["plain", "permanent"])
def test_a_deleted_customer_is_no_member(project: Project, permanent: bool) -> None:
    ann = post(project, source_id="ann", address={"city": "London"})["id"]
    post(project, source_id="bob", address={"city": "London"})
    ids = [active(project), segment(project, filter=LONDONERS), segment(project, customers=[ann])]
    with lane_paused(project):
        if permanent:
            deletion = project.call("POST", "/v1/customers/ann/permanent-deletion")
            assert deletion["data_json"]["segments"] == 3
        else:
            deleted(project, "ann")
        assert [members(project, one) for one in ids] == [["bob"], ["bob"], []], "at once"
    assert [members(project, one) for one in ids] == [["bob"], ["bob"], []]
    assert [numbers(project, one) for one in ids] == [(1, 0, 1), (1, 0, 1), (0, 0, 1)]
    assert rows(project, "SELECT * FROM segment_members WHERE project_id = %(project)s AND customer_id = %(ann)s",
                ann=ann) == []  # fmt: skip
    assert moves(project) == []
    verified(project)
    # another person of the same name
    post(project, source_id="ann", address={"city": "London"})
    assert moves(project) == [("entered", "ann", ids[0])]
    assert members(project, ids[2]) == []


def test_who_is_gone_before_being_placed_has_no_events(project: Project) -> None:
    segment_id = active(project)
    post(project, source_id="ann", address={"city": "London"})
    all_placed(project)
    with lane_paused(project):
        put(project, "ann", address={"city": "Paris"})
        post(project, source_id="bob", address={"city": "London"})
        deleted(project, "ann")
        deleted(project, "bob")
    assert moves(project) == [], "with the customer its events went"
    assert numbers(project, segment_id) == (0, 1, 1)
    verified(project)


def test_custom_events_are_counted_for_their_customer_alone(project_18: Project) -> None:
    define(project_18, event("sign_up"), event("visit"))
    segment_id = active(project_18, having("events.sign_up.count", "$more_than", 1))
    for name in ("ann", "bob", "ann", "cid"):
        track(project_18, customer={"source_id": name})
        track(project_18, "visit", customer={"source_id": "cid"})
    assert moves(project_18) == [("entered", "ann", segment_id)]
