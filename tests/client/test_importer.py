"""The importer and its command against a server that misbehaves in every documented way."""

import io
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from punchcard.client import command, samples
from punchcard.client.api import Api, ImportStopped, Patience, address
from punchcard.client.command import Options
from punchcard.client.importer import Counts, Importer
from punchcard.client.inputs import Order
from punchcard.client.outcomes import Told
from punchcard.client.progress import Bar, Lines, fraction_ended
from punchcard.client.reports import Report
from tests.client.server import ACCEPT, RESET, Answer, Server, serving

QUICK = Patience(limit_s=30.0, first_pause_s=0.001)
Run = Callable[..., int]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as acted:
        yield acted


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, where the reports of standard input go."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(server: Server, out: io.StringIO) -> Run:
    """`run(orders or bytes, **arguments)` imports them from standard input and returns the exit code."""

    def imported(orders: Any, **arguments: Any) -> int:
        data = orders if isinstance(orders, bytes) else json.dumps(orders).encode()
        defaults: dict[str, Any] = {
            "url": server.url,
            "application_id": "id",
            "application_token": "token",
            "out": out,
            "stdin": io.BytesIO(data),
        }
        given = {name: arguments.pop(name) for name in list(arguments) if name in defaults}
        options = Options(**({"patience": QUICK} | arguments))
        return command.run(["-"], options=options, **(defaults | given))

    return imported


def connected(server: Server) -> Api:
    return Api(server.url, application_id="id", application_token="token", say=lambda text: None)


def numbered(count: int, **also: Any) -> list[dict[str, Any]]:
    return [{"source_id": f"o{n}", **also} for n in range(count)]


def test_everything_goes_in_in_the_order_of_the_file(run: Run, server: Server, out: io.StringIO) -> None:
    orders = numbered(25)
    assert run(orders, batch_orders=10) == 0
    assert [len(post) for post in server.posts] == [10, 10, 5]
    assert server.taken() == orders
    assert "25 orders in, 0 failed, 0 unreadable" in out.getvalue()


def test_no_orders_no_request(run: Run, server: Server) -> None:
    assert run(b"") == 0
    assert not server.posts


def test_a_request_is_cut_at_its_bytes(run: Run, server: Server) -> None:
    assert run(numbered(100, metadata={"text": "é" * 50}), batch_bytes=1_000) == 0
    sizes = [len(body) for body in server.bodies]
    assert max(sizes) <= 1_000
    assert min(sizes[:-1]) + len(server.bodies[0]) // len(server.posts[0]) > 1_000 - 10


def test_an_order_over_the_request_limit_is_the_only_one_missing(run: Run, server: Server) -> None:
    assert run([{"source_id": "a"}, {"source_id": "b" * 1_000}, {"source_id": "c"}], batch_bytes=500) == 1
    assert server.taken() == [{"source_id": "a"}, {"source_id": "c"}]


def test_requests_are_accepted_ahead_of_the_one_waited_for(run: Run, server: Server) -> None:
    assert run(numbered(5), batch_orders=1, in_flight=3) == 0
    assert server.calls == ["POST", "POST", "POST", "aa_0", "POST", "aa_1", "POST", "aa_2", "aa_3", "aa_4"]


def test_failed_orders_are_told_with_their_place(run: Run, server: Server, out: io.StringIO) -> None:
    data = b'{"source_id":"a"}\n{"source_id":"fail1"}\nnonsense\n{"source_id":"b"}\n'
    assert run(data) == 1
    told = out.getvalue()
    assert "standard input:2 (source_id fail1): Cannot find customer with id cust_x" in told
    assert "standard input:3: not valid JSON" in told
    assert "2 orders in, 1 failed, 1 unreadable" in told


