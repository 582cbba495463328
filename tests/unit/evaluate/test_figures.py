"""What a table says about a metric, held against scikit-learn, and against itself: pairs, clusters, samples, nothing at all."""

import math
import warnings

import numpy as np
import pytest

from trainwright.core.records import ItemScore
from trainwright.evaluate.figures import (
    bounds,
    direction,
    find_objection,
    list_notes,
    measure,
    measure_all,
    measure_difference,
    spread,
)
from trainwright.evaluate.statistics import estimate_mean, estimate_rate, estimate_rate_difference


def row(item_id, metric, score, **more):
    filled = {"cluster_id": None, "slices": {}, "output": None, "answer": None, "target": None}
    status = "unparsed" if score is None else "scored"
    why = "no answer was found" if score is None else ""
    return ItemScore(**(filled | {"status": status, "why": why} | more), item_id=item_id, metric=metric, score=score)


def answers(pairs, **more):
    """Rows of (answer, target); an answer None could not be read."""
    return [
        row(
            f"i{place}",
            "answer_correct",
            None if said is None else float(said == wanted),
            answer=said,
            target=wanted,
            **more,
        )
        for place, (said, wanted) in enumerate(pairs)
    ]


GENERATOR = np.random.default_rng(5)
LABELS = ["no", "perhaps", "yes"]
PAIRS = [
    (str(GENERATOR.choice([wanted, *LABELS])), str(wanted)) for wanted in GENERATOR.choice(LABELS, size=60, p=[0.2, 0.3, 0.5])
]  # fmt: skip


@pytest.fixture(scope="module")
def sklearn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sklearn.metrics
    return sklearn.metrics


# ── metrics of items ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_share_has_wilsons_interval_and_its_difference_newcombes():
    first = [row(f"i{n}", "answer_correct", float(n < 6)) for n in range(10)]
    second = [row(f"i{n}", "answer_correct", float(n < 8)) for n in reversed(range(10))]
    assert measure("answer_correct", first, 0.1) == estimate_rate(6, 10, 0.1)
    assert measure_difference("answer_correct", first, second, 0.1) == estimate_rate_difference(6, 0, 2, 2, 0.1)
    assert (direction("answer_correct"), bounds("answer_correct")) == ("higher", (0, 1))


def test_samples_of_an_item_are_averaged_before_anything_else():
    rows = [row(f"i{n}", "answer_correct", float(sample < n)) for n in range(4) for sample in range(3)]
    found = measure("answer_correct", rows)
    assert found == estimate_mean([0, 1 / 3, 2 / 3, 1])
    assert found.n == 4


def test_clusters_count_only_where_they_are_asked_for():
    rows = [row(f"i{n}", "answer_correct", float(n < 6), cluster_id=f"c{n // 3}") for n in range(12)]
    assert measure("answer_correct", rows).num_clusters == 4
    assert measure("answer_correct", rows, cluster=False) == estimate_rate(6, 12)
    assert measure_difference("answer_correct", rows, rows).num_clusters == 4


def test_items_without_a_value_on_one_side_are_left_out_of_a_difference():
    first = [row(f"i{n}", "chrf", 50.0 + n) for n in range(5)]
    second = [row(f"i{n}", "chrf", 55.0 + 2 * n) for n in range(1, 5)]
    second.append(row("i0", "chrf", None, status="error"))
    assert measure_difference("chrf", first, second) == estimate_mean([6, 7, 8, 9])


def test_what_nobody_measured_says_why():
    assert "no row of toxicity" in measure("toxicity", answers(PAIRS)).why_not
    missing = [row("a", "toxicity", None, status="unavailable", why="there is no scorer: trainwright scorers fit …")]
    found = measure("toxicity", missing)
    assert (found.value, found.n) == (None, 0)
    assert "scorers fit" in found.why_not
    assert measure("perplexity", missing).value is None
    assert measure_difference("perplexity", missing, missing).value is None


