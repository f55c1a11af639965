"""`punchcard event-schemas`: what it takes, what it refuses, and what it shows."""

from typing import Any

import msgspec
import pytest

from punchcard.custom_events import schemas
from punchcard.errors import InvalidPayload
from tests.custom_events.defining import applied, command, define, event, shown, stored, track
from tests.deployment import Project


def test_what_show_prints_is_as_documented_and_can_be_applied(project_18: Project) -> None:
    assert stored(project_18) == {"object": "list", "data_ref": "data", "data": [], "total": 0}
    properties = {"plan": {"type": "string", "max_length": 5}, "old": {"type": "date", "deleted": True}}
    first = applied(project_18, [event("sign_up", **properties), event("bare")])
    assert (first.returncode, first.stdout) == (0, "created   sign_up\ncreated   bare\n")
    found = shown(project_18)
    bare, sign_up = found["data"]
    assert sign_up == {
        "id": sign_up["id"],
        "name": "sign_up",
        "schema": {
            "properties": {
                "old": {"type": "date", "array": False, "optional": True, "objectType": None, "deleted": True},
                "plan": {"type": "string", "array": False, "optional": True, "objectType": None, "maxLength": 5},
            }
        },
        "created_at": sign_up["created_at"],
        "object": "custom-event-schema",
    }
    assert (found["object"], found["data_ref"], found["total"]) == ("list", "data", 2)
    assert bare["id"] != sign_up["id"]
    assert sign_up["id"].startswith("ms_")
    found["data"] += [event("new")]
    found["data"][1]["schema"]["properties"]["seats"] = {"type": "number"}
    assert applied(project_18, found).stdout == "created   new\nupdated   sign_up\nunchanged bare\n"


def test_definitions_are_merged_by_key(project_18: Project) -> None:
    define(project_18, event("sign_up", plan="string"), event("bare"))
    define(project_18, event("sign_up", seats="number"))
    bare, sign_up = before = stored(project_18)["data"]
    assert list(sign_up["schema"]["properties"]) == ["plan", "seats"]
    assert sign_up["updated_at"] > sign_up["created_at"]
    assert "updated_at" not in bare
    # whole or not at all
    refused = applied(project_18, [event("new"), event("sign_up", plan="number")])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "punchcard: Property .[1].schema.properties.plan.type cannot be changed from string to number\n"
    )
    with pytest.raises(InvalidPayload, match=r"at most 100 definitions, removed ones included: sign_up would have 101"):
        define(project_18, event("sign_up", **{f"k{no}": "string" for no in range(99)}))
    assert stored(project_18)["data"] == before


def test_an_event_that_is_deleted_is_taken_no_longer(project_18: Project) -> None:
    define(project_18, event("sign_up"))
    track(project_18)
    assert command(project_18, "delete", "sign_up").returncode == 0
    track(project_18, expect=404)
    again = command(project_18, "delete", "sign_up")
    assert (again.returncode, again.stderr) == (1, "punchcard: Cannot find custom event with name sign_up\n")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([1], "Property .[0] must be an object"),
        (1, "Payload must be an object"),
        ([{"name": ""}], "Property .[0].name must be a name of 1 to 300 characters"),
        ([{"name": "x" * 301}], "Property .[0].name must be a name of 1 to 300 characters"),
        ({"name": "a"}, "Property .schema must be an object"),
        ({"name": "a", "schema": {}}, "Property .schema.properties must be an object"),
        ({"data": [{"name": "a", "other": 1}]}, "Property .data[0].other is not known: name and schema are"),
        ([event("a"), event("a")], "Property .[1].name names a a second time"),
        (event("a", b={"type": "text"}), "Property .schema.properties.b.type has an unknown value 'text'"),
        (event("a\0"), "Property .name"),
        (
            event("a", b={"type": "object", "objectType": "Pay"}),
            "Property .schema.properties.b.objectType cannot be given for an event",
        ),
    ],
)
def test_what_is_refused(document: Any, reason: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        schemas.read_file(msgspec.json.encode(document))
    assert str(refused.value).startswith(reason)
