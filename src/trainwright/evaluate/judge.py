"""A judge: a language model that gives points by a rubric, or says which of two answers is the better one.

Its word is an opinion. What it said is kept by the digest of who was asked what, so that judging again costs nothing and gives
the same; pairs are shown in both orders, and how often it sides with a place instead of an answer is counted. How far it agrees
with people has to be measured before any gate may rest on it (`JudgeCalibration`); until then its rows say so.

    name: helpful
    version: 1
    kind: points                 # or: pair
    points: [1, 5]
    prompt: |
      A question and an answer. How helpful is the answer?
      Question: {prompt}
      Answer: {output}
      Close with a line "Verdict: N", N from 1 (not at all) to 5.

Of a pair, the prompt shows `{first}` and `{second}`, and asks for "Verdict: first", "Verdict: second" or "Verdict: tie".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

import yaml
from pydantic import Field, ValidationError, model_validator

from trainwright.core.hashing import digest_json
from trainwright.core.records import Frozen, ItemScore, JudgeCalibration
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.judged_rows import build_row, judge_text, mark_unavailable
from trainwright.evaluate.matchers import render_share
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.scorers import Judgement
from trainwright.store.unfinished_answers import UnfinishedAnswers

PLACES = {"points": ("prompt", "output"), "pair": ("prompt", "first", "second")}
UNCALIBRATED = "uncalibrated, so no gate may rest on it (trainwright scorers calibrate)"
_PLACE = re.compile(r"\{(prompt|output|expected|first|second)\}")
_POINTS = re.compile(r"verdict[\s:*_]{1,6}(-?\d+(?:\.\d+)?)", re.IGNORECASE)
_SIDE = re.compile(r"verdict[\s:*_]{1,6}(first|second|tie)\b", re.IGNORECASE)

Ask = Callable[[str], str]
"""From a prompt to what the judge says. Raises NoVerdictError where it says nothing."""


class NoVerdictError(Exception):
    """A judge did not answer; the text says why."""


class Rubric(Frozen):
    """What a judge goes by. Read strictly: another key is an error."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    version: Annotated[int, Field(ge=1)]
    kind: Literal["points", "pair"] = "points"
    points: tuple[int, int] = (1, 5)
    prompt: str

    @model_validator(mode="after")
    def _can_be_judged_by(self) -> "Rubric":
        if self.points[0] >= self.points[1]:
            raise ValueError("points are the least and the most, the least first")
        missing = [f"{{{place}}}" for place in PLACES[self.kind] if f"{{{place}}}" not in self.prompt]
        if missing:
            raise ValueError(f"its prompt does not show {' and '.join(missing)}")
        return self

    @property
    def digest(self) -> str:
        """What must be equal for two verdicts to be of one kind."""
        return digest_json(self.model_dump(mode="json"))

    @property
    def metric(self) -> str:
        """What its verdicts are reported under."""
        return "judge_score" if self.kind == "points" else "judge_preference"

    def render(self, parts: Mapping[str, str]) -> str:
        """The prompt with the parts in their places; what a part says about places stays as it is."""
        return _PLACE.sub(lambda place: parts.get(place[1], ""), self.prompt)


class FindCalibration(Protocol):
    """From who judges by what (`identify_judge`) to how far it agrees with people, if that was measured."""

    def __call__(self, judge: str) -> JudgeCalibration | None:
        """The newest calibration."""


@dataclass(frozen=True)
class Judge:
    """Who is asked, and how."""

    model: str
    ask: Ask
    find_calibration: FindCalibration = lambda judge: None  # noqa: ARG005 - nobody measured it


def read_rubric(path: Path) -> Rubric:
    """A rubric's file. Raises ValueError, with what is wrong with it."""
    try:
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ValueError(f"the rubric {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"the rubric {path} is not YAML: {' '.join(str(error).split())}") from None
    try:
        return Rubric.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"the rubric {path.name}: {f'{place}: ' if place else ''}{first['msg']}") from None


def identify_judge(model: str, rubric: Rubric) -> str:
    """The digest of who judges by what."""
    return digest_json({"model": model, "rubric": rubric.digest})


def open_recorded(model: str, path: Path, ask: Ask | None = None) -> Ask:
    """What `ask` says, kept in the file at `path` and taken from there the next time; without `ask`, from there alone."""
    answers = UnfinishedAnswers(path)

    def answer(prompt: str) -> str:
        def say() -> str:
            if ask is None:
                raise NoVerdictError(f"{path.name} has no answer to this, and no judge was named who could give one")
            return ask(prompt)

        return str(answers.get_or_add(digest_json([model, prompt]), say))

    return answer


