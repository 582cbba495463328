import hashlib
import operator
import platform
import re
from itertools import islice

import pytest

from trainwright.data.builtin import BUILTIN_CORPORA, arithmetic, python_docs, stories
from trainwright.data.builtin.arithmetic import iter_arithmetic_traces, render_trace
from trainwright.data.builtin.plots import PLOTS


@pytest.fixture(scope="module")
def all_stories():
    return list(stories.iter_stories())


@pytest.fixture(scope="module")
def all_traces():
    return list(iter_arithmetic_traces(arithmetic.NUM_TRACES, arithmetic.SEED))


def digest(texts):
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def test_stories_are_the_ones_they_always_were(all_stories):
    assert digest(all_stories) == "7b3cd53f4ecb178612e15e5b51afd8339521fca1aa64d9274d8a7074d9d67c0a"


def test_arithmetic_is_what_it_always_was(all_traces):
    assert digest(map(render_trace, all_traces)) == "e2a32b82891b75b1f59a313d13058429ca85b67fecfae0d50c450175b0762ee7"


def test_stories_do_not_depend_on_how_many_are_told(all_stories):
    assert list(stories.iter_stories(30)) == all_stories[:30]
    assert stories.tell_story(17, stories.SEED) == all_stories[17]


def test_no_story_is_told_twice(all_stories):
    assert len(set(all_stories)) == len(all_stories) == stories.NUM_STORIES
    assert len(PLOTS) >= 12


def test_stories_are_short_and_enough(all_stories):
    lengths = [len(story.split()) for story in all_stories]
    assert min(lengths) >= 60
    assert max(lengths) <= 240
    assert 3_500_000 < sum(len(story.encode()) for story in all_stories) < 6_000_000


def test_stories_have_the_words_for_a_vocabulary_of_4096(all_stories):
    words = {word for story in all_stories for word in re.findall(r"[A-Za-z']+", story)}
    assert len(words) > 4_000


def test_no_template_shows_through(all_stories):
    for story in all_stories:
        assert not re.search(r"[{}\[\]|]|\(n\)|  | [,.!?]|[,.!?][,.;]|\.\"\.", story), story


def test_stories_are_written_correctly(all_stories):
    for story in all_stories:
        assert not re.search(r"^[a-z]|[.!?] [a-z]|(?:^|[.!?:] )\"[a-z]", story, re.MULTILINE), story
        assert not re.search(r"\b(\w+) \1\b", story), story
        assert story.count('"') % 2 == 0, story
        wrong = re.findall(r"\b[Aa] (?!uni|use|one)[aeiou]\w*|\b[Aa]n (?!hour)[^aeiou\W]\w*", story)
        assert not wrong, wrong


def test_lost_thing_is_found_where_it_lay(all_stories):
    found = 0
    for story in all_stories[:: len(PLOTS)]:
        toy = re.search(r"was the ([\w' -]+)!", story) or re.search(r"[Tt]he ([\w' -]+) was [^.!]+\.\s\"?Thank", story)
        if toy:
            found += 1
            assert story.count(toy[1]) >= 2, story
    assert found > 50


def test_stories_begin_in_many_ways(all_stories):
    starts = {" ".join(story.split()[:2]) for story in all_stories}
    assert sum(story.startswith("Once upon a time") for story in all_stories) > 500
    assert len(starts) > 300


def test_traces_do_not_depend_on_how_many_are_made(all_traces):
    assert list(iter_arithmetic_traces(40, arithmetic.SEED)) == all_traces[:40]
    assert next(iter_arithmetic_traces(1, 7)) != all_traces[0]
    assert len({trace.prompt for trace in all_traces}) == len(all_traces)


def answer(kind, prompt):
    """The answer worked out from the words of the question alone."""
    numbers = [int(number) for number in re.findall(r"\d+", prompt)]
    if kind == "comparison":
        return max(numbers) if "larger" in prompt else min(numbers)
    if kind == "gain and loss":
        return numbers[0] + numbers[1] - numbers[2]
    if kind == "groups and rest":
        return numbers[0] * numbers[1] + numbers[2]
    if kind == "sharing":
        quotient, rest = divmod(numbers[0] - numbers[1], numbers[2])
        assert rest == 0
        return quotient
    return {
        "addition": numbers[0] + numbers[-1],
        "subtraction": numbers[0] - numbers[-1],
        "multiplication": numbers[0] * numbers[-1],
    }[kind]


