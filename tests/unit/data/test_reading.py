import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from trainwright.core.errors import InvalidEncoding, InvalidRow, NotText, SourceUnreadable
from trainwright.data import reading
from trainwright.data.reading import Cleaning, iter_lines
from trainwright.data.splits import iter_documents


def read(tmp_path, name, data, text_field="text"):
    path = tmp_path / "stored"
    path.write_bytes(data)
    cleaning = Cleaning()
    return list(iter_documents(iter_lines(path, name, text_field, cleaning))), cleaning


def rows(*values):
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def test_plain_text_arrives_exactly_as_written(tmp_path):
    text = "\n\n  Grüße\t \x0c\x0b\u2028 one\rtwo \n\n\nlast line without end \n \n"
    assert read(tmp_path, "a.txt", text.encode())[0] == [text]


def test_byte_order_mark_and_crlf_are_changed_and_counted(tmp_path):
    documents, cleaning = read(tmp_path, "a.txt", b"\xef\xbb\xbfone\r\ntwo\rthree\r\n\r")
    assert documents == ["one\ntwo\rthree\n\r"]
    assert (cleaning.num_byte_order_marks, cleaning.num_crlf) == (1, 2)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_pieces_may_end_anywhere(tmp_path, monkeypatch, size):
    monkeypatch.setattr(reading, "_CHUNK_BYTES", size)
    monkeypatch.setattr(reading, "_HEAD_BYTES", 1)
    documents, cleaning = read(tmp_path, "a.txt", "é€😀\r\nnext\r\n".encode())
    assert documents == ["é€😀\nnext\n"]
    assert cleaning.num_crlf == 2


def test_separator_lines_divide_documents(tmp_path):
    text = b"<|endoftext|>\none\n\n<|endoftext|>\n \n\n<|endoftext|>\r\ntwo <|endoftext|> two\n<|endoftext|>\n"
    documents, cleaning = read(tmp_path, "a.txt", text)
    assert documents == ["one\n\n", "two <|endoftext|> two\n"]
    assert cleaning.num_empty_documents == 1