# ── verdicts ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def parse_points(said: str, rubric: Rubric) -> float | None:
    """The points of the last verdict in what a judge said; None where there is none, or it is out of range."""
    found = _POINTS.findall(said)
    points = float(found[-1]) if found else None
    return points if points is not None and rubric.points[0] <= points <= rubric.points[1] else None


def parse_side(said: str) -> str | None:
    """`first`, `second` or `tie`, by the last verdict in what a judge said."""
    found = _SIDE.findall(said)
    return found[-1].lower() if found else None


def judge_points(prompt: str, output: str, expected: str, rubric: Rubric, ask: Ask) -> Judgement:
    """Points, from 0 for the least to 1 for the most."""
    said = _ask(ask, rubric.render({"prompt": prompt, "output": output, "expected": expected}))
    if isinstance(said, Judgement):
        return said
    points = parse_points(said, rubric)
    if points is None:
        return Judgement("unparsed", why=f"the judge gave no verdict: {_shorten(said)}")
    low, high = rubric.points
    return Judgement("scored", (points - low) / (high - low), f"{points:g}")


def judge_pair(prompt: str, output: str, expected: str, rubric: Rubric, ask: Ask) -> Judgement:
    """The output against the expected answer, in both orders; a tie counts a half. `answer` names both verdicts' places."""
    sides = []
    for first, second in ((output, expected), (expected, output)):
        said = _ask(ask, rubric.render({"prompt": prompt, "first": first, "second": second}))
        if isinstance(said, Judgement):
            return said
        side = parse_side(said)
        if side is None:
            return Judgement("unparsed", why=f"the judge gave no verdict: {_shorten(said)}")
        sides.append(side)
    wins = [0.5 if side == "tie" else float(side == own) for side, own in zip(sides, ("first", "second"), strict=True)]
    return Judgement("scored", sum(wins) / 2, ", ".join(sides))


def _ask(ask: Ask, prompt: str) -> str | Judgement:
    try:
        return ask(prompt)
    except NoVerdictError as error:
        return Judgement("error", why=f"the judge did not answer: {error}")


def _shorten(said: str) -> str:
    return repr(" ".join(said.split())[-120:])


# ── as a scorer ───────────────────────────────────────────────────────────────────────────────────────────────────────
def open_judge_scorer(
    parameter: str, judge: Judge | None
) -> Callable[[Sequence[EvalItem], Sequence[Output]], list[ItemScore]]:
    """What gives the rows of `judge:RUBRIC`. Raises ValueError for a rubric that is none."""
    if not parameter:
        raise ValueError("judge names the file of its rubric: judge:rubric.yaml")
    rubric = read_rubric(Path(parameter))
    if judge is None:
        why = "no judge was named: --judge-endpoint URL --judge-model NAME, or --judge-record FILE --judge-model NAME"
        return lambda items, outputs: mark_unavailable(items, outputs, [rubric.metric], why)
    note = describe_judge(judge, rubric)

    def score(items: Sequence[EvalItem], outputs: Sequence[Output]) -> list[ItemScore]:
        rows = []
        for item, output in zip(items, outputs, strict=True):
            found = judge_text(output, lambda text, item=item: _judge(item, text, rubric, judge.ask))  # type: ignore[misc]
            why = note if found.status == "scored" else found.why
            rows.append(build_row(item, output, rubric.metric, Judgement(found.status, found.score, found.answer, why)))
        return rows

    return score


def describe_judge(judge: Judge, rubric: Rubric) -> str:
    """What stands beside everything it says."""
    who = f"by the judge {judge.model} with the rubric {rubric.name} v{rubric.version}"
    found = judge.find_calibration(identify_judge(judge.model, rubric))
    if found is None:
        return f"{who}: {UNCALIBRATED}"
    return (
        f"{who}: kappa {render_share(found.kappa)} against people, {render_share(found.parse_rate)} of its verdicts could be "
        f"read, on {found.num_rows:,} labelled outputs"
    )


def _judge(item: EvalItem, text: str, rubric: Rubric, ask: Ask) -> Judgement:
    if rubric.kind == "points":
        return judge_points(item.prompt, text, item.expected_answer or "", rubric, ask)
    if item.expected_answer is None:
        return Judgement("error", why="the item has no expected answer to hold the output against")
    return judge_pair(item.prompt, text, item.expected_answer, rubric, ask)
