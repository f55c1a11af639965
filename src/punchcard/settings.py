"""Settings: a commented default file, a file of the operator's, the environment, arguments.

`settings.default.toml` is both the defaults and the reference page. Later sources win; unset stays
`None` until all are merged. `load` checks every value, and the values against each other, so that a
server that starts has settings that can work.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from punchcard.errors import SettingsInvalid

ENVIRONMENT_PREFIX = "PUNCHCARD_"
# Variables with the prefix that are no settings; the beginnings are those of our tests.
OTHER_VARIABLES = {f"PUNCHCARD_{name}" for name in ("CONFIG", "APPLICATION_ID", "APPLICATION_TOKEN", "STATE_HOME")}
OTHER_BEGINNINGS = ("PUNCHCARD_CRASH_", "PUNCHCARD_MODEL_")
CONNECTIONS_PER_WORKER = 2
# Beside its pool, an API process listens for notifications.
LISTENERS_PER_API_PROCESS = 1
# Connections kept free for migrations, `psql`, the supervisor's own checks and retention.
CONNECTIONS_RESERVED = 6
HEARTBEATS_BEFORE_SILENCE = 3
SECRET_KEY_LENGTH_MIN = 32
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - listened on only if the operator says so

Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1000)]
Milliseconds = Annotated[int, Meta(ge=10, le=3_600_000)]
Days = Annotated[int, Meta(ge=0, le=3650)]
Bytes = Annotated[int, Meta(ge=1024, le=1 << 40)]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings, with the names and units of `settings.default.toml`."""

    host: str
    port: Port
    public_url: str
    data: str
    secret_key: str
    database_url: str
    postgres_version: Literal[16, 18]
    postgres_memory_percent: Annotated[int, Meta(ge=1, le=50)]
    postgres_connections_max: Annotated[int, Meta(ge=10, le=10_000)]
    api_processes: Count
    workers: Annotated[int, Meta(ge=0, le=1000)]
    api_pool_max: Count
    restarts_per_minute_max: Annotated[int, Meta(ge=0, le=10_000)]
    stop_seconds_max: Annotated[int, Meta(ge=1, le=3600)]
    body_bytes_max: Bytes
    bodies_in_flight_bytes_max: Bytes
    object_bytes_max: Bytes
    order_bytes_max: Bytes
    orders_per_import_max: Annotated[int, Meta(ge=1, le=100_000)]
    vouchers_per_campaign_max: Annotated[int, Meta(ge=1, le=100_000_000)]
    bulk_body_bytes_max: Bytes
    bulk_records_max: Annotated[int, Meta(ge=1, le=100_000)]
    idempotency_hours: Annotated[int, Meta(ge=1, le=8760)]
    report_link_hours: Annotated[int, Meta(ge=1, le=8760)]
    portion_ms: Milliseconds
    portion_slow_ms: Milliseconds
    poll_ms: Milliseconds
    heartbeat_ms: Milliseconds
    worker_silent_ms: Milliseconds
    worker_idle_in_transaction_ms: Milliseconds
    worker_lock_ms: Milliseconds
    worker_statement_ms: Milliseconds
    payload_days: Days
    failures_days: Days
    report_days: Days
    events_days: Days
    retention_sweep_seconds: Annotated[int, Meta(ge=1, le=86_400)]
    log_format: Literal["", "json", "text"]
    log_level: Literal["debug", "info", "warning", "error"]

    @property
    def base_url(self) -> str:
        """The address users reach, without a slash at the end."""
        return self.public_url.rstrip("/") or self.local_url

    @property
    def local_url(self) -> str:
        """The address at which this machine reaches the API, whatever stands in front of it for users."""
        host = EVERY_ADDRESS.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def connections_needed(self) -> int:
        """PostgreSQL connections that all processes of one `punchcard serve` may hold together."""
        of_an_api_process = self.api_pool_max + LISTENERS_PER_API_PROCESS
        return self.api_processes * of_an_api_process + self.workers * CONNECTIONS_PER_WORKER + CONNECTIONS_RESERVED


