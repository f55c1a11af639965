"""Uploads of CSV files as such: forms, hostile ones too, limits, idempotency, and that nobody is held up."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from punchcard.errors import ApiError
from punchcard.http.bodies import BodyLimit
from punchcard.http.forms import PARTS_MAX, file_of
from tests.bulk.csv_uploads import EXPECTED, imported, refusal, upload
from tests.deployment import Project

FILE_MISSING = "Payload should have required property 'file'"
BYTES_MAX = 10_485_760
HEAD = b'Content-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'


def sent(project: Project, body: bytes, content_type: str | None) -> Any:
    """Send a body as it is; the answer."""
    headers = {} if content_type is None else {"content-type": content_type}
    return project.http.post("/v1/products/importCSV", content=body, headers=headers)


def form(*parts: bytes, boundary: bytes = b"b") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


@pytest.mark.parametrize("resource", EXPECTED)
def test_a_form_without_the_file_is_refused_as_documented(project_18: Project, resource: str) -> None:
    path = f"/v1/{resource}/importCSV"
    for arguments in ({}, {"json": {"file": "name\n"}}, {"data": {"file": "name\n"}}, {"files": {"other": b"name\n"}},
                      {"content": b"name\n", "headers": {"content-type": "text/csv"}},
                      {"content": b"", "headers": {"content-type": "multipart/form-data"}},
                      {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary="}}):  # fmt: skip
        refused = project_18.call("POST", path, expect=400, **arguments)
        assert (refused["key"], refused["details"]) == ("invalid_payload", FILE_MISSING), arguments
    assert project_18.get("/v1/async-actions")["async_actions"] == []


PLAIN = HEAD + b"name\nMug"
TRICKS: list[tuple[bytes, str]] = [
    (form(PLAIN), "multipart/form-data; boundary=x"),  # another boundary
    (form(PLAIN)[:-8], "multipart/form-data; boundary=b"),  # cut off
    (b"", "multipart/form-data; boundary=b"),
    (b"junk" * 1000, "multipart/form-data; boundary=b"),
    (form(b"X-Y: " + b"z" * 100_000 + b"\r\n" + PLAIN), "multipart/form-data; boundary=b"),
    (form(b"".join(b"X-%d: y\r\n" % no for no in range(50)) + PLAIN), "multipart/form-data; boundary=b"),
    (form(*[HEAD.replace(b"file", b"other") + b"x"] * (PARTS_MAX + 1)), "multipart/form-data; boundary=b"),
    (form(PLAIN, PLAIN), "multipart/form-data; boundary=b"),
    (form(b"Content-Disposition: attachment\r\n\r\nname\n"), "multipart/form-data; boundary=b"),
    (form(b"no header at all"), "multipart/form-data; boundary=b"),
    (form(b'Content-Disposition: form-data; name="\xff"\r\n\r\nx'), "multipart/form-data; boundary=b"),
    (form(b'Content-Disposition: form-data; name="file"\r\nContent-Length: 3\r\n\r\nname\nMug'),
     "multipart/form-data; boundary=b"),
    (form(PLAIN, boundary=b"\xc3\xa9"), "multipart/form-data; boundary=\xe9"),
    (form(b'Content-Disposition: form-data; name="file"\r\nContent-Type: text/csv; charset=no\r\n\r\nx,y\n1'),
     "multipart/form-data; boundary=b"),
]  # fmt: skip


@pytest.mark.parametrize("trick", range(len(TRICKS)))
def test_hostile_forms_are_refused(project_18: Project, trick: int) -> None:
    body, content_type = TRICKS[trick]
    headers = {b"content-type": content_type.encode("latin-1")}
    answer = project_18.http.post("/v1/products/importCSV", content=body, headers=headers)
    assert (answer.status_code, answer.json()["key"]) == (400, "invalid_payload"), answer.text


def test_names_of_files_mean_nothing(project_18: Project) -> None:
    names = [
        b"",
        b'; filename=""',
        b'; filename="../../etc/passwd"',
        b'; filename="a\\"b.exe"',
        b"; filename*=utf-8''%ff",
    ]
    for name in names:
        part = b'Content-Disposition: form-data; name="file"' + name + b"\r\nContent-Type: image/png\r\n\r\nname\nMug"
        other = b'Content-Disposition: form-data; name="other"\r\n\r\nx'
        answer = sent(project_18, form(other, part, other), "multipart/form-data; boundary=b")
        assert answer.status_code == 200, (name, answer.text)


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([b"--b", b"--", b"\r\n", b"\n", HEAD, PLAIN, b"x", b": ", b'name="', b"\xff", b"b"])).map(
        b"".join
    ),
    st.sampled_from(["multipart/form-data; boundary=b", 'multipart/form-data;boundary="b"', "multipart/form-data;;="]),
)
def test_any_form_is_read_or_refused(body: bytes, content_type: str) -> None:
    try:
        assert isinstance(file_of(body, content_type, name="file", limit=BodyLimit(100, "setting")), bytes)
    except ApiError as error:
        assert error.status in {400, 413}  # noqa: PT017


def test_a_file_may_be_as_large_as_the_limit(project_18: Project) -> None:
    row = b"M" * 1023 + b"\n"
    file = b"name\n" + row * (BYTES_MAX // len(row))
    largest = file[: BYTES_MAX - 1] + b"\n"
    assert len(largest) == BYTES_MAX
    answer = upload(project_18, "products", largest)
    assert answer.status_code == 200, answer.text
    project_18.http.post(f"/v1/async-actions/{answer.json()['async_action_id']}/cancel")
    for more in (b"\n", b"\n" * 200_000):
        refused = upload(project_18, "products", largest + more)
        assert (refused.status_code, refused.json()["statusCode"]) == (413, 413)
        assert refused.json()["message"] == f"Payload content length greater than maximum allowed: {BYTES_MAX}"


def test_compressed_forms_are_refused(project_18: Project) -> None:
    assert upload(project_18, "products", "name\nMug\n", **{"content-encoding": "gzip"}).status_code == 415


def test_a_file_with_no_rows_is_an_import_of_nothing(project_18: Project) -> None:
    action = imported(project_18, "products", "name,source_id\n")
    assert (action["status"], action["operation_status"], action["progress"]) == ("DONE", "SUCCESS", 100)
    assert action["result"]["message"] == "0 product(s) imported successfully, 0 failed."
    assert refusal(project_18, "products", "") == (
        "Property .file is empty: its first row has to have the names of the columns"
    )
    assert refusal(project_18, "skus", "source_id\na\n") == "Property .file should have required column 'product_id'"
    assert refusal(project_18, "customers", "a;b\n1;2\n") == "Property .file must be separated by commas"


def test_a_file_that_is_sent_again_is_imported_once(project_18: Project) -> None:
    """The key stands for the file: each form separates its parts by another text."""
    first = upload(project_18, "products", "name\nMug\n", **{"Idempotency-Key": "k"})
    again = upload(project_18, "products", "name\nMug\n", **{"Idempotency-Key": "k"})
    assert (first.json(), again.headers["Idempotent-Replayed"]) == (again.json(), "true")
    other = upload(project_18, "products", "name\nCup\n", **{"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["key"]) == (409, "idempotency_key_reused")
    project_18.finished(first.json()["async_action_id"])
    assert project_18.get("/v1/products")["total"] == 1


def test_others_are_answered_while_a_large_file_is_read(project_18: Project) -> None:
    file = b"name,a,b,c,d,e\n" + b"x,1,2,3,4,5\n" * 99_000
    slowest = 0.0
    with ThreadPoolExecutor(1) as thread:
        sent_at = time.monotonic()
        accepted = thread.submit(upload, project_18, "products", file)
        while not accepted.done():
            began = time.monotonic()
            project_18.get("/healthz")
            slowest = max(slowest, time.monotonic() - began)
        seconds = time.monotonic() - sent_at
        assert accepted.result().status_code == 200
    project_18.http.post(f"/v1/async-actions/{accepted.result().json()['async_action_id']}/cancel")
    assert slowest < 0.8 * seconds
