"""`punchcard projects`: what they are, and how their settings change."""

import json
from typing import Any

import pytest

from tests.deployment import Deployment, Project
from tests.orders.stored import rows


def show(project: Project) -> dict[str, Any]:
    said = project.deployment.command("projects", "show", project.id, "--json")
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def printed(project: dict[str, Any]) -> dict[str, str]:
    """A project as the text says it."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in project.items()}


def refused(deployment: Deployment, *arguments: str, status: int = 1) -> str:
    said = deployment.command("projects", *arguments)
    assert (said.returncode, said.stdout) == (status, "")
    assert "Traceback" not in said.stderr
    return said.stderr.splitlines()[-1]


def test_a_new_project_is_shown_and_listed(project: Project) -> None:
    shown = show(project)
    assert {name: shown[name] for name in ("id", "name", "timezone", "ordered_at_key")} == {
        "id": project.id, "name": "Test", "timezone": "UTC", "ordered_at_key": "ordered_at"
    }  # fmt: skip
    assert shown["created_at"].endswith("Z")
    as_text = project.deployment.command("projects", "show", project.id).stdout
    assert dict(line.split(maxsplit=1) for line in as_text.splitlines()) == printed(shown)
    listed = json.loads(project.deployment.command("projects", "list", "--json").stdout)
    assert shown in listed
    assert [each["created_at"] for each in listed] == sorted(each["created_at"] for each in listed)
    lines = project.deployment.command("projects", "list").stdout.splitlines()
    assert len(lines) == len(listed)
    assert [project.id, "UTC", "ordered_at", "Test"] in [line.split() for line in lines]


def test_a_new_project_can_ignore_the_case_of_codes(deployment_18: Deployment) -> None:
    for arguments, case_sensitive in (((), True), (("--codes-ignore-case",), False)):
        said = deployment_18.command("projects", "create", "Test", *arguments)
        assert (said.returncode, said.stderr) == (0, "")
        shown = json.loads(deployment_18.command("projects", "show", said.stdout.strip(), "--json").stdout)
        assert shown["case_sensitive_codes"] is case_sensitive


def test_what_is_given_changes_and_the_rest_stays(project: Project) -> None:
    update = ("projects", "update", project.id)
    said = project.deployment.command(*update, "--name", "Filiale Köln")
    assert (said.returncode, said.stderr) == (0, "")
    assert "redating" not in said.stdout
    assert (show(project)["name"], show(project)["timezone"]) == ("Filiale Köln", "UTC")
    said = project.deployment.command(*update, "--timezone", "america/argentina/buenos_aires")
    assert show(project)["timezone"] == "America/Argentina/Buenos_Aires"
    shown = dict(line.split(maxsplit=1) for line in said.stdout.splitlines())
    action_id = shown.pop("redating")
    assert shown == printed(show(project))
    assert project.finished(action_id)["type"] == "PUNCHCARD.ORDERS_REDATING"
    assert project.deployment.command(*update, "--ordered-at-key", "placed on").returncode == 0
    assert (show(project)["ordered_at_key"], show(project)["name"]) == ("placed on", "Filiale Köln")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("--timezone", "Europe/Atlantis"), "PostgreSQL knows no time zone 'Europe/Atlantis'"),
        (("--timezone", "+02:00"), "PostgreSQL knows no time zone"),
        (("--timezone", "localtime"), "PostgreSQL knows no time zone"),
        (("--timezone", ""), "A project's timezone cannot be empty"),
        (("--ordered-at-key", ""), "A project's ordered_at_key cannot be empty"),
        (("--ordered-at-key", " "), "A project's ordered_at_key cannot be empty"),
        (("--ordered-at-key", "a\nb"), "A project's ordered_at_key cannot have control characters"),
        (("--ordered-at-key", "k" * 256), "A project's ordered_at_key can have at most 255 characters"),
        (("--name", "\t"), "A project's name cannot be empty"),
        (("--name", "n" * 256), "A project's name can have at most 255 characters"),
        (("--name", "fine", "--timezone", "nowhere"), "PostgreSQL knows no time zone"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    project_18: Project, change: tuple[str, ...], complaint: str
) -> None:
    before = show(project_18)
    said = refused(project_18.deployment, "update", project_18.id, *change)
    assert said.startswith(f"punchcard: {complaint}"), said
    assert show(project_18) == before
    assert rows(project_18, "SELECT 1 FROM async_actions WHERE project_id = %(project)s") == []


def test_the_longest_key_is_taken(project_18: Project) -> None:
    said = project_18.deployment.command("projects", "update", project_18.id, "--ordered-at-key", "k" * 255)
    assert said.returncode == 0, said.stderr


def test_an_unknown_project_is_refused(deployment_18: Deployment) -> None:
    unknown = "punchcard: No project has the id proj_none"
    assert refused(deployment_18, "show", "proj_none") == unknown
    assert refused(deployment_18, "update", "proj_none", "--name", "x") == unknown


def test_an_update_names_what_is_to_change(project_18: Project) -> None:
    said = refused(project_18.deployment, "update", project_18.id, status=2)
    assert said == "Error: name what is to change: --name, --timezone or --ordered-at-key"
