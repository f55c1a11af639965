"""`punchcard segments verify`: finds what is stored otherwise than filters say, and has it put right."""

import subprocess
from typing import Any

import pytest

from tests.customers.updating import updated
from tests.customers.writing import deleted, post, put
from tests.deployment import Project, until
from tests.events.log import events_of
from tests.orders.stored import rows, session
from tests.segments.placed import (
    LONDONERS,
    PARISIANS,
    active,
    all_placed,
    changed,
    having,
    lane_paused,
    made,
    members,
    removed,
    segment,
    summary,
    verified,
)

# whoever was created six days ago fits it
DATED = having("created_at", "$more_than_ago", 5)


def verify(project: Project, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    done: subprocess.CompletedProcess[str] = project.deployment.command("segments", "verify", project.id, *options)
    return done


def found(project: Project, *lines: str) -> None:
    """The command must find these, and have them put right when it is asked to; nobody is told."""
    before, stored = len(events_of(project)), _stored(project)
    done = verify(project)
    assert (done.returncode, done.stdout, done.stderr) == (1, _printed(lines, ""), "")
    assert _stored(project) == stored, "it writes nothing by itself"
    done = verify(project, "--repair")
    assert (done.returncode, done.stdout, done.stderr) == (1, _printed(lines, ", asked to be put right"), "")
    all_placed(project)
    verified(project)
    assert len(events_of(project)) == before


def _printed(lines: tuple[str, ...], asked: str) -> str:
    return "".join(f"{line}\n" for line in lines) + f"{len(lines)} difference(s){asked}\n"


TABLES = ("segment_members", "segment_summaries", "segment_due", "segment_clocks", "segment_inbox")


def _stored(project: Project) -> Any:
    return {
        table: rows(project, f"SELECT t::text FROM {table} AS t WHERE project_id = %(project)s ORDER BY 1")
        for table in TABLES
    }


def broken(project: Project, statement: str, **parameters: Any) -> None:
    """Change what is stored, behind the back of everybody."""
    with session(project.deployment) as conn:
        assert conn.execute(statement.encode(), {"project": project.id, **parameters}).rowcount == 1


ADD = """INSERT INTO segment_members (project_id, segment_id, customer_id, customer_created_at, entered_at)
         VALUES (%(project)s, %(segment)s, %(customer)s, clock_timestamp(), clock_timestamp())"""
TAKE = """DELETE FROM segment_members
           WHERE project_id = %(project)s AND segment_id = %(segment)s AND customer_id = %(customer)s"""
COUNT = """UPDATE segment_summaries SET members = members + %(more)s
            WHERE project_id = %(project)s AND segment_id = %(segment)s"""


def londoner(project: Project, name: str = "ann") -> str:
    return str(post(project, source_id=name, address={"city": "London"})["id"])


def parisian(project: Project, name: str = "bob") -> str:
    return str(post(project, source_id=name, address={"city": "Paris"})["id"])


# ---- what is wrong ----


def test_members_who_are_missing(project: Project) -> None:
    ann = londoner(project)
    ids = sorted([active(project), segment(project, filter=LONDONERS)])
    for segment_id in ids:
        broken(project, TAKE, segment=segment_id, customer=ann)
        broken(project, COUNT, segment=segment_id, more=-1)
    found(project, *(f"customer {ann} fits segment {segment_id} and is not in it" for segment_id in ids))
    assert [members(project, segment_id) for segment_id in ids] == [["ann"], ["ann"]]
    assert [summary(project, segment_id)["members"] for segment_id in ids] == [1, 1]


def test_members_who_do_not_fit(project: Project) -> None:
    bob = parisian(project)
    ids = sorted([active(project), segment(project, filter=LONDONERS)])
    for segment_id in ids:
        broken(project, ADD, segment=segment_id, customer=bob)
        broken(project, COUNT, segment=segment_id, more=1)
    found(project, *(f"customer {bob} is in segment {segment_id} and does not fit it" for segment_id in ids))
    assert [members(project, segment_id) for segment_id in ids] == [[], []]
    assert [summary(project, segment_id)["members"] for segment_id in ids] == [0, 0]


def test_a_member_of_no_segment(project: Project) -> None:
    ann = londoner(project)
    segment(project, filter=LONDONERS)
    broken(project, ADD, segment="seg_gone", customer=ann)
    found(project, f"customer {ann} is in segment seg_gone, which does not exist")


def test_a_member_who_does_not_exist(project: Project) -> None:
    londoner(project)
    ids = [segment(project, customers=[]), segment(project, filter=LONDONERS)]
    for segment_id in ids:
        broken(project, ADD, segment=segment_id, customer="cust_zz")
        broken(project, COUNT, segment=segment_id, more=1)
    found(project, *sorted(f"customer cust_zz, who does not exist, is in segment {segment_id}" for segment_id in ids))
    assert [summary(project, segment_id)["members"] for segment_id in ids] == [0, 1]


def test_nor_one_whose_segment_does_not_exist_either(project_18: Project) -> None:
    """Of a project that has neither."""
    broken(project_18, ADD, segment="seg_gone", customer="cust_gone")
    found(project_18, "customer cust_gone is in segment seg_gone, which does not exist")


def test_static_segments_are_right_whoever_is_in_them(project_18: Project) -> None:
    ann, bob = londoner(project_18), parisian(project_18)
    segment_id = segment(project_18, customers=[ann])
    broken(project_18, ADD, segment=segment_id, customer=bob)
    found(project_18, f"segment {segment_id} has another number of members than its summary says")
    assert summary(project_18, segment_id)["members"] == 2


def test_members_who_are_miscounted(project: Project) -> None:
    ann = londoner(project)
    ids = [segment(project, filter=LONDONERS), segment(project, customers=[ann]), segment(project, filter=LONDONERS)]
    for segment_id, more in ((ids[0], 1), (ids[1], -1)):
        broken(project, COUNT, segment=segment_id, more=more)
    found(project, *(f"segment {one} has another number of members than its summary says" for one in sorted(ids[:2])))
    assert [summary(project, segment_id)["members"] for segment_id in ids] == [1, 1, 1]


def test_a_population_that_nobody_goes_on_with(project: Project) -> None:
    londoner(project)
    changing = segment(project, filter=PARISIANS)
    with lane_paused(project):
        ids = sorted([made(project, filter=LONDONERS)["id"], changing])
        changed(project, changing, filter=LONDONERS)
        with session(project.deployment) as conn:
            lost = "DELETE FROM segment_inbox WHERE project_id = %s AND task = 'populate'"
            assert conn.execute(lost, [project.id]).rowcount == 2
    found(project, *(f"segment {one} is not populated to its end, and nobody goes on with it" for one in ids))
    assert [summary(project, one)["population"] for one in ids] == ["DONE", "DONE"]
    assert [members(project, one) for one in ids] == [["ann"], ["ann"]]


NOT_DUE = "customer {} will not be looked at on the day on which it may enter or leave a segment"


DUE = "SELECT * FROM segment_due WHERE project_id = %(project)s ORDER BY customer_id"
NEVER = "DELETE FROM segment_due WHERE project_id = %(project)s AND customer_id = %(customer)s"
LATER = """UPDATE segment_due SET due_at = due_at + interval '1 day'
            WHERE project_id = %(project)s AND customer_id = %(customer)s"""


def test_customers_who_will_not_be_looked_at(project: Project) -> None:
    ann, bob, _ = londoner(project), parisian(project), londoner(project, "cid")
    segment(project, filter=DATED)
    due = rows(project, DUE)
    assert len(due) == 3
    broken(project, NEVER, customer=ann)
    broken(project, LATER, customer=bob)
    found(project, NOT_DUE.format(ann), NOT_DUE.format(bob))
    assert rows(project, DUE) == due


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM segment_clocks WHERE project_id = %(project)s",
        "UPDATE segment_clocks SET due_at = due_at + interval '1 second' WHERE project_id = %(project)s",
        "UPDATE segment_clocks SET due_at = 'infinity' WHERE project_id = %(project)s",
    ],
    ids=["none", "later", "never"],
)
def test_a_lane_that_wakes_too_late(project_18: Project, statement: str) -> None:
    londoner(project_18)
    segment(project_18, filter=DATED)
    broken(project_18, statement)
    found(project_18, "the lane wakes later than the first customer has to be looked at")


