"""Compiled filters against their slow evaluation. PUNCHCARD_MODEL_EXAMPLES sets how many cases are tried.

A case is a dozen customers and two dozen filters at a moment in a zone.
"""

import os
from collections.abc import Callable

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.deployment import Project
from tests.segments.drawn import Place
from tests.segments.drawn_filters import Case, case, depends_on_date
from tests.segments.evaluation import Customer, Filter, holds, next_change
from tests.segments.evaluation_compiled import Answer, Conn, answers, session, stored
from tests.segments.evaluation_dates import begins

EXAMPLES = int(os.environ.get("PUNCHCARD_MODEL_EXAMPLES", "200"))
# Some filters and customers of a case are looked at on each of the next days, which takes most of the time.
FILTERS_WATCHED, CUSTOMERS_WATCHED = 2, 4
DAYS_WATCHED = 400


def for_cases(check: Callable[[Case], None]) -> None:
    """Run a check on drawn cases: the same ones each time, unless their number is given."""

    # a seed cannot be made smaller
    @settings(
        max_examples=EXAMPLES,
        derandomize="PUNCHCARD_MODEL_EXAMPLES" not in os.environ,
        database=None,
        deadline=None,
        phases=[Phase.generate],
    )
    @given(st.integers(0, 2**32))
    def run(seed: int) -> None:
        check(case(seed))

    run()


def test_compiled_filters_hold_where_the_evaluation_says(project_18: Project) -> None:
    with session(project_18) as conn:

        def check(drawn: Case) -> None:
            where = drawn.place
            with stored(conn, project_18, drawn.customers):
                found = answers(conn, project_18, drawn.filters, drawn.customers, where)
            wrong = [
                (one, found[customer.id].holds[no], customer)
                for no, one in enumerate(drawn.filters)
                for customer in drawn.customers
                if found[customer.id].holds[no] is not holds(one, customer, today=where.today, zone=where.zone)
            ]
            # the smallest says most
            assert not wrong, (where, *min(wrong, key=lambda one: len(str(one[0]))))

        for_cases(check)


def test_compiled_filters_are_due_before_anything_changes(project_18: Project) -> None:
    with session(project_18) as conn:

        def check(drawn: Case) -> None:
            steady = [one for one in drawn.filters if not depends_on_date(one)]
            watched = [one for one in drawn.filters if depends_on_date(one)][:FILTERS_WATCHED]
            with stored(conn, project_18, drawn.customers):
                assert not any(answer.due_at for answer in due(conn, project_18, drawn, steady).values())
                together = due(conn, project_18, drawn, watched)
                alone = [due(conn, project_18, drawn, [one]) for one in watched]
            for customer in drawn.customers[:CUSTOMERS_WATCHED]:
                moments = [answer[customer.id].due_at for answer in alone]
                assert together[customer.id].due_at == min(filter(None, moments), default=None)
                for one, answer in zip(watched, alone, strict=True):
                    check_due(drawn.place, one, customer, answer[customer.id])

        for_cases(check)


def due(conn: Conn, project: Project, drawn: Case, some: list[Filter]) -> dict[str, Answer]:
    return answers(conn, project, some, drawn.customers, drawn.place) if some else {}


def check_due(where: Place, one: Filter, customer: Customer, answer: Answer) -> None:
    """A moment at which a day begins in the zone, later than now, and no later than the answer can change."""
    days = DAYS_WATCHED
    if answer.due_at is not None:
        day = answer.due_at.astimezone(where.zone).date()
        assert answer.due_at > where.now, (where, one, customer)
        assert answer.due_at == begins(day, where.zone), (where, one, customer)
        days = min((day - where.today).days, DAYS_WATCHED)
    changes = next_change(one, customer, today=where.today, zone=where.zone, days=days)
    if changes is not None:
        # a day that the zone left out begins with the next one
        in_time = answer.due_at is not None and answer.due_at <= begins(changes, where.zone)
        assert in_time, (where, one, answer.due_at, changes, customer)
