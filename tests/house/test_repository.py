"""The repository as strangers get it: pinned requirements, no trace of a machine, documents that hold."""

import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from punchcard.cli import cli
from tests.house.source import ROOT

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"^```(?:\w*)\n(.*?)^```|^((?:(?: {4}|\t)[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
# Where many things are, so that a document may well name a path there.
ANYWHERE = {Path("/"), *map(Path, ("/home", "/opt", "/root", "/srv", "/tmp", "/usr/local", "/usr/src", "/var/lib"))}
INDEX_OPTIONS = re.compile(r"^\s*(--?(index-url|extra-index-url|find-links|trusted-host|i|f))\b", re.MULTILINE)


def tracked() -> list[Path]:
    """Files under version control, and new ones that nothing ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def documents() -> list[Path]:
    return [file for file in tracked() if file.suffix == ".md"]


# ---- requirements ----


@pytest.mark.parametrize("name", ["run.txt", "dev.txt"])
def test_requirements_are_pinned_by_hash_and_name_no_index(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert not INDEX_OPTIONS.search(text)
    assert "://" not in text
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            assert re.match(r"[\w.\-\[\]]+==\S+ ", line), line
            assert "--hash=sha256:" in line, line


def test_what_runs_is_part_of_what_is_developed_with() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[\w.\-\[\]]+==\S+", (ROOT / "requirements" / name).read_text(), re.MULTILINE))

    assert pins("run.txt") <= pins("dev.txt")


# ---- traces of a machine ----


def test_no_file_names_this_machine_or_its_package_registries() -> None:
    """Found out while the test runs, so that this file names none of them either."""
    traces = [*registry_hosts(), f"{ROOT}/"]
    traces += [f"{ROOT.parent}/"] if ROOT.parent not in ANYWHERE else []
    patterns = [re.compile(rb"(?<![\w.-])" + re.escape(trace.encode())) for trace in traces]
    found = []
    for file in tracked():
        content = file.read_bytes()
        found += [(str(file.relative_to(ROOT)), hit[0].decode()) for each in patterns if (hit := each.search(content))]
    assert found == []


def registry_hosts() -> list[str]:
    """Hosts that pip and apt of this machine fetch from, and the public index."""
    index = importlib.import_module("pip._internal.models.index").PyPI
    hosts: set[str] = {index.netloc, index.file_storage_domain}
    for address in _addresses():
        host = urlsplit(address).hostname
        hosts |= {host} if host else set()
    return sorted(host for host in hosts if "." in host)


def _addresses() -> Iterator[str]:
    configured = subprocess.run(
        [ROOT / ".venv/bin/python", "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    yield from re.findall(r"\w+://[^\s'\"]+", configured.stdout)
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    for file in sources:
        if file.is_file():
            yield from re.findall(r"\w+://\S+", file.read_text(errors="replace"))


# ---- documents ----


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for file in documents():
        for target in LINK.findall(CODE.sub("", file.read_text())):
            path, _, anchor = target.partition("#")
            if urlsplit(target).scheme:
                continue
            to = (file.parent / path).resolve() if path else file
            if not to.exists() or (anchor and anchor not in _anchors(to)):
                broken.append((str(file.relative_to(ROOT)), target))
    assert broken == []


def _anchors(file: Path) -> set[str]:
    """The anchors of a document's headings, as forges make them."""
    headings = re.findall(r"^#+\s+(.*)$", CODE.sub("", file.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def commands_of(document: str) -> list[list[str]]:
    """The words of each command line in a document's code blocks that is ours."""
    blocks = ["".join(found) for found in CODE.findall(document)]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    words = [line.partition(" #")[0].strip().removeprefix("$ ").split() for line in lines]
    while any(line and re.match(r"[A-Z_]+=", line[0]) for line in words):
        words = [line[1:] if line and re.match(r"[A-Z_]+=", line[0]) else line for line in words]
    words = [[word.removeprefix(".venv/bin/") for word in line] for line in words]
    return [line for line in words if line and line[0] in {"make", "punchcard"}]


def test_commands_in_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for file in documents():
        for command in commands_of(file.read_text()):
            where = f"{file.relative_to(ROOT)}: {' '.join(command)}"
            if command[0] == "make":
                goals = [word for word in command[1:] if re.fullmatch(r"[a-z-]+", word)]
                wrong += [where for goal in goals if goal not in targets]
            elif not _punchcard_knows(command[1:]):
                wrong.append(where)
    assert wrong == []


def _punchcard_knows(words: list[str]) -> bool:
    """Whether the command and its options exist."""
    if not words or words[0].startswith("-"):
        return True
    depth = 2 if words[0] in {"projects", "keys", "metadata-schemas"} else 1
    shown = CliRunner().invoke(cli, [*words[:depth], "--help"])
    options = [word.split("=")[0] for word in words[depth:] if word.startswith("--")]
    return shown.exit_code == 0 and all(re.search(rf"{re.escape(option)}\b", shown.output) for option in options)


def test_commands_are_seen_where_they_stand() -> None:
    text = "```sh\nDATABASE_URL=x .venv/bin/punchcard serve --data D\n$ make run\nls\n```\n"
    text += "Or:\n\n    PORT=1 make nothing  # at all\n"
    assert commands_of(text) == [["punchcard", "serve", "--data", "D"], ["make", "run"], ["make", "nothing"]]
    assert _punchcard_knows(["serve", "--data", "D"])
    assert _punchcard_knows(["keys", "create", "--project", "X"])
    assert not _punchcard_knows(["serve", "--dta", "D"])
    assert not _punchcard_knows(["sevre"])


def test_make_lists_what_can_be_made() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY:(.*)$", text, re.MULTILINE)[0].split())
    described = set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))
    assert described == phony


def test_the_one_command_of_the_checks_is_the_readmes() -> None:
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