def test_all_of_it_at_once(project: Project) -> None:
    """In the order of the customers; what is wrong with a segment or the lane comes last."""
    people = [londoner(project, f"l-{n}") for n in range(3)] + [parisian(project, f"p-{n}") for n in range(3)]
    first, second = active(project), segment(project, filter={"junction": "or", **DATED, **LONDONERS})
    broken(project, TAKE, segment=first, customer=people[0])
    broken(project, ADD, segment=second, customer=people[4])
    broken(project, ADD, segment="seg_gone", customer=people[1])
    broken(project, ADD, segment=second, customer="cust_zz")
    broken(project, NEVER, customer=people[5])
    broken(project, "UPDATE segment_clocks SET due_at = 'infinity' WHERE project_id = %(project)s")
    done = verify(project, "--repair")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert sorted(lines[:5]) == sorted(
        [
            f"customer {people[0]} fits segment {first} and is not in it",
            f"customer {people[4]} is in segment {second} and does not fit it",
            f"customer {people[1]} is in segment seg_gone, which does not exist",
            f"customer cust_zz, who does not exist, is in segment {second}",
            NOT_DUE.format(people[5]),
        ]
    )
    assert lines[5:] == [
        *(f"segment {one} has another number of members than its summary says" for one in sorted([first, second])),
        "the lane wakes later than the first customer has to be looked at",
        "8 difference(s), asked to be put right",
    ]
    all_placed(project)
    verified(project)
    assert [summary(project, one)["members"] for one in (first, second)] == [3, 3]
    assert not [one for one in events_of(project) if one.type.startswith("customer.segment.")]


