"""Decisions fail closed: whatever is missing, changed, or of another kind keeps the gate shut, and is named."""

import json

import pytest

from trainwright.core.errors import GateRefused, InvalidValue, NotDecided, RefMoved
from trainwright.core.records import Evaluation, EvaluationSettings, Interval, ItemSample, ItemScore, Verdict
from trainwright.evaluate.table import count_statuses, render_table
from trainwright.pipeline.decide import decide, require_passed
from trainwright.pipeline.promote import promote
from trainwright.release.policy import parse_policy

SETTINGS = EvaluationSettings(by="generation", template="{prompt}")
LIMIT = "{kind: at_least, suite: sums, metric: answer_correct, limit: 0.5}"
PAIRED = "{kind: non_inferior, suite: sums, metric: answer_correct, margin: 0.05}"


def policy(*gates, more=""):
    return parse_policy(f"name: ours\nstage: staging\nmax_overlap: null\n{more}gates: [{', '.join(gates)}]\n", "ours")


@pytest.fixture
def evaluate(workspace):
    """Put an evaluation on record: right answers to so many of the items."""

    def put(checkpoint, num_right=95, n=100, prompt="What is {}?", settings=SETTINGS, metric="answer_correct", **more):
        rows = [
            ItemScore(
                item_id=f"i{number}", cluster_id=None, slices={"category": "even" if number % 2 == 0 else "odd"},
                metric=metric, score=float(number < num_right), output=str(number), answer=str(number),
                target=str(number), status="scored", finish="end",
            )
            for number in range(n)
        ]  # fmt: skip
        items = [
            {"id": f"i{number}", "prompt": f"What is {number}?", "expected_answer": str(number)} for number in range(n)
        ]
        prompts = [{"id": f"i{number}", "prompt": prompt.format(number)} for number in range(n)]
        evaluation = Evaluation(
            checkpoint=checkpoint.id,
            predictions=None,
            evalset="sums",
            items=workspace.objects.put("".join(json.dumps(item) + "\n" for item in items).encode()),
            prompts=workspace.objects.put("".join(json.dumps(row) + "\n" for row in prompts).encode()),
            num_items=n,
            settings=settings,
            compute=None,
            metrics={metric: 1},
            code="c" * 64,
            statuses=count_statuses(rows),
            aggregates={},
            table=workspace.objects.put(render_table(rows)),
            **more,
        )
        workspace.ledger.put(evaluation)
        return evaluation

    return put


def ask(workspace, checkpoint, asked, **options):
    return decide("ours", "staging", checkpoint.id, asked, workspace, who="someone", **options)


def whys(decision):
    return " | ".join(result.why for result in (*decision.gates, *decision.conditions))


def put_at_stage(workspace, checkpoint, evaluate, **figures):
    evaluate(checkpoint, **figures)
    ask(workspace, checkpoint, policy(LIMIT))
    return promote("ours", "staging", workspace, who="someone", why="", ref=checkpoint.id).release


def test_a_good_candidate_passes_and_everything_that_says_so_is_on_record(workspace, make_checkpoint, evaluate):
    checkpoint = make_checkpoint()
    first, second = evaluate(checkpoint, 90), evaluate(checkpoint, 95)
    decision = ask(workspace, checkpoint, policy(LIMIT))
    assert decision.outcome == "pass"
    assert decision.evaluations == (second.id,)
    assert decision.all_evaluations == (first.id, second.id)
    assert workspace.ledger.get(decision.id) == decision
    assert workspace.ledger.get(decision.policy) == policy(LIMIT)
    require_passed(decision)


def test_an_inconclusive_one_says_how_many_items_would_settle_it(workspace, make_checkpoint, evaluate):
    checkpoint = make_checkpoint()
    evaluate(checkpoint, 55)
    decision = ask(workspace, checkpoint, policy(LIMIT))
    assert decision.outcome == "inconclusive"
    with pytest.raises(GateRefused, match="inconclusive") as caught:
        require_passed(decision)
    assert f"About {decision.gates[0].items_to_settle:,} items" in caught.value.next_step