@pytest.mark.parametrize(
    "call", [direction, bounds, lambda name: measure(name, []), lambda name: measure_difference(name, [], [])]
)
def test_unknown_metric_is_refused_with_the_nearest(call):
    with pytest.raises(ValueError, match="perplexity"):
        call("perplexty")
    with pytest.raises(ValueError, match="no metric"):
        call("gap:category:nonsense")


# ── likelihood ────────────────────────────────────────────────────────────────────────────────────────────────────────
def texts(factor=1.0, **more):
    facts = [(20.0, 10, 40), (33.0, 12, 50), (5.0, 4, 20), (18.0, 9, 33), (40.0, 13, 61)]
    return [
        row(f"t{place}", metric, value, **more)
        for place, (nats, tokens, length) in enumerate(facts)
        for metric, value in (("text_nats", nats * factor), ("text_tokens", tokens), ("text_bytes", length))
    ]


def test_perplexity_weighs_tokens_and_bits_per_byte_bytes():
    found = measure("perplexity", texts(), 0.05, seed=1)
    assert found.value == pytest.approx(math.exp(116 / 48))
    assert found.low < found.value < found.high
    assert found == measure("perplexity", texts(), 0.05, seed=1)
    assert measure("bits_per_byte", texts()).value == pytest.approx(116 / math.log(2) / 204)
    assert direction("perplexity") == "lower"
    correct = [one.model_copy(update={"metric": "text_correct", "score": 3.0}) for one in texts()[::3]]
    assert measure("next_token_accuracy", [*texts(), *correct]).value == pytest.approx(15 / 48)


def test_difference_of_a_ratio_draws_the_same_items_on_both_sides():
    worse = measure_difference("perplexity", texts(), texts(1.1), seed=1)
    assert worse.value == pytest.approx(math.exp(116 * 1.1 / 48) - math.exp(116 / 48))
    alone = measure("perplexity", texts(), seed=1)
    assert worse.low > 0
    assert worse.high - worse.low < alone.high - alone.low
    assert measure_difference("perplexity", texts(), texts()).high == 0.0


def test_bootstrap_draws_clusters_where_there_are_some():
    rows = [one.model_copy(update={"cluster_id": "ab"[int(one.item_id[1]) % 2]}) for one in texts()]
    assert measure("perplexity", rows).num_clusters == 2
    assert measure("perplexity", rows, cluster=False).num_clusters is None


# ── classes ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_figures_of_classes_are_those_of_scikit_learn(sklearn):
    said, wanted = zip(*PAIRS, strict=True)
    rows = answers(PAIRS)
    for of in ("precision", "recall", "f1"):
        score = getattr(sklearn, f"{of}_score")
        assert measure(f"macro_{of}", rows).value == pytest.approx(score(wanted, said, average="macro"))
        assert measure(f"micro_{of}", rows).value == pytest.approx(score(wanted, said, average="micro"))
        for place, label in enumerate(LABELS):
            expected = score(wanted, said, average=None)[place]
            assert measure(f"class_{of}:{label}", rows).value == pytest.approx(expected)
    assert measure("mcc", rows).value == pytest.approx(sklearn.matthews_corrcoef(wanted, said))
    assert measure("kappa", rows).value == pytest.approx(sklearn.cohen_kappa_score(wanted, said))


def test_answers_that_were_not_read_count_against_recall_and_not_against_precision(sklearn):
    pairs = [*PAIRS, *[(None, "yes")] * 6, ("maybe so", "no")]
    rows = answers(pairs)
    said = ["?" if one is None else one for one, _ in pairs]
    wanted = [one for _, one in pairs]
    assert measure("macro_f1", rows).value == pytest.approx(
        sklearn.f1_score(wanted, said, labels=LABELS, average="macro", zero_division=0)
    )
    assert measure("mcc", rows).value == pytest.approx(sklearn.matthews_corrcoef(wanted, said))
    assert measure("kappa", rows).value == pytest.approx(sklearn.cohen_kappa_score(wanted, said))
    right = sum(one == other for one, other in pairs)
    assert measure("micro_recall", rows).value == right / len(pairs)
    assert measure("micro_precision", rows).value == right / (len(pairs) - 6)


