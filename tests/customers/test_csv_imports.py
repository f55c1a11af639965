"""Imports of customers from CSV files: columns, what a row overwrites, types of metadata, and why a row fails."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.bulk.csv_uploads import all_imported, failures, imported, upload
from tests.customers.updating import updated
from tests.deployment import Project
from tests.metadata_schemas.defining import define, schema
from tests.orders.lineage import hold_segments
from tests.orders.stored import rows

TEMPLATE = """Name,Source_id,Description,Email,Phone,Address_line_1,Address_line_2,City,Postal_Code,State,Country,\
Birthdate,favorite_brands,CRM_created_date
Jo Doe,jo@example.com,A good customer.,jo@example.com,+1 (989) 123-4632,100 Main St,Blg 2 Apt 3,New York,12345,\
New York,United States,2022-07-03,"Nike,Fenty,Reebok",2022-05-18T10:00:00.000Z
"""
DOCUMENTED = """Id,Name,Email,Phone,Birthdate,Source_id,Address_line_1,Address_line_2,Address_Postal_Code,Address_City,\
Address_State,Address_Country,Description,favorite_brands,CRM_created_date
,Jo Doe,jo@example.com,+1 (989) 123-4632,2022-07-03,jo@example.com,100 Main St,Blg 2 Apt 3,12345,New York,New York,\
United States,A good customer.,"Nike,Fenty,Reebok",2022-05-18T10:00:00.000Z
"""
JO: dict[str, Any] = {
    "name": "Jo Doe", "source_id": "jo@example.com", "description": "A good customer.", "email": "jo@example.com",
    "phone": "+1 (989) 123-4632", "birthdate": "2022-07-03",
    "address": {
        "line_1": "100 Main St", "line_2": "Blg 2 Apt 3", "city": "New York", "postal_code": "12345",
        "state": "New York", "country": "United States",
    },
    "metadata": {"favorite_brands": "Nike,Fenty,Reebok", "CRM_created_date": "2022-05-18T10:00:00.000Z"},
}  # fmt: skip


def customer(project: Project, source_id: str) -> Any:
    return project.get(f"/v1/customers/{source_id}")


def inbox(project: Project) -> list[tuple[str, str]]:
    """Source ids of the customers that wait for the segment lane, and why, since this was last asked."""
    query = """WITH taken AS (DELETE FROM segment_inbox WHERE project_id = %(project)s RETURNING customer_id, cause)
               SELECT c.source_id, t.cause FROM taken AS t
                 JOIN customers AS c ON c.project_id = %(project)s AND c.id = t.customer_id"""
    return sorted((row["source_id"], row["cause"]) for row in rows(project, query))


@pytest.mark.parametrize("file", [TEMPLATE, DOCUMENTED, TEMPLATE.upper().partition("\n")[0] + "\n"])
def test_headers_of_the_template_and_of_the_documents(project_18: Project, file: str) -> None:
    hold_segments(project_18)
    if file.count("\n") == 1:  # in capitals
        file += TEMPLATE.partition("\n")[2]
    answer = upload(project_18, "customers", file)
    assert (answer.status_code, list(answer.json())) == (202, ["async_action_id"])
    action = project_18.finished(answer.json()["async_action_id"])
    assert (action["type"], action["status"], action["operation_status"]) == ("CUSTOMERS.IMPORT_CSV", "DONE", "SUCCESS")
    assert action["result"] == {
        "message": "1 customer(s) imported successfully, 0 failed.", "failed": [], "done_count": 1, "failed_count": 0,
    }  # fmt: skip
    found = customer(project_18, "jo@example.com")
    metadata = {key.lower(): value for key, value in found["metadata"].items()}
    expected = {key.lower(): value for key, value in JO["metadata"].items()}
    assert {name: found[name] for name in JO} | {"metadata": metadata} == JO | {"metadata": expected}
    assert found["id"].startswith("cust_")
    assert inbox(project_18) == [("jo@example.com", "customers.import_csv")]
    assert project_18.get("/v1/customers")["total"] == 1
    assert rows(project_18, "SELECT type FROM events WHERE project_id = %(project)s") == []


def test_a_row_overwrites_what_its_file_has_columns_for(project: Project) -> None:
    hold_segments(project)
    all_imported(project, "customers", TEMPLATE)
    before = customer(project, "jo@example.com")
    inbox(project)
    all_imported(project, "customers", "Source_id,Email,City,Line\njo@example.com,,Boston,1\n")
    after = customer(project, "jo@example.com")
    assert "email" not in after
    assert after["address"] == JO["address"] | {"city": "Boston"}
    assert after["metadata"] == {"Line": "1"}  # as a whole
    assert {after[name] == before[name] for name in ("id", "name", "phone", "birthdate", "created_at")} == {True}
    assert after["updated_at"] > after["created_at"]
    assert inbox(project) == [("jo@example.com", "customers.import_csv")]
    # no column for metadata: it stays
    all_imported(project, "customers", f"Id,Source_id,Name\n{before['id']},other,Jo\n")
    assert customer(project, "jo@example.com")["name"] == "Jo"
    assert customer(project, "jo@example.com")["metadata"] == {"Line": "1"}
    columns = "Address_line_1,Address_line_2,City,Postal_code,State,Country,Birthdate,Line"
    all_imported(project, "customers", f"Source_id,{columns}\njo@example.com,,,,,,,,\n")
    emptied = customer(project, "jo@example.com")
    assert ("address" in emptied, "birthdate" in emptied, emptied["metadata"]) == (False, False, {})


def test_what_changes_nothing_is_not_written(project_18: Project) -> None:
    hold_segments(project_18)
    all_imported(project_18, "customers", TEMPLATE)
    query = "SELECT xmin::text FROM customers WHERE project_id = %(project)s"
    before = rows(project_18, query)
    inbox(project_18)
    action = all_imported(project_18, "customers", TEMPLATE)
    assert action["counts"] == {"created": 0, "updated": 0, "unchanged": 1}
    assert (rows(project_18, query), inbox(project_18)) == (before, [])


def test_who_has_no_id_is_new_and_a_row_sees_those_before_it(project_18: Project) -> None:
    file = "Name,Source_id,x\nA,,1\nA,,1\nB,b,1\nC,b,\nC,b,\n"
    action = all_imported(project_18, "customers", file)
    assert action["counts"] == {"created": 3, "updated": 1, "unchanged": 1}
    found = project_18.get("/v1/customers", order="created_at")["customers"]
    assert [(each["name"], each["source_id"], each["metadata"]) for each in found] == [
        ("A", None, {"x": "1"}), ("A", None, {"x": "1"}), ("C", "b", {}),
    ]  # fmt: skip


def test_metadata_has_the_types_of_the_schema(project_18: Project) -> None:
    define(project_18, [
        schema("customer", number="number", flag="boolean", day="date", at="datetime", place="geopoint",
               plain="string", nested={"type": "object", "objectType": "box"},
               tags={"type": "string", "array": True}, numbers={"type": "number", "array": True},
               days={"type": "date", "array": True}, gone={"type": "number", "deleted": True}),
        schema("box", size="number"),
    ])  # fmt: skip
    columns = ["source_id", "number", "flag", "day", "at", "place", "plain", "nested", "tags", "numbers", "days",
               "gone", "other"]  # fmt: skip
    cells = ["a", "7", "TRUE", "2022-03-11T09:00:00.000Z", "2022-03-11T09", '"52.5,13.4"', "5", '"{""size"":1.5}"',
             '"subscribed, premium"', '"123,2.5,-3"', '"2000-01-01,2000-01-02"', "5", "5"]  # fmt: skip
    more = ["b", "-0.50", "false", "2022-03-11", "2022-03-11", "", "", "{'size':2}", "one", "1e2", "", "", ""]
    all_imported(project_18, "customers", "\n".join(",".join(each) for each in (columns, cells, more)) + "\n")
    assert customer(project_18, "a")["metadata"] == {
        "number": 7, "flag": True, "day": "2022-03-11", "at": "2022-03-11T09:00", "place": "52.5,13.4", "plain": "5",
        "nested": {"size": 1.5}, "tags": ["subscribed", "premium"], "numbers": [123, 2.5, -3],
        "days": ["2000-01-01", "2000-01-02"], "gone": "5", "other": "5",
    }  # fmt: skip
    assert customer(project_18, "b")["metadata"] == {
        "number": -0.5, "flag": False, "day": "2022-03-11", "at": "2022-03-11T00:00:00Z", "nested": {"size": 2},
        "tags": ["one"], "numbers": [100.0],
    }  # fmt: skip


def test_dates_are_written_in_any_documented_form(project_18: Project) -> None:
    define(project_18, [schema("customer", day="date", at="datetime")])
    forms = {
        "2022-03-11": "T00:00:00Z", "2022-03-11T09": "T09:00", "2022-03-11T09:00": "T09:00",
        "2022-03-11T09:00:00": "T09:00:00", "2022-03-11T09:00:00Z": "T09:00:00Z",
        "2022-03-11T09:00:00.000Z": "T09:00:00.000Z",
    }  # fmt: skip
    written = "".join(f"c{no},{form},{form},{form}\n" for no, form in enumerate(forms))
    all_imported(project_18, "customers", f"source_id,birthdate,day,at\n{written}")
    for no, rest in enumerate(forms.values()):
        found = customer(project_18, f"c{no}")
        assert (found["birthdate"], found["metadata"]) == (
            "2022-03-11", {"day": "2022-03-11", "at": f"2022-03-11{rest}"},
        )  # fmt: skip


def test_empty_rows_make_nobody(project_18: Project) -> None:
    action = imported(project_18, "customers", "source_id,name,lang\nann,Ann,en\n,,\n , ,\n")
    assert [(failure["row"], failure["reason"]) for failure in action["result"]["failed"]] == [
        (2, "Record is empty"),
        (3, "Record is empty"),
    ]
    assert project_18.get("/v1/customers")["total"] == 1


def test_rows_that_fail_say_why(project_18: Project, deployment_18: Any) -> None:
    unit = {"type": "number", "optional": False}
    define(project_18, [schema("customer", unit=unit, flag="boolean", tags={"type": "number", "array": True})])
    other = deployment_18.new_project()
    updated(other, "customers", {"source_id": "theirs"})
    theirs = customer(other, "theirs")["id"]
    other.close()
    action = imported(
        project_18,
        "customers",
        f"""Id,Source_id,Email,Birthdate,unit,flag,tags