def load(
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Settings:
    """Merge all sources and check the result. Raises `SettingsInvalid` naming the setting and its source."""
    environment = os.environ if environment is None else environment
    merged = _defaults()
    known = set(merged)
    sources: dict[str, str] = {}
    file = config or (Path(environment["PUNCHCARD_CONFIG"]) if environment.get("PUNCHCARD_CONFIG") else None)
    if file is not None:
        of_file = _known(_from_file(file), known, source=str(file))
        merged |= of_file
        sources |= dict.fromkeys(of_file, str(file))
    of_environment = _from_environment(environment, known)
    merged |= {name: environment[variable] for name, variable in of_environment.items()}
    sources |= of_environment
    given = {name: value for name, value in (arguments or {}).items() if value is not None}
    merged |= given
    sources |= {name: f"--{name.replace('_', '-')}" for name in given}
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsInvalid(_readable(str(error), sources)) from None
    _check_across(settings)
    return settings


def _defaults() -> dict[str, Any]:
    return tomllib.loads(resources.files("punchcard").joinpath("settings.default.toml").read_text())


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise SettingsInvalid(f"Cannot read the settings file {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"The settings file {file} is not valid TOML: {error}") from None


def _known(values: dict[str, Any], known: set[str], *, source: str) -> dict[str, Any]:
    unknown = sorted(set(values) - known)
    if unknown:
        raise SettingsInvalid(f"Unknown setting {unknown[0]!r} in {source}{_meant(unknown[0], known)}")
    return values


def _meant(name: str, known: Iterable[str]) -> str:
    """A question about the most similar name, if one is; the prefix, which all variables share, makes none similar."""
    names = {each.removeprefix(ENVIRONMENT_PREFIX): each for each in known}
    near = difflib.get_close_matches(name.removeprefix(ENVIRONMENT_PREFIX), sorted(names), 1)
    return f"; is {names[near[0]]} meant?" if near else ""


def _from_environment(environment: Mapping[str, str], known: set[str]) -> dict[str, str]:
    """The settings that the environment has, each with its variable."""
    variables = {ENVIRONMENT_PREFIX + name.upper(): name for name in known}
    for variable in sorted(environment):
        ours = variable.startswith(ENVIRONMENT_PREFIX) and not variable.startswith(OTHER_BEGINNINGS)
        if ours and variable not in variables.keys() | OTHER_VARIABLES:
            raise SettingsInvalid(f"Unknown variable {variable}{_meant(variable, [*variables, *OTHER_VARIABLES])}")
    found = {name: variable for variable, name in variables.items() if variable in environment}
    if environment.get("DATABASE_URL") and "database_url" not in found:
        found["database_url"] = "DATABASE_URL"
    return found


def _readable(message: str, sources: Mapping[str, str]) -> str:
    """The complaint about a value with the choices, if there are a few, and where the value is from."""
    problem, _, path = message.partition(" - at `$.")
    name = path.rstrip("`")
    hint = get_type_hints(Settings).get(name)
    if get_origin(hint) is Literal:
        problem += f"; it is one of {', '.join(map(repr, get_args(hint)))}"
    where = f" ({sources[name]})" if name in sources else ""
    return f"Setting {name or '?'}: {problem}{where}"


def _check_across(settings: Settings) -> None:
    """Refuse values that are each valid and cannot work together."""
    if not settings.database_url and settings.connections_needed > settings.postgres_connections_max:
        raise SettingsInvalid(
            f"api_processes x (api_pool_max + {LISTENERS_PER_API_PROCESS}) + workers x {CONNECTIONS_PER_WORKER}"
            f" + {CONNECTIONS_RESERVED} reserved = {settings.connections_needed} connections, more than"
            f" postgres_connections_max = {settings.postgres_connections_max}"
        )
    if settings.bodies_in_flight_bytes_max < settings.body_bytes_max:
        raise SettingsInvalid(
            "bodies_in_flight_bytes_max is smaller than body_bytes_max: the largest body could never be accepted"
        )
    if settings.portion_slow_ms < settings.portion_ms:
        raise SettingsInvalid("portion_slow_ms is smaller than portion_ms: every portion would count as slow")
    if settings.worker_silent_ms < HEARTBEATS_BEFORE_SILENCE * settings.heartbeat_ms:
        raise SettingsInvalid(
            f"worker_silent_ms must be at least {HEARTBEATS_BEFORE_SILENCE} x heartbeat_ms,"
            " or live workers are taken for dead"
        )
    if settings.worker_silent_ms <= settings.poll_ms:
        raise SettingsInvalid(
            "worker_silent_ms must be larger than poll_ms, or the sessions of idle workers are ended between two looks"
        )
    if settings.worker_idle_in_transaction_ms < settings.portion_slow_ms:
        raise SettingsInvalid(
            "worker_idle_in_transaction_ms is smaller than portion_slow_ms: slow portions would be cut off"
        )
    if settings.secret_key and len(settings.secret_key) < SECRET_KEY_LENGTH_MIN:
        raise SettingsInvalid(f"secret_key must have at least {SECRET_KEY_LENGTH_MIN} characters, or be empty")
    if settings.public_url and urlsplit(settings.public_url).scheme not in {"http", "https"}:
        raise SettingsInvalid("public_url must begin with http:// or https://")
