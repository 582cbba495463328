"""A suite is read strictly, named by what it means, and refused by the key that is wrong."""

import json

import pytest

from trainwright.core.errors import InvalidRow, InvalidValue, OutOfRange, SuiteNotFound, SuiteUnreadable, UnknownKey
from trainwright.evaluate.suites import list_builtin_suites, open_suite, parse_suite

ITEM = {
    "id": "a",
    "prompt": "What is 2 + 3?",
    "expected_answer": "5",
    "category": "sums",
    "meta": {"kind": "k", "pair": "p1"},
}


@pytest.fixture
def write(tmp_path):
    def call(text, *items, name="mine.yaml"):
        (tmp_path / "items.jsonl").write_text(
            "".join(json.dumps(item) + "\n" for item in items or (ITEM,)), encoding="utf-8"
        )
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return call


MINIMAL = "name: mine\nversion: 2\nitems: items.jsonl\n"


def test_what_is_left_open_is_what_the_form_of_the_items_says(write):
    opened = open_suite(write(MINIMAL))
    assert (opened.suite.by, opened.suite.template, opened.suite.scorers) == (
        "generation",
        "{prompt}",
        ("ground-truth",),
    )
    assert opened.slices == ("category", "difficulty", "section")
    assert opened.items[0].slices == {"category": "sums"}
    bbq = parse_suite_text(write, "name: b\nversion: 1\nitems: {format: bbq, path: x.jsonl}\n")
    assert (bbq.by, bbq.template) == ("likelihood", "{prompt}\nAnswer:")
    written = parse_suite_text(write, "name: b\nversion: 1\nby: generation\nitems: {format: bbq, path: x.jsonl}\n")
    assert (written.by, written.template) == ("generation", "{prompt}")


def parse_suite_text(write, text):
    from pathlib import Path

    return parse_suite(Path(write(text)))


def test_items_are_sliced_and_clustered_as_the_suite_says(write):
    opened = open_suite(write(MINIMAL + "slices: [kind]\nclusters: pair\n"))
    assert (opened.items[0].slices, opened.items[0].cluster_id) == ({"kind": "k"}, "p1")


def test_suite_is_named_by_what_it_means_and_not_by_where_it_lies(write):
    first = open_suite(write(MINIMAL))
    assert (
        open_suite(write("items: {path: ./items.jsonl}\nversion: 2\nname: mine\n", name="other.yaml")).digest
        == first.digest
    )
    assert open_suite(write(MINIMAL + "description: other\n")).digest != first.digest
    assert open_suite(write(MINIMAL, ITEM | {"prompt": "What is 3 + 3?"})).digest != first.digest


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("items: x\n", InvalidValue, "name is missing"),
        (MINIMAL + "scorer: [a]\n", UnknownKey, "there is no key scorer"),
        (MINIMAL + "decoding: {temprature: 1}\n", UnknownKey, "there is no key decoding.temprature"),
        (MINIMAL + "decoding: {max_tokens: 0}\n", OutOfRange, "decoding.max_tokens is 0"),
        (MINIMAL + "decoding: {temperature: .nan}\n", InvalidValue, "decoding.temperature is nan"),
        (MINIMAL + "by: luck\n", InvalidValue, "by is 'luck'"),
        (MINIMAL + "scorers: [fuzzy]\n", InvalidValue, "scorers is 'fuzzy'"),
        (MINIMAL + "scorers: []\n", InvalidValue, "scorers is \\[\\]"),
        (MINIMAL + "scorers: [ground-truth, ground-truth]\n", InvalidValue, "scorers is"),
        (MINIMAL + "template: 'Say:'\n", InvalidValue, "does not say where the prompt goes"),
        (MINIMAL + "by: text\ntemplate: 'Say: {prompt}'\n", InvalidValue, "template is"),
        (MINIMAL + "by: text\nscorers: [ground-truth]\n", InvalidValue, "scorers is"),
        (MINIMAL + "by: likelihood\ndecoding: {seed: 1}\n", InvalidValue, "decoding is"),
        (MINIMAL + "slices: [colour]\n", InvalidValue, "slices names 'colour', and"),
        (MINIMAL + "clusters: colour\n", InvalidValue, "clusters names 'colour', and item a"),
        ("name: mine\nversion: 0\nitems: items.jsonl\n", OutOfRange, "version is 0"),
        ("name: my suite\nversion: 1\nitems: items.jsonl\n", InvalidValue, "name is 'my suite'"),
        ("name: mine\nversion: 1\nitems: {format: bqb, path: x}\n", InvalidValue, "items.format is 'bqb'"),
        ("name: mine\nversion: 1\nitems: {path: x, kind: y}\n", UnknownKey, "there is no key items.kind"),
        ("name: mine\nversion: 1\nitems: [x]\n", InvalidValue, "items is"),
        ("- a\n", SuiteUnreadable, "does not hold a mapping"),
        ("name: [\n", SuiteUnreadable, "is not YAML"),
    ],
)  # fmt: skip
def test_fault_is_named_by_its_key(write, text, error, said):
    with pytest.raises(error, match=said):
        open_suite(write(text))


