"""Settings: the default file is complete and commented, sources win in their order, values fit together."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from punchcard import settings
from punchcard.errors import SettingsInvalid
from punchcard.settings import Settings, load
from tests.house.source import PACKAGE

DEFAULTS = (PACKAGE / "settings.default.toml").read_text()
NAME = re.compile(r"^(\w+) = ", re.MULTILINE)


def test_the_default_file_and_the_fields_agree() -> None:
    assert NAME.findall(DEFAULTS) == [field.name for field in msgspec.structs.fields(Settings)]


def test_every_setting_has_a_comment() -> None:
    """One comment may speak for the settings that follow it without a blank line."""
    for block in re.split(r"\n\s*\n", DEFAULTS):
        if NAME.search(block):
            assert re.match(r"#(?! ----)", block.lstrip()), f"no comment above: {block}"


def test_values_keep_their_type_whatever_the_source(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("port = 1001\n")
    assert load(config=file, environment={}).port == 1001
    assert load(environment={"PUNCHCARD_PORT": "1001"}).port == 1001
    assert load(environment={}, arguments={"port": 1001}).port == 1001


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("port = 1001\nworkers = 5\nhost = '127.0.0.9'\n")
    environment = {"PUNCHCARD_PORT": "1002", "PUNCHCARD_WORKERS": "6", "PUNCHCARD_CONFIG": str(file)}
    merged = load(environment=environment, arguments={"port": 1003, "workers": None})
    assert (merged.port, merged.workers, merged.host, merged.api_processes) == (1003, 6, "127.0.0.9", 1)


def test_the_file_named_as_argument_wins_over_the_variable(tmp_path: Path) -> None:
    for name, port in (("argument", 1), ("variable", 2)):
        (tmp_path / name).write_text(f"port = {port}\n")
    environment = {"PUNCHCARD_CONFIG": str(tmp_path / "variable")}
    assert load(config=tmp_path / "argument", environment=environment).port == 1
    assert load(environment=environment).port == 2


def test_database_url_of_the_environment() -> None:
    assert load(environment={"DATABASE_URL": "a"}).database_url == "a"
    assert load(environment={"DATABASE_URL": "a", "PUNCHCARD_DATABASE_URL": "b"}).database_url == "b"
    assert load(environment={"DATABASE_URL": "a", "PUNCHCARD_DATABASE_URL": ""}).database_url == ""
    assert load(environment={"DATABASE_URL": "a"}, arguments={"database_url": "c"}).database_url == "c"


def test_addresses() -> None:
    def base(**arguments: Any) -> str:
        return load(environment={}, arguments=arguments).base_url

    assert base() == "http://127.0.0.1:8000"
    assert base(host="0.0.0.0") == "http://127.0.0.1:8000"
    assert base(host="::") == "http://[::1]:8000"
    assert base(public_url="https://shop.example/punchcard/") == "https://shop.example/punchcard"
    merged = load(environment={}, arguments={"public_url": "https://shop.example", "port": 9})
    assert merged.local_url == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("prot = 1", "Unknown setting 'prot' in "),
        ("prot = 1", "own.toml; is port meant?"),
        ("port = ", "not valid TOML"),
        ("port = 0", "Setting port: Expected `int` >= 1"),
        ("port = 70000", "Setting port: Expected `int` <= 65535"),
        (
            "log_level = 'loud'",
            "Setting log_level: Invalid enum value 'loud'; it is one of 'debug', 'info', 'warning', 'error' (/",
        ),
        ("postgres_version = 17", "Setting postgres_version: Invalid enum value 17; it is one of 16, 18 (/"),
        ("workers = 1.5", "Setting workers"),
    ],
)
def test_single_values_are_checked(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text + "\n")
    with pytest.raises(SettingsInvalid, match=re.escape(complaint)):
        load(config=file, environment={})


def test_a_complaint_names_where_the_value_is_from(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("log_level = 'loud'\n")
    with pytest.raises(SettingsInvalid, match=r"own\.toml\)$"):
        load(config=tmp_path / "own.toml", environment={})
    with pytest.raises(SettingsInvalid, match=r"\(PUNCHCARD_LOG_LEVEL\)$"):
        load(environment={"PUNCHCARD_LOG_LEVEL": "loud"})
    with pytest.raises(SettingsInvalid, match=r"\(--api-processes\)$"):
        load(environment={"PUNCHCARD_API_PROCESSES": "1"}, arguments={"api_processes": 0})


def test_unknown_variables_are_refused() -> None:
    with pytest.raises(SettingsInvalid, match=r"Unknown variable PUNCHCARD_PROT; is PUNCHCARD_PORT meant\?$"):
        load(environment={"PUNCHCARD_PROT": "1"})
    with pytest.raises(SettingsInvalid, match=r"Unknown variable PUNCHCARD_ZZZ$"):
        load(environment={"PUNCHCARD_ZZZ": "1"})


def test_every_variable_that_is_read_somewhere_is_known() -> None:
    """Those that are no settings are not taken for misspelt ones."""
    read = re.compile(r'"(PUNCHCARD_[A-Z]\w*)"')
    named = {name for file in PACKAGE.rglob("*.py") for name in read.findall(file.read_text())}
    others = {name for name in named if name.removeprefix("PUNCHCARD_").lower() not in Settings.__struct_fields__}
    assert {"PUNCHCARD_STATE_HOME", "PUNCHCARD_CONFIG"} <= others
    for name in (others - {"PUNCHCARD_CONFIG"}) | {"PUNCHCARD_CRASH_SEED", "PUNCHCARD_MODEL_EXAMPLES"}:
        load(environment={name: "anything"})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="Cannot read the settings file"):
        load(config=tmp_path / "missing", environment={})
    (tmp_path / "latin").write_bytes(b"host = '\xe9'\n")
    with pytest.raises(SettingsInvalid, match="not valid TOML"):
        load(environment={"PUNCHCARD_CONFIG": str(tmp_path / "latin")})


# What is refused, and the change by one that is not.
ACROSS = [
    ({"workers": 100}, {"workers": 2}, "postgres_connections_max"),
    (
        {"postgres_connections_max": 18, "workers": 2},
        {"postgres_connections_max": 19, "workers": 2},
        r"api_processes x \(api_pool_max \+ 1\) \+ workers x 2 \+ 6 reserved = 19",
    ),
    (
        {"body_bytes_max": 2049, "bodies_in_flight_bytes_max": 2048},
        {"body_bytes_max": 2048, "bodies_in_flight_bytes_max": 2048},
        "bodies_in_flight_bytes_max",
    ),
    ({"portion_ms": 2001}, {"portion_ms": 2000}, "every portion would count as slow"),
    ({"heartbeat_ms": 3334}, {"heartbeat_ms": 3333}, "at least 3 x heartbeat_ms"),
    ({"poll_ms": 10_000}, {"poll_ms": 9_999}, "worker_silent_ms must be larger than poll_ms"),
    (
        {"worker_idle_in_transaction_ms": 1999},
        {"worker_idle_in_transaction_ms": 2000},
        "slow portions would be cut off",
    ),
    ({"secret_key": "x" * 31}, {"secret_key": "x" * 32}, "secret_key must have at least 32 characters"),
    ({"public_url": "shop.example"}, {"public_url": "http://shop.example"}, "public_url must begin with http"),
]


@pytest.mark.parametrize(("refused", "taken", "complaint"), ACROSS)
def test_values_are_checked_against_each_other(refused: dict[str, Any], taken: dict[str, Any], complaint: str) -> None:
    load(environment={}, arguments=taken)
    with pytest.raises(SettingsInvalid, match=complaint):
        load(environment={}, arguments=refused)


def test_every_refusal_across_settings_has_its_test() -> None:
    refusals = Path(settings.__file__).read_text().partition("def _check_across")[2].count("raise SettingsInvalid")
    assert len({complaint for _, _, complaint in ACROSS}) == refusals + 1  # the connections, from both sides


def test_a_server_with_a_database_of_its_own_counts_its_connections_itself() -> None:
    assert load(environment={}, arguments={"workers": 100, "database_url": "postgresql://elsewhere"}).workers == 100