def test_only_the_first_failures_are_shown_and_all_are_counted(run: Run, server: Server, out: io.StringIO) -> None:
    server.failed_listed_max = 3  # the server's own list may be cut short too
    assert run([{"source_id": f"fail{n}"} for n in range(10)], failures_shown=2) == 1
    told = out.getvalue()
    assert told.count("Cannot find customer") == 2
    assert "0 orders in, 10 failed" in told


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(429, "Too many", {"Retry-After": "0"}),
        Answer(429, "Too many"),
        Answer(429, "Too many", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Answer(502, raw=b"<html>bad gateway</html>"),
        Answer(503, "Starting"),
        Answer(504, raw=b""),
        RESET,
    ],
)
def test_a_busy_server_is_waited_for(run: Run, server: Server, out: io.StringIO, trouble: Any) -> None:
    server.script = [trouble, trouble, ACCEPT, trouble]
    server.action_script = [trouble]
    assert run(numbered(4), batch_orders=2) == 0
    assert server.taken() == numbered(4)
    assert out.getvalue().count("Waiting ") == 4
    assert server.keys[0] == server.keys[1] == server.keys[2] != server.keys[3]


def test_an_action_is_waited_for_until_it_ends(run: Run, server: Server) -> None:
    server.action_script = [Answer(200, raw=b'{"status":"%s"}' % s) for s in (b"ENQUEUED", b"IN_PROGRESS")]
    assert run(numbered(1)) == 0
    assert server.calls == ["POST", "aa_0", "aa_0", "aa_0"]


def test_a_failed_action_fails_its_orders(run: Run, server: Server, out: io.StringIO) -> None:
    server.action_script = [Answer(200, raw=b'{"status":"FAILED"}')]
    assert run(numbered(3)) == 1
    assert "0 orders in, 3 failed" in out.getvalue()


def test_orders_that_a_result_does_not_mention_are_not_taken_for_imported(run: Run, server: Server) -> None:
    server.action_script = [Answer(200, raw=b'{"status":"DONE","result":{"done_count":2,"failed_count":0}}')]
    assert run(numbered(3)) == 1


def test_a_refused_order_costs_only_itself(run: Run, server: Server, out: io.StringIO) -> None:
    server.refuse_bad = True
    orders = numbered(50)
    for n in (3, 4, 49):
        orders[n]["amount"] = "bad"
    assert run(orders) == 1
    assert server.taken() == [order for order in orders if "amount" not in order]
    assert len(server.posts) == 4
    assert "standard input[49] (source_id o49): Property .amount should be integer" in out.getvalue()
    assert "47 orders in, 3 failed" in out.getvalue()


def test_a_reason_never_names_the_place_within_a_request(run: Run, server: Server, out: io.StringIO) -> None:
    server.refuse_bad = True
    assert run(numbered(5, amount="bad")) == 1
    assert out.getvalue().count("Property .amount should be integer") == 5


def test_the_summary_says_what_became_of_the_orders(run: Run, server: Server, out: io.StringIO) -> None:
    result = {"done_count": 4, "created_count": 2, "updated_count": 1, "unchanged_count": 1}
    dates = {"invalid_ordered_at_count": 3}
    server.action_script = [
        Answer(200, raw=json.dumps({"status": "DONE", "result": told}).encode())
        for told in (result | dates, {"done_count": 1, "unchanged_count": 1})
    ]
    assert run(numbered(4)) == 0
    assert "4 orders in (2 new, 1 changed, 1 unchanged), 0 failed, 0 unreadable in " in out.getvalue()
    assert "3 ordered_at dates could not be read" in out.getvalue()
    assert run(numbered(1)) == 0
    assert "\n1 order in (1 unchanged), 0 failed" in out.getvalue()
    assert out.getvalue().count("ordered_at") == 1


def test_orders_that_the_next_import_adds_again_are_told(run: Run, out: io.StringIO) -> None:
    assert run([{"amount": 1}, {"amount": 2, "id": None}, {"id": "a"}, {"source_id": "b"}]) == 0
    told = "2 orders have neither id nor source_id: importing them again adds them again"
    assert told in out.getvalue()
    assert run([{"amount": 1}]) == 0
    assert "1 order has neither id nor source_id: importing it again adds it again" in out.getvalue()