def test_differences_in_every_portion_are_found(project_18: Project) -> None:
    """More customers than one portion looks at."""
    count = 11_000
    updated(project_18, "customers", *({"source_id": f"c-{n}"} for n in range(count)))
    segment_id = segment(project_18, filter=having("source_id", "$has_value", True))
    ids = [row["id"] for row in rows(project_18, "SELECT id FROM customers WHERE project_id = %(project)s ORDER BY id")]
    wrong = [ids[no] for no in (0, 4999, 5000, 9999, 10_000, count - 1)]
    for customer in wrong:
        broken(project_18, TAKE, segment=segment_id, customer=customer)
    broken(project_18, COUNT, segment=segment_id, more=-len(wrong))
    found(project_18, *(f"customer {customer} fits segment {segment_id} and is not in it" for customer in wrong))
    assert summary(project_18, segment_id)["members"] == count


# ---- what only waits ----


def test_work_that_waits_is_no_difference(project: Project) -> None:
    ann, gone, _ = londoner(project), londoner(project, "gone"), londoner(project, "stays")
    parisian(project)
    moved, deleted_segment, _ = (segment(project, filter=LONDONERS) for _ in range(3))
    segment(project, customers=[ann, gone])
    with lane_paused(project):
        put(project, ann, address={"city": "Paris"})
        put(project, "bob", address={"city": "London"})
        londoner(project, "new")
        deleted(project, gone)
        made(project, filter=LONDONERS)
        changed(project, moved, filter=DATED)
        removed(project, deleted_segment)
        verified(project)
        stored = _stored(project)
        assert verify(project, "--repair").returncode == 0
        assert _stored(project) == stored, "neither does it have anything done"
    verified(project)


def test_customers_whose_time_has_come_wait_too(project: Project) -> None:
    ann = londoner(project)
    segment_id = segment(project, filter=DATED)
    with lane_paused(project):
        broken(project, ADD, segment=segment_id, customer=ann)
        broken(project, COUNT, segment=segment_id, more=1)
        for table in ("segment_due", "segment_clocks"):
            broken(project, f"UPDATE {table} SET due_at = '2026-01-01' WHERE project_id = %(project)s")
        verified(project)
    until(lambda: not members(project, segment_id))
    verified(project)


# ---- the command ----


def test_a_project_that_is_not_there(project_18: Project) -> None:
    done = project_18.deployment.command("segments", "verify", "proj_unknown")
    assert (done.returncode, done.stdout) == (1, "")
    assert "proj_unknown" in done.stderr


def test_wrong_usage(project_18: Project) -> None:
    assert project_18.deployment.command("segments", "verify").returncode == 2
    assert verify(project_18, "--mend").returncode == 2