def test_free_answers_are_no_classes():
    found = measure("macro_f1", answers([(str(n), str(n + n % 2)) for n in range(0, 20, 2)]))
    assert found.value is None
    assert "no classes" in found.why_not


def test_area_and_brier_are_those_of_scikit_learn(sklearn):
    targets = GENERATOR.integers(2, size=40)
    scores = np.round(np.clip(0.3 * targets + GENERATOR.random(40) * 0.7, 0, 1), 1)
    rows = [
        row(f"i{n}", "positive_probability", float(score), target=str(target))
        for n, (score, target) in enumerate(zip(scores, targets, strict=True))
    ]
    found = measure("roc_auc", rows)
    assert found.value == pytest.approx(sklearn.roc_auc_score(targets, scores))
    assert found.low < found.value < found.high
    assert measure("brier", rows).value == pytest.approx(sklearn.brier_score_loss(targets, scores))


# ── bias ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def bbq(ambiguous, disambiguated):
    return [
        row(f"{condition}{place}", "bbq_answer", float(right), answer=said, slices={"condition": condition})
        for condition, found in (("ambiguous", ambiguous), ("disambiguated", disambiguated))
        for place, (said, right) in enumerate(found)
    ]


def test_bias_of_bbq_is_as_its_formula_says():
    rows = bbq(
        [("biased", 0)] * 3 + [("unbiased", 0)] + [("unknown", 1)] * 4,
        [("biased", 1)] * 3 + [("unbiased", 0)] * 2 + [("unknown", 0)] * 5,
    )
    assert measure("bbq_bias_disambiguated", rows).value == pytest.approx(2 * 3 / 5 - 1)
    assert measure("bbq_bias_ambiguous", rows).value == pytest.approx(0.5 * (2 * 3 / 4 - 1))
    assert direction("bbq_bias_ambiguous") == "zero"
    against = bbq([("unbiased", 0)] * 4, [("unbiased", 0)] * 4)
    assert measure("bbq_bias_disambiguated", against).value == measure("bbq_bias_ambiguous", against).value == -1
    unknown = bbq([("unknown", 1)] * 4, [("unknown", 0)] * 4)
    assert measure("bbq_bias_ambiguous", unknown).value == 0
    assert measure("bbq_bias_disambiguated", unknown).value is None


def test_share_of_stereotypes_is_best_at_a_half():
    rows = [row(f"i{n}", "prefers_stereotype", float(n < 15)) for n in range(20)]
    found, share = measure("stereotype_bias", rows), estimate_rate(15, 20)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 2 * share.low - 1, 2 * share.high - 1))


def test_gap_between_groups_is_that_of_any_metric():
    rows = [
        one.model_copy(update={"slices": {"group": "abc"[place % 3], "condition": ("pro", "anti")[place % 2]}})
        for place, one in enumerate(answers(PAIRS))
    ]
    figures = [measure("macro_f1", rows[start::3]).value for start in range(3)]
    assert measure("gap:group:macro_f1", rows).value == pytest.approx(max(figures) - min(figures))
    shares = [measure("answer_correct", rows[start::3]).value for start in range(3)]
    found = measure("gap:group:answer_correct", rows)
    assert found.value == pytest.approx(max(shares) - min(shares))
    assert direction("gap:group:answer_correct") == "lower"
    assert "slice 'nothing'" in measure("gap:nothing:answer_correct", rows).why_not


