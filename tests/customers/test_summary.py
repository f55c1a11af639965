"""`summary.orders`, which an import changes by differences."""

from typing import Any

from tests.deployment import Project
from tests.orders.stored import rows


def summary(project: Project, customer: str) -> tuple[int, int, int, str | None]:
    """Total, count, amount of the last order, its date."""
    orders = project.get(f"/v1/customers/{customer}")["summary"]["orders"]
    return orders["total_amount"], orders["total_count"], orders["last_order_amount"], orders.get("last_order_date")


def order(name: str, amount: int, day: str, *, customer: str = "c", status: str = "PAID") -> Any:
    return {"source_id": name, "status": status, "amount": amount, "customer": {"source_id": customer},
            "metadata": {"ordered_at": day}}  # fmt: skip


def test_paid_and_fulfilled_orders_count(project: Project) -> None:
    statuses = ["CREATED", "PAID", "FULFILLED", "CANCELED"]
    project.imported(*(order(status, 10**n, f"2011-01-0{n + 1}", status=status) for n, status in enumerate(statuses)))
    assert summary(project, "c") == (110, 2, 100, "2011-01-03T00:00:00Z")
    assert project.get("/v1/customers/c")["summary"]["orders"]["average_amount"] == 55


def test_the_average_is_rounded_half_up(project_18: Project) -> None:
    for name, amounts, average in (("a", (1, 2), 2), ("b", (1, 1, 2), 1), ("c", (0, 1, 0, 1), 1)):
        project_18.imported(
            *({"status": "PAID", "amount": amount, "customer": {"source_id": name}} for amount in amounts)
        )
        assert project_18.get(f"/v1/customers/{name}")["summary"]["orders"]["average_amount"] == average


def test_discounts_count(project: Project) -> None:
    project.imported({"status": "PAID", "amount": 100, "discount_amount": 30, "customer": {"source_id": "c"}})
    assert summary(project, "c")[0] == 70


def test_a_cancellation_takes_its_order_back(project: Project) -> None:
    project.imported(order("1", 5, "2011-01-01"), order("2", 7, "2011-01-02"), order("3", 11, "2011-01-03"))
    assert summary(project, "c") == (23, 3, 11, "2011-01-03T00:00:00Z")
    project.imported({"source_id": "1", "status": "CANCELED"})
    assert summary(project, "c") == (18, 2, 11, "2011-01-03T00:00:00Z")
    project.imported({"source_id": "3", "status": "CANCELED"})
    assert summary(project, "c") == (7, 1, 7, "2011-01-02T00:00:00Z")  # the next newest
    project.imported({"source_id": "2", "status": "CREATED"})
    assert summary(project, "c") == (0, 0, 0, None)
    project.imported({"source_id": "1", "status": "PAID"})
    assert summary(project, "c") == (5, 1, 5, "2011-01-01T00:00:00Z")


def test_an_order_that_moves_takes_its_revenue_along(project: Project) -> None:
    project.imported(
        order("1", 5, "2011-01-01"), order("2", 7, "2011-01-02"), order("3", 1, "2010-01-01", customer="d")
    )
    project.imported({"source_id": "2", "customer": {"source_id": "d"}})
    assert summary(project, "c") == (5, 1, 5, "2011-01-01T00:00:00Z")
    assert summary(project, "d") == (8, 2, 7, "2011-01-02T00:00:00Z")
    project.imported({"source_id": "2", "customer": {"source_id": "e"}}, {"source_id": "2", "amount": 9})
    assert summary(project, "d") == (1, 1, 1, "2010-01-01T00:00:00Z")
    assert summary(project, "e") == (9, 1, 9, "2011-01-02T00:00:00Z")


def test_dates_that_change_can_change_which_order_is_the_last(project: Project) -> None:
    project.imported(order("1", 5, "2011-01-01"), order("2", 7, "2011-01-02"))
    project.imported(order("1", 5, "2011-01-05"))  # later than the last
    assert summary(project, "c") == (12, 2, 5, "2011-01-05T00:00:00Z")
    project.imported(order("1", 5, "2010-01-01"))  # the last one moves back behind the other
    assert summary(project, "c") == (12, 2, 7, "2011-01-02T00:00:00Z")
    project.imported(order("2", 8, "2011-01-01"))  # earlier, and still the last
    assert summary(project, "c") == (13, 2, 8, "2011-01-01T00:00:00Z")
    project.imported(order("2", 8, "never"))  # not placed at any date: then the import's time counts
    created = project.get("/v1/orders/2")["created_at"]
    assert summary(project, "c") == (13, 2, 8, created)


def test_of_two_orders_of_one_moment_the_later_import_is_the_last(project: Project) -> None:
    project.imported(*(order(f"{n}", n, "2011-01-01") for n in range(1, 6)))
    assert summary(project, "c")[2] == 5
    project.imported(order("6", 6, "2011-01-01"))
    assert summary(project, "c")[2] == 6
    project.imported({"source_id": "6", "status": "CANCELED"})
    assert summary(project, "c")[2] == 5


def test_many_changes_in_one_request_come_to_one_difference(project: Project) -> None:
    project.imported(*(order(f"{n}", 10, f"2011-01-{n:02}") for n in range(1, 21)))
    project.imported(
        *({"source_id": f"{n}", "status": "CANCELED"} for n in range(11, 21)),
        *(order(f"{n}", 3, f"2011-01-{n:02}") for n in range(11, 16)),
        {"source_id": "15", "customer": {"source_id": "d"}},
        {"source_id": "14", "status": "FULFILLED"},
    )
    assert summary(project, "c") == (10 * 10 + 4 * 3, 14, 3, "2011-01-14T00:00:00Z")
    assert summary(project, "d") == (3, 1, 3, "2011-01-15T00:00:00Z")


def test_a_change_that_leaves_the_summary_does_not_write_the_customer(project: Project) -> None:
    def version() -> Any:
        [row] = rows(project, "SELECT xmin::text FROM customers WHERE project_id = %(project)s")
        return row["xmin"]

    project.imported(order("1", 5, "2011-01-01"), order("2", 5, "2011-01-02"))
    before = version(), summary(project, "c")
    project.imported(
        {"source_id": "1", "status": "FULFILLED", "metadata": {"x": 1}}, {"source_id": "2", "metadata": {"x": 1}}
    )
    assert (version(), summary(project, "c")) == before
    assert project.get("/v1/orders/1")["status"] == "FULFILLED"
