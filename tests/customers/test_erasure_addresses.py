"""By which e-mail address a permanent deletion knows a person: as a whole, else as the value of a field for it."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bulk import csv_uploads
from tests.customers.test_deletion import order
from tests.customers.test_erasure import erased, escaped, kept_payload
from tests.customers.updating import finished
from tests.customers.writing import deleted, post
from tests.db.tenants import rows_of
from tests.deployment import Project
from tests.events.log import events_of
from tests.orders.stored import rows

NOWHERE = {"referrer_id": "cust_nobody"}  # fails whatever refers to it
BANJO: dict[str, Any] = {"source_id": "banjo@ex.com", "name": "Banjo", "email": "banjo@ex.com"}
# where records of bulk requests and answers are kept
KEPT = ("async_actions", "async_action_failures", "async_action_pieces", "async_action_reports", "idempotency_keys")


def with_banjo(project: Project) -> None:
    """Have somebody in everything that is kept: with the address as a field, in texts, as a source id and in a key."""
    post(project, key="create banjo", **BANJO)
    failing = [
        {"source_id": "order of banjo@ex.com", "customer": BANJO, **NOWHERE},
        {"source_id": "2", "status": "PAID", "metadata": {"note": "ask banjo@ex.com @ 7"}, **NOWHERE},
    ]
    imported = project.finished(project.post_import(failing))
    assert imported["result"]["failed_count"] == 2
    finished(project, "customers/bulk", [BANJO | {"name": "PAID", "phone": "@"}])
    finished(project, "customers/metadata", {"source_ids": [BANJO["source_id"]], "metadata": {"mail": BANJO["email"]}})
    file = "Source_id,Email,Name,Birthdate\n,banjo@ex.com,@,x\n,,PAID,x\n"
    assert csv_uploads.imported(project, "customers", file)["result"]["failed_count"] == 2
    kept_payload(project, imported["id"], [escaped(record) for record in failing])
    paid = order("1", "banjo@ex.com") | {"customer": BANJO}
    project.call("POST", "/v1/orders", json=paid, headers={"idempotency-key": "order-for-banjo@ex.com"})
    post(project, source_id="gone", email="banjo@ex.com", name="PAID", phone="@")
    deleted(project, "gone")


def kept_of_others(project: Project, customer_id: str) -> tuple[Any, ...]:
    """What is kept of bulk requests and answers, and the events that are not about a customer."""
    tables = rows_of(project)
    events = [event for event in events_of(project) if event.customer_id != customer_id]
    return {table: tables[table] for table in KEPT}, events


@pytest.mark.parametrize(
    "email", ["jo@ex.com", "banjo@ex.co", "Banjo@ex.com", "@", "@ ", "@ex.com", "banjo@", "PAID", "banjo", "7"]
)
def test_nothing_of_others_goes(project_18: Project, email: str) -> None:
    jo = post(project_18, source_id="jo", email=email)
    with_banjo(project_18)
    before = kept_of_others(project_18, jo["id"])
    assert all(before[0].values())
    erased(project_18, "jo")
    assert kept_of_others(project_18, jo["id"]) == before


def test_an_order_of_a_longer_address_that_is_repeated_is_not_made_twice(project: Project) -> None:
    post(project, source_id="jo", email="jo@ex.com")
    paid = {"customer": BANJO, "amount": 5, "status": "PAID"}
    key = {"idempotency-key": "order-for-banjo@ex.com"}
    made = project.call("POST", "/v1/orders", json=paid, headers=key)
    erased(project, "jo")
    assert project.call("POST", "/v1/orders", json=paid, headers=key) == made
    assert project.get("/v1/orders")["total"] == 1


def test_a_key_with_the_address_goes(project_18: Project) -> None:
    address = '"jo"@ex.com'  # which JSON has to escape, and a key has as it is
    post(project_18, source_id="s", email=address)
    for key in (f"order for {address}", f"{address}/1", f"mail={address}."):
        post(project_18, key=key, source_id="bob")
    for key in (f"order-for-{address}", f"{address}.uk", "order for jo@ex.com"):
        post(project_18, key=key, source_id="bob")
    erased(project_18, "s")
    keys = rows(project_18, "SELECT key FROM idempotency_keys WHERE project_id = %(project)s ORDER BY key")
    assert [row["key"] for row in keys] == [f"{address}.uk", "order for jo@ex.com", f"order-for-{address}"]


def test_a_text_that_is_no_address_tells_a_person_by_its_field_alone(project: Project) -> None:
    post(project, source_id="jo", email="PAID", key="create jo")
    post(project, source_id="bob", name="PAID", key="create bob")
    own: list[dict[str, Any]] = [
        {"customer": {"source_id": "other", "email": "PAID"}}, {"metadata": {"EMAIL": "PAID"}},
        {"source_id": "PAID", "items": [{"metadata": {"e": {"Email": "PAID"}}}]},
    ]  # fmt: skip
    others: list[dict[str, Any]] = [
        {"source_id": "PAID", "status": "PAID"}, {"metadata": {"mail": "PAID"}},
        {"metadata": {"PAID": "email", "email": "PAID "}}, {"metadata": {"email": ["PAID"]}},
    ]  # fmt: skip
    records = [record | NOWHERE for record in own + others]
    action = project.post_import(b"[" + b",".join(map(escaped, records)) + b"]")
    assert project.finished(action)["result"]["failed_count"] == len(records)
    uploaded = csv_uploads.imported(project, "products", "Source_id,Name,Price,Email\n1,A,x,PAID\nPAID,A,x,paid\n")
    erased(project, "jo")
    shown = [failure["record"] for failure in project.get(f"/v1/async-actions/{action}/failures")["data"]]
    assert shown == [{}] * len(own) + records[len(own) :]
    shown = [failure["record"] for failure in project.get(f"/v1/async-actions/{uploaded['id']}/failures")["data"]]
    assert [record.get("source_id") for record in shown] == [None, "PAID"]
    assert set(post(project, source_id="jo", email="PAID", key="create jo")) == {"id", "object"}
    assert post(project, source_id="bob", name="PAID", key="create bob")["name"] == "PAID"


def shown_after_erasing(project: Project, email: str, records: list[dict[str, Any]]) -> list[Any]:
    """Failed records as they are shown once the customer with an e-mail has been erased."""
    post(project, source_id="jo", email=email)
    records = [record | NOWHERE for record in records]
    action = project.post_import(b"[" + b",".join(map(escaped, records)) + b"]")
    assert project.finished(action)["result"]["failed_count"] == len(records)
    erased(project, "jo")
    failures = project.get(f"/v1/async-actions/{action}/failures", limit=100)["data"]
    return [{name: failure["record"][name] for name in failure["record"].keys() - NOWHERE} for failure in failures]


def test_where_an_address_is_a_whole_one(project_18: Project) -> None:
    whole = ["ann@ex.co", "mail to <ann@ex.co>.", "email=ann@ex.co", "(ann@ex.co)", "ann@ex.co. And", "ann@ex.co\n",
             "/ann@ex.co/"]  # fmt: skip
    longer = ["ann@ex.com", "ann@ex.co.uk", "ann@ex.co-op.uk", "ann@ex.co_", "ann@ex.coé", "x-ann@ex.co", "x.ann@ex.co",
              "x+ann@ex.co", "x_ann@ex.co", "joann@ex.co", "éann@ex.co", "Ann@ex.co", "ann@ex", "ann"]  # fmt: skip
    records = [{"metadata": {"note": text}} for text in (*whole, *longer, "ann@ex.com ann@ex.co")]
    shown = shown_after_erasing(project_18, "ann@ex.co", records)
    assert shown == [{}] * len(whole) + records[len(whole) : -1] + [{}]


# ---- any texts ---------------------------------------------------------------------------------

AROUND = ["", " ", "a", "é", "٣", "_", ".", "+", "-", "@", ".a", ". ", "a.", "=", "<", "\n", '"', "\\"]
STRANGE = ["@", "@@", " @ ", "@a", "a@", "@a@b", "7", "PAID", "a.b", '"']


def is_address(text: str) -> bool:
    """Whether an @ stands between other characters, a blank at the ends being none."""
    return sum(map(bool, text.strip().split("@"))) > 1


def of_word(character: str) -> bool:
    return character == "_" or character.isalnum()


def stands_in(address: str, text: str) -> bool:
    """Whether an address is anywhere in a text, and not in a longer one: looked for at each place."""
    framed = f" {text}  "
    for start in range(1, len(framed)):
        before, behind = framed[start - 1], framed[start + len(address) :]
        if framed.startswith(address, start) and len(behind) >= 2:
            continues = of_word(behind[0]) or behind[0] == "-" or (behind[0] == "." and of_word(behind[1]))
            if not (of_word(before) or before in ".+-" or continues):
                return True
    return False


def names(email: str, field: str, text: str) -> bool:
    """Whether a field with a text names the person of an e-mail."""
    return stands_in(email, text) if is_address(email) else field.lower() == "email" and text == email


parts = st.text('ab.+-_ é"\\', min_size=1, max_size=2)
addresses = st.builds("{}@{}".format, parts, parts)
emails = st.one_of(addresses, addresses, st.sampled_from(STRANGE))
around = st.sampled_from(AROUND)


@st.composite
def people_and_fields(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """An e-mail, and fields with texts that have it in some surroundings."""
    email = draw(emails)
    texts = st.one_of(
        st.builds("{}{}{}".format, around, st.just(email), around),
        st.builds("{}{}{}{}{}".format, around, st.just(email), around, st.just(email), around),
        st.sampled_from([email, email.upper()]), emails,
    )  # fmt: skip
    return email, draw(st.lists(st.tuples(st.sampled_from(["note", "email", "eMail"]), texts), min_size=8, max_size=20))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=people_and_fields())
def test_records_go_if_they_have_the_whole_address(
    project_18: Project, drawn: tuple[str, list[tuple[str, str]]]
) -> None:
    email, fields = drawn
    records = [{"metadata": {"of": {field: text}}} for field, text in fields]
    expected = [{} if names(email, *field) else record for field, record in zip(fields, records, strict=True)]
    assert shown_after_erasing(project_18, email, records) == expected
