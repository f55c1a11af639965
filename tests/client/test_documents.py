"""The mappings in the documents are taken from there, and do what the documents say."""

import json
import re
from pathlib import Path

import pytest

from punchcard.client import mapping, mapping_files
from tests.client.reading import bodies, errors, read_bytes


def block(text: str, beginning: str) -> str:
    """The indented block that begins so, without its indentation."""
    [found] = [
        each for each in re.findall(r"(?:^ {4}.*\n)+", text, re.MULTILINE) if each.lstrip().startswith(beginning)
    ]
    return re.sub(r"^ {4}", "", found, flags=re.MULTILINE)


def test_the_how_to_s_mapping_reads_the_how_to_s_file(repository: Path) -> None:
    text = (repository / "docs/how-to/import-csv.md").read_text()
    own = mapping_files.parse(block(text, "[csv]").encode(), "import-csv.md")
    found = read_bytes(block(text, "no;date").encode(), mapping=own)
    assert not errors(found)
    [order] = map(json.loads, bodies(found))
    assert [item["price"] for item in order["items"]] == [102950, 500]
    assert order["metadata"] == {"ordered_at": "2019-05-04T09:12:00+02:00"}
    assert (order["status"], order["customer"]["source_id"]) == ("PAID", "ann@shop.example")


@pytest.mark.parametrize("name", ["Csv", "Numbers", "Lines", "Cancellations", "Skip", "Split", "Column", "Condition"])
def test_every_key_is_documented(repository: Path, name: str) -> None:
    text = (repository / "docs/how-to/import-csv.md").read_text()
    missing = [field for field in getattr(mapping, name).__struct_encode_fields__ if f"`{field}`" not in text]
    assert missing == []