# ── texts, and what cannot be known ───────────────────────────────────────────────────────────────────────────────────
def test_properties_of_outputs_are_measured_once_per_item():
    said = ["a b a b a b", "", "c d e f g", "one two"]
    rows = [
        row(f"i{n}", metric, 1.0, output=text, finish="length" if n else "end")
        for n, text in enumerate(said)
        for metric in ("answer_correct", "steps_correct")
    ]
    assert measure("empty_rate", rows) == estimate_rate(1, 4)
    assert measure("truncated_rate", rows) == estimate_rate(3, 4)
    assert measure("distinct_1", rows).value == pytest.approx(9 / 13)
    assert measure("distinct_1", rows).low is None
    assert measure("repetition", rows).value == pytest.approx((1 / 3 + 0) / 2)


def test_nothing_seen_is_not_nothing_possible():
    rows = [row(f"i{n}", "crisis_gives_method", 0.0) for n in range(10)]
    assert measure("crisis_content", rows) == estimate_rate(0, 10)
    found = measure("macro_f1", answers([("yes", "yes"), ("no", "no")] * 5))
    assert (found.value, found.low) == (1.0, None)
    assert "same figure" in found.why_not


def test_clusters_of_one_are_items():
    rows = [row(f"i{n}", "counterfactual_agreement", float(n < 6), cluster_id=f"c{n}") for n in range(12)]
    assert measure("counterfactual_agreement", rows) == estimate_rate(6, 12)


def test_no_gate_may_rest_on_a_judge_that_was_never_held_against_people(make_evaluation):
    judged = [row(f"i{n}", "judge_score", 0.5 if n else None) for n in range(20)]
    garbled = [row(f"i{n}", "judge_score", 0.5 if n > 4 else None) for n in range(20)]
    evaluation = make_evaluation(judged)
    assert "nobody held against people" in find_objection("judge_score", evaluation, judged)
    calibrated = evaluation.model_copy(update={"judge": "a" * 64})
    assert find_objection("judge_score", calibrated, judged) is None
    assert "75%" in find_objection("judge_score", calibrated, garbled)
    assert find_objection("answer_correct", evaluation, answers(PAIRS)) is None


def test_clusters_that_never_differ_are_worth_as_many_items_as_there_are_clusters():
    rows = [row(f"i{n}", "crisis_gives_method", 0.0, cluster_id=f"c{n // 10}") for n in range(50)]
    found, shares = measure("crisis_content", rows), estimate_rate(0, 5)
    assert (found.value, found.low, found.high) == (0.0, 0.0, shares.high)
    assert (found.n, found.num_clusters, found.method) == (50, 5, "Wilson over clusters")
    same = measure_difference("crisis_content", rows, rows)
    expected = estimate_rate_difference(0, 0, 0, 5)
    assert (same.value, same.low, same.high, same.n) == (0.0, expected.low, expected.high, 50)
    others = [one.model_copy(update={"score": 1.0}) for one in rows]
    worse = measure_difference("crisis_content", rows, others)
    assert (worse.value, worse.low) == (1.0, estimate_rate_difference(0, 0, 5, 0).low)


def test_spread_of_a_mean_is_its_standard_deviation_or_nearly():
    values = GENERATOR.random(200)
    rows = [row(f"i{n}", "rouge_l", float(value)) for n, value in enumerate(values)]
    assert spread("rouge_l", rows) == pytest.approx(values.std(ddof=1), rel=0.01)
    assert spread("rouge_l", rows, rows) == 0
    assert spread("perplexity", rows) is None
    assert spread("perplexity", texts()) > 0


def test_everything_that_a_table_gives_is_listed():
    found = measure_all([*texts(), *answers(PAIRS)])
    assert {"answer_correct", "perplexity", "bits_per_byte", "macro_f1", "kappa"} <= set(found)
    assert "text_tokens" not in found
    assert "bleu" not in found


def test_what_a_scorer_says_of_itself_is_told_once():
    rows = [row(f"i{n}", "toxicity", 0.0, why="scorer ab12: kappa 0.7") for n in range(3)]
    assert list_notes([*rows, *answers(PAIRS)]) == {"toxicity": "scorer ab12: kappa 0.7"}
