"""A client that sends every kind of bulk request, whatever is killed meanwhile, and what must have become of them."""

import itertools
import random
import threading
import time
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
from msgspec import Struct

from punchcard.campaigns.storage import DELETION, GENERATION, UPDATE
from punchcard.vouchers.bulk import VouchersMetadataUpdate
from tests.crash.test_rounds import BUYERS, RECOVERY_SECONDS, CrashDeployment
from tests.deployment import until
from tests.segments import consistency

REQUESTS_MIN = 25
PAUSE_SECONDS = 0.15
COUPON = {"type": "DISCOUNT_VOUCHER", "discount": {"type": "PERCENT", "percent_off": 10}}
SEGMENTS = {
    "buyers": BUYERS,
    "no buyers": {"summary.orders.total_count": {"conditions": {"$is": 0}}},
    "even": {"metadata.by": {"conditions": {"$in": list(range(0, 200, 2))}}},
}
TOUCHED = VouchersMetadataUpdate.type
# the rows that each kind of request over records writes, by the number that the request put into their names
WRITTEN = {
    "import": "SELECT count(*) FROM orders WHERE project_id = %s AND starts_with(source_id, %s)",
    "customers": "SELECT count(*) FROM customers WHERE project_id = %s AND starts_with(source_id, %s)",
    "products": "SELECT count(*) FROM products WHERE project_id = %s AND starts_with(source_id, %s)",
}
ACTIONS = """
SELECT id, type, lane, seq, status, operation_status, records_total, records_next, records_done, records_failed,
       started_at, finished_at, parameters->>'campaign_id' AS campaign_id,
       coalesce((counts->>'created')::integer, 0) AS created, (parameters->>'count')::integer AS count,
       (parameters->>'force')::boolean AS force
  FROM async_actions WHERE project_id = %s ORDER BY seq
"""
CAMPAIGNS = """
SELECT c.id, c.name, c.binned_at IS NOT NULL AS binned, c.metadata->>'season' AS season,
       (SELECT count(*) FROM vouchers AS v WHERE v.project_id = c.project_id AND v.campaign_id = c.id) AS vouchers,
       (SELECT count(*) FROM vouchers AS v WHERE v.project_id = c.project_id AND v.campaign_id = c.id
           AND v.binned_at IS NOT NULL) AS binned_vouchers,
       (SELECT array_agg(DISTINCT v.metadata->>'season') FROM vouchers AS v
         WHERE v.project_id = c.project_id AND v.campaign_id = c.id) AS seasons
  FROM campaigns AS c WHERE c.project_id = %s
"""
# what the API did to orders by itself, and the events of it, by orders
WRITTEN_ORDERS = """
SELECT o.source_id, o.status,
       (SELECT array_agg(e.type ORDER BY e.created_at, e.id) FROM events AS e
         WHERE e.project_id = o.project_id AND e.object_id = o.id) AS events
  FROM orders AS o WHERE o.project_id = %s AND starts_with(o.source_id, 'api-')
"""
WORKED_OFF = """
SELECT coalesce(e.type, t.type) AS type, coalesce(e.logged, 0) AS logged, coalesce(t.total, 0) AS worked_off
  FROM (SELECT type, count(*) AS logged FROM events WHERE project_id = %s GROUP BY type) AS e
  FULL JOIN (SELECT type, total FROM event_totals WHERE project_id = %s) AS t ON t.type = e.type
"""
LEFT_OVER = {
    "an event that nothing followed from": "SELECT count(*) FROM event_outbox WHERE project_id = %s",
    "an event that was set aside": "SELECT count(*) FROM event_failures WHERE project_id = %s",
    "a job of a campaign without an end": "SELECT count(*) FROM campaign_jobs WHERE project_id = %s"
    " AND succeeded IS NULL",
    "a request to end an action": "SELECT count(*) FROM async_action_cancels WHERE project_id = %s",
    "a payload": "SELECT count(*) FROM async_action_pieces WHERE project_id = %s",
    "a start mark": "SELECT count(*) FROM async_actions WHERE project_id = %s AND started_by IS NOT NULL",
    "a turn before the last of its lane": "SELECT count(*) - count(DISTINCT lane) FROM lane_turns"
    " WHERE project_id = %s",
    "a voucher of a campaign that is gone": "SELECT count(*) FROM vouchers AS v WHERE v.project_id = %s AND NOT EXISTS"
    " (SELECT FROM campaigns AS c WHERE c.project_id = v.project_id AND c.id = v.campaign_id)",
    "a code that is there twice": "SELECT count(*) - count(DISTINCT lower(code)) FROM vouchers WHERE project_id = %s",
}


