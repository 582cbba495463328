import json

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

from trainwright.core.errors import InvalidEncoding, TokenizerMismatch, TokenizerUnreadable
from trainwright.store.objects import MemoryObjects
from trainwright.tokens.huggingface import HuggingFaceTokenizer, import_tokenizer, read_chat_template
from trainwright.tokens.tokenizer import open_tokenizer

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
TEXT = st.lists(
    st.one_of(st.text(max_size=8), st.sampled_from([*SPECIAL, " ", "\n", "😀", "the river"])), max_size=10
).map("".join)


def build_byte_level() -> tokenizers.Tokenizer:
    """As GPT-2's: byte-level pairs, with truncation, padding and an end token that the file asks for."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the river in the house by the river"] * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[(SPECIAL[0], 0)]
    )
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8, pad_id=1, pad_token=SPECIAL[1])
    return tokenizer


def build_llama_like() -> tokenizers.Tokenizer:
    """As Llama 2's: a space put before the text, byte fallback, and a decoder that strips that space again."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *"▁aberth",
        "▁a",
        "th",
        "▁th",
        "the",
        "▁the",
    ]
    merges = [("▁", "a"), ("t", "h"), ("▁", "th"), ("th", "e"), ("▁th", "e")]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("<unk>", "<s>", "</s>")])
    return tokenizer


@pytest.fixture
def folder(tmp_path):
    build_byte_level().save(str(tmp_path / "tokenizer.json"))
    config = {"eos_token": SPECIAL[0], "pad_token": {"content": SPECIAL[1], "special": True}, "bos_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture(scope="module")
def byte_level():
    objects = MemoryObjects()
    from trainwright.core.records import SpecialTokens

    data = build_byte_level().to_str().encode()
    return HuggingFaceTokenizer(objects.get(objects.put(data)), SpecialTokens(pad=1, unknown=None, begin=None, end=0))


def test_import_reads_special_tokens_and_keeps_the_files(folder):
    objects = MemoryObjects()
    record = import_tokenizer(folder, objects)
    assert record.algorithm == "huggingface"
    assert record.dataset is None
    special = record.special_tokens
    assert (special.end, special.pad, special.begin, special.unknown) == (0, 1, None, None)
    assert (special.turn_start, special.turn_end) == (2, 3)
    assert objects.get(record.files["tokenizer.json"]) == (folder / "tokenizer.json").read_bytes()
    assert set(record.files) == {"tokenizer.json", "tokenizer_config.json"}
    assert open_tokenizer(record, objects).vocab_size == record.vocab_size


def test_import_is_named_by_content_not_by_place(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in folder.iterdir():
        (elsewhere / file.name).write_bytes(file.read_bytes())
    assert import_tokenizer(folder, MemoryObjects()).id == import_tokenizer(elsewhere, MemoryObjects()).id


def test_special_tokens_map_is_read_where_the_config_is_silent(folder):
    (folder / "tokenizer_config.json").unlink()
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": {"content": SPECIAL[0]}}))
    special = import_tokenizer(folder, MemoryObjects()).special_tokens
    assert (special.begin, special.end, special.pad) == (0, None, None)


@settings(max_examples=200)
@given(text=TEXT)
def test_byte_level_tokenizer_gives_every_text_back_whole(byte_level, text):
    ids = byte_level.encode(text)  # the file asks for truncation to 4, padding to 8 and an end token
    assert byte_level.decode(ids) == text
    assert not {0, 1, 2, 3} & set(ids)
    stream = byte_level.stream_decoder()
    assert "".join(stream.feed(token_id) for token_id in ids) + stream.finish() == text


def test_batch_is_what_single_texts_give_elsewhere_too(byte_level):
    texts = ["the river", "", "😀 <|endoftext|>", "a longer text than four tokens"]
    assert [ids.tolist() for ids in byte_level.encode_many(texts)] == [byte_level.encode(text) for text in texts]


def test_special_tokens_are_left_out_elsewhere_too(byte_level):
    assert byte_level.decode([2, *byte_level.encode("the river"), 3, 0, 1]) == "the river"


def test_stream_keeps_spaces_that_a_decoder_strips_at_the_start_only(folder):
    build_llama_like().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    )
    objects = MemoryObjects()
    opened = open_tokenizer(import_tokenizer(folder, objects), objects)
    for text in ("the the  a", "the 😀 the", "é", " the"):
        ids = [1, *opened.encode(text), 2]
        stream = opened.stream_decoder()
        fed = [stream.feed(token_id) for token_id in ids]
        assert "".join(fed) + stream.finish() == opened.decode(ids) == text
        assert not any("\ufffd" in piece for piece in fed)


def test_id_outside_the_imported_vocabulary_is_an_error(byte_level):
    for token_id in (-1, byte_level.vocab_size):
        with pytest.raises(TokenizerMismatch):
            byte_level.decode([token_id])


def test_lone_surrogate_is_refused_elsewhere_too(byte_level):
    for encode in (byte_level.encode, lambda text: byte_level.encode_many([text])):
        with pytest.raises(InvalidEncoding):
            encode("ab\udc80")


def test_added_tokens_count_for_the_vocabulary(folder):
    tokenizer = build_byte_level()
    before = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<|later|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    assert import_tokenizer(folder, MemoryObjects()).vocab_size == before + 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tokenizer.json", None, "no tokenizer.json"),
        ("tokenizer.json", b"{}", "tokenizer.json"),
        ("tokenizer.json", b"\xff\xfe", "tokenizer.json"),
        ("tokenizer_config.json", b"{", "tokenizer_config.json is not JSON"),
        ("tokenizer_config.json", b"[1]", "tokenizer_config.json does not hold a mapping"),
        ("tokenizer_config.json", b'{"eos_token": "<|nowhere|>"}', "nowhere"),
    ],
)
def test_unreadable_folder_is_named(folder, name, content, said):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(TokenizerUnreadable, match=said) as caught:
        import_tokenizer(folder, MemoryObjects())
    assert caught.value.next_step


def test_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TokenizerUnreadable, match="absent"):
        import_tokenizer(tmp_path / "absent", MemoryObjects())


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("tokenizer_config.json", "{}", None),
        ("tokenizer_config.json", json.dumps({"chat_template": "x"}), "x"),
        (
            "tokenizer_config.json",
            json.dumps({"chat_template": [{"name": "tools", "template": "x"}, {"name": "default", "template": "y"}]}),
            "y",
        ),
        ("tokenizer_config.json", json.dumps({"chat_template": [{"name": "tools", "template": "x"}]}), None),
        ("chat_template.jinja", "z", "z"),
    ],
)
def test_chat_template_is_found_where_the_folder_has_it(folder, name, content, found):
    (folder / name).write_text(content)
    objects = MemoryObjects()
    assert read_chat_template(import_tokenizer(folder, objects), objects) == found