def test_every_answer_is_right(all_traces):
    for trace in all_traces:
        assert int(trace.final_answer) == answer(trace.kind, trace.prompt), trace
        assert int(trace.final_answer) >= 0
    assert len({trace.kind for trace in all_traces}) == 7


def test_every_step_is_right(all_traces):
    num_equations = 0
    for trace in all_traces:
        for step in trace.steps:
            for left, right in re.findall(r"((?:\d+ [-+*/] )+\d+) = (\d+)", step):
                num_equations += 1
                assert _compute(left) == int(right), (trace, step)
    assert num_equations > 15_000


def _compute(expression):
    first, *rest = re.findall(r"\d+|[-+*/]", expression)
    total = int(first)
    for sign, number in zip(rest[::2], map(int, rest[1::2]), strict=True):
        compute = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}[sign]
        total = compute(total, number)
    return total


def test_written_digits_spell_the_answer(all_traces):
    for trace in all_traces:
        if trace.kind == "addition":
            digits = [re.search(r"write (\d)", step)[1] for step in trace.steps if step.startswith("Add")]
            carried = [re.search(r"carried (\d)", step)[1] for step in trace.steps if step.startswith("Write")]
            assert "".join(carried + digits[::-1]) == trace.final_answer
        if trace.kind == "subtraction":
            digits = [re.search(r"= (\d)\.$", step)[1] for step in trace.steps]
            assert int("".join(digits[::-1])) == int(trace.final_answer)


def test_trace_reads_as_question_steps_and_answer():
    trace = next(iter_arithmetic_traces(1, 0))
    first, *steps, last, end = render_trace(trace).split("\n")
    assert first == f"Question: {trace.prompt}"
    assert [step.partition(". ")[2] for step in steps] == list(trace.steps)
    assert (last, end) == (f"Answer: {trace.final_answer}", "")


def test_too_many_traces_are_refused_rather_than_repeated(monkeypatch):
    monkeypatch.setattr(
        arithmetic,
        "_make_trace",
        lambda draw: arithmetic._sharing(type("Same", (), {"pick": lambda s, c: c[0], "number": lambda s, a, b: a})()),
    )
    with pytest.raises(ValueError, match="ask for fewer"):
        list(iter_arithmetic_traces(2, 0))


def test_python_docs_are_topics_then_modules():
    topics = list(islice(python_docs.iter_python_docs(), 5))
    assert topics == list(islice(python_docs.iter_python_docs(), 5))
    assert all(topic.strip() for topic in topics)
    assert python_docs.describe_settings()["python"].endswith(platform.python_version())


def test_docstrings_are_read_without_importing(tmp_path):
    path = tmp_path / "mod.py"
    path.write_text(  # the raise would end the test if the module were imported
        '"""Top."""\nraise SystemExit\n'
        'class A:\n    """About A."""\n    def f(self, x=1):\n        """Do f."""\ndef g(): pass\n'
    )
    assert (
        python_docs._read_module(path, "mod")
        == "Module mod\n\nTop.\n\nclass A\n\nAbout A.\n\nA.f(self, x=1)\n\nDo f.\n"
    )


def test_modules_come_sorted_and_without_tests(tmp_path):
    for name in ("b.py", "a/__init__.py", "a/c.py", "test/t.py", "site-packages/s.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    files = [path.relative_to(tmp_path).as_posix() for path in python_docs._iter_module_files(tmp_path)]
    assert files == ["a/__init__.py", "a/c.py", "b.py"]


def test_key_of_a_corpus_depends_on_its_settings():
    corpus = BUILTIN_CORPORA["stories"]
    assert corpus.key() == corpus.key()
    other = type(corpus)(corpus.name, corpus.description, corpus.iter_documents, lambda: {"num_stories": 1})
    assert other.key() != corpus.key()
