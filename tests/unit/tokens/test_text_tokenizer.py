import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainwright.core.errors import InvalidEncoding, ObjectDamaged, TokenizerMismatch, TokenizerUnreadable
from trainwright.tokens.lines import MAX_PART_CHARACTERS, iter_parts
from trainwright.tokens.tokenizer import open_tokenizer

AWKWARD = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [" ", "  ", "\n", "\r\n", "\t", "▁", "▅", "😀", "e\u0301", "\ufffd", "\x00", "123", "the river"]
        ),
        st.sampled_from(["<s>", "</s>", "<pad>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<0x41>", "<0xE2>", "<"]),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=300)
@given(text=AWKWARD)
def test_every_text_comes_back(trained, text):
    ids = trained.opened.encode(text)
    assert trained.opened.decode(ids) == text
    assert not set(ids) & set(trained.record.special_tokens.model_dump().values())


@settings(max_examples=200)
@given(text=AWKWARD)
def test_stream_gives_the_same_text_and_never_part_of_a_character(trained, text):
    stream = trained.opened.stream_decoder()
    fed = [stream.feed(token_id) for token_id in trained.opened.encode(text)]
    assert "".join(fed) == text
    assert stream.finish() == ""


@settings(max_examples=200)
@given(ids=st.lists(st.integers(0, 499), max_size=30))
def test_stream_of_any_ids_joins_to_their_decoding(trained, ids):
    stream = trained.opened.stream_decoder()
    assert "".join(stream.feed(token_id) for token_id in ids) + stream.finish() == trained.opened.decode(ids)


def test_stream_holds_an_unfinished_character_back(trained):
    stream = trained.opened.stream_decoder()
    ids = trained.opened.encode("😀")
    assert len(ids) == 4
    assert [stream.feed(token_id) for token_id in ids] == ["", "", "", "😀"]
    assert stream.feed(ids[0]) == ""
    assert stream.finish() == "\ufffd"


def test_batch_is_what_single_texts_give(trained, corpus):
    texts = [*corpus[:5], "", "\n", " a ▁ b", "x" * 5000]
    assert [ids.tolist() for ids in trained.opened.encode_many(texts)] == [trained.opened.encode(t) for t in texts]
    assert all(ids.dtype == "int32" for ids in trained.opened.encode_many(texts))


def test_special_tokens_are_left_out_of_decoded_text(trained):
    special = trained.record.special_tokens
    ids = [special.begin, *trained.opened.encode("the river"), special.turn_end, special.end, special.pad]
    assert trained.opened.decode(ids) == "the river"


def test_newline_and_digits_are_tokens_of_their_own(trained):
    opened = trained.opened
    assert opened.encode("\n\n") == opened.encode("\n") * 2
    assert len(opened.encode("\n")) == 1
    assert opened.encode("1944") == [token for digit in "1944" for token in opened.encode(digit)]


@pytest.mark.parametrize("token_id", [-1, 500, 10**9])
def test_id_outside_the_vocabulary_is_an_error(trained, token_id):
    with pytest.raises(TokenizerMismatch, match=str(token_id)):
        trained.opened.decode([5, token_id])


def test_lone_surrogate_is_named_with_its_position(trained):
    with pytest.raises(InvalidEncoding, match="position 3"):
        trained.opened.encode("abc\ud800")


def test_damaged_model_is_found_before_it_is_parsed(train_on):
    trained = train_on(["some words to learn from"])
    digest = trained.record.files["tokenizer.model"]
    trained.objects._data[digest] = b"damaged"
    with pytest.raises(ObjectDamaged):
        open_tokenizer(trained.record, trained.objects)


def test_record_that_names_something_else_is_unreadable(trained):
    not_a_model = trained.objects.put(b"\x0a\x05abc")
    wrong_model = trained.record.model_copy(update={"files": {"tokenizer.model": not_a_model}})
    no_model = trained.record.model_copy(update={"files": {}})
    wrong_size = trained.record.model_copy(update={"vocab_size": 501})
    for record in (wrong_model, no_model, wrong_size):
        with pytest.raises(TokenizerUnreadable):
            open_tokenizer(record, trained.objects)


@given(line=st.text(alphabet="ab ", max_size=60), repeats=st.integers(1, 200))
def test_parts_of_a_line_join_to_it_and_begin_with_spaces(line, repeats):
    whole = line * repeats
    parts = list(iter_parts(whole))
    assert "".join(parts) == whole
    assert all(len(part) <= MAX_PART_CHARACTERS for part in parts)
    if " " in line:
        assert all(part.startswith(" ") for part in parts[1:])