@pytest.mark.parametrize(
    ("gate", "why"),
    [
        ("{kind: at_least, suite: sums, metric: answer_corect, limit: 0.5}", "there is no metric 'answer_corect'"),
        ("{kind: at_least, suite: other, metric: answer_correct, limit: 0.5}", "was not evaluated by other"),
        ("{kind: at_least, suite: sums, metric: toxicity, limit: 0.5}", "have no toxicity"),
        (
            "{kind: at_least, suite: sums, metric: answer_correct, limit: 0.5, by: colour}",
            "no item has the slice colour",
        ),
        ("{kind: at_least, suite: sums, metric: answer_correct, limit: 0.5, min_n: 101}", "100 items are fewer"),
        ("{kind: at_most, suite: sums, metric: answer_correct, limit: 0.99}", "asks for the opposite"),
    ],
)
def test_what_is_unknown_or_missing_fails(workspace, make_checkpoint, evaluate, gate, why):
    checkpoint = make_checkpoint()
    evaluate(checkpoint)
    decision = ask(workspace, checkpoint, policy(gate))
    assert decision.outcome == "fail"
    assert why in whys(decision)


def test_items_without_a_score_are_no_evidence(workspace, make_checkpoint, evaluate):
    checkpoint = make_checkpoint()
    found = evaluate(checkpoint)
    rows = [
        ItemScore(
            item_id="i0", cluster_id=None, slices={}, metric="answer_correct", score=None, output=None, answer=None,
            target="0", status="unavailable", why="a package is missing",
        )
    ]  # fmt: skip
    workspace.ledger.put(found.model_copy(update={"table": workspace.objects.put(render_table(rows))}))
    decision = ask(workspace, checkpoint, policy(LIMIT))
    assert decision.outcome == "fail"
    assert "a package is missing" in whys(decision)


def test_a_sample_of_the_items_is_not_enough(workspace, make_checkpoint, evaluate):
    checkpoint = make_checkpoint()
    sample = ItemSample(num_items=100, out_of=1_000, seed=0)
    evaluate(checkpoint, settings=SETTINGS.model_copy(update={"sample": sample}))
    decision = ask(workspace, checkpoint, policy(LIMIT))
    assert decision.outcome == "fail"
    assert "are samples" in whys(decision)


def test_verdicts_of_a_judge_that_nobody_held_against_people_are_no_evidence(workspace, make_checkpoint, evaluate):
    checkpoint = make_checkpoint()
    evaluate(checkpoint, metric="judge_score")
    gate = "{kind: at_least, suite: sums, metric: judge_score, limit: 0.5}"
    decision = ask(workspace, checkpoint, policy(gate))
    assert decision.outcome == "fail"
    assert "nobody held against people" in whys(decision)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"n": 90, "num_right": 85}, "not of the same items"),
        ({"prompt": "Pray, what is {}?"}, "asked in other words"),
        ({"settings": EvaluationSettings(by="generation", template="{prompt}", max_tokens=9)}, "asked in other ways"),
    ],
)
def test_what_cannot_be_compared_with_the_current_release_fails(workspace, make_checkpoint, evaluate, changed, why):
    put_at_stage(workspace, make_checkpoint(), evaluate)
    candidate = make_checkpoint()
    evaluate(candidate, **changed)
    decision = ask(workspace, candidate, policy(PAIRED))
    assert decision.outcome == "fail"
    assert why in whys(decision)


def test_a_baseline_that_was_not_evaluated_fails(workspace, make_checkpoint, evaluate):
    baseline, candidate = make_checkpoint(), make_checkpoint()
    evaluate(candidate)
    decision = ask(workspace, candidate, policy(PAIRED, more=f"baseline: {baseline.id}\n"))
    assert "the baseline: it was not evaluated by sums" in whys(decision)


