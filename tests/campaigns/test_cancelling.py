"""What becomes of a campaign whose jobs are cancelled: nothing that was asked for is out of reach."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

from punchcard.bulk import pauses
from punchcard.bulk.jobs import Lane
from punchcard.db.database import Conn, connect
from tests.campaigns.campaigns import changed, created, path_of, read, settled, vouchers_of
from tests.deployment import Project

DATE = "2031-01-01T00:00:00Z"


@contextlib.contextmanager
def paused(project: Project) -> Iterator[None]:
    """The lane of the long jobs takes no portion meanwhile; as with `punchcard lanes`, and sooner."""
    asyncio.run(_with_lane(project, pauses.pause))
    yield
    asyncio.run(_with_lane(project, pauses.resume))


async def _with_lane(project: Project, act: Callable[[Conn, str, Lane], Awaitable[bool]]) -> None:
    async with await connect(project.deployment.dsn, part="test") as conn:
        assert await act(conn, project.id, Lane.ROUND_ROBIN)


def cancel(project: Project, action_id: str) -> None:
    project.call("POST", f"/v1/async-actions/{action_id}/cancel", expect=202)
    assert project.finished(action_id)["operation_status"] == "FAILED"


def newest(project: Project) -> str:
    """The id of the action that was accepted last."""
    return str(project.get("/v1/async-actions", limit=1)["async_actions"][0]["id"])


def test_a_deletion_that_was_cancelled_can_be_asked_for_again(project_18: Project) -> None:
    campaign = created(project_18, vouchers_count=20)
    settled(project_18)
    with paused(project_18):
        first = project_18.call("DELETE", path_of("Spring"), expect=202)["async_action_id"]
        project_18.call("DELETE", path_of("Spring"), expect=404)  # it is on its way
        cancel(project_18, first)
    read(project_18, expect=404)
    assert len(vouchers_of(project_18, campaign["id"])) == 20
    again = project_18.call("DELETE", f"{path_of('Spring')}?force=true", expect=202)["async_action_id"]
    assert project_18.finished(again)["result"]["done_count"] == 20
    assert vouchers_of(project_18, campaign["id"]) == []
    project_18.call("DELETE", path_of("Spring"), expect=404)
    assert (project_18.get("/v1/campaigns")["total"], project_18.get("/v1/vouchers")["total"]) == (0, 0)


def test_what_a_cancelled_update_left_undone_is_done_with_the_next(project_18: Project) -> None:
    campaign = created(project_18, vouchers_count=3, metadata={"region": "EMEA"})
    settled(project_18)
    with paused(project_18):
        changed(project_18, expiration_date=DATE, metadata={"region": "AMER"})
        cancel(project_18, newest(project_18))
        changed(project_18, description="Something else")
        update = newest(project_18)
    assert project_18.finished(update)["result"]["done_count"] == 3
    for voucher in vouchers_of(project_18, campaign["id"]):
        assert (voucher["expiration_date"], voucher["metadata"]) == (DATE, {"region": "AMER"})
    changed(project_18, description="And something else")
    assert newest(project_18) == update
