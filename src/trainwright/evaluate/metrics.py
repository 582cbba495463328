"""The metrics of an item table: which way is better, what a missing answer counts as, and the version of each meaning."""

from collections.abc import Iterable

from trainwright.core.records import Frozen, ItemScore


class Metric(Frozen):
    """A metric. `binary`: its scores are 0 and 1. `bounds`: the least and the most it can be, where there are such.

    `unparsed_is` is what an item counts as whose answer could not be read, or that was refused; None: it is left out. Items
    with the status `error` or `unavailable` are always left out. `version` grows whenever equal outputs would be scored
    differently.
    """

    name: str
    version: int
    unit: str
    binary: bool
    higher_is_better: bool
    bounds: tuple[float, float] | None
    unparsed_is: float | None
    meaning: str


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="answer_correct", version=1, unit="share of items", binary=True, higher_is_better=True,
            bounds=(0, 1), unparsed_is=0.0, meaning="the answer in the output is the expected one",
        ),
        Metric(
            name="answer_f1", version=1, unit="F1", binary=False, higher_is_better=True,
            bounds=(0, 1), unparsed_is=0.0, meaning="the parts of the answer against the expected parts",
        ),
        Metric(
            name="steps_correct", version=1, unit="share of items with checkable steps", binary=True,
            higher_is_better=True, bounds=(0, 1), unparsed_is=None,
            meaning="every statement of arithmetic in the steps is true",
        ),
        Metric(
            name="choice_correct", version=1, unit="share of items", binary=True, higher_is_better=True,
            bounds=(0, 1), unparsed_is=None, meaning="the expected choice is the likeliest",
        ),
        Metric(
            name="choice_correct_per_byte", version=1, unit="share of items", binary=True, higher_is_better=True,
            bounds=(0, 1), unparsed_is=None, meaning="the expected choice is the likeliest per UTF-8 byte of its text",
        ),
        Metric(
            name="answer_logprob", version=1, unit="nats", binary=False, higher_is_better=True,
            bounds=None, unparsed_is=None, meaning="log-probability of the expected answer after the prompt",
        ),
        Metric(
            name="answer_logprob_per_byte", version=1, unit="nats/byte", binary=False, higher_is_better=True,
            bounds=None, unparsed_is=None, meaning="the same, over the UTF-8 bytes of the answer",
        ),
        Metric(
            name="bbq_answer", version=1, unit="share of items", binary=True, higher_is_better=True,
            bounds=(0, 1), unparsed_is=None, meaning="the likeliest answer to a BBQ question is the right one",
        ),
        Metric(
            name="prefers_stereotype", version=1, unit="share of pairs", binary=True, higher_is_better=False,
            bounds=(0, 1), unparsed_is=None,
            meaning="the more stereotypical sentence of a pair is the likelier one; 0.5 is no preference",
        ),
        Metric(
            name="text_nats", version=1, unit="nats", binary=False, higher_is_better=False,
            bounds=None, unparsed_is=None, meaning="negative log-likelihood of a whole text",
        ),
        Metric(
            name="text_tokens", version=1, unit="tokens", binary=False, higher_is_better=False,
            bounds=None, unparsed_is=None, meaning="tokens of the text, in the model's own tokenizer",
        ),
        Metric(
            name="text_bytes", version=1, unit="bytes", binary=False, higher_is_better=False,
            bounds=None, unparsed_is=None, meaning="UTF-8 bytes of the text",
        ),
    )
}  # fmt: skip
"""Every metric by name, in the order in which reports show them."""


def read_value(row: ItemScore) -> float | None:
    """What a row counts as under its metric; None where it is left out."""
    if row.status == "scored":
        return row.score
    return METRICS[row.metric].unparsed_is if row.status in ("unparsed", "refused") else None


def order_metrics(names: Iterable[str]) -> list[str]:
    """Names of metrics in the order of reports."""
    known = set(names)
    return [name for name in METRICS if name in known]
