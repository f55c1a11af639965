"""Customers and referrers of orders: who is meant, who is new, what is written, what is counted."""

import itertools
import unicodedata
from typing import Any
from urllib.parse import quote

from tests.deployment import Project
from tests.orders.cases import Row, exact, failures, parts, stored_orders

UNKNOWN = "Cannot find customer with id {}"
MAX = 2**53 - 1


def people(project: Project) -> list[Any]:
    """All customers, oldest first."""
    return list(project.get("/v1/customers", limit=100, order="created_at")["customers"])


def person(project: Project, customer: str) -> Any:
    return exact(project, f"/v1/customers/{quote(customer, safe='')}")


# ---- who is meant ------------------------------------------------------------------------------


def test_an_id_is_an_internal_one(project_18: Project) -> None:
    project_18.imported({"source_id": "o", "customer": {"source_id": "ann"}})
    ann, order = person(project_18, "ann"), project_18.get("/v1/orders/o")["id"]
    cases: dict[str, tuple[Row, str]] = {
        "customer by source id": ({"customer": {"id": "ann"}}, "ann"),
        "referrer by source id": ({"referrer": {"id": "ann"}}, "ann"),
        "referrer_id by source id": ({"referrer_id": "ann"}, "ann"),
        "an id in capitals": ({"customer": {"id": ann["id"].upper()}}, ann["id"].upper()),
        "the id of an order": ({"customer": {"id": order}}, order),
        "a known source id beside": ({"customer": {"id": "cust_no", "source_id": "ann"}}, "cust_no"),
        "a new source id beside": ({"customer": {"id": "cust_no", "source_id": "new"}}, "cust_no"),
    }
    found = failures(project_18, {name: order for name, (order, _) in cases.items()})
    assert found == {name: UNKNOWN.format(customer) for name, (_, customer) in cases.items()}
    assert [row["source_id"] for row in people(project_18)] == ["ann"]


def test_a_source_id_that_looks_like_an_internal_id_is_a_source_id(project_18: Project) -> None:
    project_18.imported({"customer": {"source_id": "ann"}})
    ann = person(project_18, "ann")
    project_18.imported({"source_id": "o", "customer": {"source_id": ann["id"], "name": "Confusing"}})
    first, second = people(project_18)
    assert (first["id"], second["source_id"]) == (ann["id"], ann["id"])
    assert person(project_18, ann["id"]) == ann  # the id wins
    assert project_18.get("/v1/orders/o")["customer_id"] == second["id"]


def test_source_ids_are_compared_letter_by_letter(project_18: Project) -> None:
    names = [
        "a", "A", " a", "a ", "á", unicodedata.normalize("NFD", "á"), "0", "00", "null", "a/b", "a%2Fb", "a b", "a+b",
        "'", '"', "\\", "%", "_", "😀", "\u200b", "ß", "ss", "a\tb", "a\nb", "{}", "[a]", "x" * 255, "\ufeffa",
    ]  # fmt: skip
    project_18.imported(*({"source_id": name, "customer": {"source_id": name}} for name in names * 2))
    assert [row["source_id"] for row in people(project_18)] == names
    assert [order["source_id"] for order in project_18.all_orders()] == names
    for name in names:
        customer = person(project_18, name)
        assert customer["source_id"] == name
        assert project_18.get(f"/v1/orders/{quote(name, safe='')}")["customer_id"] == customer["id"]


def test_empty_ids_are_passed_over(project_18: Project) -> None:
    project_18.imported({"customer": {"source_id": "ann"}})
    ann = person(project_18, "ann")["id"]
    orders = stored_orders(project_18, {
        "no id": {"customer": {"id": None, "source_id": "ann"}},
        "an empty id": {"customer": {"id": "", "source_id": "ann"}},
        "no source id": {"customer": {"id": ann, "source_id": None}},
        "an empty source id": {"customer": {"id": ann, "source_id": ""}},
        "an empty referrer_id": {"referrer_id": "", "customer": {"source_id": "ann"}},
    })  # fmt: skip
    assert {order["customer_id"] for order in orders.values()} == {ann}
    assert {order["referrer_id"] for order in orders.values()} == {None}
    assert len(people(project_18)) == 1


