"""Schemas as an operator defines them: with the command, or in its stead."""

import asyncio
import subprocess
from typing import Any

import msgspec

from punchcard.db.database import connect
from punchcard.metadata_schemas import definitions, metadata_schemas
from tests.deployment import Project


def command(project: Project, action: str, *arguments: str, stdin: bytes | None = None) -> Any:
    """Run `punchcard metadata-schemas` for the project."""
    return project.deployment.command("metadata-schemas", action, "--project", project.id, *arguments, stdin=stdin)


def applied(project: Project, document: Any) -> subprocess.CompletedProcess[str]:
    """Apply a document, whatever comes of it."""
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    done: subprocess.CompletedProcess[str] = command(project, "apply", "-", stdin=body)
    return done


def told(project: Project, document: Any) -> str:
    """Apply a document that must go in; what the command says."""
    done = applied(project, document)
    assert done.returncode == 0, done.stderr
    return done.stdout


def define(project: Project, document: Any) -> None:
    """Apply a document that must go in, as the command does, which takes a second longer."""
    asyncio.run(_define(project, definitions.read_file(msgspec.json.encode(document))))


async def _define(project: Project, given: list[definitions.Given]) -> None:
    async with await connect(project.deployment.dsn, part="test") as conn, conn.transaction():
        await metadata_schemas.apply(conn, project.id, given)


def refusal(project: Project, document: Any) -> str:
    """Apply a document that must be refused; the line that says why."""
    done = applied(project, document)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    return done.stderr.strip().removeprefix("punchcard: ")


def schema(related_object: str, *, allow_defined_only: bool | None = None, **properties: Any) -> dict[str, Any]:
    """A schema; a property given as a text is one of that type."""
    written = {name: {"type": given} if isinstance(given, str) else given for name, given in properties.items()}
    strict = {} if allow_defined_only is None else {"allow_defined_only": allow_defined_only}
    return {"related_object": related_object, "properties": written, **strict}
