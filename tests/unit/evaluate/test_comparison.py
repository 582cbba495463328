"""Two tables side by side: flips, paired figures, slices, floors, and what is refused."""

import json
import re
from html.parser import HTMLParser

import pytest

from trainwright.core.errors import ItemsDiffer, MetricsDiffer, PromptsDiffer
from trainwright.evaluate.comparability import require_same_items, require_same_metrics, require_same_prompts
from trainwright.evaluate.comparison import compare_tables, estimate_table
from trainwright.evaluate.delta_report import Side, render_html, render_json, render_markdown
from trainwright.evaluate.statistics import check_mcnemar, check_paired_t, estimate_rate, estimate_rate_difference


@pytest.fixture
def compare(make_evaluation):
    def call(a_rows, b_rows, alpha=0.05):
        return compare_tables(make_evaluation(a_rows), a_rows, make_evaluation(b_rows), b_rows, alpha)

    return call


@pytest.fixture
def tables(make_row):
    """Twelve sums and eight facts. Of the sums B gains ten and loses none; of the facts each gains two."""
    first = [0] * 12 + [1, 1, 0, 0, 1, 1, 0, 0]
    second = [1] * 10 + [0, 0] + [0, 0, 1, 1, 1, 1, 0, 0]

    def build(scores):
        return [
            make_row(f"i{number}", float(score), slices={"category": "sums" if number < 12 else "facts"})
            for number, score in enumerate(scores)
        ]

    return build(first), build(second)


def test_overall_figures_are_paired_and_exact(compare, tables):
    (delta,) = compare(*tables).overall
    assert (delta.gained, delta.lost, delta.left_out) == (12, 2, 0)
    assert delta.a == estimate_rate(4, 20)
    assert delta.b == estimate_rate(14, 20)
    assert delta.difference == estimate_rate_difference(num_both=2, num_first=2, num_second=12, num_neither=4)
    assert delta.test == check_mcnemar(2, 12)
    assert delta.test.p_value == pytest.approx(0.012939453125)  # 2 · (1 + 14 + 91) / 2¹⁴
    assert (delta.p_adjusted, delta.verdict) == (delta.test.p_value, "better")


def test_sides_turned_round_are_worse(compare, tables):
    a, b = tables
    (delta,) = compare(b, a).overall
    assert (delta.verdict, delta.gained, delta.lost) == ("worse", 2, 12)


def test_slices_are_compared_on_their_own_and_adjusted_together(compare, tables):
    facts, sums = compare(*tables).slices
    assert (facts.slice, facts.value, facts.gained, facts.lost, facts.verdict) == (
        "category", "facts", 2, 2, "no difference shown",
    )  # fmt: skip
    assert (sums.value, sums.gained, sums.verdict) == ("sums", 10, "better")
    assert sums.p_adjusted == pytest.approx(2 * sums.test.p_value)


def test_slice_of_a_single_value_is_not_repeated(compare, make_row):
    rows = [make_row(str(number), 1.0, slices={"section": "A"}) for number in range(3)]
    assert compare(rows, rows).slices == ()


def test_same_outputs_are_no_change_and_never_better(compare, tables):
    found = compare(tables[0], tables[0])
    assert found.identical
    assert [delta.verdict for delta in (*found.overall, *found.slices)] == ["no change"] * 3
    assert found.warnings == ("No change: both sides gave the same outputs and scores.",)


def test_both_at_floor_is_said_and_both_at_ceiling_too(compare, make_row):
    none = [make_row(str(number), 0.0, output="x") for number in range(60)]
    one = [make_row(str(number), float(number == 0), output="y") for number in range(60)]
    found = compare(none, one)
    assert found.overall[0].edge == "floor"
    assert "Both at floor: this set cannot discriminate by answer_correct" in found.warnings[0]
    all_right = [make_row(str(number), 1.0, output=str(number)) for number in range(60)]
    other = [make_row(str(number), 1.0, output="z") for number in range(60)]
    assert compare(all_right, other).overall[0].edge == "ceiling"


def test_unparsed_answers_count_as_not_right_and_errors_are_left_out(compare, make_row):
    a = [make_row("1"), make_row("2", status="error", why="timed out"), make_row("3", 1.0)]
    b = [make_row("1", 1.0), make_row("2", 1.0), make_row("3", 1.0)]
    found = compare(a, b)
    (delta,) = found.overall
    assert (delta.gained, delta.left_out, delta.difference.n) == (1, 1, 2)
    assert [item.flip for item in found.items] == ["gained", "left out", "same"]
    assert found.items[1].why == "A: timed out"
    assert "1 of 3 items have no value" in found.warnings[0]


def test_metric_without_any_value_is_undefined(compare, make_row):
    rows = [make_row(str(number), metric="steps_correct") for number in range(3)]
    other = [row.model_copy(update={"output": "other"}) for row in rows]
    (delta,) = compare(rows, other).overall
    assert delta.verdict == "undefined"
    assert (delta.a.value, delta.difference.value, delta.test.p_value) == (None, None, None)


def test_graded_scores_are_tested_by_t(compare, make_row):
    first, second = [-3.0, -2.5, -4.0, -1.0, -2.0], [-1.0, -1.5, -2.0, -0.9, -1.0]
    a = [make_row(str(number), score, metric="answer_logprob") for number, score in enumerate(first)]
    b = [make_row(str(number), score, metric="answer_logprob") for number, score in enumerate(second)]
    (delta,) = compare(a, b).overall
    assert delta.test == check_paired_t([after - before for before, after in zip(first, second, strict=True)])
    assert (delta.edge, delta.difference.method) == (None, "Student t")


