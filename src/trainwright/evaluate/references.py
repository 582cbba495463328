"""Outputs beside what was expected of them: chrF and ROUGE of texts, EQ-Bench's distance of four scores."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainwright.core.records import ItemScore
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.judged_rows import build_row, judge_text, mark_unavailable
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.scorers import Judgement

INSTALL = "pip install 'trainwright[text-metrics]'"
ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


def score_chrf(items: Sequence[EvalItem], outputs: Sequence[Output]) -> list[ItemScore]:
    """chrF of each output; `bleu`, of all outputs together, is made of these rows too (`table_metrics.py`)."""
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        return mark_unavailable(items, outputs, ["chrf"], f"sacrebleu is not installed: {INSTALL}")
    chrf = CHRF()
    return _score_beside(items, outputs, ["chrf"], lambda text, target: [chrf.sentence_score(text, [target]).score])


def score_rouge(items: Sequence[EvalItem], outputs: Sequence[Output]) -> list[ItemScore]:
    """ROUGE-1, ROUGE-2 and ROUGE-L of each output, as F1."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        return mark_unavailable(items, outputs, list(ROUGE), f"rouge-score is not installed: {INSTALL}")
    scorer = RougeScorer(list(ROUGE.values()))

    def score(text: str, target: str) -> list[float]:
        found = scorer.score(target, text)
        return [found[name].fmeasure for name in ROUGE.values()]

    return _score_beside(items, outputs, list(ROUGE), score)


def _score_beside(
    items: Sequence[EvalItem],
    outputs: Sequence[Output],
    metrics: Sequence[str],
    score: Callable[[str, str], Sequence[float]],
) -> list[ItemScore]:
    rows = []
    for item, output in zip(items, outputs, strict=True):
        if item.expected_answer is None:
            found = [Judgement("error", why="the item has no expected answer")] * len(metrics)
        elif output.text is None:
            found = [judge_text(output, lambda _: Judgement("error", why="unreachable"))] * len(metrics)
        else:
            # An empty output is one that shares nothing: to leave it out would reward silence.
            found = [Judgement("scored", float(value)) for value in score(output.text, item.expected_answer)]
        rows += [build_row(item, output, metric, one) for metric, one in zip(metrics, found, strict=True)]
    return rows


# ── EQ-Bench ──────────────────────────────────────────────────────────────────────────────────────────────────────────
ADJUSTMENT = 0.7477
"""Chosen by EQ-Bench's authors so that random scores come to 0."""
NUM_EMOTIONS = 4


def score_eq_bench(items: Sequence[EvalItem], outputs: Sequence[Output]) -> list[ItemScore]:
    """The four emotions of `reference` in an item's meta beside those the output names (EQ-Bench 2; Paech 2023,
    arXiv:2312.06281). Random scores come to 0, the reference itself to 10.
    """
    rows = []
    for item, output in zip(items, outputs, strict=True):
        reference = (item.meta or {}).get("reference")
        if isinstance(reference, Mapping):
            judgement = judge_text(output, lambda text, reference=reference: _judge_emotions(text, reference))  # type: ignore[misc]
        else:
            judgement = Judgement("error", why="the item has no reference scores in its meta")
        rows.append(build_row(item, output, "eq_bench", judgement))
    return rows


def measure_emotions(said: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """10 − 0.7477 · Σ of distances d, each 0, or 6.5 / (1 + e^(−1.2 (d − 4))) up to 5, or d itself past that."""
    return 10 - ADJUSTMENT * sum(_scale(abs(said[name] - wanted)) for name, wanted in reference.items())


def _scale(distance: float) -> float:
    if distance == 0:
        return 0.0
    return distance if distance > 5 else 6.5 / (1 + math.exp(-1.2 * (distance - 4)))


def _judge_emotions(text: str, reference: Mapping[str, Any]) -> Judgement:
    _, marked, revised = text.rpartition("Revised scores:")
    wanted = {name.casefold(): float(score) for name, score in reference.items()}
    said = _read_emotions(revised if marked else text, wanted)
    if len(said) < len(wanted) or len(wanted) != NUM_EMOTIONS:
        return Judgement("unparsed", why=f"{len(said)} of the {len(wanted)} emotions have a score")
    answer = ", ".join(f"{name} {score:g}" for name, score in said.items())
    return Judgement("scored", measure_emotions(said, wanted), answer)


def _read_emotions(text: str, wanted: Mapping[str, float]) -> dict[str, float]:
    found = re.findall(r"^\W*([^\W\d_][\w ]*?)\W*:\s*(\d+(?:\.\d+)?)", text, re.MULTILINE)
    said = {name.strip().casefold(): float(score) for name, score in reversed(found)}
    return {name: said[name] for name in wanted if name in said and 0 <= said[name] <= 10}