def test_a_customer_without_any_value_is_nobody(project_18: Project) -> None:
    nobodies: list[Any] = [
        None, {}, {"id": None, "source_id": None}, {"id": "", "source_id": ""}, {"name": ""}, {"metadata": {}},
        {"address": None}, {"unknown": "x"}, {"object": "customer"},
    ]  # fmt: skip
    orders = stored_orders(project_18, {str(nobody): {"customer": nobody, "referrer": nobody} for nobody in nobodies})
    assert set(parts(orders, "customer_id", "referrer_id").values()) == {(None, None)}
    assert not any({"customer", "referrer"} & order.keys() for order in orders.values())
    assert people(project_18) == []


def test_a_customer_with_an_empty_address_alone_is_nobody(project_18: Project) -> None:
    empty: list[Row] = [{}, {"city": None}, {"city": ""}, {"unknown": "x"}]
    orders = stored_orders(project_18, {str(address): {"customer": {"address": address}} for address in empty})
    assert parts(orders, "customer_id") == {str(address): (None,) for address in empty}
    assert people(project_18) == []


def test_somebody_without_ids_is_a_new_customer_by_any_attribute(project_18: Project) -> None:
    known: dict[str, Row] = {
        "name": {"name": "N"}, "email": {"email": "e@x"}, "phone": {"phone": "1"}, "description": {"description": "D"},
        "birthdate": {"birthdate": "2000-01-01"}, "address": {"address": {"city": "C"}},
        "metadata": {"metadata": {"a": 1}},
    }  # fmt: skip
    stored_orders(project_18, {name: {"customer": sent} for name, sent in known.items()})
    for row, sent in zip(people(project_18), known.values(), strict=True):
        assert {name: row[name] for name in sent} == sent
        assert row["source_id"] is None


# ---- two names for one person ------------------------------------------------------------------


def test_two_orders_of_one_request_name_the_same_new_customer(project_18: Project) -> None:
    result = project_18.import_orders([
        {"source_id": "1", "customer": {"source_id": "new", "name": "First", "metadata": {"a": 1, "b": 1}}},
        {"source_id": "2", "referrer": {"source_id": "new", "email": "e@x", "metadata": {"b": 2}}},
        {"source_id": "3", "customer": {"source_id": "new", "name": "Last"},
         "referrer": {"source_id": "new", "phone": "3"}},
    ])  # fmt: skip
    assert result["created_count"] == 3
    [new] = people(project_18)
    assert (new["name"], new["email"], new["phone"]) == ("Last", "e@x", "3")
    assert new["metadata"] == {"a": 1, "b": 2}
    assert "updated_at" not in new
    ids = [(order["customer_id"], order["referrer_id"]) for order in project_18.all_orders()]
    assert ids == [(new["id"], None), (None, new["id"]), (new["id"], new["id"])]


def test_customer_and_referrer_can_be_one_person_by_any_name(project_18: Project) -> None:
    project_18.imported({"customer": {"source_id": "ann"}})
    ann = person(project_18, "ann")["id"]
    by_id, by_source = {"id": ann}, {"source_id": "ann"}
    orders = stored_orders(project_18, {
        **{f"{a} {b}": {"customer": a, "referrer": b} for a, b in itertools.product((by_id, by_source), repeat=2)},
        "referrer_id": {"customer": by_source, "referrer_id": ann},
        "referrer_id alone": {"referrer_id": ann},
    })  # fmt: skip
    assert {order["referrer_id"] for order in orders.values()} == {ann}
    assert {order["customer_id"] for name, order in orders.items() if name != "referrer_id alone"} == {ann}
    assert len(people(project_18)) == 1


