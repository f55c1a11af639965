"""What a stranger does first: clone, `make run`, paste the two lines, Ctrl-C, and again."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.deployment import free_port, open_directory, until

pytestmark = [pytest.mark.clone, pytest.mark.timeout(600)]

NEEDED = ("git", "make", "curl", "python3")
START_SECONDS = 240.0
AGAIN_SECONDS = 60.0
END_SECONDS = 60.0
INVOICES = 1_874
# what pip says when it cannot reach a registry at all; anything else is ours to mend
UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|name resolution|Network is unreachable"
)


class Clone:
    """A clone of this checkout, its uncommitted files included, and how a stranger runs it."""

    def __init__(self, checkout: Path) -> None:
        self.home = open_directory()
        self.root = self.home / "punchcard"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        _git("clone", "--quiet", str(checkout), str(self.root), cwd=self.home)
        listed = _git("ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=checkout)
        for name in filter(None, listed.split("\0")):
            (self.root / name).unlink(missing_ok=True)
            if (checkout / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(checkout / name, self.root / name)
        self.environment = _strangers_environment() | {"PUNCHCARD_PORT": str(self.port)}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )

    @contextlib.contextmanager
    def running(self, *, seconds: float, **environment: str) -> Iterator[str]:
        """`make run` in the background, as in a terminal; what it had printed when it said that it runs."""
        out = self.home / "out"
        with out.open("wb") as output:
            make = subprocess.Popen(
                ["make", "run"],
                cwd=self.root,
                env=self.environment | environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            until(lambda: make.poll() is not None or "Ctrl-C stops everything." in out.read_text(), seconds)
            assert make.poll() is None, out.read_text()
            yield out.read_text()
        finally:
            if make.poll() is None:
                os.killpg(make.pid, signal.SIGINT)  # the terminal's Ctrl-C goes to all of the group
            make.wait(END_SECONDS)
            with contextlib.suppress(AssertionError):
                until(lambda: not self.left(), END_SECONDS)
        assert self.left() == []
        assert "Stopped. Everything is kept" in out.read_text()
        assert "Traceback" not in out.read_text()

    def left(self) -> list[str]:
        """Command lines of processes that still belong to this clone."""
        mark = f"PUNCHCARD_PORT={self.port}\0".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            if int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                ours = mark in (entry / "environ").read_bytes()
                if ours or (entry / "cwd").resolve().is_relative_to(self.home):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def readme_block(self, beginning: str) -> str:
        """The README's code block that begins so, without its indentation or fence."""
        readme = (self.root / "README.md").read_text()
        blocks = re.findall(r"(?:^ {4}.*\n)+|^```\w*\n[\s\S]*?^```", readme, re.MULTILINE)
        indented, fence = re.compile(r"^ {4}", re.MULTILINE), re.compile(r"^```.*\n?", re.MULTILINE)
        texts = [(fence if block.startswith("```") else indented).sub("", block) for block in blocks]
        found = [text for text in texts if text.startswith(beginning)]
        assert found, f"the README has no block that begins with {beginning!r}"
        return found[0]


def _strangers_environment() -> dict[str, str]:
    """This process's environment without what `make test` and the tests put there."""
    ours = re.compile(r"PUNCHCARD_|DATABASE_URL$|VIRTUAL_ENV$|PYTHON|MAKE|MFLAGS$|PYTEST_")
    return {name: value for name, value in os.environ.items() if not ours.match(name)}


def _git(*arguments: str, cwd: Path) -> str:
    # somebody else's checkout may be tested as root: reading it is all we do
    done = subprocess.run(["git", "-c", "safe.directory=*", *arguments], cwd=cwd, capture_output=True, check=True)
    return done.stdout.decode()


@pytest.fixture(scope="module")
def clone(repository: Path) -> Iterator[Clone]:
    """An installed clone."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing or not (repository / ".git").exists():
        pytest.skip(f"needs a git checkout and {', '.join(NEEDED)}")
    made = Clone(repository)
    installed = made.run("make", "install")
    said = installed.stdout + installed.stderr
    if installed.returncode and UNREACHABLE.search(said):
        pytest.skip(f"the package registry is not reachable: {said[-300:]}")
    assert installed.returncode == 0, said
    yield made
    shutil.rmtree(made.home)


def pasted(printed: str) -> list[Any]:
    """What the printed lines answer when they are pasted into a shell."""
    lines = [line.strip() for line in printed.splitlines() if line.strip().startswith("curl ")]
    assert len(lines) == 2
    answers = [subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout for line in lines]
    return [msgspec.json.decode(answer) for answer in answers]


def test_the_first_run_serves_the_sample(clone: Clone) -> None:
    with clone.running(seconds=START_SECONDS) as printed:
        assert "Punchcard is running." in printed
        orders, customer = pasted(printed)
        assert (orders["total"], len(orders["orders"])) == (INVOICES, 2)
        assert customer["source_id"] == "17850"
        assert customer["summary"]["orders"]["total_amount"] > 0
    assert (clone.root / "data").is_dir()
    assert _git("status", "--porcelain", "--ignored", "data", cwd=clone.root).startswith("!!")


def test_the_second_run_continues_within_seconds(clone: Clone) -> None:
    began = time.monotonic()
    with clone.running(seconds=AGAIN_SECONDS) as printed:
        assert time.monotonic() - began < AGAIN_SECONDS
        assert "The sample history is already there." in printed
        assert pasted(printed)[0]["total"] == INVOICES
        _follow_the_readme(clone, printed)


def _follow_the_readme(clone: Clone, printed: str) -> None:
    """The README's first import and the official client, while the server runs."""
    imported = clone.run("sh", "-c", clone.readme_block("cat > orders.jsonl"))
    assert imported.returncode == 1, imported.stderr  # some orders did not go in, as the README says
    assert "2 orders in (2 new), 1 failed" in imported.stderr
    assert "Cannot find customer with id cust_nobody" in imported.stderr
    assert pasted(printed)[0]["total"] == INVOICES + 2
    mapped = clone.run("sh", "-c", clone.readme_block("cat > history.csv"))
    assert mapped.returncode == 0, mapped.stderr
    assert "2 orders in (2 new), 0 failed" in mapped.stderr
    keys = msgspec.json.decode(clone.run(".venv/bin/punchcard", "credentials", "--json").stdout)
    program = clone.readme_block("import voucherify").replace("http://127.0.0.1:8000", clone.url)
    for key in ("application_id", "application_token"):
        program = program.replace('"..."', f'"{keys[key]}"', 1)
    asked = clone.run(".venv/bin/python", "-c", program)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("aa_")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps clones that PostgreSQL's user cannot enter")
def test_a_folder_that_only_root_can_enter(clone: Clone) -> None:
    """As in /root: the data goes elsewhere, and nobody's permissions are opened."""
    elsewhere = open_directory()
    clone.home.chmod(0o700)
    try:
        shutil.rmtree(clone.root / "data")
        with clone.running(seconds=START_SECONDS, PUNCHCARD_STATE_HOME=str(elsewhere)) as printed:
            assert f"Data and keys  {elsewhere}" in printed
            assert pasted(printed)[0]["total"] == INVOICES
        assert clone.home.stat().st_mode & 0o777 == 0o700
        assert not (clone.root / "data").exists()
    finally:
        clone.home.chmod(0o755)
        shutil.rmtree(elsewhere)


def test_make_says_what_it_can_do(clone: Clone) -> None:
    listed = clone.run("make")
    assert listed.returncode == 0
    for goal in ("make install", "make run", "make test", "make bench"):
        assert goal in listed.stdout