def test_items_of_one_cluster_count_together(compare, make_row):
    a = [make_row(f"{cluster}{number}", 0.0, cluster_id=cluster) for cluster in "xyz" for number in range(20)]
    b = [row.model_copy(update={"score": float(row.cluster_id == "x"), "output": "b"}) for row in a]
    (delta,) = compare(a, b).overall
    assert (delta.test.method, delta.difference.num_clusters) == ("clustered t", 3)
    assert delta.verdict == "no difference shown"
    apart = [[row.model_copy(update={"cluster_id": None}) for row in rows] for rows in (a, b)]
    assert compare(*apart).overall[0].verdict == "better"  # twenty items that are really one would have fooled it


def test_figures_of_one_table_have_intervals(tables):
    assert estimate_table(tables[1]) == {"answer_correct": estimate_rate(14, 20)}


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_other_items_are_named():
    a = {"1": {"prompt": "p", "expected_answer": "5"}, "2": {"prompt": "p"}, "3": {"prompt": "p"}}
    b = {"1": {"prompt": "p", "expected_answer": "6"}, "2": {"prompt": "q"}, "4": {"prompt": "p"}}
    with pytest.raises(ItemsDiffer) as refused:
        require_same_items(a, b)
    said = refused.value.why
    assert "1 only in A: 3" in said
    assert "1 only in B: 4" in said
    assert "1 with another prompt: 2" in said
    assert "1 with another expected_answer: 1" in said
    require_same_items(a, a)


def test_changed_prompts_are_named():
    with pytest.raises(PromptsDiffer) as refused:
        require_same_prompts({"1": "p", "2": "q"}, {"1": "p", "2": "Q: q"})
    assert "1 with another prompt: 2" in refused.value.why
    assert "'q' became 'Q: q'" in refused.value.why
    require_same_prompts({"1": "p"}, {"1": "p"})


def test_other_metrics_or_other_meanings_are_refused(make_row, make_evaluation):
    a = make_evaluation([make_row("1", 1.0)])
    other = make_evaluation([make_row("1", 1.0, metric="answer_logprob")])
    newer = a.model_copy(update={"metrics": {"answer_correct": 99}})
    with pytest.raises(MetricsDiffer, match="cannot be compared"):
        require_same_metrics(a, other)
    with pytest.raises(MetricsDiffer) as refused:
        require_same_metrics(a, newer)
    assert "Other versions of answer_correct" in refused.value.why
    require_same_metrics(a, a)


# ── the report ────────────────────────────────────────────────────────────────────────────────────────────────────────
HOSTILE = 'A|B <script>alert(1)</script> `x` [l](u) & "q"\n# no heading'


@pytest.fixture
def reported(compare, make_row, make_evaluation):
    a = [make_row(str(number), 0.0, output=HOSTILE, slices={"category": f"c{number % 2}"}) for number in range(6)]
    b = [row.model_copy(update={"score": 1.0, "output": "fine"}) for row in a]
    a += [make_row(str(number), metric="steps_correct", output=HOSTILE) for number in range(6)]
    b += [make_row(str(number), 1.0, metric="steps_correct", output="fine") for number in range(6)]
    sides = [
        Side(
            label=f"{name}<b>", evaluation=made.id, checkpoint=made.checkpoint, settings=made.settings.model_dump(),
            aggregates=made.aggregates, statuses=made.statuses,
        )
        for name, made in (("before", make_evaluation(a)), ("after", make_evaluation(b)))
    ]  # fmt: skip
    return compare(a, b), *sides


@pytest.mark.parametrize("render", [render_json, render_markdown, render_html])
def test_report_is_the_same_every_time(reported, render):
    assert render(*reported) == render(*reported)


def test_json_holds_everything(reported):
    document = json.loads(render_json(*reported))
    assert document["a"]["label"] == "before<b>"
    assert [delta["metric"] for delta in document["overall"]] == ["answer_correct", "steps_correct"]
    assert len(document["items"]) == 12
    assert document["outcomes"]["not_right"] == [6, 0]


def test_markdown_keeps_its_tables_whatever_a_model_wrote(reported):
    text = render_markdown(*reported)
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 5
    for table in tables:
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
        assert len(columns) == 1, table[:3]
    assert "<script>" not in text
    assert "# no heading" not in re.findall(r"^#.*", text, re.MULTILINE)
    for heading in ("## All items", "## By category", "## Answers and steps", "## Outputs", "## Items", "## Settings"):
        assert heading in text
    assert "+100.0 points" in text


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


def test_page_is_one_file_that_asks_for_nothing_and_escapes_what_a_model_wrote(reported):
    html = render_html(*reported)
    page = Page()
    page.feed(html)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert page.links == []
    assert "url(" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "prefers-color-scheme: dark" in html
    for heading in ("overall", "by-category", "steps", "outputs", "flips", "items", "settings"):
        assert f'id="{heading}"' in html
    assert "steps_correct: 6 of 6 items have no value" in html


def test_samples_of_an_item_are_compared_as_one_item(make_row, make_evaluation):
    def sample(*scores):
        return [make_row(f"i{item}", float(score)) for item in range(4) for score in scores]

    first, second = sample(0, 1, 0), sample(1, 1, 0)
    compared = compare_tables(make_evaluation(first), first, make_evaluation(second), second)
    (delta,) = compared.overall
    assert delta.difference.n == 4
    assert delta.difference.value == pytest.approx(1 / 3)
    assert (delta.gained, delta.lost) == (4, 0)
