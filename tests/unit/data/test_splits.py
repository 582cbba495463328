import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainwright.core.errors import SourceTooShort
from trainwright.core.manifest import SplitSection
from trainwright.data.splits import SplitRule, Survey, choose_rule, iter_blocks, iter_documents, shrink_to_fit


def lines_of(*documents):
    return [(number, line) for number, text in enumerate(documents) for line in text.splitlines(keepends=True)]


def survey_of(lines):
    survey = Survey()
    for line in lines:
        survey.add(line)
    return survey


def choose(lines, **settings):
    return choose_rule(survey_of(lines), SplitSection(**settings))


def test_many_documents_are_divided_whole():
    rule = choose(lines_of(*["text\n"] * 25))
    assert rule == SplitRule(by="document", every=10)
    assert [index for index in range(25) if rule.is_held_out(index)] == [9, 19]


@pytest.mark.parametrize(("share", "every"), [(0.1, 10), (0.5, 2), (0.25, 4), (0.05, 20), (0.3, 3)])
def test_share_becomes_every_nth(share, every):
    assert choose(lines_of("line\n" * 100_000), validation_share=share).every == every


def test_few_documents_are_divided_by_blocks():
    assert choose(lines_of(*["line\n" * 900] * 9)) == SplitRule(by="lines", every=10, size=500)
    assert choose(lines_of(*["line\n" * 900] * 10)).by == "document"


def test_too_few_documents_for_a_small_share_are_divided_by_blocks():
    assert choose(lines_of(*["line\n" * 900] * 12), validation_share=0.01).by == "lines"


def test_documents_that_were_asked_for_must_be_enough():
    with pytest.raises(SourceTooShort, match=r"3 document\(s\)"):
        choose(lines_of("a\n", "b\n", "c\n"), by="document")


@pytest.mark.parametrize(("num_lines", "size"), [(5000, 500), (4999, 499), (1009, 100), (10, 1)])
def test_blocks_shrink_until_one_whole_block_is_held_out(num_lines, size):
    lines = lines_of("line\n" * num_lines)
    rule = choose(lines)
    assert rule.size == size
    held_out = [block for index, block in enumerate(iter_blocks(lines, rule)) if rule.is_held_out(index)]
    assert held_out[0] == "line\n" * size


def test_text_with_few_lines_is_cut_at_white_space():
    text = "one two  three four\nfive six seven eight nine ten eleven twelve\n"
    rule = choose(lines_of(text))
    assert rule.by == "characters"
    rule = shrink_to_fit(rule, [text])
    blocks = list(iter_blocks(lines_of(text), rule))
    assert "".join(blocks) == text
    assert len(blocks) >= 10
    assert all(block.split() for block in blocks)


def test_too_few_words_are_refused():
    rule = choose(lines_of("only five words are here"))
    with pytest.raises(SourceTooShort, match="too few words"):
        shrink_to_fit(rule, ["only five words are here"])


def test_blocks_never_span_two_documents():
    lines = lines_of("a\n" * 5, "b\n" * 3)
    assert list(iter_blocks(lines, SplitRule(by="lines", every=2, size=4))) == ["a\n" * 4, "a\n", "b\n" * 3]


@given(
    st.lists(
        st.text(alphabet="ab \n\u2028", min_size=1).filter(lambda text: not text.isspace()), min_size=1, max_size=4
    ),
    st.integers(1, 9),
)
def test_joined_blocks_are_the_text(documents, size):
    lines = [(number, part) for number, text in enumerate(documents) for part in _cut(text)]
    assert list(iter_documents(lines)) == documents
    for by in ("lines", "characters", "document"):
        assert "".join(iter_blocks(lines, SplitRule(by=by, every=10, size=size))) == "".join(documents)


def _cut(text):
    *complete, rest = text.split("\n")
    return [line + "\n" for line in complete] + ([rest] if rest else [])