def test_many_refused_orders_cost_a_bounded_number_of_requests(run: Run, server: Server) -> None:
    server.refuse_bad = True
    orders = [{"source_id": f"o{n}", **({"amount": "bad"} if n % 2 else {})} for n in range(200)]
    assert run(orders, batch_orders=200) == 1
    assert server.taken() == orders[::2]
    assert len(server.posts) <= 200
    assert sum(map(len, server.bodies)) < 20 * len(json.dumps(orders))


def test_a_refusal_that_names_no_order_is_found_by_halving(run: Run, server: Server) -> None:
    details = "Property .items[0].initial_quantity cannot be lower than 1"
    server.script = [Answer(400, details), ACCEPT, Answer(400, details), Answer(400, details)]
    assert run(numbered(4)) == 1
    assert server.taken() == [{"source_id": "o0"}, {"source_id": "o1"}, {"source_id": "o3"}]


def test_a_server_that_refuses_everything_ends_the_import(run: Run, server: Server, out: io.StringIO) -> None:
    server.script = [Answer(400, "Unsupported header")] * 10_000
    assert run(numbered(5_000)) == 2
    assert len(server.posts) < 60
    assert "The server refuses every order: Unsupported header" in out.getvalue()


def test_a_request_too_large_is_halved(run: Run, server: Server) -> None:
    server.body_bytes_max = 60
    orders = [*numbered(9), {"source_id": "x" * 60}]
    assert run(orders) == 1
    assert server.taken() == orders[:9]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(401, "Wrong keys"), "does not accept the keys (401): Wrong keys"),
        (Answer(403, "No scope"), "does not accept the keys (403): No scope"),
        (Answer(404, raw=b"nothing here"), "answers 404 to POST http://127.0.0.1"),
        (Answer(500, "Internal"), "answers 500"),
        (Answer(200, raw=b"<html>"), "does not answer as this API does"),
        (Answer(200, raw=b'{"id":1}'), "does not answer as this API does"),
    ],
)
def test_an_answer_that_no_import_gives_stops_it(
    run: Run, server: Server, out: io.StringIO, answer: Answer, text: str
) -> None:
    server.script = [ACCEPT, answer]
    assert run(numbered(4), batch_orders=2) == 2
    told = out.getvalue()
    assert text in told
    assert "2 more orders accepted, the server goes on with them: aa_0" in told


def test_wrong_keys(run: Run, server: Server, out: io.StringIO) -> None:
    assert run(numbered(1), application_token="other") == 2
    assert not server.posts
    assert out.getvalue() == "punchcard: The server does not accept the keys (401): Wrong keys\n"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("localhost", "http://localhost"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("shop.example/punchcard/v1/", "http://shop.example/punchcard"),
        ("https://shop.example/", "https://shop.example"),
    ],
)
def test_addresses_as_users_write_them(written: str, meant: str) -> None:
    assert address(written) == meant


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://[::1", "http://a:b"])
def test_an_address_that_is_none_is_not_waited_for(run: Run, out: io.StringIO, url: str) -> None:
    assert run(numbered(1), url=url) == 2
    assert "cannot be used" in out.getvalue()


def test_keys_that_no_header_can_hold(run: Run, out: io.StringIO) -> None:
    assert run(numbered(1), application_token="a\nb") == 2
    assert run(numbered(1), application_token="é€") == 2
    assert out.getvalue().count("cannot be used") == 2


def test_a_server_that_stays_away_is_given_up(run: Run, out: io.StringIO) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert run(numbered(1), url=f"http://127.0.0.1:{port}", patience=Patience(0.05, 0.001)) == 2
    assert "Gave up after" in out.getvalue()


