"""`--resume`: whatever is killed, and however often, each order is in exactly once, also those that have no id.

PUNCHCARD_CRASH_ROUNDS sets how many rounds of kills, PUNCHCARD_CRASH_SEED the seed of the first.
"""

import fcntl
import gzip
import io
import json
import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from punchcard.client import command, journal, mapping_files
from punchcard.client.api import Patience
from punchcard.client.command import Options
from punchcard.client.journal import Record
from tests.client.server import ACCEPT, Answer, Server, serving
from tests.crash import targets
from tests.deployment import PUNCHCARD, Deployment, until

ROUNDS = int(os.environ.get("PUNCHCARD_CRASH_ROUNDS", "2"))
SEED = int(os.environ.get("PUNCHCARD_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
ORDERS = 600
FAILS = 50  # one in so many


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as acted:
        yield acted


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Orders without any id, so that each repeat would be a double."""
    path = tmp_path / "orders.jsonl"
    path.write_bytes(b"".join(b'{"amount":%d}\n' % n for n in range(20)))
    return path


class Client:
    """`command.run` on files with a state directory; what it printed is in `out`."""

    def __init__(self, server: Server, state: Path) -> None:
        self.server, self.state = server, state
        self.out = io.StringIO()

    def run(self, *files: Path, token: str = "token", **options: Any) -> int:
        self.out = io.StringIO()
        settings: dict[str, Any] = {"batch_orders": 4, "state": self.state, "patience": Patience(0.2, 0.01)} | options
        return command.run(
            list(map(str, files)),
            url=self.server.url,
            application_id="id",
            application_token=token,
            out=self.out,
            options=Options(**settings),
        )

    def interrupted(self, *files: Path, after: int = 2, **options: Any) -> None:
        """A run that a server stops which goes wrong behind `after` requests."""
        self.server.script = [ACCEPT] * after + [Answer(500, "stopped")]
        assert self.run(*files, **options) == 2
        assert "The same command with --resume goes on from here" in self.out.getvalue()
        self.server.script = []


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Client:
    return Client(server, tmp_path / "state")


def amounts(server: Server) -> list[int]:
    return [order["amount"] for order in server.taken()]


def test_it_goes_on_behind_what_is_in(client: Client, file: Path) -> None:
    client.interrupted(file)
    assert client.run(file, resume=True) == 0
    assert amounts(client.server) == list(range(20))
    assert "Going on behind the first 12 orders" in client.out.getvalue()
    assert "20 orders in, 0 failed" in client.out.getvalue()


def test_a_request_whose_answer_was_lost_is_sent_again_as_it_was(client: Client, file: Path) -> None:
    """With other sizes than before: what was sent keeps its cut and its key."""
    client.interrupted(file)
    key, body = client.server.keys[2], client.server.bodies[2]
    assert client.run(file, resume=True, batch_orders=7) == 0
    assert (client.server.keys[3], client.server.bodies[3]) == (key, body)
    assert [len(post) for post in client.server.accepted] == [4, 4, 4, 7, 1]


def test_a_complete_import_is_not_resumed(client: Client, file: Path) -> None:
    assert client.run(file) == 0
    assert client.run(file, resume=True) == 0
    assert "Nothing to resume: this import was complete on 20" in client.out.getvalue()
    assert len(client.server.taken()) == 20
    assert client.run(file) == 0  # without --resume as ever
    assert len(client.server.taken()) == 40


def test_nothing_to_resume(client: Client, file: Path) -> None:
    assert client.run(file, resume=True) == 2
    assert "Nothing to resume: " in client.out.getvalue()
    assert not client.server.posts


def test_a_new_run_says_that_an_older_one_was_interrupted(client: Client, file: Path) -> None:
    client.interrupted(file)
    assert client.run(file) == 0
    assert "interrupted behind 12 orders: --resume would have gone on there" in client.out.getvalue()


@pytest.mark.parametrize("change", ["first", "last", "shorter"])
def test_a_file_that_changed(client: Client, file: Path, change: str) -> None:
    client.interrupted(file)
    lines = file.read_bytes().splitlines(keepends=True)
    if change == "first":
        lines[0] = b'{"amount":99}\n'
    elif change == "last":  # not read before: a correction, or new orders
        lines[-1:] = [b'{"amount":99}\n', b'{"amount":100}\n']
    else:
        del lines[11:]
    file.write_bytes(b"".join(lines))
    posts = len(client.server.posts)
    if change == "last":
        assert client.run(file, resume=True) == 0
        assert amounts(client.server) == [*range(19), 99, 100]
        return
    assert client.run(file, resume=True) == 2
    assert "The files are not what they were: the first 12 orders" in client.out.getvalue()
    assert len(client.server.posts) == posts


def test_standard_input_cannot_be_resumed(client: Client) -> None:
    assert client.run(Path("-"), resume=True) == 2
    assert "Only files can be resumed" in client.out.getvalue()


def test_another_mapping_is_refused(client: Client, file: Path) -> None:
    client.interrupted(file)
    assert client.run(file, resume=True, mapping=mapping_files.preset("shopify")) == 2
    assert "begun with another mapping" in client.out.getvalue()


def test_two_at_a_time_are_refused(client: Client, file: Path) -> None:
    client.interrupted(file)
    [path] = client.state.iterdir()
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for resume in (True, False):
            assert client.run(file, resume=resume) == 2
            assert "Another import of these files to this server is running" in client.out.getvalue()
    assert client.run(file, resume=True) == 0


def test_a_state_directory_that_cannot_be_written_costs_only_the_resuming(client: Client, file: Path) -> None:
    client.state.write_bytes(b"a file")
    assert client.run(file) == 0
    assert "This import cannot be resumed" in client.out.getvalue()
    assert client.run(file, resume=True) == 2


def test_several_files_and_packed_ones(client: Client, file: Path, tmp_path: Path) -> None:
    packed = tmp_path / "more.jsonl.gz"
    packed.write_bytes(gzip.compress(b"".join(b'{"amount":%d}\n' % n for n in range(20, 40))))
    client.interrupted(file, packed, after=6)
    assert client.run(file, resume=True) == 2  # another set of files
    assert client.run(file, packed, resume=True) == 0
    assert amounts(client.server) == list(range(40))


def test_failures_are_each_in_the_file_once(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_bytes(b"".join(b'{"source_id":"fail%d"}\n' % n for n in range(20)))
    client.interrupted(path, after=3)
    client.interrupted(path, after=1, resume=True)
    assert client.run(path, resume=True) == 1
    failed = [json.loads(line)["source_id"] for line in (tmp_path / "orders.failures.jsonl").read_text().splitlines()]
    assert failed == [f"fail{n}" for n in range(20)]
    assert "0 orders in, 20 failed" in client.out.getvalue()


def test_failures_of_a_request_that_was_not_noted_as_finished_are_not_doubled(client: Client, tmp_path: Path) -> None:
    path, failed = tmp_path / "orders.jsonl", tmp_path / "orders.failures.jsonl"
    path.write_bytes(b"".join(b'{"source_id":"fail%d"}\n' % n for n in range(20)))
    client.interrupted(path, after=3)
    with failed.open("ab") as file:  # as a kill leaves it between the failures and the journal
        file.write(b'{"import_failure":{},"source_id":"fail4"}\n{"cut')
    assert client.run(path, resume=True) == 1
    assert [json.loads(line)["source_id"] for line in failed.read_text().splitlines()] == [
        f"fail{n}" for n in range(20)
    ]


def test_a_failures_file_that_was_edited_meanwhile_is_refused(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_bytes(b"".join(b'{"source_id":"fail%d"}\n' % n for n in range(20)))
    client.interrupted(path, after=3)
    (tmp_path / "orders.failures.jsonl").write_bytes(b"")
    assert client.run(path, resume=True) == 2
    assert "has changed since the import stopped" in client.out.getvalue()


def test_a_refused_order_is_left_out_again(client: Client, tmp_path: Path) -> None:
    client.server.refuse_bad = True
    path = tmp_path / "orders.jsonl"
    path.write_bytes(b"".join(b'{"amount":%s}\n' % (b'"bad"' if n == 5 else b"%d" % n) for n in range(20)))
    client.interrupted(path, after=2)  # the second is refused, the third is what is left of it
    assert client.run(path, resume=True) == 1
    assert amounts(client.server) == [n for n in range(20) if n != 5]
    [failed] = (tmp_path / "orders.failures.jsonl").read_text().splitlines()
    assert json.loads(failed)["import_failure"]["index"] == 1


def aged(client: Client) -> None:
    """Make the request without an answer as old as yesterday's."""
    [path] = client.state.iterdir()
    lines = path.read_bytes().splitlines()
    for n, line in enumerate(lines[1:], 1):
        record = json.loads(line)
        if "sent" in record:
            record["sent"]["at"] -= 86_400
        lines[n] = json.dumps(record).encode()
    path.write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.mark.parametrize("unanswered", ["accepted", "lost"])
def test_after_a_day_a_person_says_what_became_of_a_request(client: Client, file: Path, unanswered: str) -> None:
    client.interrupted(file)
    aged(client)
    posts = len(client.server.posts)
    assert client.run(file, resume=True) == 2
    assert "4 orders from orders.jsonl:9 to orders.jsonl:12, 4 of them with neither id" in client.out.getvalue()
    assert len(client.server.posts) == posts
    assert client.run(file, resume=True, unanswered=unanswered) == 0
    lost = [] if unanswered == "lost" else [8, 9, 10, 11]
    assert amounts(client.server) == [n for n in range(20) if n not in lost]


def test_after_a_day_orders_with_ids_are_sent_again(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_bytes(b"".join(b'{"source_id":"%d"}\n' % n for n in range(20)))
    client.interrupted(path)
    aged(client)
    assert client.run(path, resume=True) == 0


def test_a_record_that_was_cut_is_as_good_as_not_written(client: Client, file: Path) -> None:
    client.interrupted(file)
    [path] = client.state.iterdir()
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    assert json.loads(last)["sent"]
    for cut in (1, len(last) // 2, len(last) - 1):
        path.write_bytes(whole[: len(whole) - len(last) + cut])
        kept = journal.Journal(path)
        assert kept.state is not None
        assert kept.state.end == 8
        assert path.stat().st_size == len(whole) - len(last)
        kept.close()


def test_every_field_of_a_record_is_followed() -> None:
    fields = {"counts", "failures_bytes", "sent", "accepted", "finished", "complete", "at"}
    assert set(Record.__struct_fields__) == fields


# ---- kills ----


def command_line(file: Path, url: str, keys: tuple[str, str], *more: str) -> list[str]:
    key, token = keys
    given = ["--url", url, "--application-id", key, "--application-token", token, "--batch-orders", "20"]
    return [*PUNCHCARD, "import", str(file), *given, *more]


def killed_until_done(file: Path, url: str, keys: tuple[str, str], state: Path, rng: random.Random) -> int:
    """Import `file`, killing the client at random moments; the exit status of the run that was let through."""
    environment = os.environ | {"XDG_STATE_HOME": str(state)}
    journals = state / "punchcard" / "imports"
    for kills in range(60):
        noted = [path.read_bytes() for path in journals.iterdir()] if journals.is_dir() else []
        # one that was killed when it had finished has nothing under way any more
        begun = any(b'"sent"' in journal or b'"complete"' in journal for journal in noted)
        more = ["--resume"] if begun else []
        process = subprocess.Popen(
            command_line(file, url, keys, *more), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            # starting takes about a second, the whole import hardly longer; later rounds are let through
            said, _ = process.communicate(timeout=rng.uniform(0.6, 2.5) if kills < 6 else 120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            continue
        print(f"after {kills} kills: {said.decode()}")
        return process.returncode
    raise AssertionError("the import did not end")


def without_ids(path: Path) -> Path:
    """A file of orders of which one in fifty fails, none with an id; `n` tells them apart."""
    with path.open("w") as file:
        for n in range(ORDERS):
            order: dict[str, Any] = {"amount": n, "metadata": {"n": n}}
            if n % FAILS == 7:
                order["customer"] = {"id": "cust_unknown"}
            file.write(json.dumps(order) + "\n")
    return path


def check(numbers: list[int], failures: Path) -> None:
    """Each order once: in, or in the file of those that failed."""
    failed = [json.loads(line)["metadata"]["n"] for line in failures.read_text().splitlines()]
    assert sorted(failed) == [n for n in range(ORDERS) if n % FAILS == 7]
    assert {n: count for n, count in Counter(numbers).items() if count > 1} == {}
    assert sorted(numbers) == [n for n in range(ORDERS) if n % FAILS != 7]


@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.parametrize("round_no", range(ROUNDS))
def test_the_client_is_killed_again_and_again(tmp_path: Path, deployment_18: Deployment, round_no: int) -> None:
    seed = SEED + round_no
    print(f"seed {seed}: repeat with PUNCHCARD_CRASH_SEED={seed} PUNCHCARD_CRASH_ROUNDS=1")
    project = deployment_18.new_project()
    file = without_ids(tmp_path / "orders.jsonl")
    keys = (project.application_id, project.application_token)
    assert killed_until_done(file, deployment_18.url, keys, tmp_path / "state", random.Random(seed)) == 1
    check([order["metadata"]["n"] for order in project.all_orders()], tmp_path / "orders.failures.jsonl")
    project.close()


@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.parametrize("round_no", range(ROUNDS))
def test_the_server_is_killed_while_the_client_waits_or_is_killed_too(tmp_path: Path, round_no: int) -> None:
    seed = SEED + round_no
    print(f"seed {seed}: repeat with PUNCHCARD_CRASH_SEED={seed} PUNCHCARD_CRASH_ROUNDS=1")
    rng = random.Random(seed)
    deployment = Deployment().start()
    try:
        project = deployment.first_project()
        file = without_ids(tmp_path / "orders.jsonl")
        environment = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
        line = command_line(file, deployment.url, (project.application_id, project.application_token))
        process = subprocess.Popen(line, env=environment)
        until(lambda: project.get("/v1/orders")["total"] >= rng.randrange(1, 300) or process.poll() is not None)
        targets.kill_everything(deployment)
        if rng.random() < 0.5 and process.poll() is None:
            process.kill()
        deployment.launch()
        until(deployment.is_ready)
        status = process.wait(120)
        if status != 1:
            status = subprocess.run([*line, "--resume"], env=environment, check=False, timeout=120).returncode
        assert status == 1
        check([order["metadata"]["n"] for order in project.all_orders()], tmp_path / "orders.failures.jsonl")
        project.close()
    finally:
        deployment.close()
