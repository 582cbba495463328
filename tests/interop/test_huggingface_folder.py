"""What `transformers` makes of a folder we write: the same logits, the same tokens, the same text."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from trainwright.backends.initial import build_initial_weights
from trainwright.backends.reference import ReferenceBackend
from trainwright.core.manifest import TokenizerSection
from trainwright.core.pieces import join_pieces
from trainwright.core.records import Compute, DatasetVersion, ModelShape, SplitContent
from trainwright.core.traces import parse_trace
from trainwright.data.chat import build_messages, find_template
from trainwright.data.jinja_source import build_jinja_source
from trainwright.store.huggingface import replace_chat_template, write_huggingface_folder
from trainwright.store.objects import MemoryObjects
from trainwright.tokens.chat_tokens import encode_pieces
from trainwright.tokens.tokenizer import open_tokenizer
from trainwright.tokens.training import train_tokenizer

LACKING = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(LACKING), reason=f"not installed: {', '.join(LACKING)} (pip install 'trainwright[interop,torch]')"
    ),
    # Other people's deprecations are not ours to fail on.
    pytest.mark.filterwarnings("ignore"),
]

TEXT = "".join(
    f"Once upon a time there were {number} foxes, who ate {number * 7} plums.\nThe end, said Zoë!\n"
    for number in range(200)
)


@pytest.fixture(params=["unigram", "bpe"])
def exported(request, tmp_path: Path):
    objects = MemoryObjects()
    content = SplitContent(
        documents=objects.put(b""), num_documents=1, num_characters=len(TEXT), num_bytes=len(TEXT.encode())
    )
    dataset = DatasetVersion(source="text", files=(), recipe={}, splits={"train": content})
    section = TokenizerSection(algorithm=request.param)
    tokenizer = train_tokenizer(section, dataset, lambda: iter([TEXT]), objects)
    shape = ModelShape(
        vocab_size=tokenizer.vocab_size,
        hidden_size=48,
        num_layers=3,
        num_heads=6,
        num_kv_heads=2,
        head_dim=16,
        intermediate_size=80,
        rope_theta=5_000.0,  # not the usual one: it must be read from the configuration
        norm_epsilon=1e-5,
    )
    generator = np.random.default_rng(0)
    weights = {  # larger than real initial weights, norms included, so that a difference shows
        name: (array + 0.2 * generator.standard_normal(array.shape)).astype(np.float32)
        for name, array in build_initial_weights(shape, seed=1, init_scale=0.2).items()
    }
    folder = tmp_path / "exported"
    write_huggingface_folder(
        folder,
        shape=shape,
        weights=weights,
        tokenizer_files={name: objects.get(digest) for name, digest in tokenizer.files.items()},
        special_tokens=tokenizer.special_tokens,
        max_seq_length=64,
    )
    return folder, shape, weights, tokenizer, open_tokenizer(tokenizer, objects)


def test_logits_are_equal(exported) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder, shape, weights, _, _ = exported
    model, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert not loading["mismatched_keys"]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    tokens = np.random.default_rng(1).integers(0, shape.vocab_size, 40).tolist()
    with torch.no_grad():
        theirs = model.eval()(torch.tensor([tokens])).logits[0].numpy()
    compute = Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1)
    decoder = ReferenceBackend().open_model(shape, weights, compute).open_decoder()
    ours = np.stack([decoder.feed([token]) for token in tokens])
    assert np.abs(ours).max() > 1
    np.testing.assert_allclose(theirs, ours, atol=1e-4, rtol=0)


def test_tokens_and_text_are_equal(exported) -> None:
    from transformers import AutoTokenizer

    folder, shape, _, record, ours = exported
    theirs = AutoTokenizer.from_pretrained(folder)
    for text in (TEXT[:500], "two  spaces and\n\nlines", " leading", "日本 €", "</s> is no text"):
        ids = theirs(text, add_special_tokens=False)["input_ids"]
        if "</s>" not in text:
            assert ids == list(ours.encode(text))
            assert theirs.decode(ids) == text
        assert max(ids) < shape.vocab_size
    tokens = record.special_tokens
    assert (theirs.bos_token_id, theirs.eos_token_id) == (tokens.begin, tokens.end)
    assert (theirs.pad_token_id, theirs.unk_token_id) == (tokens.pad, tokens.unknown)
    assert theirs.model_max_length == 64


def test_greedy_text_is_equal(exported) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder, shape, weights, record, _ = exported
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt = [5, 9, 17]
    with torch.no_grad():
        written = model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, 3), do_sample=False, max_new_tokens=20
        )[0].tolist()
    compute = Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1)
    decoder = ReferenceBackend().open_model(shape, weights, compute).open_decoder()
    ids, logits = list(prompt), decoder.feed(prompt)
    while len(ids) < 23 and (len(ids) == 3 or ids[-1] != record.special_tokens.end):
        ids.append(int(np.argmax(logits)))
        logits = decoder.feed([ids[-1]])
    assert written == ids


@pytest.mark.parametrize("name", ["gemma", "chatml", "trace"])
@pytest.mark.parametrize("system", [None, "Think first.\nIt's {{ fine }} é <|im_end|>"])
def test_apply_chat_template_gives_what_the_model_was_taught_with(exported, tmp_path, name, system) -> None:
    import transformers

    folder, shape, weights, tokenizer, opened = exported
    files = {path.name: path.read_bytes() for path in folder.glob("tokenizer*") if path.name != "tokenizer_config.json"}
    template = find_template(name, "</s>")
    source = build_jinja_source(template, system)
    write_huggingface_folder(
        tmp_path / "taught",
        shape=shape,
        weights=weights,
        tokenizer_files=replace_chat_template(files, source),
        special_tokens=tokenizer.special_tokens,
        max_seq_length=64,
    )
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "taught")
    trace = parse_trace(
        {
            "trace_version": "1",
            "prompt": "How many foxes\nate plums?",
            "final_answer": "7",
            "steps": [{"i": 0, "type": "sum", "content": "Once <upon> a {% time %}"}],
        }
    )
    messages = build_messages(trace)
    expected = template.render(trace, system)
    assert theirs.apply_chat_template(messages, tokenize=False) == join_pieces(expected)
    asked = theirs.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert asked == join_pieces(template.render_prompt(trace.prompt, system))
    if name == "gemma" and system is None:  # its markers are tokens here, and the text between them is read alike
        ids = theirs.apply_chat_template(messages, return_dict=True)["input_ids"]
        assert ids == encode_pieces(opened, expected).ids.tolist()


def test_chat_template_takes_the_place_of_the_one_that_a_tokenizer_came_with(exported, tmp_path) -> None:
    import transformers

    folder, *_ = exported
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    theirs.chat_template = "theirs"
    theirs.save_pretrained(tmp_path / "theirs")
    files = {path.name: path.read_bytes() for path in (tmp_path / "theirs").iterdir()}
    (tmp_path / "ours").mkdir()
    for name, data in replace_chat_template(files, "ours").items():
        (tmp_path / "ours" / name).write_bytes(data)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert again.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "ours"