def test_pauses_double_and_retry_after_is_obeyed(server: Server) -> None:
    pauses: list[float] = []
    server.script = [Answer(503)] * 9 + [Answer(429, headers={"Retry-After": "17"}), ACCEPT]
    api = Api(
        server.url,
        application_id="id",
        application_token="token",
        say=lambda text: None,
        patience=Patience(600.0, 1.0),
        sleep=pauses.append,
    )
    with api:
        assert api.import_orders(b"[]", "key") == "aa_0"
    assert pauses[9] == 17.0
    for pause, most in zip(pauses[:9], [1, 2, 4, 8, 16, 30, 30, 30, 30], strict=True):
        assert most / 2 <= pause <= most


def test_a_retry_after_beyond_the_limit_gives_up_at_once(server: Server) -> None:
    server.script = [Answer(429, "Come back tomorrow", headers={"Retry-After": "86400"})]
    with connected(server) as api, pytest.raises(ImportStopped, match="Come back tomorrow"):
        api.import_orders(b"[]", "key")


class InterruptedInput(io.BytesIO):
    """Standard input at which the user presses Ctrl-C once the data is read."""

    def readinto1(self, buffer: Any, /) -> int:
        if not (size := super().readinto1(buffer)):
            raise KeyboardInterrupt
        return size


def test_ctrl_c_tells_what_is_accepted(run: Run, server: Server, out: io.StringIO) -> None:
    data = b"".join(b'{"source_id":"%d"}\n' % n for n in range(10_000))
    assert run(b"", stdin=cast("BinaryIO", InterruptedInput(data)), batch_orders=1_000, in_flight=3) == 130
    told = out.getvalue()
    assert "Stopped. Import the same files again to go on" in told
    assert "2,000 more orders accepted, the server goes on with them: aa_7, aa_8" in told
    assert "7,000 orders in, 0 failed" in told


def test_two_runs_have_different_keys_and_two_places_too(run: Run, server: Server) -> None:
    for _ in range(2):
        assert run([{"source_id": "same"}] * 2, batch_orders=1) == 0
    assert len(set(server.keys)) == 4


def test_usage(run: Run, server: Server, out: io.StringIO, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"url": server.url, "application_id": "id", "application_token": "token", "out": out}
    (tmp_path / "a.json").write_bytes(b'[{"source_id":"a"}]')
    for files in ([], ["-", "-"], [str(tmp_path)], [str(tmp_path / "a.json"), str(tmp_path / "missing")]):
        assert command.run(files, **keys) == 2
    assert run(b"", file_format="xml") == 2
    assert run(b"", batch_orders=0) == 2
    assert not server.posts
    assert all(line.startswith("punchcard: ") for line in out.getvalue().splitlines())
    assert "0 orders" not in out.getvalue()


def test_several_files_go_one_after_another(server: Server, out: io.StringIO, tmp_path: Path) -> None:
    names = []
    for name, data in {
        "a.json": b'[{"source_id":"a"}]',
        "b.xz": b"\xfd7zXZ\x00cut",
        "c.jsonl": b'{"id":"c"}\n',
    }.items():
        (tmp_path / name).write_bytes(data)
        names.append(str(tmp_path / name))
    assert command.run(names, url=server.url, application_id="id", application_token="token", out=out) == 1
    assert server.accepted == [[{"source_id": "a"}, {"id": "c"}]]
    assert "b.xz: the file is damaged" in out.getvalue()


def test_the_sample_goes_in(server: Server, out: io.StringIO) -> None:
    keys: dict[str, Any] = {"url": server.url, "application_id": "id", "application_token": "token"}
    assert command.run([str(samples.path())], out=out, options=Options(batch_orders=500), **keys) == 0
    assert [len(post) for post in server.accepted] == [500, 500, 500, 374]
    assert "1,874 orders in, 0 failed" in out.getvalue()
    assert "139 lines skipped, stock movement" in out.getvalue()
    further_parts = sum("part" in order["metadata"] for order in server.taken())
    assert (1_874 + 139 - further_parts, further_parts) == (2_000, 13)  # as `make run` explains the numbers