def test_misspelt_key_form_and_name_are_answered_with_the_nearest(write):
    for text, near in (
        (MINIMAL + "scorer: [a]\n", "scorers"),
        ("name: m\nversion: 1\nitems: {format: bqb, path: x}\n", "bbq"),
    ):
        with pytest.raises((UnknownKey, InvalidValue)) as refused:
            open_suite(write(text))
        assert f"Did you mean {near}" in refused.value.why
    with pytest.raises(SuiteNotFound) as missing:
        open_suite("arithmetics")
    assert "arithmetic" in missing.value.why


def test_suite_of_answers_needs_answers_and_others_do_not(write):
    item = {"id": "a", "prompt": "Help me."}
    with pytest.raises(InvalidValue, match="1 of its items have no expected answer: a"):
        open_suite(write(MINIMAL, item))
    with pytest.raises(InvalidRow, match="line 1: prompt is missing"):
        open_suite(write(MINIMAL, {"id": "a"}))
    assert open_suite(write(MINIMAL + "scorers: [refusal]\n", item)).items[0].expected_answer is None


# ── those that come along ─────────────────────────────────────────────────────────────────────────────────────────────
def test_suites_come_along():
    assert set(list_builtin_suites()) >= {
        "arithmetic",
        "counterfactual-fairness",
        "crisis",
        "language-modelling",
        "safety",
    }
    for name in list_builtin_suites():
        opened = open_suite(name)
        assert opened.suite.name == name
        assert opened.suite.description.endswith((".", "?"))
        assert len(opened.items) >= 20
        assert len({item.prompt for item in opened.items}) == len(opened.items)


def test_answers_of_the_arithmetic_suite_are_right():
    items = open_suite("arithmetic").items
    sums = [
        item
        for item in items
        if item.category in ("addition", "subtraction", "multiplication", "division", "order of operations")
    ]
    assert len(sums) == 35
    for item in sums:
        expression = item.prompt.removeprefix("What is ").removesuffix("?").replace(",", "")
        assert set(expression) <= set("0123456789+-*/(). ")
        assert eval(expression) == float(item.expected_answer), item.id
    assert {item.open_scorer().name for item in items} == {"numeric"}


def test_unsafe_prompts_have_safe_ones_on_the_same_subjects():
    items = open_suite("safety").items
    subjects = {
        kind: sorted(item.section for item in items if item.meta == {"kind": kind}) for kind in ("unsafe", "safe")
    }
    assert subjects["unsafe"] == subjects["safe"]
    assert all(item.category == item.meta["kind"] for item in items)


def test_prompts_of_a_pair_differ_in_the_group_alone():
    pairs = {}
    for item in open_suite("counterfactual-fairness").items:
        pairs.setdefault(item.meta["pair"], []).append(item)
    assert all(len(pair) == 2 for pair in pairs.values())
    for first, second in pairs.values():
        assert first.cluster_id == second.cluster_id
        plain = [
            " ".join(item.prompt.replace(item.meta["term"], "…").split())
            .replace("An …", "A …")
            .replace(" an …", " a …")
            for item in (first, second)
        ]
        assert plain[0] == plain[1]
