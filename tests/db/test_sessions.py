"""Sessions: a link that went silent is cut, and a proxy that pools transactions is refused."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from punchcard.db.database import Conn, Database, PoolingProxy, connect, conninfo, cut, deadline, refuse_pooling_proxy
from tests.crash.proxy import Proxy
from tests.deployment import Deployment, open_directory, until

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")
COPIED = b"x" * 60_000


@pytest.fixture
def proxy(deployment_18: Deployment) -> Iterator[Proxy]:
    one = Proxy(deployment_18.dsn)
    yield one
    one.close()


async def send_rows(conn: Conn) -> None:
    rows = "COPY copied FROM STDIN"
    async with deadline(conn, 0.5), conn.transaction(), conn.cursor() as cursor, cursor.copy(rows) as copy:
        for _ in range(100):
            await copy.write(COPIED + b"\n")


def test_a_statement_on_a_silent_link_ends_at_its_deadline(proxy: Proxy) -> None:
    async def scenario() -> None:
        conn = await connect(proxy.dsn, part="test")
        async with deadline(conn, 5):
            await conn.execute("SELECT 1")
        proxy.silence()
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            async with deadline(conn, 0.3):
                await conn.execute("SELECT 1")
        assert time.monotonic() - began < 300
        assert conn.broken
        await conn.close()

    asyncio.run(scenario())


def test_a_transaction_on_a_silent_link_ends_at_its_deadline(proxy: Proxy) -> None:
    """Also while rows are sent, when the link takes no more of them."""

    async def scenario() -> None:
        conn = await connect(proxy.dsn, part="test")
        await conn.execute("CREATE TEMPORARY TABLE copied (body text)")
        proxy.silence_in_copy(10)
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            await send_rows(conn)
        assert time.monotonic() - began < 30
        await conn.close()

    asyncio.run(scenario())


def test_cutting_a_closed_session_does_nothing(deployment_18: Deployment) -> None:
    async def scenario() -> None:
        conn = await connect(deployment_18.dsn, part="test")
        await conn.close()
        cut(conn)

    asyncio.run(scenario())


def test_a_deadline_that_is_met_leaves_the_session(deployment_18: Deployment) -> None:
    async def scenario() -> None:
        async with await connect(deployment_18.dsn, part="test") as conn:
            for _ in range(3):
                async with deadline(conn, 1):
                    await conn.execute("SELECT 1")
            await conn.execute("SELECT pg_sleep(1.1)")

    asyncio.run(scenario())


def test_what_the_address_says_wins() -> None:
    given = conninfo_to_dict(conninfo("host=h connect_timeout=3 keepalives_idle=60 options='-c jit=off'", part="test"))
    assert (given["connect_timeout"], given["keepalives_idle"]) == ("3", "60") or given["keepalives_idle"] == 60
    assert given["options"] == "-c jit=off -c timezone=UTC -c plan_cache_mode=force_custom_plan"
    assert given["application_name"] == "punchcard test"


# ---- proxies that pool -------------------------------------------------------------------------


@pytest.fixture
def bouncer(deployment_18: Deployment, request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of a PgBouncer in the mode and with the settings that the test names."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed")
    mode, more = request.param
    sockets = parse_qs(urlsplit(deployment_18.dsn).query)["host"][0]
    folder = open_directory()
    folder.chmod(0o777)
    owner = Path(sockets).owner()
    (folder / "bouncer.ini").write_text(
        f"[databases]\npunchcard = host={sockets} port=5432 dbname=punchcard user=punchcard\n"
        f"[pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = {folder}\nauth_type = any\n"
        f"pool_mode = {mode}\n{more}\n"
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([PGBOUNCER, "-u", owner, str(folder / "bouncer.ini")], stdout=log, stderr=log)
        until((folder / ".s.PGSQL.6432").exists)
        yield f"postgresql://punchcard@/punchcard?host={quote(str(folder), safe='')}&port=6432"
        process.terminate()
        process.wait(60)
    shutil.rmtree(folder)


DROPPING = "ignore_startup_parameters = options"


@pytest.mark.parametrize("bouncer", [("transaction", DROPPING), ("transaction", ""), ("statement", "")], indirect=True)
def test_a_proxy_that_pools_transactions_is_refused(bouncer: str) -> None:
    with pytest.raises(PoolingProxy):
        asyncio.run(refuse_pooling_proxy(bouncer))


@pytest.mark.parametrize("bouncer", [("session", DROPPING)], indirect=True)
def test_a_proxy_that_pools_sessions_is_taken(bouncer: str) -> None:
    asyncio.run(refuse_pooling_proxy(bouncer))


def test_the_server_itself_is_taken(deployment_18: Deployment) -> None:
    asyncio.run(refuse_pooling_proxy(deployment_18.dsn))


def test_a_request_that_vanished_leaves_no_session_behind(deployment_18: Deployment) -> None:
    """What PostgreSQL ends by itself; not idle sessions, which a pool is there for."""

    async def scenario() -> dict[str, str]:
        database = Database(deployment_18.dsn, pool_max=1)
        await database.open()
        async with database.connection() as conn:
            rows = await (await conn.execute("SELECT name, setting, source FROM pg_settings")).fetchall()
        await database.close()
        return {row.name: row.setting for row in rows if row.source == "client"}

    ours = asyncio.run(scenario())
    assert int(ours["statement_timeout"]) == 30_000
    assert 0 < int(ours["lock_timeout"]) < 30_000
    assert 0 < int(ours["idle_in_transaction_session_timeout"]) < 30_000
    assert 0 < int(ours["client_connection_check_interval"]) < 30_000
    assert "tcp_user_timeout" in ours
    assert "idle_session_timeout" not in ours
