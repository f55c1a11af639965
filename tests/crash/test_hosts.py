"""Workers on two hosts against one PostgreSQL on a third: one host loses its network in the middle of a portion.

The hosts are network namespaces, each with a cable of its own to the one of the database.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from punchcard.db.embedded import EmbeddedServer
from tests.crash.test_silence import TAKEOVER_SECONDS_MAX, Scene, takeover
from tests.deployment import Deployment, open_directory, until

# intervals shorter than the defaults, in the same proportion
SETTINGS: dict[str, object] = {"heartbeat_ms": 800, "worker_silent_ms": 4000, "worker_idle_in_transaction_ms": 4000}
RULES = """
local all all peer map=punchcard
host all all 10.213.0.0/16 trust
"""


class Host:
    """A network namespace with a cable to ours."""

    def __init__(self, no: int) -> None:
        self._name = f"pc{os.getpid()}-{no}"
        self._cable = f"pc{os.getpid() % 1_000_000}x{no}"
        self.gateway = f"10.213.{no}.1"
        _ip("netns", "add", self._name)
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self._name)
        _ip("addr", "add", f"{self.gateway}/24", "dev", self._cable)
        _ip("link", "set", self._cable, "up")
        for arguments in (("addr", "add", f"10.213.{no}.2/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
            _ip("-n", self._name, *arguments)

    @property
    def dsn(self) -> str:
        """The database as this host reaches it."""
        return f"postgresql://punchcard@{self.gateway}:5432/punchcard"

    @property
    def inside(self) -> list[str]:
        """A command that runs another one on this host."""
        return ["ip", "netns", "exec", self._name]

    def unplug(self) -> None:
        """Everything that is sent is lost, and nobody is told."""
        _ip("-n", self._name, "link", "set", "eth0", "down")

    def plug_in(self) -> None:
        _ip("-n", self._name, "link", "set", "eth0", "up")

    def close(self) -> None:
        _ip("netns", "delete", self._name)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    made: list[Host] = []
    try:
        made += [Host(1)]
        made += [Host(2)]
    except OSError as error:
        for host in made:
            host.close()
        pytest.skip(f"no network namespaces here: {error}")
    yield made
    for host in made:
        host.close()


@pytest.fixture
def database(hosts: list[Host]) -> Iterator[str]:
    """A PostgreSQL that the hosts reach over their cables; its DSN on this one."""
    folder = open_directory()
    server = EmbeddedServer(folder / "data", version=18, connections_max=40, memory_percent=2)
    with server:
        own = next((folder / "data").rglob("postgresql.conf")).parent
    _write(own / "own_hba.conf", RULES, own)
    addresses = ",".join(host.gateway for host in hosts)
    _write(own / "postgresql.own.conf", f"listen_addresses = '{addresses}'\nhba_file = '{own}/own_hba.conf'\n", own)
    with server:
        yield server.dsn
    shutil.rmtree(folder)


def _write(file: Path, text: str, like: Path) -> None:
    file.write_text(text)
    owner = like.stat()
    os.chown(file, owner.st_uid, owner.st_gid)


@pytest.fixture
def scene(hosts: list[Host], database: str) -> Iterator[Scene]:
    deployment = Deployment("--workers", "0", "--database-url", database, settings=SETTINGS)
    deployment.launch()

    def answers() -> bool:
        try:
            return httpx.get(f"{deployment.url}/healthz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    until(answers)
    one = Scene(deployment)
    one.inside = {host.dsn: host.inside for host in hosts}
    yield one
    one.close()
    deployment.close()


@pytest.mark.crash
def test_a_host_without_network_loses_its_portion(scene: Scene, hosts: list[Host]) -> None:
    """Another host commits it; when the network is back the first one goes on, and has committed nothing of it."""
    first, second = hosts
    seconds = takeover(scene, first.dsn, lambda _: first.unplug(), lambda _: first.plug_in(), other=second.dsn)
    print(f"host without network: taken over after {seconds:.1f} s")
    assert seconds < TAKEOVER_SECONDS_MAX
