"""What a model answered, item by item, and what a figure says."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from trainwright.core.hashing import Digest
from trainwright.core.records.base import Frozen, Record, added
from trainwright.core.records.plan import Compute
from trainwright.core.records.runs import Measure

ItemStatus = Literal["scored", "unparsed", "refused", "error", "unavailable"]
"""What became of an item: only `scored` has a score; every other one says why it has none."""


class ItemScore(Frozen):
    """One row of an item table: one item under one metric.

    `output` is what the model said (None where nothing was written, as in scoring by likelihood), `answer` what was read
    out of it, `target` what was expected. `finish`: the output ended by itself, or was cut off at its length limit; None
    where nobody knows. Items of one `cluster_id` (a template, a post, a conversation) are not independent of each other.
    """

    item_id: str
    cluster_id: str | None
    slices: dict[str, str]
    metric: str
    score: float | None
    output: str | None
    answer: str | None
    target: str | None
    status: ItemStatus
    finish: Literal["end", "length"] | None = None
    why: str = ""

    @model_validator(mode="after")
    def _has_score_or_reason(self) -> Self:
        if (self.score is not None) != (self.status == "scored"):
            raise ValueError("an item has a score if it was scored, and only then")
        if self.score is None and not self.why:
            raise ValueError("an item without a score says why there is none")
        return self


class ItemSample(Frozen):
    """Some of a set's items, drawn by a seed: `num_items` of `out_of`."""

    num_items: int
    out_of: int
    seed: int


class EvaluationSettings(Frozen):
    """How outputs were asked for. `template` is what stands around an item's prompt (`{prompt}` in its place).

    `seed` is that of the evaluation; every item draws from one of its own, derived from it and the item's id. An `endpoint`
    is given the seed itself. `window` is how many tokens of a text are measured at once, each from those before it therein.
    """

    by: Literal["generation", "likelihood", "text", "predictions"]
    template: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    window: int | None = added(None)
    sample: ItemSample | None = added(None)
    endpoint: str | None = added(None)
    endpoint_model: str | None = added(None)


class Evaluation(Record):
    """What a checkpoint answered to the items of an evalset, item by item.

    `items`, `prompts` (as the model read them) and `table` (`ItemScore` rows) are objects of one JSON document a line.
    `predictions` is the object of recorded outputs where no checkpoint of ours wrote them, `imported_model` a model that was
    made elsewhere and answered as it came. `suite` is the object of the suite that asked, where one did, `judge` the record
    that says how far the judge that scored agrees with people, where that was measured. `metrics` has the version of each
    metric's definition, `statuses` how many items have which status under it, `code` the digest of the code that scored.
    Intervals, comparisons and gates are functions of the table, and are not kept.
    """

    kind: Literal["evaluation"] = "evaluation"
    parent_fields: ClassVar[tuple[str, ...]] = ("checkpoint", "imported_model", "judge")
    checkpoint: Digest | None
    predictions: Digest | None
    evalset: str
    items: Digest
    prompts: Digest
    num_items: int
    settings: EvaluationSettings
    compute: Compute | None
    metrics: dict[str, int]
    code: Digest
    statuses: dict[str, dict[ItemStatus, int]]
    aggregates: dict[str, Measure]
    table: Digest
    imported_model: Digest | None = added(None)
    suite: Digest | None = added(None)
    judge: Digest | None = added(None)

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if self.checkpoint is None and self.predictions is None and self.imported_model is None:
            raise ValueError("an evaluation names the model that answered, or the predictions that were recorded")
        return self


class Estimate(Frozen):
    """A figure and the interval it may lie in. `value`, or the interval alone, may be undefined: `why_not` says why.

    `n` is the number of items, `num_clusters` that of the groups they come in where these were taken into account.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str
    num_clusters: int | None = None
    why_not: str = ""

    @model_validator(mode="after")
    def _is_whole_or_says_why(self) -> Self:
        if (self.value is None or self.low is None or self.high is None) and not self.why_not:
            raise ValueError("an estimate without a value or an interval says why")
        return self


class PairedTest(Frozen):
    """The chance of a difference at least as large where there is none (two-sided), or the reason it is undefined."""

    p_value: float | None
    n: int
    method: str
    why_not: str = ""

    @model_validator(mode="after")
    def _has_value_or_reason(self) -> Self:
        if self.p_value is None and not self.why_not:
            raise ValueError("a test without a p-value says why")
        return self


class TrainedScorer(Record):
    """A scorer that was trained on a labelled file. `model` is the object of what it learnt, `labelled` the file's digest.

    `columns` are those of the file that were used ({"text": …, "label": …, "group": …}), `classes` the labels, the lowest
    level first. `kappa`, and `precision` and `recall` of each class, are of texts that it had not seen: in `num_folds` parts,
    none of which shares a group with another.
    """

    kind: Literal["scorer"] = "scorer"
    name: str
    model: Digest
    labelled: Digest
    columns: dict[str, str]
    classes: tuple[str, ...]
    num_rows: int
    num_groups: int
    num_folds: int
    seed: int
    packages: dict[str, str]
    kappa: Estimate
    precision: dict[str, Estimate]
    recall: dict[str, Estimate]


class JudgeCalibration(Record):
    """How far a judge agrees with people. `judge` is the digest of who judges and by what rubric, `labelled` of the labels.

    `kappa` is of its points and theirs, `parse_rate` the share of its verdicts that could be read.
    """

    kind: Literal["judge-calibration"] = "judge-calibration"
    model: str
    rubric: Digest
    judge: Digest
    labelled: Digest
    num_rows: int
    kappa: Estimate
    parse_rate: Estimate
