"""Public benchmarks are read from the files that their authors publish, and every fault is named by its place."""

import json

import pytest

from trainwright.core.errors import (
    InvalidEncoding,
    InvalidRow,
    InvalidValue,
    SourceEmpty,
    SourceNotFound,
    SourceUnreadable,
)
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.loaders.formats import FORMATS, read_evalset, read_format
from trainwright.evaluate.loaders.vera_mh import read_rubric

QUESTION = {
    "example_id": 3, "question_index": "7", "question_polarity": "neg", "context_condition": "ambig", "category": "Age",
    "answer_info": {"ans0": ["boy", "nonOld"], "ans1": ["unclear", "unknown"], "ans2": ["grandfather", "old"]},
    "additional_metadata": {"stereotyped_groups": ["Old"]},
    "context": "A boy and his grandfather waited.", "question": "Who forgot?",
    "ans0": "The boy", "ans1": "Not known", "ans2": "The grandfather", "label": 1,
}  # fmt: skip
CROWS = ",sent_more,sent_less,stereo_antistereo,bias_type\n"
XSTEST = "id,prompt,type,label,focus,note\n"
SAFETY = "id,harm_area,counter,category,prompts_final\n"
RUBRIC = "Question ID\tDimension\tSeverity\tRisk Type\tQuestion\tExamples\tAnswer\tGOTO\n"
PERSONAS = "Name\tAge\tDisclosure of Suicide Risk\tCurrent Risk Level\tSample Prompts\n"
EMOTIONS = {f"emotion{n}": name for n, name in enumerate(("Glad", "Sad", "Calm", "Cross"), start=1)}
EQ = {
    "1": {
        "prompt": "How would Ada feel?",
        "reference_answer": EMOTIONS | {f"emotion{n}_score": n for n in range(1, 5)},
        "reference_answer_fullscale": EMOTIONS | {f"emotion{n}_score": str(2 * n) for n in range(1, 5)},
    }
}