def test_a_loss_in_one_slice_is_not_hidden_by_a_gain_in_another(workspace, make_checkpoint, evaluate):
    put_at_stage(workspace, make_checkpoint(), evaluate, num_right=100)
    candidate = make_checkpoint()
    evaluate(candidate, num_right=70)
    by_slice = PAIRED.replace("margin", "by: category, margin")
    decision = ask(workspace, candidate, policy(by_slice))
    assert [result.part for result in decision.gates] == ["category=even", "category=odd"]
    assert decision.outcome == "fail"


def test_a_verdict_is_asked_for_where_the_policy_says_so(workspace, make_checkpoint, evaluate):
    checkpoint = make_checkpoint()
    evaluate(checkpoint)
    strict = policy(LIMIT, more="require_verdict: true\n")
    assert "was not computed again: trainwright verify" in whys(ask(workspace, checkpoint, strict))
    verdict = Verdict(
        run=checkpoint.run, at="2025-01-01T00:00:00+00:00", status="verified",
        intervals=(Interval(first_step=0, last_step=10),), share=1.0, difference=None, why="", environment="e" * 64,
    )  # fmt: skip
    workspace.ledger.put(verdict)
    decision = ask(workspace, checkpoint, strict)
    assert (decision.outcome, decision.verdict) == ("pass", verdict.id)
    later = verdict.model_copy(update={"at": "2025-01-02T00:00:00+00:00", "status": "differs"})
    workspace.ledger.put(later)
    assert ask(workspace, checkpoint, strict).outcome == "fail"


def test_a_policy_of_another_stage_is_refused(workspace, make_checkpoint):
    with pytest.raises(InvalidValue, match="for staging, not for production"):
        decide("ours", "production", make_checkpoint().id, policy(LIMIT), workspace, who="someone")


def test_a_decision_is_about_one_checkpoint_one_policy_and_one_state_of_the_stage(workspace, make_checkpoint, evaluate):
    first, second = make_checkpoint(), make_checkpoint()
    for checkpoint in (first, second):
        evaluate(checkpoint)
    ask(workspace, first, policy(LIMIT))
    with pytest.raises(NotDecided, match="staging"):
        promote("ours", "staging", workspace, who="someone", why="", ref=second.id)
    edited = policy(LIMIT.replace("0.5", "0.6"))
    with pytest.raises(NotDecided) as caught:
        promote("ours", "staging", workspace, who="someone", why="", ref=first.id, policy=edited)
    assert "before it was edited" in caught.value.why
    ask(workspace, second, policy(LIMIT))
    promote("ours", "staging", workspace, who="someone", why="", ref=first.id, policy=policy(LIMIT))
    with pytest.raises(RefMoved, match="was moved since decision"):
        promote("ours", "staging", workspace, who="someone", why="", ref=second.id)


def test_a_policy_that_asks_for_a_signature_gets_one_before_anything_moves(workspace, make_checkpoint, evaluate, keys):
    checkpoint = make_checkpoint()
    evaluate(checkpoint)
    ask(workspace, checkpoint, policy(LIMIT, more="require_signature: true\n"))
    with pytest.raises(GateRefused, match="only signed releases"):
        promote("ours", "staging", workspace, who="someone", why="")
    release = promote("ours", "staging", workspace, who="someone", why="", keys=keys).release
    roles = [workspace.ledger.get(child).kind for _, child in workspace.ledger.children(release.id)]
    assert roles == ["attestation"]


def test_an_override_needs_a_reason_and_is_never_a_pass(workspace, make_checkpoint):
    checkpoint = make_checkpoint()
    with pytest.raises(InvalidValue, match="needs a reason"):
        promote("ours", "staging", workspace, who="someone", why=" ", ref=checkpoint.id, override=True)
    release = promote(
        "ours", "staging", workspace, who="someone", why="it burns", ref=checkpoint.id, override=True
    ).release
    assert release.decision is None
    assert release.override.why == "it burns"
