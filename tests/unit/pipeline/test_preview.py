"""A sample of a file or a dataset version, through any tokenizer that can be named."""

import json
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from trainwright.core.errors import (
    AmbiguousRef,
    InvalidTrace,
    InvalidValue,
    TemplateUnreadable,
    TraceForgotten,
    UnknownRef,
)
from trainwright.core.hashing import digest_bytes
from trainwright.core.records import DatasetVersion, TokenSet
from trainwright.core.traces import parse_trace
from trainwright.data.selection import Selection
from trainwright.data.trace_dataset import iter_traces
from trainwright.pipeline.datasets import build_version, find_dataset
from trainwright.pipeline.forget import forget_trace
from trainwright.pipeline.preview import find_tokenizer, preview_sample
from trainwright.pipeline.rendering import describe_rendering, iter_samples, open_template
from trainwright.store.workspace import open_workspace
from trainwright.tokens.huggingface import import_tokenizer
from trainwright.tokens.tokenizer import open_tokenizer

SPECIAL = ["<s>", "</s>", "<start_of_turn>", "<end_of_turn>"]
CARRIED = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}"
    "{% endfor %}"
)


def make_trace(number: int) -> dict[str, object]:
    steps = [{"i": 0, "type": "sum", "content": f"{number} + {number}"}]
    return {"trace_version": "1", "prompt": f"Twice {number}?", "final_answer": str(2 * number), "steps": steps}


@pytest.fixture
def file(tmp_path):
    """Five traces, the fourth of them with bad company."""
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(make_trace(number)) + "\n" for number in range(5)), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Hugging Face folder without a chat template."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["the river"] * 9, trainer)
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    return path


@pytest.fixture
def with_template(folder, tmp_path):
    path = tmp_path / "with-template"
    path.mkdir()
    for file in folder.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    (path / "chat_template.jinja").write_text(CARRIED)
    return path


def test_sample_of_a_file_is_shown_without_a_workspace(file, folder, tmp_path):
    shown = preview_sample(file, str(folder), tmp_path / "ws", index=2).as_document()
    assert not (tmp_path / "ws").exists()
    assert shown["id"] == parse_trace(make_trace(2)).id
    assert (shown["index"], shown["template"]) == (2, "gemma")
    assert shown["text"].startswith(
        "<start_of_turn>user\nTwice 2?<end_of_turn>\n<start_of_turn>model\nReasoning:\n1. 2 + 2"
    )
    assert len(shown["ids"]) == len(shown["tokens"]) == len(shown["mask"]) == shown["num_tokens"]
    learnt = [token for token, mask in zip(shown["tokens"], shown["mask"], strict=True) if mask]
    assert learnt[-1] == "<end_of_turn>"
    assert "".join(learnt[:-1]).replace("Ġ", " ").replace("Ċ", "\n") == "Reasoning:\n1. 2 + 2\nAnswer: 4"
    assert shown["num_targets"] == len(learnt)


def test_sample_is_found_by_the_beginning_of_its_id(file, folder, tmp_path):
    wanted = parse_trace(make_trace(3)).id
    assert preview_sample(file, str(folder), tmp_path, trace_id=wanted[:10].upper()).index == 3
    with pytest.raises(UnknownRef, match="g000"):
        preview_sample(file, str(folder), tmp_path, trace_id="g000")
    with pytest.raises(AmbiguousRef, match="any of 5"):
        preview_sample(file, str(folder), tmp_path, trace_id="")
    with pytest.raises(UnknownRef, match="number 5"):
        preview_sample(file, str(folder), tmp_path, index=5)


def test_template_that_the_tokenizer_carries_comes_first(file, with_template, tmp_path):
    own = preview_sample(file, str(with_template), tmp_path)
    assert own.template == "tokenizer"
    assert own.text.startswith("<s>user: Twice 0?</s>assistant: Reasoning:")
    assert preview_sample(file, str(with_template), tmp_path, template_name="trace").text.endswith("Answer: 0</s>")


def test_template_that_is_not_there_is_an_error(file, folder, tmp_path):
    with pytest.raises(TemplateUnreadable, match="carries no chat template"):
        preview_sample(file, str(folder), tmp_path, template_name="tokenizer")
    with pytest.raises(InvalidValue, match="nosuch"):
        preview_sample(file, str(folder), tmp_path, template_name="nosuch")


