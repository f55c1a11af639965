"""Reading and writing many vouchers, set-wise: what bulk jobs do to them.

Whoever writes vouchers holds the locks of their campaigns, customers and products already, and those of orders and
totals not yet (one order of locks). A voucher is locked by its id, in the order of the ids.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import sql

from punchcard import ids
from punchcard.db import row_totals, statements
from punchcard.db.database import JSONB, Conn, jsonb, lock_as_read
from punchcard.vouchers import codes
from punchcard.vouchers.codes import CodeConfig

SQL = statements.beside(__file__)

PREFIX = "v"
# how often codes are drawn in the hope of free ones; how many more than are missing, but for the first time, and how
# many at most
ROUNDS_MAX = 5
ROUND_GROWTH = 8
ROUND_CODES_MAX = 20_000
# a config with at most so many combinations is gone through to its last free code
COMBINATIONS_SEARCHED_MAX = 1_000_000


def total_of(campaign_id: str) -> str:
    """Under which name `row_totals` counts the vouchers of a campaign, without those in the bin.

    It sorts behind "vouchers": who adds to both takes their locks in that order.
    """
    return f"vouchers/{campaign_id}"


class Attributes(Struct, frozen=True):
    """All of a new voucher but its code: vouchers that are made together share one. JSON is encoded, dates in UTC.

    `gift` is `{"amount": …, "subtracted_amount": 0, "effect": …}`, `redemption_quantity` none for any number.
    """

    type: str
    campaign_id: str | None = None
    discount: bytes | None = None
    gift: bytes | None = None
    loyalty_card: bytes | None = None
    category: str | None = None
    start_date: datetime | None = None
    expiration_date: datetime | None = None
    validity_timeframe: bytes | None = None
    validity_day_of_week: bytes | None = None
    validity_hours: bytes | None = None
    active: bool = True
    additional_info: str | None = None
    metadata: bytes = b"{}"
    is_referral_code: bool = False
    redemption_quantity: int | None = None


class VoucherRow(Struct, frozen=True):
    """A voucher that is to be written."""

    id: str
    code: str
    code_key: str
    attributes: Attributes


class StoredVoucher(Struct, frozen=True):
    """A voucher as a batch reads it: its metadata, and the version of the row."""

    id: str
    code: str
    code_key: str
    campaign_id: str | None
    metadata: dict[str, Any]
    version: str


# ---- codes -------------------------------------------------------------------------------------


async def case_sensitive(conn: Conn, project: str) -> bool:
    """Whether `Code` and `CODE` are two codes in the project. It never changes."""
    row = await (await conn.execute(SQL.voucher_code_rule, {"project_id": project})).fetchone()
    return row is None or bool(row.case_sensitive_codes)


async def taken(conn: Conn, project: str, code_keys: Collection[str]) -> set[str]:
    """Those of some code keys (`codes.key_of`) that a voucher has, in the bin or not."""
    if not code_keys:
        return set()
    parameters = {"project_id": project, "code_keys": list(code_keys)}
    return {row.code_key for row in await (await conn.execute(SQL.vouchers_taken, parameters)).fetchall()}


async def free_codes(conn: Conn, project: str, config: CodeConfig, count: int, *, case_sensitive: bool) -> list[str]:
    """At most `count` random codes of a config that no voucher has; none only if there are no free ones.

    Fewer than `count` mean that free ones are rare: ask again. Of a config with more than a million combinations, none
    may also mean that among thousands there was no free one. Reads, and needs no transaction: a code can be taken
    before it is written, which `insert` then fails on.
    """
    found: list[str] = []
    seen: set[str] = set()
    possible = codes.combinations(config, case_sensitive=case_sensitive)
    size = count
    for _ in range(ROUNDS_MAX):
        drawn = codes.generate(config, min(size, possible), case_sensitive=case_sensitive)
        found += await _free(conn, project, drawn, seen, case_sensitive=case_sensitive)
        if len(found) >= count:
            break
        size = min(ROUND_CODES_MAX, ROUND_GROWTH * (count - len(found) if found else size))
    if not found and possible <= COMBINATIONS_SEARCHED_MAX:
        # seconds of computing, beside the event loop
        every = await asyncio.to_thread(codes.generate, config, possible, case_sensitive=case_sensitive)
        for at in range(0, possible, ROUND_CODES_MAX):
            found += await _free(conn, project, every[at : at + ROUND_CODES_MAX], seen, case_sensitive=case_sensitive)
            if len(found) >= count:
                break
    return found[:count]


async def _free(conn: Conn, project: str, drawn: Iterable[str], seen: set[str], *, case_sensitive: bool) -> list[str]:
    """Those of some codes that are neither taken nor seen before."""
    by_key = {codes.key_of(code, case_sensitive=case_sensitive): code for code in drawn}
    for key in by_key.keys() & seen:
        del by_key[key]
    seen.update(by_key)
    for key in await taken(conn, project, by_key):
        del by_key[key]
    return list(by_key.values())


# ---- new vouchers ------------------------------------------------------------------------------


def rows(voucher_codes: Sequence[str], attributes: Attributes, *, case_sensitive: bool) -> list[VoucherRow]:
    """New vouchers with these codes and the same attributes."""
    return [
        VoucherRow(voucher_id, code, codes.key_of(code, case_sensitive=case_sensitive), attributes)
        for voucher_id, code in zip(ids.many(PREFIX, len(voucher_codes)), voucher_codes, strict=True)
    ]


_COPY = sql.SQL(
    "COPY vouchers (project_id, id, code, code_key, created_at, campaign_id, type, discount, gift, loyalty_card,"
    " category, start_date, expiration_date, validity_timeframe, validity_day_of_week, validity_hours, active,"
    " additional_info, metadata, is_referral_code, redemption_quantity)"
    " FROM STDIN (FORMAT BINARY)"
)
_COPY_TYPES = [
    "text", "text", "text", "text", "timestamptz", "text", "text", JSONB, JSONB, JSONB,
    "text", "timestamptz", "timestamptz", JSONB, JSONB, JSONB, "bool",
    "text", JSONB, "bool", "int4",
]  # fmt: skip


async def insert(conn: Conn, project: str, rows: Sequence[VoucherRow]) -> None:
    """Write new vouchers by COPY, 1 microsecond apart, and count them in the project's total. Needs a transaction.

    Their codes must be free (`taken`, `free_codes`). One that was taken meanwhile is a `UniqueViolation` on
    `vouchers_code`, a moment that was taken one on `vouchers_created`: the portion is then planned again. Takes the
    lock of a total, so it comes last but for other totals.
    """
    if not rows:
        return
    first = await clock(conn, project)
    shared: dict[int, tuple[Any, ...]] = {}
    async with conn.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for no, row in enumerate(rows):
            values = shared.get(id(row.attributes))
            if values is None:
                values = shared[id(row.attributes)] = _shared(row.attributes)
            created_at = first + timedelta(microseconds=no)
            await copy.write_row((project, row.id, row.code, row.code_key, created_at, *values))
    # bulk writers of a lane come one by one, and no request waits for their slot
    await row_totals.add(conn, project, _totals(rows), slot=row_totals.SLOT_OF_IMPORTS)


def _totals(rows: Sequence[VoucherRow]) -> dict[str, int]:
    """What new vouchers add to the totals: of the project, and of their campaigns."""
    campaigns = Counter(row.attributes.campaign_id for row in rows)
    added = {total_of(campaign_id): count for campaign_id, count in campaigns.items() if campaign_id is not None}
    return {"vouchers": len(rows), **added}


def _shared(a: Attributes) -> tuple[Any, ...]:
    return (
        a.campaign_id, a.type, _json(a.discount), _json(a.gift), _json(a.loyalty_card),
        a.category, a.start_date, a.expiration_date,
        _json(a.validity_timeframe), _json(a.validity_day_of_week), _json(a.validity_hours), a.active,
        a.additional_info, _json(a.metadata), a.is_referral_code, a.redemption_quantity,
    )  # fmt: skip


def _json(encoded: bytes | None) -> bytes | None:
    return None if encoded is None else jsonb(encoded)


async def insert_one(conn: Conn, project: str, row: VoucherRow) -> bool:
    """Write one new voucher and count it; whether its code was free. Needs a transaction.

    Waits for whoever is writing the same code. Takes the lock of a total, as `insert`.
    """
    attributes = {name: _text(value) for name, value in msgspec.structs.asdict(row.attributes).items()}
    parameters = {"project_id": project, "id": row.id, "code": row.code, "code_key": row.code_key, **attributes}
    while True:
        parameters["created_at"] = await clock(conn, project)
        if await (await conn.execute(SQL.voucher_insert, parameters)).fetchone() is not None:
            await row_totals.add(conn, project, _totals([row]), slot=row_totals.drawn_slot())
            return True
        if await taken(conn, project, [row.code_key]):
            return False
        # only its moment was taken: another one


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


async def clock(conn: Conn, project: str) -> datetime:
    """The first moment that vouchers may bear now as `created_at` or `updated_at`: lists are walked by these."""
    row = await (await conn.execute(SQL.vouchers_write_clock, {"project_id": project})).fetchone()
    assert row is not None
    now: datetime = row.now
    return now


# ---- vouchers that exist -----------------------------------------------------------------------


async def resolve(conn: Conn, project: str, code_keys: Collection[str]) -> list[StoredVoucher]:
    """The vouchers with some code keys, without those in the bin."""
    if not code_keys:
        return []
    parameters = {"project_id": project, "code_keys": list(code_keys)}
    found = await (await conn.execute(SQL.vouchers_resolve, parameters)).fetchall()
    return [
        StoredVoucher(row.id, row.code, row.code_key, row.campaign_id, msgspec.json.decode(row.metadata), row.version)
        for row in found
    ]


async def lock(conn: Conn, project: str, versions: Mapping[str, str]) -> bool:
    """Lock vouchers by id; whether all are still at the versions they were read at."""
    return await lock_as_read(conn, SQL.vouchers_lock, project, versions)


async def update_metadata(conn: Conn, project: str, changes: Mapping[str, bytes]) -> None:
    """Give vouchers new metadata, by id: encoded, and whole. They must be locked."""
    if changes:
        first = await clock(conn, project)
        columns = {
            "ids": list(changes),
            "metadatas": [metadata.decode() for metadata in changes.values()],
            "nows": [first + timedelta(microseconds=no) for no in range(len(changes))],
        }
        await conn.execute(SQL.vouchers_update_metadata, {"project_id": project, **columns})
