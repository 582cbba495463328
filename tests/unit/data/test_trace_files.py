"""Records out of files: numbered, bounded, and a bad one costs itself alone."""

import gzip
import io
import json
import sys
import tracemalloc

import pytest
import zstandard

from trainwright.core.errors import SourceNotFound, SourceUnreadable
from trainwright.data.trace_files import iter_rows

DOCUMENTS = [{"n": number, "text": "é" * number} for number in range(60)]
JSONL = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in DOCUMENTS)
WRITTEN = {
    "a.jsonl": JSONL.encode(),
    "bom.jsonl": b"\xef\xbb\xbf" + JSONL.encode(),
    "crlf.ndjson": JSONL.replace("\n", "\r\n").encode(),
    "a.jsonl.gz": gzip.compress(JSONL.encode()),
    "a.jsonl.zst": zstandard.compress(JSONL.encode()),
    "list.json": json.dumps(DOCUMENTS, indent=2).encode(),
    "lines.json": JSONL.encode(),
    "list.json.gz": gzip.compress(json.dumps(DOCUMENTS).encode()),
    "no suffix": JSONL.encode(),
}


def rows_of(path):
    return list(iter_rows(str(path)))


def said(row):
    return None if row.error is None else row.error.message


@pytest.mark.parametrize("name", WRITTEN)
def test_every_form_gives_the_same_records(tmp_path, name):
    (tmp_path / name).write_bytes(WRITTEN[name])
    rows = rows_of(tmp_path / name)
    assert [row.document for row in rows] == DOCUMENTS
    assert [row.number for row in rows] == list(range(1, 61))


@pytest.mark.parametrize("content", [WRITTEN["a.jsonl"], WRITTEN["list.json"]])
def test_standard_input_is_lines_or_a_list(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert [row.document for row in iter_rows("-")] == DOCUMENTS


def test_a_bad_line_costs_itself_alone(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\nnot json\n\n{"b": "\xff"}\n' + b"[" * 100_000 + b'\n{"a": 2')
    rows = rows_of(path)
    assert [(row.number, row.unit, row.document) for row in rows if row.error is None] == [(1, "line", {"a": 1})]
    assert [row.number for row in rows] == [1, 2, 4, 5, 6]
    assert "byte 7 of it is not UTF-8" in said(rows[2])
    assert "nested too deeply" in said(rows[3])


def test_a_line_that_is_too_long_is_passed_over_with_flat_memory(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n{"b": "')
        for _ in range(40):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n{"a": 2}\n')
    tracemalloc.start()
    rows = rows_of(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [row.document for row in rows] == [{"a": 1}, None, {"a": 2}]
    assert rows[1].error.name == "trace-too-large"
    assert peak_bytes < 10 << 20


def test_a_value_of_a_list_that_is_too_large_is_passed_over(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"a": 1}, {"b": "x" * (3 << 20)}, {"a": 2}]))
    rows = rows_of(path)
    assert [row.document for row in rows] == [{"a": 1}, None, {"a": 2}]
    assert rows[1].error.name == "trace-too-large"


@pytest.mark.parametrize(
    ("text", "documents", "problem"),
    [
        ('[{"a": 1}, oops, {"b": 2}]', [{"a": 1}], "what follows was not read"),
        ('[{"a": 1}', [{"a": 1}], "the list is not closed"),
        ("[]", [], None),
        ("", [], None),
        ('{"a": 1} {"a": 2}', [{"a": 1}, {"a": 2}], None),
        ('{"a": ', [], "what follows was not read"),
    ],
)
def test_after_a_syntax_error_the_rest_is_said_to_be_lost(tmp_path, text, documents, problem):
    path = tmp_path / "a.json"
    path.write_text(text)
    rows = rows_of(path)
    assert [row.document for row in rows if row.error is None] == documents
    problems = [said(row) for row in rows if row.error is not None]
    assert len(problems) == (problem is not None)
    assert all(problem in one for one in problems)


def test_parquet_rows_are_records_and_empty_columns_are_left_out(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    rows = [{"question": "q", "answer": None}, {"question": None, "answer": "a"}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert [(row.number, row.unit, row.document) for row in rows_of(path)] == [
        (1, "row", {"question": "q"}),
        (2, "row", {"answer": "a"}),
    ]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SourceUnreadable, match=r"a\.parquet"):
        rows_of(path)


def test_a_cut_archive_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(WRITTEN["a.jsonl.gz"][:-20])
    with pytest.raises(SourceUnreadable, match=r"a\.jsonl\.gz"):
        rows_of(tmp_path / "a.jsonl.gz")
    with pytest.raises(SourceNotFound, match="nowhere"):
        iter_rows(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(SourceNotFound):
        iter_rows(str(tmp_path))
