"""Outputs beside what was expected: held against the libraries, and EQ-Bench against its own formula."""

import math
import sys

import pytest

from trainwright.evaluate.figures import measure
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.references import measure_emotions, score_chrf, score_eq_bench, score_rouge

TEXTS = [("the cat sat on the mat", "the cat sat on a mat"), ("a dog", "a dog barked at the moon"), ("", "nothing")]


def ask(texts):
    items = [EvalItem(id=str(place), prompt="?", expected_answer=target) for place, (_, target) in enumerate(texts)]
    return items, [Output(id=str(place), text=text) for place, (text, _) in enumerate(texts)]


@pytest.mark.parametrize(
    ("score", "package", "metrics"), [(score_chrf, "sacrebleu", 1), (score_rouge, "rouge_score", 3)]
)
def test_without_its_package_a_scorer_is_unavailable_and_says_what_to_install(monkeypatch, score, package, metrics):
    for name in [package, f"{package}.metrics.chrf", f"{package}.rouge_scorer", f"{package}.metrics.bleu"]:
        monkeypatch.setitem(sys.modules, name, None)
    rows = score(*ask(TEXTS))
    assert {row.status for row in rows} == {"unavailable"}
    assert len(rows) == 3 * metrics
    assert "pip install 'trainwright[text-metrics]'" in rows[0].why
    assert measure("bleu", rows).value is None


def test_chrf_and_bleu_are_those_of_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu", reason="the extra text-metrics is not installed")
    rows = score_chrf(*ask(TEXTS))
    assert rows[0].score == pytest.approx(sacrebleu.sentence_chrf(TEXTS[0][0], [TEXTS[0][1]]).score)
    assert rows[2].score == 0
    outputs, targets = zip(*TEXTS, strict=True)
    expected = sacrebleu.corpus_bleu(outputs, [targets]).score
    assert measure("bleu", rows).value == pytest.approx(expected)


def test_rouge_is_that_of_rouge_score():
    pytest.importorskip("rouge_score", reason="the extra text-metrics is not installed")
    rows = score_rouge(*ask(TEXTS))
    assert [row.metric for row in rows[:3]] == ["rouge_1", "rouge_2", "rouge_l"]
    assert rows[0].score == pytest.approx(5 / 6)
    assert {row.score for row in rows[6:]} == {0.0}


# ── EQ-Bench ──────────────────────────────────────────────────────────────────────────────────────────────────────────
REFERENCE = {"Angry": 3.0, "Sad": 0.0, "Calm": 5.0, "Proud": 8.0}


def test_points_are_as_the_formula_says():
    assert measure_emotions(REFERENCE, REFERENCE) == 10
    off = {**REFERENCE, "Angry": 5.0, "Sad": 9.0}
    expected = 10 - 0.7477 * (6.5 / (1 + math.exp(-1.2 * (2 - 4))) + 9)
    assert measure_emotions(off, REFERENCE) == pytest.approx(expected)


def test_revised_scores_are_read_where_there_are_some():
    item = EvalItem(id="q", prompt="?", expected_answer="x", meta={"reference": REFERENCE})
    text = (
        "First pass scores:\nAngry: 1\nSad: 1\nCalm: 1\nProud: 1\n\nCritique: hm\n\n"
        "Revised scores:\n**Angry**: 3\nsad: 0\nCalm: 5\nProud: 8\n"
    )
    said = [text, text.partition("Critique")[0], "Angry: 3\nSad: 0", "Angry: 3\nSad: 0\nCalm: 5\nProud: 80"]
    rows = [score_eq_bench([item], [Output(id="q", text=one)])[0] for one in said]
    assert rows[0].score == 10
    assert rows[1].score < 10
    assert [row.status for row in rows] == ["scored", "scored", "unparsed", "unparsed"]
    assert "2 of the 4" in rows[2].why
    assert score_eq_bench([item.model_copy(update={"meta": None})], [Output(id="q", text=text)])[0].status == "error"
