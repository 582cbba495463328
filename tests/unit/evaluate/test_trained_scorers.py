"""Scorers trained on labels: the same as scikit-learn's pipeline, honestly measured, and strict about the file."""

import csv
import json
import random

import numpy as np
import pytest

from trainwright.core.errors import (
    InvalidEncoding,
    InvalidRow,
    InvalidValue,
    LabelsTooFew,
    ObjectDamaged,
    PackageMissing,
    SourceNotFound,
)
from trainwright.core.hashing import digest_bytes
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.table_scorers import NO_PARTS, Parts, parse_table_scorer
from trainwright.evaluate.trained_scorers import (
    OpenedScorer,
    fit_scorer,
    list_terms,
    parse_scorer_model,
    read_labelled_file,
)

pytest.importorskip("sklearn", reason="the extra scorers is not installed")

COLUMNS = {"text": "text", "label": "label"}
RUDE, KIND = ["stupid fool", "shut up idiot", "you are trash"], ["thank you friend", "how nice", "well done dear"]


def write_rows(path, rows, header=("text", "label", "author")):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def make_rows(num_groups=12, flip=0):
    drawn = random.Random(3)
    rows = [
        (
            f"{drawn.choice(RUDE if label else KIND)} {drawn.choice('abcdefgh')}word {group} {label}",
            label,
            f"author{group}",
        )
        for group in range(num_groups)
        for label in (0, 1)
    ]
    return [(text, 1 - label if place < flip else label, author) for place, (text, label, author) in enumerate(rows)]


@pytest.fixture
def labelled_file(tmp_path):
    return write_rows(tmp_path / "rude.csv", make_rows(flip=3))


def read(path, group="author", positive=None):
    return read_labelled_file(path, "text", "label", group, positive)


def fit(path, **more):
    record, data = fit_scorer("rude", read(path, **more), COLUMNS, 0)
    return OpenedScorer(record, parse_scorer_model(data, record)), data


# ── what is learnt ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("levels", [2, 3])
def test_probabilities_are_those_of_the_pipeline_of_scikit_learn(tmp_path, levels):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = [(text, (label + place // 2) % levels, author) for place, (text, label, author) in enumerate(make_rows())]
    scorer, _ = fit(write_rows(tmp_path / "levels.csv", rows))
    pipeline = make_pipeline(
        TfidfVectorizer(analyzer=list_terms, sublinear_tf=True),
        LogisticRegression(class_weight="balanced", max_iter=2_000, random_state=0),
    )
    pipeline.fit([row[0] for row in rows], [row[1] for row in rows])
    texts = ["you are a stupid stupid fool", "thank you", "", "unknown words alone"]
    expected = pipeline.predict_proba(texts)
    found = [scorer.model.weigh(text) for text in texts]
    assert np.allclose(found, expected, atol=1e-9)
    assert scorer.model.measure_level(texts[0]) == pytest.approx(expected[0] @ np.linspace(0, 1, levels))


def test_one_file_gives_one_scorer_and_its_quality_has_intervals(labelled_file):
    first, data = fit(labelled_file)
    again, same = fit(labelled_file)
    assert (first.record.id, data) == (again.record.id, same)
    record = first.record
    assert record.labelled == digest_bytes(labelled_file.read_bytes())
    assert (record.num_rows, record.num_groups, record.classes) == (24, 12, ("0", "1"))
    assert record.kappa.low < record.kappa.value < record.kappa.high <= 1
    assert record.kappa.num_clusters == 12
    assert "kappa 0." in first.note
    assert "precision 0." in first.note


def test_groups_are_never_on_both_sides(tmp_path):
    """Each author's word gives the label away; whoever had seen another text of the author would know it."""
    rows = [(f"secret{author} word{copy}", author % 2, author) for author in range(20) for copy in range(5)]
    path = write_rows(tmp_path / "authors.csv", rows)
    assert fit(path, group=None)[0].record.kappa.value > 0.9
    assert fit(path)[0].record.kappa.value < 0.3


def test_rows_of_one_text_are_one_group(tmp_path):
    rows = [("the same", 0, ""), ("The  same".replace("  ", " "), 0, "")] * 3 + [
        (f"another {n}", 1, "") for n in range(6)
    ]
    with pytest.raises(LabelsTooFew, match="'0' occurs in 1 groups"):
        fit(write_rows(tmp_path / "same.csv", rows), group=None)


def test_model_that_was_changed_is_refused(labelled_file):
    scorer, data = fit(labelled_file)
    document = json.loads(data)
    for damaged in (b"{}", b"nonsense", json.dumps(document | {"idf": "many"}).encode()):
        with pytest.raises(ObjectDamaged, match="rude"):
            parse_scorer_model(damaged, scorer.record)


# ── the labelled file ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", InvalidValue, "no column"),
        (b"body,label\nx,1\n", InvalidValue, "body, label"),
        (b"text,label,author\n", LabelsTooFew, "0 rows"),
        (b"text,label,author\na b,1,x\nc d,1,y\n", LabelsTooFew, "1 different"),
        (b"text,label,author\na,1,x\n,0,y\n", InvalidRow, "line 3"),
        (b"text,label,author\na,1,x\nb,0\n", InvalidRow, "line 3"),
        (b"text,label,author\na,1,x,more\n", InvalidRow, "line 2"),
        (b'text,label,author\n"a,1,x\n', InvalidRow, "no CSV"),
        (b"text,label,author\n\xff,1,x\n", InvalidEncoding, "UTF-8"),
        (b"text,label,author\na b,good,x\nc d,bad,y\n", InvalidValue, "which way"),
        (b"text,label,author\na b,no,x\nc d,0,y\n", InvalidValue, "which way"),
        (b"text,label,author\na b,1,x\nc d,0,y\n", LabelsTooFew, "1 groups"),
        (b"text,label,author\n" + b"!,1,x\n?,0,y\n" * 5, LabelsTooFew, "groups"),
    ],
)
def test_file_that_cannot_be_learnt_from_is_refused(tmp_path, content, error, words):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(error) as raised:
        fit(path)
    assert words in f"{raised.value.message} {raised.value.why}"
    assert raised.value.next_step


def test_texts_without_words_are_refused(tmp_path):
    path = write_rows(tmp_path / "marks.csv", [("!" * n, n % 2, n) for n in range(1, 21)])
    with pytest.raises(LabelsTooFew, match="no word"):
        fit(path)


def test_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceNotFound, match=r"none\.csv"):
        read(tmp_path / "none.csv")


