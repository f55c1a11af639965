"""Custom events as an operator defines them, and as a shop sends them."""

import asyncio
import subprocess
from typing import Any

import msgspec

from punchcard.custom_events import schemas
from punchcard.db.database import connect
from tests.deployment import Project


def command(project: Project, action: str, *arguments: str, stdin: bytes | None = None) -> Any:
    """Run `punchcard event-schemas` for the project."""
    return project.deployment.command("event-schemas", action, "--project", project.id, *arguments, stdin=stdin)


def applied(project: Project, document: Any) -> subprocess.CompletedProcess[str]:
    """Apply a document, whatever comes of it."""
    done: subprocess.CompletedProcess[str] = command(project, "apply", "-", stdin=msgspec.json.encode(document))
    return done


def define(project: Project, *documents: Any) -> None:
    """Define events that must go in, as the command does, which takes a second longer."""
    asyncio.run(_define(project, list(documents)))


async def _define(project: Project, documents: list[Any]) -> None:
    given = schemas.read_file(msgspec.json.encode(documents))
    async with await connect(project.deployment.dsn, part="test") as conn, conn.transaction():
        await schemas.apply(conn, project.id, given)


def event(name: str, **properties: Any) -> dict[str, Any]:
    """An event schema; a property given as a text is one of that type."""
    written = {key: {"type": given} if isinstance(given, str) else given for key, given in properties.items()}
    return {"name": name, "schema": {"properties": written}}


def shown(project: Project) -> Any:
    """What `show` prints."""
    done = command(project, "show")
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout)


def stored(project: Project) -> Any:
    """What `show` prints, sooner."""
    return msgspec.json.decode(msgspec.json.encode(asyncio.run(_stored(project))))


async def _stored(project: Project) -> schemas.EventSchemaList:
    async with await connect(project.deployment.dsn, part="test") as conn:
        return await schemas.list_schemas(conn, project.id)


def track(project: Project, name: str = "sign_up", *, expect: int = 200, **fields: Any) -> Any:
    """Send an event; the answer, or why it is refused."""
    body = {"event": name, "customer": {"source_id": "ann"}} | fields
    return project.call("POST", "/v1/events", json=body, expect=expect)
