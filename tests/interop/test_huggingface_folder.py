"""What `transformers` makes of a folder we write: the same logits, the same tokens, the same text."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from trainwright.backends.initial import build_initial_weights
from trainwright.backends.reference import ReferenceBackend
from trainwright.core.manifest import TokenizerSection
from trainwright.core.records import Compute, DatasetVersion, ModelShape, SplitContent
from trainwright.store.huggingface import write_huggingface_folder
from trainwright.store.objects import MemoryObjects
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
