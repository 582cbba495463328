"""A tokenizer's own chat template: text, ids and mask are what `apply_chat_template` of transformers makes of it."""

import importlib.util

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from trainwright.core.pieces import join_pieces
from trainwright.core.traces import parse_trace
from trainwright.data.jinja_chat import JinjaTemplate
from trainwright.store.objects import MemoryObjects
from trainwright.tokens.chat_tokens import encode_pieces
from trainwright.tokens.huggingface import import_tokenizer, read_chat_template
from trainwright.tokens.tokenizer import open_tokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("transformers") is None,
        reason="not installed: transformers (pip install 'trainwright[interop]')",
    ),
    pytest.mark.filterwarnings("ignore"),
]

SPECIAL = ["<s>", "<|im_start|>", "<|im_end|>"]
BLOCKS = """\
{%- if tools %}no{% endif %}{{ bos_token }}
  {% for m in messages %}
    {% if loop.index0 == 9 %}
{% break %}
{% endif %}
<|im_start|>{{ m.role }}
  {%- if m.role == 'assistant' %}
{% generation %}{{ m.content | trim }}<|im_end|>{% endgeneration %}
  {%- else %}
{{ m | tojson }}é{{ m.content | trim | upper }}{{ {'ä': [1, 2]} | tojson(indent=2) }}<|im_end|>
  {%- endif %}
{% endfor %}
{{ pad_token }}{{ messages[0].content.strip() }}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A byte-level tokenizer with a chat template, saved by transformers."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the river in the house by the river\n"] * 20, trainer)
    import transformers

    path = tmp_path_factory.mktemp("tokenizer")
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|im_end|>", chat_template=BLOCKS
    )
    fast.save_pretrained(path)
    return path


@pytest.mark.parametrize(
    "contents",
    [("the river", " by\nthe house "), ("😀 é\n\n", "the \ufffd\n1. x"), ("a", "b", "c", "d", "e", "f")],
)
def test_text_ids_and_mask_are_those_of_apply_chat_template(folder, contents):
    import transformers

    roles = ("user", "assistant") * 3
    messages = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    expected = theirs.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    objects = MemoryObjects()
    record = import_tokenizer(folder, objects)
    opened = open_tokenizer(record, objects)
    source = read_chat_template(record, objects)
    assert source == BLOCKS
    names = {"bos_token": "<s>", "eos_token": "<|im_end|>"}
    with JinjaTemplate(source, owner="it", control_names=list(opened.control_tokens), names=names) as template:
        pieces = template.render(parse_trace({"messages": messages}))
    assert join_pieces(pieces) == theirs.apply_chat_template(messages, tokenize=False)
    encoded = encode_pieces(opened, pieces)
    assert encoded.ids.tolist() == expected["input_ids"]
    assert encoded.targets.tolist() == expected["assistant_masks"]