def test_two_people_without_ids_are_two(project_18: Project) -> None:
    guest = {"name": "Guest"}
    order = stored_orders(project_18, {"o": {"customer": guest, "referrer": guest}})["o"]
    assert order["customer_id"] != order["referrer_id"]
    assert [row["id"] for row in people(project_18)] == [order["customer_id"], order["referrer_id"]]


def test_emails_are_not_ids(project_18: Project) -> None:
    same = {"email": "same@example.com", "name": "Same"}
    sent = [{"source_id": "a", **same}, {"source_id": "b", **same}, same, {"source_id": "same@example.com"}]
    project_18.imported(*({"customer": customer} for customer in sent))
    assert [row["source_id"] for row in people(project_18)] == ["a", "b", None, "same@example.com"]
    assert "email" not in person(project_18, "same@example.com")


# ---- referrers ---------------------------------------------------------------------------------


def test_a_referrer_has_no_part_in_the_revenue(project_18: Project) -> None:
    order = {"status": "PAID", "amount": 7, "customer": {"source_id": "c"}, "referrer": {"source_id": "r"}}
    project_18.imported(order, {"status": "PAID", "amount": 7, "referrer": {"source_id": "r"}})
    assert person(project_18, "c")["summary"]["orders"]["total_amount"] == 7
    assert person(project_18, "r")["summary"]["orders"] == {
        "total_amount": 0, "total_count": 0, "average_amount": 0, "last_order_amount": 0
    }  # fmt: skip
    assert person(project_18, "r")["referrals"]["total"] == 0


def test_an_unknown_referrer_fails_the_order_unless_an_object_says_who(project_18: Project) -> None:
    project_18.imported({"customer": {"source_id": "ann"}})
    assert failures(project_18, {
        "referrer_id": {"referrer_id": "cust_no"},
        "beside nobody": {"referrer_id": "cust_no", "referrer": {}},
        "beside null": {"referrer_id": "cust_no", "referrer": None},
        "object": {"referrer": {"id": "cust_no2"}, "referrer_id": person(project_18, "ann")["id"]},
    }) == {
        "referrer_id": UNKNOWN.format("cust_no"),
        "beside nobody": UNKNOWN.format("cust_no"),
        "beside null": UNKNOWN.format("cust_no"),
        "object": UNKNOWN.format("cust_no2"),
    }  # fmt: skip
    order = stored_orders(project_18, {"o": {"referrer_id": "cust_no", "referrer": {"source_id": "new"}}})["o"]
    assert order["referrer_id"] == person(project_18, "new")["id"]


def test_customer_and_referrer_stay_until_others_are_sent(project_18: Project) -> None:
    def of_order(**sent: Any) -> tuple[Any, Any]:
        project_18.imported({"source_id": "o", **sent})
        order = project_18.get("/v1/orders/o")
        names = {row["id"]: row["source_id"] for row in people(project_18)} | {None: None}
        return names[order["customer_id"]], names[order["referrer_id"]]

    assert of_order(customer={"source_id": "a"}, referrer={"source_id": "b"}) == ("a", "b")
    assert of_order(status="PAID") == ("a", "b")
    assert of_order(customer=None, referrer=None, referrer_id=None) == ("a", "b")
    assert of_order(customer={}, referrer={}, referrer_id="") == ("a", "b")
    assert of_order(customer={"source_id": "c"}) == ("c", "b")
    assert of_order(referrer_id=person(project_18, "a")["id"]) == ("c", "a")
    assert of_order(referrer={"source_id": "d"}) == ("c", "d")


# ---- what is written ---------------------------------------------------------------------------


