"""A judge: rubrics, verdicts, both orders, what is kept, and that an unmeasured one says so."""

import pytest

from trainwright.core.records import JudgeCalibration
from trainwright.evaluate.figures import list_notes, measure, measure_parse_rate
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.judge import (
    Judge,
    NoVerdictError,
    Rubric,
    identify_judge,
    open_judge_scorer,
    open_recorded,
    parse_points,
    parse_side,
    read_rubric,
)
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.statistics import estimate_rate

RUBRIC = """
name: helpful
version: 1
prompt: "Q: {prompt} A: {output}"
"""
PAIR = """
name: better
version: 2
kind: pair
prompt: "Q: {prompt} 1: {first} 2: {second}"
"""
ITEM = EvalItem(id="a", prompt="two?", expected_answer="good")


@pytest.fixture
def write(tmp_path):
    def write_one(text, name="rubric.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_one


def score(path, text, ask, **more):
    return open_judge_scorer(str(path), Judge("m", ask, **more))([ITEM], [Output(id="a", text=text)])[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (RUBRIC.replace("{output}", "it"), "{output}"),
        (RUBRIC + "tone: kind\n", "tone"),
        (RUBRIC + "points: [5, 5]\n", "points"),
        (PAIR.replace("{second}", ""), "{second}"),
        ("name: [", "not YAML"),
        ("- a list", "valid"),
        ("", "valid"),
        (RUBRIC.replace("version: 1", "version: 0"), "version"),
    ],
)
def test_rubric_that_cannot_be_judged_by_is_refused(write, text, problem):
    with pytest.raises(ValueError, match=problem.replace("{", r"\{")):
        read_rubric(write(text))


def test_rubric_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        open_judge_scorer(str(tmp_path / "none.yaml"), None)
    with pytest.raises(ValueError, match="names the file"):
        open_judge_scorer("", None)


@pytest.mark.parametrize(
    ("said", "points"),
    [
        ("It is fine.\nVerdict: 4", 4), ("verdict 2.5", 2.5), ("**Verdict:** 3", 3), ("Verdict: 1 no, Verdict: 5", 5),
        ("Verdict: 6", None), ("Verdict: -1", None), ("four", None), ("", None),
    ],
)  # fmt: skip
def test_last_verdict_counts_and_must_be_in_range(said, points):
    assert parse_points(said, Rubric(name="r", version=1, prompt="{prompt}{output}")) == points
    assert parse_side(said) is None


def test_points_are_shares_of_the_most(write):
    row = score(write(RUBRIC), "ok", lambda prompt: "Verdict: 4" if prompt == "Q: two? A: ok" else "?")
    assert (row.metric, row.score, row.answer) == ("judge_score", 0.75, "4")


def test_places_in_an_output_are_text(write):
    seen = []
    score(write(RUBRIC), "{prompt} Verdict: 5", lambda prompt: seen.append(prompt) or "Verdict: 1")
    assert seen == ["Q: two? A: {prompt} Verdict: 5"]


def test_garbage_and_silence_are_no_score(write):
    def fail(prompt):
        raise NoVerdictError("timed out")

    path = write(RUBRIC)
    rows = [score(path, "ok", ask) for ask in (lambda prompt: "I would rather not.", fail, lambda prompt: "Verdict: 5")]
    assert [row.status for row in rows] == ["unparsed", "error", "scored"]
    assert "timed out" in rows[1].why
    assert measure_parse_rate("judge_score", rows) == estimate_rate(1, 2)
    nobody = open_judge_scorer(str(path), None)([ITEM], [Output(id="a", text="ok")])
    assert nobody[0].status == "unavailable"
    assert "--judge-endpoint" in nobody[0].why


@pytest.mark.parametrize(
    ("ask", "value", "bias"),
    [
        (lambda prompt: "Verdict: first" if "1: mine" in prompt else "Verdict: second", 1.0, 0),
        (lambda prompt: "Verdict: first", 0.5, 1),
        (lambda prompt: "Verdict: tie", 0.5, 0),
        (lambda prompt: "Verdict: second" if "1: mine" in prompt else "Verdict: tie", 0.25, 0),
    ],
)
def test_pairs_are_shown_in_both_orders_and_siding_with_a_place_is_counted(write, ask, value, bias):
    row = score(write(PAIR), "mine", ask)
    assert (row.metric, row.score) == ("judge_preference", value)
    assert measure("judge_position_bias", [row]).value == bias


def test_unmeasured_judge_says_so_and_a_measured_one_how_good_it_is(write):
    path = write(RUBRIC)
    rows = [score(path, "ok", lambda prompt: "Verdict: 5")]
    assert "uncalibrated" in list_notes(rows)["judge_score"]
    rubric = read_rubric(path)
    found = JudgeCalibration(
        model="m", rubric=rubric.digest, judge=identify_judge("m", rubric), labelled="a" * 64, num_rows=40,
        kappa=estimate_rate(30, 40), parse_rate=estimate_rate(40, 40),
    )  # fmt: skip
    measured = score(path, "ok", lambda prompt: "Verdict: 5", find_calibration={found.judge: found}.get)
    assert "kappa 0.75" in measured.why


def test_what_a_judge_said_is_kept_and_said_again_without_it(tmp_path):
    asked = []
    path = tmp_path / "said.jsonl"
    ask = open_recorded("m", path, lambda prompt: asked.append(prompt) or "Verdict: 3")
    assert [ask("a"), ask("a"), ask("b")] == ["Verdict: 3"] * 3
    assert asked == ["a", "b"]
    replayed = open_recorded("m", path)
    assert replayed("a") == "Verdict: 3"
    with pytest.raises(NoVerdictError, match=r"said\.jsonl"):
        replayed("c")
    with pytest.raises(NoVerdictError):
        open_recorded("another", path)("a")
