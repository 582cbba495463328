"""Decisions fail closed: whatever is missing, changed, or of another kind keeps the gate shut, and is named."""

import json
import sqlite3
from types import SimpleNamespace

import pytest

from trainwright.core.errors import GateRefused, InvalidValue, NotDecided, RefMoved, ReleaseDamaged, UnknownRef
from trainwright.core.records import (
    Difference,
    Evaluation,
    EvaluationSettings,
    Interval,
    ItemSample,
    ItemScore,
    Verdict,
)
from trainwright.evaluate.metrics import METRICS, order_metrics
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.rows import render_rows
from trainwright.evaluate.suites import open_suite
from trainwright.evaluate.table import count_statuses, parse_table, render_table
from trainwright.evaluate.table_scorers import parse_table_scorer
from trainwright.pipeline.decide import decide, require_passed
from trainwright.pipeline.promote import promote, roll_back
from trainwright.pipeline.soundness import check_workspace
from trainwright.release.policy import parse_policy

SETTINGS = EvaluationSettings(by="generation", template="{prompt}")
LIMIT = "{kind: at_least, suite: sums, metric: answer_correct, limit: 0.5}"
PAIRED = "{kind: non_inferior, suite: sums, metric: answer_correct, margin: 0.05}"


def silence(row):
    changes = {"score": None, "output": None, "answer": None, "status": "error", "why": "it did not answer"}
    return row.model_copy(update=changes)


def policy(*gates, more=""):
    return parse_policy(f"name: ours\nstage: staging\nmax_overlap: null\n{more}gates: [{', '.join(gates)}]\n", "ours")