@pytest.fixture
def write(tmp_path):
    def call(content, name="file"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return call


def bbq_line(**changes):
    return json.dumps(QUESTION | changes) + "\n"


# ── questions with answers ────────────────────────────────────────────────────────────────────────────────────────────
def test_gsm8k_is_told_by_its_first_line(write):
    path = write('{"question": "How many?", "answer": "2 + 3 = <<2+3=5>>5\\n#### 1,005"}\n')
    expected = EvalItem(id="gsm8k-1", prompt="How many?", expected_answer="1,005", scorer="numeric")
    assert read_evalset(path) == read_format("gsm8k", path) == [expected]
    with pytest.raises(InvalidRow, match="line 1: the answer does not end in ####"):
        read_evalset(write('{"question": "q", "answer": "five"}'))


def test_bbq_says_which_answer_is_the_biased_one(write):
    negative, positive = read_format(
        "bbq",
        write(bbq_line() + bbq_line(example_id=4, question_polarity="nonneg", context_condition="disambig", label=0)),
    )
    assert negative.choices == ("The boy", "Not known", "The grandfather")
    assert (negative.expected_answer, negative.cluster_id, negative.category) == ("Not known", "Age-7", "Age")
    assert negative.meta == {
        "condition": "ambiguous", "polarity": "negative", "biased_choice": 2, "unknown_choice": 1,
    }  # fmt: skip
    # The stereotype says that the old one forgets; it says as well that the young one does not.
    assert (positive.meta["condition"], positive.meta["biased_choice"]) == ("disambiguated", 0)


@pytest.mark.parametrize(
    ("info", "groups", "biased"),
    [
        (["Ana", "F-Black"], ["Black"], 0),
        (["low", "lowSES"], ["low SES"], 0),
        (["Ana", "F"], ["F"], 0),
        (["Ana", "old"], ["old", "nonOld"], None),
        (["Ana", "x"], [], None),
    ],
)
def test_bbq_group_is_found_by_its_name_or_not_at_all(write, info, groups, biased):
    answers = QUESTION["answer_info"] | {"ans0": info, "ans2": ["other", "nonOld"]}
    (item,) = read_format(
        "bbq", write(bbq_line(answer_info=answers, additional_metadata={"stereotyped_groups": groups}))
    )
    assert item.meta["biased_choice"] == biased


def test_truthfulqa_has_one_true_answer_and_keeps_the_longer_lists(write):
    row = {"question": "Why?", "mc1_targets": {"So": 1, "No": 0, "": 0}, "mc2_targets": {"So": 1, "Indeed": 1, "No": 0}}
    (item,) = read_format("truthfulqa", write([row]))
    assert (item.expected_answer, item.choices) == ("So", ("So", "No"))
    assert item.meta == {"mc2": {"true": ["So", "Indeed"], "false": ["No"]}}


def test_big_bench_hard_is_one_task_or_a_folder_of_them(write):
    path = write({"canary": "x", "examples": [{"input": "Pick one.", "target": "(B)"}]}, "bbh/shapes.json")
    write({"examples": [{"input": "True or not?", "target": "True"}]}, "bbh/logic.json")
    (one,) = read_format("big-bench-hard", path)
    assert (one.id, one.category, one.open_scorer().name) == ("shapes-1", "shapes", "letter")
    assert [item.id for item in read_format("big-bench-hard", path.parent)] == ["logic-1", "shapes-1"]


# ── pairs of sentences ────────────────────────────────────────────────────────────────────────────────────────────────
def test_crows_pairs_has_the_more_stereotypical_sentence_first(write):
    first, second = read_format(
        "crows-pairs", write(CROWS + '0,"Old, so slow.","Young, so slow.",stereo,age\n1,a,b,antistereo,sex\n')
    )
    assert first.choices == ("Old, so slow.", "Young, so slow.")
    assert (first.id, first.category, first.meta) == ("crows-0", "age", {"direction": "stereo", "bias_type": "age"})
    assert second.meta["direction"] == "antistereo"


def test_winobias_pairs_the_lines_of_its_two_files(write):
    path = write(
        "1 [The guard] said that [he] was tired.\n\n2 I met [the nurse] because [she] was kind.\n",
        "pro_stereotyped_type1.txt.test",
    )
    write(
        "1 [The guard] said that [she] was tired.\n2 I met [the nurse] because [he] was kind.\n",
        "anti_stereotyped_type1.txt.test",
    )
    first, second = read_format("winobias", path)
    assert first.choices == ("The guard said that he was tired.", "The guard said that she was tired.")
    assert second.choices[0] == "I met the nurse because she was kind."
    with pytest.raises(InvalidValue, match="not the file of stereotypical sentences"):
        read_format("winobias", path.with_name("anti_stereotyped_type1.txt.test"))
    write("1 [The guard] said that [she] was tired.\n", "anti_stereotyped_type1.txt.test")
    with pytest.raises(InvalidRow, match="has 2 sentences"):
        read_format("winobias", path)
    with pytest.raises(InvalidRow, match="line 1: it is no sentence of WinoBias"):
        read_format("winobias", write("The guard slept.\n", "pro_stereotyped_type1.txt.test"))


# ── prompts ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_prompts_say_whether_they_are_to_be_refused(write):
    safe, unsafe = read_format(
        "xstest", write(XSTEST + "1,How do I kill a process?,homonyms,safe,kill,\n2,Who?,contrast,unsafe,,\n")
    )
    assert (safe.id, safe.category, safe.section) == ("xstest-1", "safe", "homonyms")
    assert (safe.meta, unsafe.meta) == ({"kind": "safe", "focus": "kill"}, {"kind": "unsafe"})
    (item,) = read_format("simple-safety-tests", write(SAFETY + 'sst_1,"Scams, fraud",1,Information,Is this a scam?\n'))
    assert (item.id, item.category, item.section, item.meta) == ("sst_1", "unsafe", "Scams, fraud", {"kind": "unsafe"})


def test_eq_bench_has_its_reference_on_both_scales(write):
    (item,) = read_format("eq-bench", write(EQ))
    assert item.id == "eq-1"
    assert item.meta["reference"] == {"Glad": 2, "Sad": 4, "Calm": 6, "Cross": 8}
    assert item.meta["reference_normalised"] == {"Glad": 1, "Sad": 2, "Calm": 3, "Cross": 4}


def test_vera_mh_is_prompts_of_personas_and_a_rubric(write):
    path = write(
        RUBRIC
        + "4\tRisk\tRed\t\tIs there any?\t\tYes\t5\n\t\t\t\t\t\tNo\tEND\n5\tProbing\tYelow\t\tDoes it ask?\tSuch as\t\t\n",
        "vera/rubric.tsv",
    )
    write(PERSONAS + "Omar\t44\tLow\tHigh\tI cannot; how long; \n", "vera/personas.tsv")
    items = read_format("vera-mh", path.parent)
    assert [(item.id, item.prompt) for item in items] == [("vera-Omar-1", "I cannot"), ("vera-Omar-2", "how long")]
    assert (items[0].cluster_id, items[0].category, items[0].meta["disclosure"]) == ("Omar", "High", "Low")
    first, second = read_rubric(path)
    assert [(answer.text, answer.goto) for answer in first.answers] == [("Yes", "5"), ("No", "END")]
    assert (second.severity, second.examples, second.answers) == ("Yelow", "Such as", ())
    with pytest.raises(InvalidRow, match="line 2: it has no Question ID"):
        read_rubric(write(RUBRIC + "\t\t\t\t\t\tNo\t\n", "vera/rubric.tsv"))


# ── faults ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("form", "content", "said"),
    [
        ("bbq", "{", "line 1: it is not JSON"),
        ("bbq", bbq_line() + bbq_line(label=3), "line 2: label is 3"),
        ("bbq", bbq_line(example_id=None), "line 1: example_id is missing"),
        ("bbq", bbq_line(context_condition="both"), "line 1: context_condition is 'both'"),
        ("bbq", bbq_line(ans0="Not known"), "line 1: two of its answers are the same"),
        ("bbq", bbq_line(answer_info={}), "line 1: answer_info does not say of which group ans0 is"),
        ("bbq", bbq_line(answer_info={f"ans{n}": ["a", "b"] for n in range(3)}), "has 0 unknown answers"),
        ("bbq", bbq_line() + bbq_line(), "has 2 items that would be called bbq-Age-3"),
        ("crows-pairs", "sent_more,sent_less\n", "line 1: there is no column 'stereo_antistereo'"),
        ("crows-pairs", CROWS + "0,a,a,stereo,age\n", "line 2: the two sentences are the same"),
        ("crows-pairs", CROWS + "0,a,b,both,age\n", "line 2: stereo_antistereo is 'both'"),
        ("crows-pairs", CROWS + "0,a,b\n", "line 2: it has not as many fields"),
        ("crows-pairs", CROWS + '0,"a\n', "line 2: it cannot be read"),
        ("xstest", XSTEST + "1,How?,t,maybe,,\n", "line 2: label is 'maybe'"),
        ("simple-safety-tests", SAFETY + "1,a,1,b, \n", "line 2: prompts_final is not a text, or empty"),
        ("truthfulqa", '[\n{"question": }]', "line 2: it is not JSON"),
        ("truthfulqa", {"question": "q"}, "holds no list of questions"),
        ("truthfulqa", [1], "question 1: it is not a JSON object"),
        ("truthfulqa", [{"question": "q", "mc1_targets": {"a": 1, "b": 1}}], "question 1: mc1_targets has 2 of 2"),
        ("truthfulqa", [{"question": "q", "mc1_targets": {"a": 2}}], "question 1: mc1_targets is no object"),
        ("eq-bench", [], "holds no questions by number"),
        ("eq-bench", {"1": {"prompt": "p"}}, "question 1: reference_answer_fullscale is missing"),
        ("eq-bench", {"1": EQ["1"] | {"reference_answer": EMOTIONS | {"emotion1_score": "high"}}}, "emotion1_score is no"),
        ("big-bench-hard", [], "has no list of examples"),
        ("big-bench-hard", {"examples": [{"input": "i"}]}, "example 1: target is missing"),
    ],
)  # fmt: skip
def test_fault_is_named_by_its_place(write, form, content, said):
    with pytest.raises(InvalidRow, match=said):
        read_format(form, write(content))


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_file_that_is_not_there_is_said_so(tmp_path, form):
    with pytest.raises(SourceNotFound):
        read_format(form, tmp_path / "pro_stereotyped")


def test_empty_and_binary_files_and_folders_are_refused(tmp_path, write):
    with pytest.raises(SourceEmpty):
        read_format("crows-pairs", write(CROWS))
    (tmp_path / "bad.csv").write_bytes(CROWS.encode() + b"\xff")
    with pytest.raises(InvalidEncoding, match=r"bad\.csv is not UTF-8"):
        read_format("crows-pairs", tmp_path / "bad.csv")
    with pytest.raises(SourceEmpty, match="There is no task"):
        read_format("big-bench-hard", tmp_path / "..")
    with pytest.raises(SourceUnreadable):
        read_format("xstest", tmp_path)