def test_what_a_file_says_cannot_play_with_the_terminal(run: Run, server: Server, out: io.StringIO) -> None:
    assert run([{"source_id": "fail\x1b[2J\nall is well"}]) == 1
    assert "fail?[2J?all is well" in out.getvalue()


def test_a_file_name_that_is_no_text(server: Server, out: io.StringIO, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/orders\xff.json"))
    path.write_bytes(b'[{"source_id":"fail"}]')
    assert command.run([str(path)], url=server.url, application_id="id", application_token="token", out=out) == 1
    assert "orders?.json[0]" in out.getvalue()


class Terminal(io.StringIO):
    """An output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ | {"TERM": "xterm", "COLUMNS": "160"})
    terminal = Terminal()
    assert run(numbered(3), out=terminal) == 0
    assert "3 orders" in terminal.getvalue()
    bar = Bar(terminal, 100)
    with bar:
        bar.say("[red]not markup")
        bar.moved(Counts(read=52, imported=50, failed=2, taken_bytes=50))
    assert "[red]not markup" in terminal.getvalue()
    assert "50%" in terminal.getvalue()
    assert "2 failed" in terminal.getvalue()
    assert re.search(r"elapsed 0:00:\d\d, left (-:--:--|0:00:\d\d)", terminal.getvalue())


def test_the_bar_ends_at_the_end_of_the_file(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ | {"TERM": "xterm", "COLUMNS": "160"})
    terminal = Terminal()
    keys: dict[str, Any] = {"url": server.url, "application_id": "id", "application_token": "token"}
    assert command.run([str(samples.path())], out=terminal, **keys) == 0
    assert "100%" in terminal.getvalue()


@pytest.mark.parametrize(
    ("read", "ended", "taken_bytes", "fraction"),
    [
        (0, 0, 0, 0.0),
        (0, 0, 1_000, 0.0),
        (4_500, 2_000, 1_000, 2_000 / 4_500),  # a short file is read at once
        (6_000, 2_000, 500, 1 / 6),
        (4_500, 4_500, 1_000, 1.0),
        (4_500, 4_500, 1_100, 1.0),  # the file grew
    ],
)
def test_progress_is_that_of_the_orders(read: int, ended: int, taken_bytes: int, fraction: float) -> None:
    counts = Counts(read=read, imported=ended, taken_bytes=taken_bytes)
    assert fraction_ended(counts, 1_000) == pytest.approx(fraction)


def test_what_was_read_of_a_short_file_is_not_taken_for_done(server: Server) -> None:
    shown: list[float] = []

    class Watched(Lines):
        def moved(self, counts: Counts) -> None:
            shown.append(fraction_ended(counts, 1_000))

    orders = [Order(b'{"id":"%d"}' % n, str(n)) for n in range(9)]
    with connected(server) as api, Report(Path("failures")) as failures, Report(Path("unreadable")) as unreadable:
        Importer(
            api,
            Told(failures, unreadable, Watched(io.StringIO(), None), 20),
            taken=lambda: 1_000,
            batch_orders=4,
            in_flight=2,
        ).run(orders)
    assert sorted({round(fraction * 9) for fraction in shown}) == [0, 4, 8, 9]


def test_a_log_gets_a_line_every_few_seconds() -> None:
    now, out = [0.0], io.StringIO()
    lines = Lines(out, 1_000, lambda: now[0])
    for second in range(1, 11):
        now[0] = float(second)
        ended = second * 101
        counts = Counts(read=ended * 2, imported=second * 100, failed=second, unreadable=1, taken_bytes=second * 100)
        lines.moved(counts)
    assert out.getvalue().splitlines() == [
        " 25%  500 orders, 101/s, 5 failed, 1 unreadable, 15 s left",
        " 50%  1,000 orders, 101/s, 10 failed, 1 unreadable, 10 s left",
    ]
