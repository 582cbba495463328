"""Exports are canonical JSON, whatever the texts hold."""

import csv
import io
import json

import pytest

from trainwright.core.hashing import canonical_json
from trainwright.core.traces import Step, Trace
from trainwright.data.trace_export import iter_chunks

ODD = 'a "quoted" \\ line\nwith\ttabs, \x01\x1f\x7f\u2028\u2029, é, 中, 🜁 and </script>'


@pytest.fixture
def placed():
    steps = (Step(i=7, type="why", content=ODD), Step(i=2, type=ODD, content="then"))
    trace = Trace(trace_version="1", prompt=ODD, final_answer=ODD, steps=steps, meta={"odd": ODD, "share": 1e16})
    return trace.canonical, trace.id, "train"


@pytest.mark.parametrize("form", ["messages", "tunix_sft", "chatml", "training_example"])
def test_rows_are_canonical_json(placed, form):
    line = b"".join(iter_chunks([], [placed], form))
    assert line.count(b"\n") == 1
    assert line == canonical_json(json.loads(line)) + b"\n"


def test_cells_of_csv_are_canonical_json(placed):
    text = b"".join(iter_chunks([], [placed], "csv")).decode("utf-8")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    document = json.loads(placed[0])
    assert row["prompt"] == ODD
    for column in ("steps", "meta"):
        assert row[column].encode("utf-8") == canonical_json(document[column])
