"""`punchcard lanes`: what an operator sees of a project's lanes, and how one is stopped."""

from typing import Any

from tests.deployment import Project, until


def lanes(project: Project, action: str, *arguments: str) -> Any:
    """Run the command; it must go well."""
    done = project.deployment.command("lanes", action, project.id, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_paused_lane_accepts_and_waits(project: Project) -> None:
    assert lanes(project, "list") == ""
    assert lanes(project, "pause", "fifo") == "fifo is paused\n"
    assert lanes(project, "pause", "fifo") == "fifo was paused already\n"
    action = project.post_import([{"source_id": "A"}])
    waiting = project.get(f"/v1/async-actions/{action}", wait=1)
    assert (waiting["status"], waiting["lane_paused"], waiting["position"]) == ("ENQUEUED", True, 1)
    assert "estimated_seconds_left" not in waiting
    (line,) = lanes(project, "list").splitlines()
    assert line.startswith("fifo          under way 0  waiting 1  served never  paused since 20")
    assert lanes(project, "resume", "fifo") == "fifo is served again\n"
    assert lanes(project, "resume", "fifo") == "fifo was not paused\n"
    done = project.finished(action)
    assert done["status"] == "DONE"
    assert "lane_paused" not in done
    (line,) = lanes(project, "list").splitlines()
    assert "under way 0  waiting 0  served 20" in line
    assert "paused" not in line


def test_events_wait_in_a_paused_lane(project: Project) -> None:
    lanes(project, "pause", "reactions")
    project.call("POST", "/v1/orders", json={"status": "PAID"})
    (line,) = lanes(project, "list").splitlines()
    assert line.startswith("reactions     under way 0  waiting 2  served never  paused since 20")
    lanes(project, "resume", "reactions")
    until(lambda: "waiting 0" in lanes(project, "list"))


def test_an_action_of_a_paused_lane_can_be_cancelled(project: Project) -> None:
    lanes(project, "pause", "fifo")
    doomed, kept = project.post_import([{"source_id": "A"}]), project.post_import([{"source_id": "B"}])
    asked = project.call("POST", f"/v1/async-actions/{doomed}/cancel", expect=202)
    assert asked["id"] == doomed
    done = project.finished(doomed)
    assert (done["status"], done["operation_status"]) == ("FAILED", "FAILED")
    assert done["result"]["message"].startswith("Cancelled on request after 0 of 1 record(s)")
    again = project.call("POST", f"/v1/async-actions/{doomed}/cancel", expect=409)
    assert again["key"] == "async_action_finished"
    assert (again["resource_id"], again["resource_type"]) == (doomed, "async_action")
    lanes(project, "resume", "fifo")
    project.finished(kept)
    assert [order["source_id"] for order in project.all_orders()] == ["B"]


def test_what_is_not_there_is_said(project_18: Project) -> None:
    run = project_18.deployment.command
    unknown = run("lanes", "pause", "proj_unknown", "fifo")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
    assert "proj_unknown" in unknown.stderr
    assert run("lanes", "pause", project_18.id, "slow").returncode == 2
    other = project_18.deployment.new_project()
    action = project_18.post_import([])
    project_18.finished(action)
    assert other.call("POST", f"/v1/async-actions/{action}/cancel", expect=404)["key"] == "not_found"
    assert other.call("POST", "/v1/async-actions/aa_unknown/cancel", expect=404)["resource_type"] == "async_action"
    other.close()


def test_what_a_setting_asks_for_cannot_be_cancelled(project_18: Project) -> None:
    """Half of the orders would keep dates that the setting does not mean any more."""
    lanes(project_18, "pause", "fifo")
    done = project_18.deployment.command("projects", "update", project_18.id, "--ordered-at-key", "placed")
    action = done.stdout.split()[-1]
    refused = project_18.call("POST", f"/v1/async-actions/{action}/cancel", expect=409)
    assert refused["key"] == "async_action_not_cancellable"
    assert (refused["resource_id"], refused["resource_type"]) == (action, "async_action")
    lanes(project_18, "resume", "fifo")
    assert project_18.finished(action)["status"] == "DONE"
