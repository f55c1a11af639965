"""What an import leaves to correct, and what a dry run says."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from punchcard.cli import cli
from punchcard.client import command, mapping_files
from punchcard.client.api import Patience
from punchcard.client.command import Options
from punchcard.client.inputs import Order
from punchcard.client.reports import failure_line, free_path
from tests.client.server import Answer, Server, serving
from tests.deployment import PUNCHCARD, Project

MIB = 1024 * 1024


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as acted:
        yield acted


def run(server: Server, *files: Path, **options: Any) -> tuple[int, str]:
    """The exit code, and what was printed."""
    out = io.StringIO()
    settings: dict[str, Any] = {"patience": Patience(0.2, 0.01)} | options
    code = command.run(
        list(map(str, files)),
        url=server.url,
        application_id="id",
        application_token="token",
        out=out,
        options=Options(**settings),
    )
    return code, out.getvalue()


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_failures_go_to_a_file_that_can_be_imported_again(server: Server, tmp_path: Path) -> None:
    server.failed_listed_max, server.failures_per_page = 3, 4
    file = tmp_path / "orders.jsonl"
    file.write_text("".join(f'{{"source_id": "{"fail" if n % 2 else "o"}{n}", "amount": {n}}}\n' for n in range(30)))
    code, said = run(server, file)
    assert code == 1
    failed = tmp_path / "orders.failures.jsonl"
    assert f"15 failed orders: see {failed}; correct them there and run `punchcard import {failed}`" in said
    reason = "Cannot find customer with id cust_x"
    assert lines(failed) == [
        {
            "import_failure": {"place": f"orders.jsonl:{n + 1}", "index": n, "reason": reason},
            "source_id": f"fail{n}",
            "amount": n,
        }
        for n in range(1, 30, 2)
    ]
    assert failed.read_bytes().startswith(b'{"import_failure":')
    code, said = run(server, failed)  # nothing was corrected
    assert code == 1
    again = lines(tmp_path / "orders.failures-2.jsonl")
    assert [order["import_failure"]["place"] for order in again] == [f"orders.failures.jsonl:{n}" for n in range(1, 16)]
    failed.write_text(failed.read_text().replace("fail", "mended"))
    assert run(server, failed)[0] == 0


def test_an_order_that_makes_its_request_refused_is_in_the_file(server: Server, tmp_path: Path) -> None:
    server.refuse_bad = True
    file = tmp_path / "orders.json"
    file.write_text(json.dumps([{"source_id": f"o{n}", "amount": "bad" if n > 2 else n} for n in range(8)]))
    own = tmp_path / "mine.jsonl"
    assert run(server, file, failures=own)[0] == 1
    assert sorted(order["source_id"] for order in lines(own)) == ["o3", "o4", "o5", "o6", "o7"]
    assert {order["import_failure"]["reason"] for order in lines(own)} == {"Property .amount should be integer"}
    code, said = run(server, file, failures=own)
    assert code == 2
    assert "is there already" in said


def test_orders_of_an_action_without_a_result_are_in_the_file(server: Server, tmp_path: Path) -> None:
    server.action_script = [Answer(200, raw=b'{"status":"FAILED"}')]
    file = tmp_path / "orders.jsonl"
    file.write_text('{"amount":1}\n{"amount":2}\n')
    assert run(server, file)[0] == 1
    assert [order["amount"] for order in lines(tmp_path / "orders.failures.jsonl")] == [1, 2]


def test_a_server_that_only_lists_the_first_failures(server: Server, tmp_path: Path) -> None:
    server.failed_listed_max, server.tells_all_failures = 1, False
    file = tmp_path / "orders.jsonl"
    file.write_text('{"source_id":"fail1"}\n{"source_id":"fail2"}\n{"source_id":"a"}\n')
    code, said = run(server, file)
    assert code == 1
    assert "1 more orders: the result does not list them" in said
    assert "1 order in, 2 failed" in said
    assert len(lines(tmp_path / "orders.failures.jsonl")) == 1


def test_unreadable_lines_have_a_report_of_their_own(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text('{"source_id":"a"}\nnonsense\n')
    code, said = run(server, file)
    assert code == 1
    report = tmp_path / "orders.unreadable.txt"
    assert f"1 unreadable entry: see {report}" in said
    assert report.read_text().startswith("orders.jsonl:2: not valid JSON")
    assert not (tmp_path / "orders.failures.jsonl").exists()


def test_no_failures_no_files(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text('{"source_id":"a"}\n')
    assert run(server, file)[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["orders.jsonl"]


def test_a_failure_takes_the_place_of_an_earlier_one() -> None:
    order = Order(b'{"import_failure":{"reason":"old"},"amount":1.50,"metadata":{"import_failure":1}}', "f:1")
    line = failure_line(order, 3, "new")
    assert line == (
        b'{"import_failure":{"place":"f:1","index":3,"reason":"new"},"amount":1.50,"metadata":{"import_failure":1}}\n'
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", "a.failures.jsonl"),
        ("a.jsonl.gz", "a.failures.jsonl"),
        ("a.failures.jsonl", "a.failures.jsonl"),
        ("a.b", "a.b.failures.jsonl"),
        ("-", "standard-input.failures.jsonl"),
    ],
)
def test_names_of_reports(name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert free_path([name], "failures.jsonl").name == expected


# ---- dry runs ----


def test_a_dry_run_asks_for_one_and_says_so(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text("".join(f'{{"source_id":"{n}"}}\n' for n in range(5)))
    code, said = run(server, file, dry_run=True, batch_orders=3, state=tmp_path / "state")
    assert code == 0
    assert set(server.dry) == {True}
    assert "5 orders would go in, 0 failed" in said
    assert "This was a dry run: nothing was written. Each request was checked against what is stored now" in said
    assert not (tmp_path / "state").exists()
    assert run(server, file, dry_run=True, resume=True)[0] == 2


def test_a_server_that_knows_no_dry_runs_gets_no_orders(server: Server, tmp_path: Path) -> None:
    server.knows_dry_runs = False
    file = tmp_path / "orders.jsonl"
    file.write_text('{"source_id":"a"}\n')
    code, said = run(server, file, dry_run=True)
    assert code == 2
    assert "This server knows no dry runs: nothing was sent" in said
    assert server.taken() == []


# ---- through the front door ----


def test_the_command_with_a_mapping_of_one_s_own(project_18: Project, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("no,email,article,pieces,price\nA-1,ann@x.example,S,2,9.00\n")
    mapping = "[lines]\norder='no'\n[numbers]\ndigits=2\n[order]\nsource_id='no'\n[order.customer]\nsource_id='email'\n"
    (tmp_path / "own.toml").write_text(mapping + "[item]\nsource_id='article'\nquantity='pieces'\nprice='price'\n")
    keys = ["--application-id", project_18.application_id, "--application-token", project_18.application_token]
    arguments = [str(tmp_path / "orders.csv"), "--mapping", str(tmp_path / "own.toml"), *keys]
    url = project_18.deployment.url
    dry = project_18.deployment.command("import", *arguments, "--url", url, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "1 order would go in (1 new)" in dry.stderr
    assert project_18.get("/v1/orders")["total"] == 0
    done = project_18.deployment.command("import", *arguments, "--url", url)
    assert done.returncode == 0, done.stderr
    assert project_18.get("/v1/orders/A-1")["amount"] == 1800


def test_many_failures_all_go_to_the_file(project_18: Project, tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    with file.open("w") as out:
        out.writelines(json.dumps({"amount": n, "customer": {"id": "cust_x"}}) + "\n" for n in range(1_500))
    keys = ["--application-id", project_18.application_id, "--application-token", project_18.application_token]
    done = project_18.deployment.command("import", str(file), "--url", project_18.deployment.url, *keys)
    assert done.returncode == 1
    failed = lines(tmp_path / "orders.failures.jsonl")
    assert [order["amount"] for order in failed] == list(range(1_500))
    assert failed[-1]["import_failure"]["reason"] == "Cannot find customer with id cust_x"


def test_presets_are_shown_and_refused_together_with_a_mapping(tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli, ["import", "--show-preset", "shopify"])
    assert shown.exit_code == 0
    assert shown.output == mapping_files.preset_text("shopify")
    both = [*PUNCHCARD, "import", "a.csv", "--mapping", "a.toml", "--preset", "shopify"]
    done = subprocess.run(both, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "punchcard: Give --mapping or --preset, not both\n")


def test_presets_are_part_of_the_package(repository: Path) -> None:
    """What a wheel is built from: every file of the package's folder, whatever its name ends with."""
    program = (
        "import sys; from hatchling.builders.wheel import WheelBuilder as Builder\n"
        "print(*(file.relative_path for file in Builder(sys.argv[1]).recurse_included_files()))"
    )
    built = subprocess.run([sys.executable, "-c", program, str(repository)], capture_output=True, text=True, check=True)
    for name in mapping_files.presets():
        assert f"src/punchcard/client/presets/{name}.toml" in built.stdout.split()