,a,,11.03.2022,1,,
,a,,2022-02-30,1,,
,a,{"x" * 256},,1,,
,{"x" * 256},,,1,,
cust_unknown,a,,,1,,
{theirs},,,,1,,
,a,,,EUR,,
,,,,,,
,a,,,1,yes,
,a,,,99999999999999999999,,
,a,,,1,,"1,b"
,a,,,1,,
""",
    )
    needs = "unit: must be a number, property is required (actual value is {})"
    assert [(each["row"], each["reason"]) for each in action["result"]["failed"]] == [
        (1, "Property .birthdate must be a date in the format YYYY-MM-DD"),
        (2, "Property .birthdate must be a date in the format YYYY-MM-DD"),
        (3, "Property .email must have at most 255 characters"),
        (4, "Property .source_id must have at most 255 characters"),
        (5, "Cannot find customer with id cust_unknown"),
        (6, f"Cannot find customer with id {theirs}"),
        (7, needs.format("'EUR'")),
        (8, "Record is empty"),
        (9, "flag: must be a boolean (actual value is 'yes')"),
        (10, needs.format("'99999999999999999999'")),
        (11, "tags: must be an array, and every element: must be a number (actual value is [1,\"b\"])"),
    ]  # fmt: skip
    assert {frozenset(each) for each in action["result"]["failed"]} == {frozenset({"source_id", "row", "reason"})}
    assert (action["result"]["failed"][7]["source_id"], action["result"]["failed"][8]["source_id"]) == ("", "a")
    assert action["result"]["message"] == "1 customer(s) imported successfully, 11 failed."
    assert project_18.get("/v1/customers")["total"] == 1


def test_rows_are_counted_over_portions(project_18: Project) -> None:
    file = "Source_id,Birthdate\n" + "".join(f"c{no},{'x' if no % 1000 == 999 else ''}\n" for no in range(5000))
    assert [row for row, _ in failures(project_18, "customers", file)] == [1000, 2000, 3000, 4000, 5000]
    assert project_18.get("/v1/customers")["total"] == 4995


def test_a_person_who_is_erased_is_in_no_import_any_more(project_18: Project) -> None:
    file = "SOURCE_ID,Name,Email,Birthdate\njo,Jo Secret,,\njo,Jo Secret,,x\n,Jo Secret,jo@example.com,x\nbob,Bob,,x\n"
    action = imported(project_18, "customers", file)
    assert [each["row"] for each in action["result"]["failed"]] == [2, 3, 4]
    all_imported(project_18, "customers", "Source_id,Email\njo,jo@example.com\n")
    project_18.call("POST", "/v1/customers/jo/permanent-deletion", json={})
    shown = project_18.http.get(f"/v1/async-actions/{action['id']}").text
    shown += project_18.http.get(f"/v1/async-actions/{action['id']}/failures").text
    kept = rows(project_18, """SELECT convert_from(body, 'UTF8') AS body FROM async_action_pieces
                                WHERE project_id = %(project)s""")  # fmt: skip
    for text in (shown, *(row["body"] for row in kept)):
        assert "Secret" not in text
        assert "jo" not in text
    assert "Bob" in shown
    # in the result and in the list of failures alike
    listed = project_18.get(f"/v1/async-actions/{action['id']}/failures")["data"]
    result = project_18.get(f"/v1/async-actions/{action['id']}")["result"]["failed"]
    assert [each["reason"] for each in result] == [each["reason"] for each in listed]
    assert len({each["reason"] for each in listed}) == 2


def test_imports_beside_orders_and_bulk_updates(project: Project) -> None:
    """The same source ids, from three sides at a time: nothing fails, and each customer is there once."""
    names = [f"c{no}" for no in range(200)]

    def orders() -> Any:
        return project.post_import([{"source_id": f"o-{name}", "customer": {"source_id": name}} for name in names])

    def csv() -> Any:
        return upload(project, "customers", "Source_id,Name\n" + "".join(f"{name},N\n" for name in names)).json()[
            "async_action_id"
        ]

    def create() -> None:
        for name in names[::10]:
            answer = project.http.post("/v1/customers", json={"source_id": name, "metadata": {"api": True}})
            assert answer.status_code == 200, answer.text

    with ThreadPoolExecutor(4) as threads:
        actions = [threads.submit(act) for act in (orders, csv, csv)]
        creating = threads.submit(create)
        for action in actions:
            assert project.finished(action.result())["result"]["failed_count"] == 0
        creating.result()
    assert project.get("/v1/customers")["total"] == 200
    found = customer(project, "c10")
    assert (found["name"], found["metadata"]) == ("N", {"api": True})