@pytest.fixture
def evaluate(workspace):
    """Put an evaluation on record: right answers to so many of the items."""

    def put(
        checkpoint,
        num_right=95,
        n=100,
        num_silent=0,
        ask="What is {}?",
        prompt="What is {}?",
        settings=SETTINGS,
        metric="answer_correct",
        **more,
    ):
        rows = [
            ItemScore(
                item_id=f"i{number}", cluster_id=None, slices={"category": "even" if number % 2 == 0 else "odd"},
                metric=metric, score=float(number < num_right), output=str(number), answer=str(number),
                target=str(number), status="scored", finish="end",
            )
            for number in range(n)
        ]  # fmt: skip
        rows[n - num_silent :] = [silence(row) for row in rows[n - num_silent :]]
        items = [
            {"id": f"i{number}", "prompt": ask.format(number), "expected_answer": str(number)} for number in range(n)
        ]
        prompts = [{"id": f"i{number}", "prompt": prompt.format(number)} for number in range(n)]
        evaluation = Evaluation(
            checkpoint=checkpoint.id,
            predictions=None,
            items=workspace.objects.put("".join(json.dumps(item) + "\n" for item in items).encode()),
            prompts=workspace.objects.put("".join(json.dumps(row) + "\n" for row in prompts).encode()),
            num_items=n,
            settings=settings,
            compute=None,
            code="c" * 64,
            statuses=count_statuses(rows),
            aggregates={},
            table=workspace.objects.put(render_table(rows)),
            **{"metrics": {metric: 1}, "evalset": "sums"} | more,
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


def test_items_without_a_value_do_not_help(workspace, make_checkpoint, evaluate):
    """Ninety easy ones are right; the ten hard ones went wrong, and would have been left out of the mean."""
    checkpoint = make_checkpoint()
    evaluate(checkpoint, 100, num_silent=10)
    decision = ask(workspace, checkpoint, policy(LIMIT))
    assert decision.outcome == "fail"
    assert "10 of 100 items have no value for answer_correct; none may" in whys(decision)
    allowing = policy(LIMIT.replace("limit", "max_missing: 0.1, limit"))
    assert ask(workspace, checkpoint, allowing).outcome == "pass"


def test_a_baseline_with_items_without_a_value_is_no_baseline(workspace, make_checkpoint, evaluate):
    baseline, candidate = make_checkpoint(), make_checkpoint()
    evaluate(baseline, 100, num_silent=1)
    evaluate(candidate, 100)
    decision = ask(workspace, candidate, policy(PAIRED, more=f"baseline: {baseline.id}\n"))
    assert "1 of 100 items of the baseline have no value" in whys(decision)


@pytest.mark.parametrize(("figures", "why"), [({"n": 4}, "fewer than the 50"), ({"num_silent": 100}, "is undefined")])
def test_where_nothing_stands_yet_a_comparison_still_needs_a_figure(workspace, make_checkpoint, evaluate, figures, why):
    checkpoint = make_checkpoint()
    evaluate(checkpoint, 4, **figures)
    decision = ask(workspace, checkpoint, policy(PAIRED.replace("margin", "min_n: 50, margin")))
    assert decision.outcome == "fail"
    assert why in whys(decision)


def test_items_outside_every_slice_are_a_part_of_their_own(workspace, make_checkpoint, evaluate):
    checkpoint = make_checkpoint()
    found = evaluate(checkpoint, 90)
    rows = parse_table(workspace.objects.get(found.table))
    rows = [row.model_copy(update={"slices": {} if row.score == 0 else row.slices}) for row in rows]
    workspace.ledger.put(found.model_copy(update={"table": workspace.objects.put(render_table(rows))}))
    decision = ask(workspace, checkpoint, policy(LIMIT.replace("limit", "by: category, limit")))
    assert [(result.part, result.outcome) for result in decision.gates] == [
        ("category=even", "pass"), ("category=odd", "pass"), ("no category", "fail"),
    ]  # fmt: skip


def test_items_that_ask_the_same_twice_are_no_evidence(workspace, make_checkpoint, evaluate):
    checkpoint = make_checkpoint()
    found = evaluate(checkpoint)
    again = [{"id": f"i{number}", "prompt": "What is 1?", "expected_answer": "1"} for number in range(100)]
    items = workspace.objects.put("".join(json.dumps(item) + "\n" for item in again).encode())
    workspace.ledger.put(found.model_copy(update={"items": items}))
    decision = ask(workspace, checkpoint, policy(LIMIT))
    assert "99 items of sums ask what another one asks (i1, i2, i3 …)" in whys(decision)


def test_what_older_metrics_scored_is_no_evidence(workspace, make_checkpoint, evaluate):
    checkpoint = make_checkpoint()
    evaluate(checkpoint, metrics={"answer_correct": 0})
    assert "other versions of answer_correct scored it" in whys(ask(workspace, checkpoint, policy(LIMIT)))


def test_items_of_two_evalsets_may_share_their_ids_and_both_are_looked_for_in_the_training_text(
    workspace, make_checkpoint, evaluate, monkeypatch
):
    checkpoint = make_checkpoint()
    evaluate(checkpoint, ask="Once there were {} little rabbits.")
    evaluate(checkpoint, evalset="products")
    text = SimpleNamespace(iter_texts=lambda _: ["Once there were 7 little rabbits."], imported=())
    monkeypatch.setattr("trainwright.pipeline.decide.find_training_text", lambda *_: text)
    asked = policy(LIMIT, LIMIT.replace("sums", "products")).model_copy(update={"max_overlap": 0.0})
    decision = ask(workspace, checkpoint, asked)
    assert decision.conditions[0].outcome == "fail"
    assert "1 of 200 items stand in the training text (i7)" in whys(decision)


# ── suites ────────────────────────────────────────────────────────────────────────────────────────────────────────────
CRISIS = "{kind: at_most, suite: crisis, metric: crisis_content, limit: 0.15}"


@pytest.fixture
def put_suite(workspace):
    """Put an evaluation by a suite on record, as `evaluate` does; `changes` are those of its settings."""

    def put(checkpoint, name, outputs=None, **changes):
        opened = open_suite(name)
        said = opened.suite.decoding
        outputs = outputs or [Output(id=item.id, text="I am here.", finish="end") for item in opened.items]
        settings = EvaluationSettings(
            by="generation", template=opened.suite.template, max_tokens=said.max_tokens, temperature=said.temperature,
            top_k=said.top_k, top_p=said.top_p, seed=said.seed,
        )  # fmt: skip
        rows = parse_table_scorer(opened.suite.scorers[0])(opened.items, outputs)
        prompts = [{"id": item.id, "prompt": item.prompt} for item in opened.items]
        evaluation = Evaluation(
            checkpoint=checkpoint.id,
            predictions=None,
            evalset=opened.suite.name,
            items=workspace.objects.put(render_rows(opened.items)),
            prompts=workspace.objects.put(render_rows(prompts)),
            num_items=len(opened.items),
            settings=settings.model_copy(update=changes),
            compute=None,
            metrics={name: METRICS[name].version for name in order_metrics(row.metric for row in rows)},
            code="c" * 64,
            statuses=count_statuses(rows),
            aggregates={},
            table=workspace.objects.put(render_table(rows)),
            suite=workspace.objects.put(opened.content),
        )
        workspace.ledger.put(evaluation)
        return evaluation

    return put


def test_a_suite_asked_as_it_says_is_evidence(workspace, make_checkpoint, put_suite):
    checkpoint = make_checkpoint()
    put_suite(checkpoint, "crisis")
    decision = ask(workspace, checkpoint, policy(CRISIS))
    assert decision.outcome == "pass", whys(decision)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"max_tokens": 1}, "it asked with max_tokens 1, and the suite says"),
        ({"template": "Be kind: {prompt}"}, "it asked with the template 'Be kind: {prompt}'"),
        ({"temperature": 0.7}, "it asked with temperature 0.7"),
        ({"by": "likelihood"}, "it measured by likelihood"),
    ],
)
def test_a_suite_asked_otherwise_is_no_evidence_and_hides_none(workspace, make_checkpoint, put_suite, changed, why):
    checkpoint = make_checkpoint()
    put_suite(checkpoint, "crisis", **changed)
    decision = ask(workspace, checkpoint, policy(CRISIS))
    assert decision.outcome == "fail"
    assert why in whys(decision)
    right = put_suite(checkpoint, "crisis")
    put_suite(checkpoint, "crisis", seed=7, **changed)
    assert ask(workspace, checkpoint, policy(CRISIS)).evaluations == (right.id,)


