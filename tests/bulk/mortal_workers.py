"""`python -m tests.bulk.mortal_workers DSN PROJECT ACTION`: workers one after another until the action is done.

With `outbox` for ACTION, until the outbox of events is empty.

Prints how many of them died.
"""

import asyncio
import os
import sys

from punchcard.bulk.worker import Worker
from punchcard.db.database import connect
from tests.bulk.kinds import Tried, TriedInbox
from tests.bulk.queue import quick, until

DEATHS_MAX = 60


async def work(dsn: str, project: str, action: str) -> None:
    stop = asyncio.Event()
    job = Tried()
    worker = asyncio.create_task(Worker(dsn, {job.type: job}, quick(poll_ms=20), inboxes=[TriedInbox()]).run(stop))
    async with await connect(dsn, part="test") as conn:

        async def done() -> bool:
            if action == "outbox":
                query = "SELECT count(*) AS left FROM event_outbox WHERE project_id = %s"
                row = await (await conn.execute(query, [project])).fetchone()
                assert row is not None
                return bool(row[0] == 0)
            query = "SELECT status FROM async_actions WHERE project_id = %s AND id = %s"
            row = await (await conn.execute(query, [project, action])).fetchone()
            assert row is not None
            return bool(row.status == "DONE")

        await until(done)
    stop.set()
    await worker


def main() -> None:
    for deaths in range(DEATHS_MAX):
        child = os.fork()
        if child == 0:
            asyncio.run(work(*sys.argv[1:]))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            sys.stdout.write(f"\n{deaths}\n")
            return
    raise SystemExit("the action was not done")


if __name__ == "__main__":
    main()
