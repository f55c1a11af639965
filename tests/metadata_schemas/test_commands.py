"""`punchcard metadata-schemas`: what it takes, what it refuses, and that it does so whole or not at all."""

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.deployment import Project, until
from tests.metadata_schemas.defining import applied, command, refusal, schema, told
from tests.orders.stored import session


def shown(project: Project) -> Any:
    done = command(project, "show")
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout)


def test_what_show_prints_can_be_applied(project: Project) -> None:
    document = [
        schema(
            "order",
            allow_defined_only=True,
            channel={"type": "string", "eq": ["a", "b"], "max_length": 5},
            pay={"type": "object", "object_type": "Pay", "array": True, "optional": False},
            gone={"type": "number", "ne": [1, 2.5], "gte": -1, "deleted": True},
        ),
        schema("Pay", tax="number"),
        schema("customer"),
    ]
    assert told(project, document) == "created   order\ncreated   Pay\ncreated   customer\n"
    first = shown(project)
    assert told(project, first) == "unchanged Pay\nunchanged customer\nunchanged order\n"
    assert shown(project) == first == project.get("/v1/metadata-schemas")
    other = project.deployment.new_project()
    told(other, first)
    kept = ("related_object", "properties", "allow_defined_only")
    copied = [{name: one[name] for name in kept} for one in shown(other)["schemas"]]
    assert copied == [{name: one[name] for name in kept} for one in first["schemas"]]
    other.close()


def test_a_definition_replaces_its_namesake_and_others_stay(project: Project) -> None:
    told(project, schema("order", allow_defined_only=True, a={"type": "string", "eq": ["x"]}, b="number"))
    before = project.get("/v1/metadata-schemas/order")
    assert told(project, schema("order", a={"type": "string", "optional": False}, c="date")) == "updated   order\n"
    after = project.get("/v1/metadata-schemas/order")
    plain = {"array": False, "optional": True, "objectType": None}
    assert after["properties"] == {
        "a": {"type": "string", **plain, "optional": False},
        "b": {"type": "number", **plain},
        "c": {"type": "date", **plain},
    }
    assert after["allow_defined_only"] is True
    assert (after["id"], after["created_at"]) == (before["id"], before["created_at"])
    assert before["updated_at"] is None
    assert after["updated_at"] > after["created_at"]
    told(project, {**schema("order"), "allow_defined_only": None})
    assert project.get("/v1/metadata-schemas/order") == after
    told(project, schema("order", allow_defined_only=False))
    assert project.get("/v1/metadata-schemas/order")["allow_defined_only"] is False


def test_a_file_and_a_management_list(project_18: Project, tmp_path: Path) -> None:
    file = tmp_path / "schemas.json"
    file.write_bytes(msgspec.json.encode({"object": "list", "data": [schema("order", a="string")], "total": 1}))
    done = command(project_18, "apply", str(file))
    assert (done.returncode, done.stdout) == (0, "created   order\n"), done.stderr
    assert command(project_18, "apply", str(tmp_path / "missing.json")).returncode == 2


def test_what_is_refused_is_said_in_one_line(project_18: Project) -> None:
    """What else is refused is in test_definitions."""
    assert refusal(project_18, b"[") == "Payload is not valid JSON: it ends early or holds an incomplete escape"
    wrong = [schema("customer", fine="string"), schema("order", size={"type": "number", "eq": ["a"]})]
    assert refusal(project_18, wrong) == "Property .[1].properties.size.eq.0 must be number"
    assert project_18.get("/v1/metadata-schemas")["schemas"] == []


def test_the_type_of_a_definition_stays(project_18: Project) -> None:
    told(project_18, schema("order", a="string"))
    told(project_18, schema("order", a={"type": "string", "deleted": True}))
    before = project_18.get("/v1/metadata-schemas")
    said = refusal(project_18, [schema("customer", b="string"), schema("order", a="number")])
    assert said == "Property .[1].properties.a.type cannot be changed from string to number"
    assert project_18.get("/v1/metadata-schemas") == before  # the customer's schema neither


def test_a_hundred_definitions_and_no_more(project_18: Project) -> None:
    hundred: dict[str, Any] = {f"key {no}": "string" for no in range(100)}
    told(project_18, [schema("order", **hundred), schema("Nested", **hundred)])
    removed: dict[str, Any] = {"key 7": {"type": "string", "deleted": True}}
    told(project_18, schema("order", **removed))
    for name in ("order", "Nested"):
        assert refusal(project_18, schema(name, more="string")) == (
            "Property .properties must have at most 100 definitions, removed ones included:"
            f" {name} would have 101"
        )  # fmt: skip


def test_a_project_that_does_not_exist(project_18: Project) -> None:
    for arguments in (["apply", "-"], ["show"]):
        done = project_18.deployment.command(
            "metadata-schemas", *arguments, "--project", "proj_x", stdin=b'{"related_object":"order","properties":{}}'
        )
        assert (done.returncode, done.stderr) == (1, "punchcard: No project has the id proj_x\n")


@pytest.mark.parametrize("first", ["order", "customer"])
def test_two_at_once_both_count(project: Project, first: str) -> None:
    """Two apply at the same time: the second waits and merges into what the first has defined."""
    told(project, schema("order", old="string"))
    blocked = "SELECT count(*) AS n FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
    with session(project.deployment) as watch:
        with session(project.deployment) as ours, ours.transaction():
            ours.execute("SELECT FROM projects WHERE id = %s FOR NO KEY UPDATE", (project.id,))
            said: list[str] = []
            second = threading.Thread(
                target=lambda: said.append(applied(project, schema(first, new={"type": "string"})).stdout)
            )
            second.start()
            until(lambda: watch.execute(blocked, (ours.info.backend_pid,)).fetchall()[0]["n"])
            ours.execute(
                "UPDATE metadata_schemas SET properties = properties || %s::jsonb WHERE project_id = %s",
                ('{"meanwhile":{"type":"date","array":false,"optional":true,"objectType":null}}', project.id),
            )
        second.join()
    assert set(project.get("/v1/metadata-schemas/order")["properties"]) >= {"old", "meanwhile"}
    assert "new" in project.get(f"/v1/metadata-schemas/{first}")["properties"]