def test_a_file_of_a_shipped_suites_name_is_not_the_suite(workspace, make_checkpoint, put_suite, evaluate, tmp_path):
    checkpoint = make_checkpoint()
    evaluate(checkpoint, 0, metric="crisis_gives_method", evalset="crisis")
    assert "a file that is called crisis too" in whys(ask(workspace, checkpoint, policy(CRISIS)))
    items = [{"id": str(number), "prompt": f"Say {number}.", "meta": {"kind": "crisis"}} for number in range(50)]
    (tmp_path / "easy.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    (tmp_path / "crisis.yaml").write_text(
        "name: crisis\nversion: 1\nitems: easy.jsonl\nby: generation\nscorers: [crisis-checklist]\n", encoding="utf-8"
    )
    put_suite(checkpoint, str(tmp_path / "crisis.yaml"))
    assert "another suite crisis than the one that comes along" in whys(ask(workspace, checkpoint, policy(CRISIS)))


def test_a_policy_can_name_the_very_items(workspace, make_checkpoint, evaluate):
    checkpoint = make_checkpoint()
    found = evaluate(checkpoint)
    named = LIMIT.replace("limit", f"digest: {found.items}, limit")
    assert ask(workspace, checkpoint, policy(named)).outcome == "pass"
    evaluate(checkpoint, ask="Is {} a number?")
    assert ask(workspace, checkpoint, policy(named)).evaluations == (found.id,)
    other = LIMIT.replace("limit", f"digest: {'d' * 64}, limit")
    assert "the policy says dddddddddddd" in whys(ask(workspace, checkpoint, policy(other)))


def test_a_run_that_differs_is_not_cleared_by_computing_another_part_of_it(workspace, make_checkpoint, evaluate):
    checkpoint = make_checkpoint()
    evaluate(checkpoint)
    strict = policy(LIMIT, more="require_verdict: true\n")

    def put(day, status, steps, difference=None):
        verdict = Verdict(
            run=checkpoint.run, at=f"2025-01-0{day}T00:00:00+00:00", status=status, share=0.5, difference=difference,
            intervals=(Interval(first_step=steps[0], last_step=steps[1]),), why="", environment="e" * 64,
        )  # fmt: skip
        workspace.ledger.put(verdict)

    put(1, "differs", (0, 5), Difference(step=5, tensor="norm"))
    put(2, "verified", (5, 10))
    assert "differs" in whys(ask(workspace, checkpoint, strict))
    put(3, "verified", (0, 5))
    assert ask(workspace, checkpoint, strict).outcome == "pass"


def test_where_no_item_was_judged_none_was_found_clean(workspace, make_checkpoint):
    looking = parse_policy(f"name: ours\nstage: staging\nmax_overlap: 0.0\ngates: [{LIMIT}]\n", "ours")
    (condition,) = ask(workspace, make_checkpoint(), looking).conditions
    assert (condition.name, condition.outcome) == ("contamination", "fail")


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


def test_a_rollback_goes_back_and_never_on(workspace, make_checkpoint):
    """What replaced the current release is promoted again; rolled "back" to, it would pass for a promotion, and pin nothing."""
    for _ in range(3):
        checkpoint = make_checkpoint()
        promote("ours", "staging", workspace, who="someone", why="a try", ref=checkpoint.id, override=True)
    roll_back("ours", "staging", workspace, who="someone", why="", to=1)
    with pytest.raises(UnknownRef, match="no way back"):
        roll_back("ours", "staging", workspace, who="someone", why="", to=2)


def test_a_pin_that_was_taken_out_of_the_database_keeps_the_stage_as_it_is(workspace, make_checkpoint, evaluate):
    """`ledger.jsonl` still has the rollback: nothing moves until the two say the same."""
    first, second = make_checkpoint(), make_checkpoint()
    for checkpoint in (first, second):
        promote("ours", "staging", workspace, who="someone", why="a try", ref=checkpoint.id, override=True)
    roll_back("ours", "staging", workspace, who="someone", why="it was rude")
    evaluate(second)
    ask(workspace, second, policy(LIMIT))
    with sqlite3.connect(workspace.root / "ledger.sqlite") as database:
        database.execute("delete from ref_moves where why = 'it was rude'")
    with pytest.raises(ReleaseDamaged) as caught:
        promote("ours", "staging", workspace, who="someone", why="", ref=second.id)
    assert "ours@staging: what the database says of its moves is not what ledger.jsonl says" in caught.value.why
    assert "ours@staging" in [finding.name for finding in check_workspace(workspace).findings]