@pytest.mark.parametrize("squeeze", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_compressed_text_reads_as_the_text(tmp_path, squeeze):
    suffix = ".gz" if squeeze is gzip.compress else ".zst"
    assert read(tmp_path, f"a.txt{suffix}", squeeze(b"one\n") + squeeze(b"two\n"))[0] == ["one\ntwo\n"]
    assert read(tmp_path, f"a.jsonl{suffix}", squeeze(rows({"text": "a"}, {"text": "b"})))[0] == ["a", "b"]


@pytest.mark.parametrize(("squeeze", "suffix"), [(gzip.compress, "gz"), (zstandard.ZstdCompressor().compress, "zst")])
def test_cut_or_damaged_compression_is_named(tmp_path, squeeze, suffix):
    whole = squeeze(bytes(f"{'some text ' * 99}{list(range(999))}", "ascii"))
    with pytest.raises(SourceUnreadable, match=rf"a\.txt\.{suffix} is not a whole"):
        read(tmp_path, f"a.txt.{suffix}", whole[:-20])
    with pytest.raises(SourceUnreadable):
        read(tmp_path, f"a.txt.{suffix}", b"not compressed at all")


@pytest.mark.parametrize(
    ("data", "looks_like"),
    [
        (b"\x89PNG\r\n\x1a\nrest", "PNG"),
        (b"%PDF-1.7 rest", "PDF"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"\x1f\x8b\x08rest", "gzip"),
        (b"PAR1rest", "Parquet"),
        (b"text at first, then\x00", "NUL byte at offset 19"),
        (b"x" * 257 + b"ustar" + b"x" * 100, "tar archive"),
    ],
)
def test_binary_file_is_named_for_what_it_is(tmp_path, data, looks_like):
    with pytest.raises(NotText) as caught:
        read(tmp_path, "a.txt", data)
    assert looks_like in caught.value.why


def test_late_nul_byte_is_found(tmp_path):
    with pytest.raises(NotText, match=r"a\.txt") as caught:
        read(tmp_path, "a.txt", b"a" * 3_000_000 + b"\x00")
    assert "offset 3000000" in caught.value.why


@pytest.mark.parametrize("offset", [0, 5, (1 << 20) - 1, (1 << 20) + 7])
def test_invalid_byte_is_named_with_its_offset(tmp_path, offset):
    with pytest.raises(InvalidEncoding, match=rf"a\.txt is not UTF-8: byte 0xe9 at byte offset {offset} ") as caught:
        read(tmp_path, "a.txt", b"a" * offset + b"\xe9 caf\xe9")
    assert "iconv -f latin1" in caught.value.next_step


def test_offset_counts_a_dropped_byte_order_mark(tmp_path):
    with pytest.raises(InvalidEncoding, match="byte offset 6 "):
        read(tmp_path, "a.txt", b"\xef\xbb\xbfabc\xff")


def test_character_split_between_pieces_gives_the_right_offset(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_CHUNK_BYTES", 4)
    monkeypatch.setattr(reading, "_HEAD_BYTES", 1)
    with pytest.raises(InvalidEncoding, match="byte 0xe2 at byte offset 3 "):
        read(tmp_path, "a.txt", b"abc\xe2x")


def test_windows_quotes_and_cut_files_get_their_own_hint(tmp_path):
    with pytest.raises(InvalidEncoding) as caught:
        read(tmp_path, "a.txt", b"say \x93hello\x94")
    assert "cp1252" in caught.value.next_step
    with pytest.raises(InvalidEncoding) as caught:
        read(tmp_path, "a.txt", "caf€".encode()[:-1])
    assert "cut in the middle" in caught.value.next_step


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_recognised(tmp_path, encoding):
    with pytest.raises(InvalidEncoding, match="byte offset 0") as caught:
        read(tmp_path, "a.txt", "It was a bright cold day in April.".encode(encoding))
    assert "iconv -f utf-" in caught.value.next_step


def test_every_row_is_a_document(tmp_path):
    data = rows({"text": "a\r\nb\n"}, {"text": "  "}) + b"\n" + rows({"text": "c", "id": 3})
    documents, cleaning = read(tmp_path, "a.jsonl", data)
    assert documents == ["a\nb\n", "c"]
    assert (cleaning.num_crlf, cleaning.num_empty_documents, cleaning.num_blank_rows) == (1, 1, 1)


def test_bad_rows_are_named_together(tmp_path):
    data = rows({"text": "good"}, {"body": "x"}) + b"{broken\n" + rows(["list"], {"text": None}, {"text": "good"})
    with pytest.raises(InvalidRow) as caught:
        read(tmp_path, "a.jsonl", data)
    assert caught.value.message == "a.jsonl:2: no field 'text' (it has 'body')."
    assert "a.jsonl:3: not JSON" in caught.value.why
    assert "a.jsonl:4: a JSON list" in caught.value.why
    assert "a.jsonl:5: the field 'text' is a null" in caught.value.why


@pytest.mark.parametrize("text", [r"\ud800", r"a\u0000b"])
def test_text_that_cannot_be_kept_is_refused(tmp_path, text):
    with pytest.raises(InvalidRow, match=r"a\.jsonl:1"):
        read(tmp_path, "a.jsonl", b'{"text": "%s"}\n' % text.encode())


def test_whole_surrogate_pairs_are_fine(tmp_path):
    assert read(tmp_path, "a.jsonl", rb'{"text": "\ud83d\ude00"}')[0] == ["😀"]


def test_endless_nesting_is_a_bad_row(tmp_path):
    with pytest.raises(InvalidRow, match=r"a\.jsonl:1"):
        read(tmp_path, "a.jsonl", b"[" * 200_000)


def parquet_bytes(column, name="text"):
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table({name: column}), sink)
    return sink.getvalue().to_pybytes()


def test_parquet_rows_are_documents(tmp_path):
    assert read(tmp_path, "a.parquet", parquet_bytes(["one\n", "", "two"]))[0] == ["one\n", "two"]


def test_parquet_without_the_column_names_those_it_has(tmp_path):
    with pytest.raises(InvalidRow) as caught:
        read(tmp_path, "a.parquet", parquet_bytes(["x"], name="body"))
    assert "body" in caught.value.why


def test_parquet_column_of_numbers_or_with_nulls_is_refused(tmp_path):
    with pytest.raises(InvalidRow, match="int64"):
        read(tmp_path, "a.parquet", parquet_bytes([1, 2]))
    with pytest.raises(InvalidRow, match=r"a\.parquet:2: the text is null"):
        read(tmp_path, "a.parquet", parquet_bytes(["x", None]))


def test_damaged_parquet_is_named(tmp_path):
    with pytest.raises(SourceUnreadable, match=r"a\.parquet"):
        read(tmp_path, "a.parquet", parquet_bytes(["x"])[:-9])


def test_parquet_inside_gzip_is_refused(tmp_path):
    with pytest.raises(NotText, match="compressed Parquet"):
        read(tmp_path, "a.parquet.gz", gzip.compress(parquet_bytes(["x"])))
