"""Campaigns through the API of a running server: how fast their vouchers are made, and how they share their lane.

The generation of one campaign stands beside a bare COPY of exactly its rows into an empty copy of their table with
the same indexes. Then many campaigns are created one after the other: when the last is under way, when a small
one behind them is done, and when all are.
"""

import time
from statistics import median

import psycopg
from msgspec import Struct

from benchmarks.copying import copy_rows
from benchmarks.figures import ms, ratios
from tests.deployment import Deployment, Project

TABLES = ("vouchers",)
LOOK_S = 0.05
SECONDS_MAX = 600.0


class Many(Struct, frozen=True):
    """So many campaigns of so many vouchers, and perhaps a small one behind them."""

    campaigns: int
    vouchers: int
    small: int = 0


class Sizes(Struct):
    """Vouchers of the campaign that is compared with COPY, how often it is, and what else is created."""

    vouchers: int = 100_000
    rounds: int = 5
    many: tuple[Many, ...] = (Many(10, 100_000, small=10), Many(200, 2000))


class Shared(Struct):
    """Seconds from the acceptance of the last campaign: until all were under way, the small one done, all done.

    `turns` is how many turns the lane took for them all, and `small_turns` how many of these in the small one's time.
    """

    many: Many
    under_way: float
    small_done: float | None
    all_done: float
    turns: int
    small_turns: int


class Figures(Struct):
    """Seconds of generation and of the bare COPY, by round; and what was found of many campaigns."""

    generation: list[float]
    copy: list[float]
    shared: list[Shared]


class _Action(Struct):
    created: float
    started: float
    finished: float


class _Turn(Struct):
    number: int
    began: float


def measure(deployment: Deployment, sizes: Sizes) -> Figures:
    """Run the rounds, after one that is not counted, and then create the many."""
    figures = Figures([], [], [])
    with psycopg.connect(deployment.dsn) as conn:
        for number in range(sizes.rounds + 1):
            project = deployment.new_project()
            _create(project, "One", sizes.vouchers)
            (action,) = _finished(conn, project, 1)[0]
            seconds = copy_rows(conn, project.id, TABLES)
            if number:
                figures.generation.append(action.finished - action.started)
                figures.copy.append(seconds)
            project.close()
        for many in sizes.many:
            figures.shared.append(_shared(deployment, conn, many))
    return figures


def _shared(deployment: Deployment, conn: psycopg.Connection, many: Many) -> Shared:
    project = deployment.new_project()
    for number in range(many.campaigns):
        _create(project, f"Campaign {number}", many.vouchers)
    if many.small:
        _create(project, "Small", many.small)
    actions, turns = _finished(conn, project, many.campaigns + bool(many.small))
    project.close()
    last = actions[-1]
    return Shared(
        many,
        under_way=max(action.started for action in actions) - last.created,
        small_done=last.finished - last.created if many.small else None,
        all_done=max(action.finished for action in actions) - last.created,
        turns=turns[-1].number,
        small_turns=_turn_at(turns, last.finished) - _turn_at(turns, last.created),
    )


def _turn_at(turns: list[_Turn], moment: float) -> int:
    """The number of the turn that was under way, as far as it was seen."""
    return max((turn.number for turn in turns if turn.began <= moment), default=turns[0].number - 1)


def _create(project: Project, name: str, vouchers: int) -> None:
    voucher = {
        "type": "DISCOUNT_VOUCHER",
        "discount": {"type": "PERCENT", "percent_off": 10.0},
        "redemption": {"quantity": 1},
        "code_config": {"length": 12, "prefix": "BENCH-"},
    }
    body = {"name": name, "campaign_type": "DISCOUNT_COUPONS", "vouchers_count": vouchers, "voucher": voucher}
    project.call("POST", "/v1/campaigns", json=body)


_TURN = """
SELECT turn, extract(epoch FROM served_at)::float8 FROM lane_turns WHERE project_id = %s AND lane = 'round_robin'
 ORDER BY turn DESC LIMIT 1
"""
_LEFT = "SELECT count(*) FILTER (WHERE finished_at IS NULL) FROM async_actions WHERE project_id = %s"
_ACTIONS = """
SELECT extract(epoch FROM created_at)::float8, extract(epoch FROM started_at)::float8,
       extract(epoch FROM finished_at)::float8, operation_status
  FROM async_actions WHERE project_id = %s
 ORDER BY created_at
"""


def _finished(conn: psycopg.Connection, project: Project, number: int) -> tuple[list[_Action], list[_Turn]]:
    """The project's actions, which all must succeed, in their order of arrival; and turns of their lane, as seen."""
    deadline, turns, left = time.monotonic() + SECONDS_MAX, list[_Turn](), None
    while left != 0:
        assert time.monotonic() < deadline, f"{left} actions are not finished"
        time.sleep(LOOK_S)
        for columns in conn.execute(_TURN, [project.id]):
            turns.append(_Turn(*columns))
        for columns in conn.execute(_LEFT, [project.id]):
            left = columns[0]
        conn.rollback()
    rows = conn.execute(_ACTIONS, [project.id]).fetchall()
    assert [status for *_, status in rows] == ["SUCCESS"] * number, rows
    return [_Action(*columns) for *columns, _ in rows], turns


# ---- what is printed ---------------------------------------------------------------------------


def table(figures: Figures, sizes: Sizes) -> list[tuple[str, str, str]]:
    """Generation against the bare COPY."""
    generation, copy = median(figures.generation), median(figures.copy)
    return [
        ("bare COPY of the rows, same table and indexes", ms(copy, 0), "1"),
        (
            "generation, from the first claim to the last commit",
            f"{ms(generation, 0)}, {sizes.vouchers / generation:,.0f} codes/s",
            ratios(figures.generation, figures.copy),
        ),
    ]


SHARED_HEADING = (
    "created",
    "all under way after",
    "the small one done after",
    "all done after",
    "portion",
    "its rounds",
)


def shared_table(figures: Figures) -> list[tuple[str, ...]]:
    """Seconds from the acceptance of the last one; a round is a portion of each."""
    return [_shared_row(one) for one in figures.shared]


def _shared_row(one: Shared) -> tuple[str, ...]:
    portion_s = one.all_done / one.turns
    number = one.many.campaigns + bool(one.many.small)
    behind = f" and one of {one.many.small} behind them" if one.many.small else ""
    return (
        f"{one.many.campaigns} campaigns of {one.many.vouchers:,}{behind}",
        ms(one.under_way, 0),
        "" if one.small_done is None else ms(one.small_done, 0),
        f"{one.all_done:.1f} s",
        ms(portion_s, 0),
        "" if one.small_done is None else f"{one.small_turns / number:.2f}",
    )
