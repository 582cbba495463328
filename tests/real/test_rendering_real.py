"""Real traces through templates and tokenizers: the targets are the answers, to the character."""

import os
from pathlib import Path

import numpy as np
import pytest

from trainwright.core.manifest import TokenizerSection
from trainwright.core.pieces import Sample
from trainwright.core.records import DatasetVersion, Rendering, SplitContent
from trainwright.core.traces import Trace, parse_trace
from trainwright.data.adapters import detect_adapter, find_adapter
from trainwright.data.chat import build_messages, find_template, render_response
from trainwright.data.trace_files import iter_rows
from trainwright.store.objects import MemoryObjects
from trainwright.store.shards import open_split
from trainwright.tokens.token_set import build_sample_token_set
from trainwright.tokens.tokenizer import open_tokenizer
from trainwright.tokens.training import train_tokenizer

FILES = ("tunix_traces/dev-reasoning-v2.jsonl",)


@pytest.fixture(scope="module")
def traces():
    root = os.environ.get("TRAINWRIGHT_DATA")
    if not root:
        pytest.skip("TRAINWRIGHT_DATA names no folder with real text")
    found = []
    for name in FILES:
        path = Path(root) / name
        if not path.is_file():
            pytest.skip(f"{path} is not there")
        for row in iter_rows(str(path)):
            adapt = find_adapter(detect_adapter(row.document))
            found += [parse_trace(document) for document in adapt(row.document)]
    return found


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
@pytest.mark.parametrize("name", ["gemma", "chatml", "trace"])
def test_targets_of_real_traces_are_their_answers(traces, algorithm, name):
    assert len(traces) > 500
    texts = ["\n".join(message["content"] for message in build_messages(trace)) for trace in traces]
    size = {
        "num_characters": sum(map(len, texts)),
        "num_bytes": sum(len(text.encode()) for text in texts),
    }
    dataset = DatasetVersion(
        source="traces",
        files=(),
        recipe={},
        splits={"train": SplitContent(documents="0" * 64, num_documents=len(texts), **size)},
    )
    objects = MemoryObjects()
    section = TokenizerSection.model_validate({"algorithm": algorithm})
    tokenizer = train_tokenizer(section, dataset, lambda: iter(texts), objects)
    opened = open_tokenizer(tokenizer, objects)
    template = find_template(name, end="</s>")
    samples = [Sample(trace.id, template.render(trace)) for trace in traces]
    rendering = Rendering(template=name, template_digest=template.digest, system=None, max_tokens=4096, too_long="drop")
    built = build_sample_token_set(dataset, tokenizer, opened, {"train": samples}, rendering, objects)
    split = built.splits["train"]
    assert split.num_documents == len(traces)
    reader = open_split(split, built.dtype, objects)
    for number, trace in enumerate(traces):
        assert isinstance(trace, Trace)
        ids, targets = reader.read_sample(number)
        learnt = opened.decode(np.asarray(ids)[targets])
        end = "<|im_end|>" if name == "chatml" else ""
        assert learnt == render_response(trace) + end
