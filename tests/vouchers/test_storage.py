"""Many vouchers at once: what jobs do, straight on the database."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

import psycopg
import pytest

from punchcard.db import row_totals
from punchcard.db.database import Conn, connect
from punchcard.vouchers import codes, storage
from punchcard.vouchers.codes import CodeConfig, CodeConfigIn
from punchcard.vouchers.storage import Attributes
from tests.deployment import Project
from tests.vouchers.making import made

ResultT = TypeVar("ResultT")
PLAIN = Attributes(type="GIFT_VOUCHER", gift=b'{"amount": 5, "subtracted_amount": 0, "effect": "APPLY_TO_ORDER"}')


def on(project: Project, work: Callable[[Conn, str], Awaitable[ResultT]]) -> ResultT:
    """Do something in a transaction of the project."""

    async def run() -> ResultT:
        async with await connect(project.deployment.dsn, part="test") as conn, conn.transaction():
            return await work(conn, project.id)

    return asyncio.run(run())


def insert(project: Project, names: list[str], attributes: Attributes = PLAIN) -> None:
    rows = storage.rows(names, attributes, case_sensitive=True)
    on(project, lambda conn, project_id: storage.insert(conn, project_id, rows))


def totals(project: Project, campaign_id: str) -> list[int]:
    """How many vouchers are counted for the project, and for a campaign."""

    async def read(conn: Conn, project_id: str) -> list[int]:
        return [await row_totals.total(conn, project_id, name) for name in ("vouchers", storage.total_of(campaign_id))]

    return on(project, read)


def config(**given: Any) -> CodeConfig:
    return codes.checked(CodeConfigIn(**given), path="")


def test_all_columns_are_written_and_counted(project: Project) -> None:
    attributes = Attributes(
        type="DISCOUNT_VOUCHER", campaign_id="camp_1", discount=b'{"type": "PERCENT", "percent_off": 5}', category="c",
        start_date=datetime.fromisoformat("2026-01-01T00:00:00Z"),
        expiration_date=datetime.fromisoformat("2027-01-01T00:00:00Z"),
        validity_timeframe=b'{"duration": "PT1H", "interval": "P1D"}', validity_day_of_week=b"[1]",
        validity_hours=b'{"daily": []}', active=False, additional_info="i", metadata=b'{"a": 1}',
        is_referral_code=True, redemption_quantity=3,
    )  # fmt: skip
    insert(project, ["many"], attributes)
    (one,) = storage.rows(["one"], attributes, case_sensitive=True)
    assert on(project, lambda conn, project_id: storage.insert_one(conn, project_id, one))
    assert not on(project, lambda conn, project_id: storage.insert_one(conn, project_id, one))
    many, single = (project.get(f"/v1/vouchers/{code}") for code in ("many", "one"))
    assert many["discount"] == {"type": "PERCENT", "percent_off": 5}
    assert (many["campaign_id"], many["campaign"], many["redemption"]["quantity"]) == ("camp_1", None, 3)
    assert (many["is_referral_code"], many["active"], many["metadata"]) == (True, False, {"a": 1})
    assert many["validity_hours"] == {"daily": []}
    different = {"id", "code", "created_at", "redemption", "publish"}
    assert {name: many[name] for name in many.keys() - different} == {
        name: single[name] for name in single.keys() - different
    }
    assert totals(project, "camp_1") == [2, 2]
    assert project.http.delete("/v1/vouchers/one").status_code == 204
    assert totals(project, "camp_1") == [1, 1]


def test_codes_that_are_taken_are_told(project_18: Project) -> None:
    insert(project_18, ["a", "b", "c"])
    assert project_18.http.delete("/v1/vouchers/b").status_code == 204
    assert project_18.http.delete("/v1/vouchers/c?force=true").status_code == 204
    wanted = ["a", "b", "c", "d"]
    assert on(project_18, lambda conn, project_id: storage.taken(conn, project_id, wanted)) == {"a", "b"}
    with pytest.raises(psycopg.errors.UniqueViolation) as error:
        insert(project_18, ["x", "a"])
    assert error.value.diag.constraint_name == "vouchers_code"
    assert project_18.get("/v1/vouchers")["total"] == 1


@pytest.mark.parametrize("wanted", [1, 900])
def test_free_codes_are_found_to_the_last_one(project_18: Project, wanted: int) -> None:
    digits = config(charset="0123456789", pattern="###")
    free = {"007", "123", "999"}
    insert(project_18, [f"{n:03}" for n in range(1000) if f"{n:03}" not in free])

    def draw() -> list[str]:
        return on(
            project_18,
            lambda conn, project_id: storage.free_codes(conn, project_id, digits, wanted, case_sensitive=True),
        )

    left = set(free)
    while left:
        found = draw()
        assert 0 < len(found) == len(set(found)) <= wanted
        assert set(found) <= left
        insert(project_18, found)
        left -= set(found)
    assert draw() == []


@pytest.mark.parametrize("wanted", [1, 40, 500])
def test_free_codes_are_found_where_they_are_rare(
    project_18: Project, monkeypatch: pytest.MonkeyPatch, wanted: int
) -> None:
    """Also of a config with too many combinations to be searched: some, if not all at once."""
    monkeypatch.setattr(storage, "COMBINATIONS_SEARCHED_MAX", 0)
    digits = config(charset="0123456789", pattern="###")
    free = {f"{n:03}" for n in range(0, 1000, 25)}
    insert(project_18, [f"{n:03}" for n in range(1000) if f"{n:03}" not in free])
    found = on(
        project_18,
        lambda conn, project_id: storage.free_codes(conn, project_id, digits, wanted, case_sensitive=True),
    )
    assert 0 < len(found) <= wanted
    assert set(found) <= free


def test_a_voucher_that_changed_since_it_was_read_is_noticed(project: Project) -> None:
    voucher = made(project, "V", metadata={"a": 1})
    insert(project, ["W"])

    def versions() -> dict[str, str]:
        found = on(project, lambda conn, project_id: storage.resolve(conn, project_id, ["V", "W", "none"]))
        assert {each.code: each.metadata for each in found}.keys() == {"V", "W"}
        return {each.id: each.version for each in found}

    read = versions()
    assert on(project, lambda conn, project_id: storage.lock(conn, project_id, read))
    project.call("PUT", "/v1/vouchers/V", json={"active": False})
    assert not on(project, lambda conn, project_id: storage.lock(conn, project_id, read))
    new = dict.fromkeys(versions(), b'{"b": 2}')
    on(project, lambda conn, project_id: storage.update_metadata(conn, project_id, new))
    for code in ("V", "W"):
        assert project.get(f"/v1/vouchers/{code}")["metadata"] == {"b": 2}
    assert (project.get("/v1/vouchers/V")["id"], project.get("/v1/vouchers/V")["active"]) == (voucher["id"], False)
    codes_by_id = {voucher_id: project.get(f"/v1/vouchers/{voucher_id}")["code"] for voucher_id in new}
    listed = project.get("/v1/vouchers", order="updated_at")["vouchers"]
    assert [each["code"] for each in listed] == list(codes_by_id.values())