def test_positive_label_is_the_last_class(tmp_path):
    path = write_rows(tmp_path / "words.csv", [(f"text {n}", ("good", "bad")[n % 2], n) for n in range(12)])
    assert read(path, positive="good").classes == ("bad", "good")
    with pytest.raises(InvalidValue, match="'fine'"):
        read(path, positive="fine")


def test_without_scikit_learn_fitting_says_what_to_install(labelled_file, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(PackageMissing) as raised:
        fit(labelled_file)
    assert "trainwright[scorers]" in raised.value.next_step


# ── at work ───────────────────────────────────────────────────────────────────────────────────────────────────────────
ITEMS = [EvalItem(id=name, prompt="?", expected_answer="x", meta={"kind": "unsafe"}) for name in "ab"]
OUTPUTS = [Output(id="a", text="shut up stupid idiot fool"), Output(id="b", text="thank you, how nice, friend")]


def test_trained_scorer_scores_outputs_and_says_how_good_it_is(labelled_file):
    scorer, _ = fit(labelled_file)
    parts = Parts(find_scorer=lambda name: scorer)
    rows = parse_table_scorer("toxicity:rude", parts)(ITEMS, OUTPUTS)
    assert [(row.metric, row.score) for row in rows] == [("toxicity", 1), ("toxicity", 0)]
    assert all(scorer.record.id[:12] in row.why and "kappa" in row.why for row in rows)
    levels = parse_table_scorer("empathy:rude", parts)(ITEMS, OUTPUTS)
    assert [row.metric for row in levels] == ["empathy"] * 2
    assert levels[0].score > 0.5 > levels[1].score
    refusals = parse_table_scorer("refusal:rude", parts)(ITEMS, OUTPUTS)
    assert [row.score for row in refusals] == [1, 0]
    assert "scorer rude" in refusals[0].why


@pytest.mark.parametrize("name", ["toxicity", "toxicity:none", "empathy:none", "refusal:none"])
def test_scorer_that_nobody_trained_is_unavailable_and_says_what_would_provide_it(name):
    rows = parse_table_scorer(name, NO_PARTS)(ITEMS, OUTPUTS)
    assert {row.status for row in rows} == {"unavailable"}
    assert "trainwright scorers fit" in rows[0].why


def test_unknown_scorer_and_needless_parameter_are_refused():
    for text in ("sentiment", "rouge:2", "ground-truth:x"):
        with pytest.raises(ValueError, match=text.partition(":")[0]):
            parse_table_scorer(text)