# ---- memory ----

MEASURE = """
import sys
from punchcard.client import command, mapping_files
from pathlib import Path
url, mapping = sys.argv[1:]
options = command.Options(mapping=mapping_files.load(Path(mapping)))
code = command.run(["-"], url=url, application_id="id", application_token="token", out=sys.stderr, options=options)
# not getrusage: that begins with what the process took that started this one
peak, = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(code, int(peak) * 1024)
"""


def peak_bytes(server: Server, mapping: Path, megabytes: int, folder: Path) -> int:
    """The most memory that an import of so much CSV took, piped through."""
    line = "order-{},{},A,1,1.00\n"
    process = subprocess.Popen(
        [sys.executable, "-c", MEASURE, server.url, str(mapping)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(b"no,email,article,pieces,price\n")
        for n in range(megabytes * 20):
            pipe.write("".join(line.format(n * 50 + m, "x" * 1000, "A") for m in range(50)).encode())
    assert process.stdout is not None
    with process.stdout as out:
        code, peak = out.read().split()
    assert process.wait() == int(code) == 0
    return int(peak)


def test_memory_stays_flat_whatever_the_size_of_the_file(server: Server, tmp_path: Path) -> None:
    server.forgets = True
    mapping = tmp_path / "own.toml"
    text = "[lines]\norder='no'\n[order]\nsource_id='no'\n[order.metadata]\ne='email'\n[item]\nsource_id='article'\n"
    mapping.write_text(text)
    small, large = (peak_bytes(server, mapping, size, tmp_path) for size in (40, 160))
    print(f"{small / MIB:.0f} MiB, {large / MIB:.0f} MiB")
    assert large < small + 16 * MIB
    assert large < 200 * MIB