def test_other_shapes_are_read_as_an_import_reads_them(folder, tmp_path):
    path = tmp_path / "chat.json"
    path.write_text(json.dumps([{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]))
    shown = preview_sample(str(path), str(folder), tmp_path, template_name="gemma", system="S")
    assert shown.text == "<start_of_turn>user\nS\n\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>"


@pytest.mark.parametrize("line", ["{", "[]", '{"trace_version": "1"}'])
def test_bad_line_is_named(file, folder, tmp_path, line):
    with Path(file).open("a", encoding="utf-8") as traces:
        traces.write(line + "\n")
    assert preview_sample(file, str(folder), tmp_path, index=4).index == 4
    with pytest.raises(InvalidTrace, match=r"traces\.jsonl, line 6"):
        preview_sample(file, str(folder), tmp_path, index=5)


@pytest.fixture
def workspace(folder, tmp_path):
    """A tokenizer, a dataset version of traces and one of text, and a token set."""
    with open_workspace(tmp_path / "ws") as opened:
        tokenizer = import_tokenizer(folder, opened.objects)
        opened.ledger.put(tokenizer)
        with opened.traces.importing() as running:
            running.add([parse_trace(make_trace(number)) for number in (6, 7, 8)])
        build_version("dev@v1", Selection(), opened, share=0.4, screen=MagicMock())
        text = DatasetVersion(source="text", files=(), recipe={}, splits={})
        opened.ledger.put(text)
        opened.ledger.move_ref("text@v1", text.id, expected=None, who="test", why="test")
        yield opened, tokenizer


def test_sample_of_a_dataset_version_is_counted_over_its_splits(workspace, folder, tmp_path):
    opened, tokenizer = workspace
    traces = list(iter_traces(find_dataset("dev@v1", opened), None, opened.objects))
    assert len(traces) == 3
    for index, trace in enumerate(traces):
        shown = preview_sample("dev@v1", tokenizer.id[:12], opened.root, index=index)
        assert shown.trace == trace
        from_folder = preview_sample("dev@v1", str(folder), opened.root, index=index)
        assert shown.encoded.ids.tolist() == from_folder.encoded.ids.tolist()
    with pytest.raises(UnknownRef, match="has no trace number 3"):
        preview_sample("dev@v1", str(folder), opened.root, index=3)


def test_source_or_tokenizer_of_another_kind_is_refused(workspace, file, folder):
    opened, _ = workspace
    with pytest.raises(InvalidValue, match="holds text, not traces"):
        preview_sample("text@v1", str(folder), opened.root)
    with pytest.raises(UnknownRef, match="lead to a tokenizer"):
        preview_sample(file, "text@v1", opened.root)
    with pytest.raises(UnknownRef):
        preview_sample("absent.jsonl", str(folder), opened.root)


def test_version_of_which_a_trace_was_forgotten_is_refused(workspace, folder):
    opened, _ = workspace
    forget_trace(parse_trace(make_trace(7)).id, opened, who="test", why="asked")
    with pytest.raises(TraceForgotten, match="dev@v1"):
        preview_sample("dev@v1", str(folder), opened.root)


def test_tokenizer_is_found_from_what_was_made_with_it(workspace):
    opened, tokenizer = workspace
    token_set = TokenSet(
        dataset="0" * 64,
        tokenizer=tokenizer.id,
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocab_size=300,
        dtype="uint16",
        splits={},
    )
    opened.ledger.put(token_set)
    assert find_tokenizer(token_set.id, opened) == tokenizer


def test_samples_go_by_the_ids_of_their_traces(workspace):
    opened, tokenizer = workspace
    traces = [parse_trace(make_trace(number)) for number in range(3)]
    with open_template("gemma", tokenizer, open_tokenizer(tokenizer, opened.objects), opened.objects) as template:
        samples = list(iter_samples(traces, template, "S"))
        rendering = describe_rendering(template, "S", 100, "drop")
    assert [sample.id for sample in samples] == [trace.id for trace in traces]
    assert [sample.pieces for sample in samples] == [template.render(trace, "S") for trace in traces]
    assert (rendering.template, rendering.system, rendering.max_tokens) == ("gemma", digest_bytes(b"S"), 100)