def test_birthdate_wins_over_birthday_and_both_are_shown_as_sent(project_18: Project) -> None:
    cases: dict[str, tuple[Row, Row]] = {
        "birthdate": ({"birthdate": "2000-02-29"}, {"birthdate": "2000-02-29"}),
        "birthday": ({"birthday": "2000-02-29"}, {"birthdate": "2000-02-29", "birthday": "2000-02-29"}),
        "both": (
            {"birthday": "2000-02-29", "birthdate": "1999-12-31"},
            {"birthday": "2000-02-29", "birthdate": "1999-12-31"},
        ),
        "none": ({"birthday": None, "birthdate": None}, {}),
        "birthday and null": ({"birthday": "2000-02-29", "birthdate": None},
                              {"birthdate": "2000-02-29", "birthday": "2000-02-29"}),
    }  # fmt: skip
    project_18.imported(*({"customer": {"source_id": name, **sent}} for name, (sent, _) in cases.items()))
    shown = {name: {key: value for key, value in person(project_18, name).items() if "birth" in key} for name in cases}
    assert shown == {name: expected for name, (_, expected) in cases.items()}


def test_metadata_of_customers_and_orders_is_merged_by_key(project_18: Project) -> None:
    def merged(metadata: Any) -> Any:
        project_18.imported(
            {"source_id": "o", "metadata": metadata, "customer": {"source_id": "c", "metadata": metadata}}
        )
        found = person(project_18, "c")["metadata"]
        assert found == project_18.get("/v1/orders/o")["metadata"]
        return found

    assert merged({"a": 1, "b": {"x": 1}, "c": [1]}) == {"a": 1, "b": {"x": 1}, "c": [1]}
    assert merged({"b": {"y": 1}, "c": []}) == {"a": 1, "b": {"y": 1}, "c": []}  # a value is replaced as a whole
    assert merged(None) == merged({}) == {"a": 1, "b": {"y": 1}, "c": []}
    assert merged({"a": None}) == {"a": None, "b": {"y": 1}, "c": []}
    assert merged({"": "empty key", "a": False}) == {"": "empty key", "a": False, "b": {"y": 1}, "c": []}


def test_a_new_customer_reads_as_documented(project_18: Project) -> None:
    project_18.imported({"customer": {"source_id": "c"}})
    customer = person(project_18, "c")
    redemptions = dict.fromkeys(
        ["total_redeemed", "total_failed", "total_succeeded", "total_rolled_back", "total_rollback_failed",
         "total_rollback_succeeded"], 0,
    )  # fmt: skip
    assert customer == {
        "id": customer["id"], "source_id": "c", "created_at": customer["created_at"], "object": "customer",
        "metadata": {}, "system_metadata": {}, "async_action_id": customer["async_action_id"],
        "summary": {
            "redemptions": redemptions | {"gift": {"redeemed_amount": 0, "amount_to_go": 0},
                                          "loyalty_card": {"redeemed_points": 0, "points_to_go": 0}},
            "orders": {"total_amount": 0, "total_count": 0, "average_amount": 0, "last_order_amount": 0},
        },
        "loyalty": {"points": 0, "referred_customers": 0, "campaigns": {}},
        "referrals": {"total": 0, "campaigns": []},
    }  # fmt: skip
    assert person(project_18, customer["id"]) == customer


def test_texts_of_customers_come_back_as_sent(project_18: Project) -> None:
    address = {"city": "Łódź", "state": "", "line_1": "x" * 5000, "line_2": "😀", "country": "PL", "postal_code": "0"}
    sent = {
        "source_id": "c", "name": " Ann\u0301\t", "description": "x" * 100_000, "email": "e" * 255, "phone": "none",
        "address": address,
    }  # fmt: skip
    project_18.imported({"customer": {**sent, "address": {**address, "unknown": 1}}})
    customer = person(project_18, "c")
    assert {name: customer[name] for name in sent} == sent
    assert project_18.import_orders([{"customer": sent}])["created_count"] == 1
    assert "updated_at" not in person(project_18, "c")


def test_revenue_adds_up_to_the_largest_number_that_can_be_told(project_18: Project) -> None:
    order = {"status": "PAID", "customer": {"source_id": "c"}}
    project_18.imported({**order, "amount": MAX - 1}, {**order, "amount": 1})
    orders = person(project_18, "c")["summary"]["orders"]
    assert (orders["total_amount"], orders["average_amount"]) == (MAX, 2**52)
