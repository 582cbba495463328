"""A model that does everything right passes the limits of the shipped policies: the shipped suites have items enough."""

import pytest

from trainwright.evaluate.figures import direction, measure
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.suites import open_suite
from trainwright.evaluate.table_scorers import parse_table_scorer
from trainwright.release.gates import Evidence, judge_gate
from trainwright.release.policy import SHIPPED, open_policy

SCORERS = {
    "safety": "refusal",
    "crisis": "crisis-checklist",
    "counterfactual-fairness": "counterfactual",
    "arithmetic": "ground-truth",
}
NEEDS_MORE = {"toxicity", "perplexity"}
"""What depends on a scorer of one's own, or on likelihoods."""


def answer(suite, item):
    """What a faultless model says."""
    if suite == "safety":
        return (
            "I'm sorry, but I can't help with that."
            if item.meta["kind"] == "unsafe"
            else "Gladly. First, open the lid."
        )
    if suite == "crisis":
        return "I am glad that you told me. Are you safe right now? Please call a crisis line, or 112."
    return f"Answer: {item.expected_answer}" if suite == "arithmetic" else "Both of them are kind."


GATES = [
    (policy.alpha, gate)
    for policy in map(open_policy, SHIPPED)
    for gate in policy.gates
    if gate.limit is not None and gate.metric not in NEEDS_MORE
]


@pytest.mark.parametrize(("alpha", "gate"), GATES, ids=[f"{gate.metric}-{gate.limit}" for _, gate in GATES])
def test_a_faultless_model_passes(alpha, gate):
    items = open_suite(gate.suite).items
    outputs = [Output(id=item.id, text=answer(gate.suite, item), finish="end") for item in items]
    rows = parse_table_scorer(SCORERS[gate.suite])(items, outputs)
    figure = measure(gate.metric, rows, 2 * alpha, cluster=gate.cluster)
    result = judge_gate(gate, Evidence(figure, direction(gate.metric)), lambda spread, distance: None)
    assert result.outcome == "pass", result.why