class Sent(Struct):
    """A request over records: its number, how many, and its action if it was answered."""

    kind: str
    no: int
    records: int
    action: str | None


class MixedShop:
    """Sends one request after another, and whatever happens goes on with the next one."""

    def __init__(self, deployment: CrashDeployment, rng: random.Random, killing_is_over: threading.Event) -> None:
        self._deployment, self._rng, self._killing_is_over = deployment, rng, killing_is_over
        self.project = deployment.new_project()
        for name, given in SEGMENTS.items():
            self.project.call("POST", "/v1/segments", json={"name": name, "type": "auto-update", "filter": given})
        self.sent: list[Sent] = []
        # campaigns by name, that were made as far as the answer says
        self._campaigns: list[str] = []
        self.actions: list[str] = []
        # orders of the API by source id, with the statuses they were given as far as the answers say
        self._orders: dict[str, list[str]] = {}
        self._numbers = itertools.count()
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._send_all)

    def _send_all(self) -> None:
        try:
            kinds = [
                self._records, self._records, self._records, self._create, self._add, self._add, self._change,
                self._delete, self._cancel, self._touch_vouchers, self._order, self._order, self._pay, self._pay,
            ]  # fmt: skip
            while len(self.sent) < REQUESTS_MIN or not self._killing_is_over.is_set():
                self._rng.choice(kinds)()
                time.sleep(self._rng.uniform(0, PAUSE_SECONDS))
        except BaseException as error:
            self.failure = error

    # ---- requests ----

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        """The answer's JSON; none when there was none, or when it says that the server is away."""
        try:
            answer = self.project.http.request(method, path, **arguments)
        except httpx.HTTPError:
            until(self._deployment.is_answering, RECOVERY_SECONDS)
            return None
        if answer.status_code == 503:
            time.sleep(0.1)
            return None
        # a campaign may be gone, or there, by a request that was not answered
        assert answer.status_code in {200, 202, 404, 409}, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.status_code in {200, 202} else None

    def _note(self, answer: Any) -> str | None:
        if answer is None or "async_action_id" not in answer:
            return None
        self.actions.append(answer["async_action_id"])
        return str(answer["async_action_id"])

    def _records(self) -> None:
        """An import, or a bulk update that creates what it names."""
        kind, no, count = self._rng.choice(list(WRITTEN)), next(self._numbers), self._rng.randrange(100, 600)
        names = [f"{no:04}-{n}" for n in range(count)]
        if kind == "import":
            body: list[dict[str, Any]] = [{"source_id": name, "status": "PAID", "amount": 1} for name in names]
            answer = self._call("POST", "/v1/orders/import", json=body)
        else:
            body = [{"source_id": name, "name": name, "metadata": {"by": no}} for name in names]
            answer = self._call("POST", f"/v1/{kind}/bulk/async", json=body)
        self.sent.append(Sent(kind, no, count, self._note(answer)))

    def _order(self) -> None:
        """A new order of a customer who has others; some of the customers are made by imports too."""
        source_id = f"api-{next(self._numbers)}"
        body = {
            "source_id": source_id, "status": "CREATED", "amount": 5,
            "customer": {"source_id": f"buyer {self._rng.randrange(4)}"},
        }  # fmt: skip
        if self._call("POST", "/v1/orders", json=body) is not None:
            self._orders[source_id] = ["CREATED"]

    def _pay(self) -> None:
        if self._orders:
            source_id, status = self._rng.choice(list(self._orders)), self._rng.choice(["PAID", "CANCELED"])
            if self._call("PUT", f"/v1/orders/{source_id}", json={"status": status}) is not None:
                self._orders[source_id].append(status)

    def _create(self) -> None:
        name = f"campaign {next(self._numbers)}"
        body = {
            "name": name, "voucher": COUPON, "vouchers_count": self._rng.randrange(200, 3000),
            "metadata": {"season": "first"},
        }  # fmt: skip
        if self._call("POST", "/v1/campaigns", json=body) is not None:
            self._campaigns.append(name)

    def _one(self) -> str | None:
        return quote(self._rng.choice(self._campaigns)) if self._campaigns else None

    def _add(self) -> None:
        if name := self._one():
            count = self._rng.randrange(50, 2000)
            self._note(self._call("POST", f"/v1/campaigns/{name}/vouchers", params={"vouchers_count": count}))

    def _change(self) -> None:
        if name := self._one():
            season = {"metadata": {"season": f"number {next(self._numbers)}"}}
            self._call("PUT", f"/v1/campaigns/{name}", json=season)

    def _delete(self) -> None:
        if len(self._campaigns) > 3 and (name := self._one()):
            force = {"force": self._rng.choice(["true", "false"])}
            self._note(self._call("DELETE", f"/v1/campaigns/{name}", params=force))

    def _touch_vouchers(self) -> None:
        found = self._call("GET", "/v1/vouchers", params={"limit": 100})
        if found and found["vouchers"]:
            codes = [voucher["code"] for voucher in found["vouchers"]]
            body = {"codes": codes, "metadata": {"touched": next(self._numbers)}}
            self._note(self._call("POST", "/v1/vouchers/metadata/async", json=body))

    def _cancel(self) -> None:
        if self.actions and self._rng.random() < 0.5:
            self._call("POST", f"/v1/async-actions/{self._rng.choice(self.actions[-5:])}/cancel")

    # ---- what must have become of them ----

    def use_lanes(self) -> None:
        """A turn of each lane: it works off requests to end what had ended by itself."""
        self.project.import_orders([])
        last = {"name": "last", "voucher": COUPON, "vouchers_count": 2, "metadata": {"season": "first"}}
        self.project.call("POST", "/v1/campaigns", json=last)
        until(lambda: self.project.get("/v1/campaigns/last")["creation_status"] == "DONE")

    def check(self, conn: psycopg.Connection[Any]) -> None:
        """Once all actions are finished."""
        actions = conn.execute(ACTIONS.encode(), [self.project.id]).fetchall()
        by_id = {action.id: action for action in actions}
        assert set(self.actions) <= set(by_id), "what was accepted is there"
        self._check_lanes(actions)
        self._check_records(conn, by_id)
        self._check_campaigns(conn, actions)
        self._check_events(conn)
        consistency.check(self.project)
        for what, query in LEFT_OVER.items():
            assert conn.execute(query.encode(), [self.project.id]).fetchone() == (0,), f"{what} is left"
        for table, live in (
            ("orders", ""),
            ("customers", ""),
            ("products", ""),
            ("vouchers", " AND binned_at IS NULL"),
        ):
            query = f"SELECT count(*) FROM {table} WHERE project_id = %s{live}"
            row = conn.execute(query.encode(), [self.project.id]).fetchone()
            assert row is not None
            assert self.project.get(f"/v1/{table}", limit=1)["total"] == row[0], table

    @staticmethod
    def _check_lanes(actions: list[Any]) -> None:
        begun = [action for action in actions if action.lane == "fifo" and action.started_at is not None]
        for first, second in itertools.pairwise(begun):
            assert first.finished_at <= second.started_at, f"{second.id} began before {first.id} had finished"
        for action in actions:
            assert action.records_next == action.records_done + action.records_failed
            # a voucher that was to be updated can be gone
            assert action.records_failed == 0 or action.type == TOUCHED, f"no record was bad: {action}"
            assert (action.status == "DONE") <= (action.records_next == action.records_total)
            assert action.status == "DONE" or action.operation_status == "FAILED"

    def _check_records(self, conn: psycopg.Connection[Any], by_id: dict[str, Any]) -> None:
        for sent in self.sent:
            parameters = [self.project.id, f"{sent.no:04}-"]
            row = conn.execute(WRITTEN[sent.kind].encode(), parameters).fetchone()
            assert row is not None
            if sent.action is None:
                assert row[0] in {0, sent.records}, "what was not answered is there whole, or not at all"
                continue
            action = by_id[sent.action]
            assert row[0] == action.records_done, f"{sent.kind}: each record of a portion once"
            assert action.status == "FAILED" or row[0] == sent.records
            if sent.kind == "import":
                # what is written a second time is not created
                assert action.created == action.records_done, action

    def _check_events(self, conn: psycopg.Connection[Any]) -> None:
        """Each order was created once and says so once; each change of its status has its event, and all were worked
        off once."""
        rows = {row.source_id: row for row in conn.execute(WRITTEN_ORDERS.encode(), [self.project.id]).fetchall()}
        assert set(self._orders) <= set(rows), "what was answered is there"
        for source_id, row in rows.items():
            kinds = [kind.removeprefix("customer.order.") for kind in row.events]
            assert kinds[0] == "created"
            assert kinds.count("created") == 1, source_id
            # a change is an update, and then what it came to
            assert kinds[1::2] == ["updated"] * (len(kinds) // 2), source_id
            came_to = [kind.upper() for kind in kinds[2::2]]
            assert len(kinds) % 2 == 1, source_id
            assert row.status == (came_to[-1] if came_to else "CREATED"), source_id
            answered = changed(self._orders.get(source_id, ["CREATED"]))[1:]
            assert is_part_of(answered, came_to), source_id
        for row in conn.execute(WORKED_OFF.encode(), [self.project.id] * 2).fetchall():
            assert row.logged == row.worked_off, row.type

    def _check_campaigns(self, conn: psycopg.Connection[Any], actions: list[Any]) -> None:
        """Each generation has made what it was asked for; updates and deletions have reached all vouchers."""
        campaigns = {row.id: row for row in conn.execute(CAMPAIGNS.encode(), [self.project.id]).fetchall()}
        by_campaign: dict[str, list[Any]] = {}
        for action in actions:
            if action.campaign_id is not None:
                by_campaign.setdefault(action.campaign_id, []).append(action)
        for campaign_id, own in by_campaign.items():
            generations = [action for action in own if action.type == GENERATION]
            for action in generations:
                assert action.status == "FAILED" or action.records_done == action.count, "as many as were asked for"
            # one that was ended before it began can be asked for again
            deletions = [action for action in own if action.type == DELETION]
            done = [action for action in deletions if action.status == "DONE"]
            if (campaign := campaigns.get(campaign_id)) is None:
                assert [action.force for action in done] == [True], "deleted for good, once"
                continue
            made = sum(action.records_done for action in generations)
            if not deletions:
                assert (campaign.binned, campaign.vouchers, campaign.binned_vouchers) == (False, made, 0)
                if not any(action.type == UPDATE and action.status == "FAILED" for action in own):
                    assert campaign.seasons in (None, [campaign.season]), "the last update has reached all"
            elif done:
                assert [action.force for action in done] == [False], "a campaign that was deleted for good is gone"
                assert (campaign.binned, campaign.vouchers, campaign.binned_vouchers) == (True, made, made)
            else:
                assert campaign.vouchers <= made


def changed(statuses: list[str]) -> list[str]:
    """Statuses without those that are the one before them."""
    return [status for status, before in zip(statuses, [None, *statuses], strict=False) if status != before]


def is_part_of(some: list[str], all_of_them: list[str]) -> bool:
    """Whether some are among all, in their order; others, whose answers got lost, may lie between."""
    rest = iter(all_of_them)
    return all(one in rest for one in some)
