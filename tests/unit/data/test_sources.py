import pytest

from trainwright.core.errors import ChecksumMismatch, InvalidValue, SourceEmpty, SourceNotFound
from trainwright.core.hashing import digest_bytes
from trainwright.core.manifest import DataSection
from trainwright.data import sources
from trainwright.data.builtin import BuiltinCorpus
from trainwright.data.sources import locate_source


def locate(tmp_path, corpus, **settings):
    section = DataSection(corpus=str(corpus), **settings)
    return locate_source(
        section, downloads=tmp_path / "downloads", on_progress=lambda *_: None, sleep=lambda seconds: None
    )


def names(located):
    return [file.name for file in located.files]


def test_file_is_located_under_its_own_name(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"hello")
    located = locate(tmp_path, tmp_path / "a.txt")
    assert located.source == "a.txt"
    assert located.records[0].model_dump() == {"name": "a.txt", "digest": digest_bytes(b"hello"), "num_bytes": 5}


def test_folder_is_read_sorted_without_hidden_and_binary_files(tmp_path):
    folder = tmp_path / "corpus"
    contents = {
        "b.txt": b"b",
        "a/z.md": b"z",
        "a.txt": b"a",
        ".hidden.txt": b"h",
        ".git/x.txt": b"x",
        "logo.png": b"\x89PNG\r\n\x1a\n",
        "none": b"",
        "rows.parquet": b"PAR1",
        "more.txt.gz": b"\x1f\x8b",
    }
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    located = locate(tmp_path, folder)
    assert located.source == "corpus"
    assert names(located) == ["a.txt", "a/z.md", "b.txt", "more.txt.gz", "rows.parquet"]
    assert located.left_out == ("logo.png: not text (a PNG image)", "none: empty")


def test_folder_without_text_says_what_is_in_it(tmp_path):
    (tmp_path / "corpus").mkdir()
    with pytest.raises(SourceEmpty, match="no text file in corpus"):
        locate(tmp_path, tmp_path / "corpus")
    (tmp_path / "corpus" / "x.bin").write_bytes(b"\x00")
    with pytest.raises(SourceEmpty) as caught:
        locate(tmp_path, tmp_path / "corpus")
    assert "x.bin: not text" in caught.value.why


def test_glob_is_sorted_and_named_without_the_folder_before_it(tmp_path):
    for name in ("b.txt", "a.txt", "c.md", "deep/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert names(locate(tmp_path, f"{tmp_path}/*.txt")) == ["a.txt", "b.txt"]
    everywhere = locate(tmp_path, f"{tmp_path}/**/*.txt")
    assert names(everywhere) == ["a.txt", "b.txt", "deep/d.txt"]
    assert everywhere.source == "**/*.txt"
    with pytest.raises(SourceNotFound, match=r"\*\.csv"):
        locate(tmp_path, f"{tmp_path}/*.csv")


def test_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    (tmp_path / "a[1].txt").write_text("x")
    assert names(locate(tmp_path, tmp_path / "a[1].txt")) == ["a[1].txt"]


def test_missing_path_names_the_nearest(tmp_path):
    (tmp_path / "corpus.txt").write_text("x")
    with pytest.raises(SourceNotFound) as caught:
        locate(tmp_path, tmp_path / "corpsu.txt")
    assert "corpus.txt" in caught.value.next_step
    with pytest.raises(SourceNotFound) as caught:
        locate(tmp_path, tmp_path / "nowhere" / "corpus.txt")
    assert "has no nowhere" in caught.value.why


@pytest.mark.parametrize(("corpus", "hint"), [("builtin:storys", "builtin:stories"), ("stories", "builtin:stories")])
def test_misspelt_builtin_is_corrected(tmp_path, corpus, hint):
    with pytest.raises(SourceNotFound) as caught:
        locate(tmp_path, corpus)
    assert hint in caught.value.next_step


def test_unknown_scheme_is_a_usage_error(tmp_path):
    with pytest.raises(InvalidValue, match="s3://"):
        locate(tmp_path, "s3://bucket/file")


def test_checksum_of_a_file_is_checked(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"hello")
    assert locate(tmp_path, tmp_path / "a.txt", sha256=digest_bytes(b"hello"))
    with pytest.raises(ChecksumMismatch):
        locate(tmp_path, tmp_path / "a.txt", sha256="0" * 64)
    (tmp_path / "b.txt").write_bytes(b"more")
    with pytest.raises(InvalidValue, match="has 2"):
        locate(tmp_path, f"{tmp_path}/*.txt", sha256="0" * 64)


def test_address_is_downloaded_and_named_without_its_secrets(server, make_page, tmp_path):
    server.pages["/data/a.txt"] = make_page(b"hello")
    located = locate(tmp_path, server.url("/data/a.txt?key=hush"))
    assert located.source == server.url("/data/a.txt")
    assert located.files[0].path.read_bytes() == b"hello"
    assert names(located) == ["a.txt"]


@pytest.mark.parametrize(
    ("corpus", "path"),
    [
        ("hf://datasets/owner/name/dir/a.txt", "/datasets/owner/name/resolve/main/dir/a.txt"),
        ("hf://datasets/owner/name@v2/a.txt", "/datasets/owner/name/resolve/v2/a.txt"),
        ("hf://owner/name/a.txt", "/owner/name/resolve/main/a.txt"),
    ],
)
def test_hub_address_is_resolved_and_the_token_sent(server, make_page, tmp_path, monkeypatch, corpus, path):
    monkeypatch.setenv("HF_ENDPOINT", server.url("/"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    server.pages[path] = make_page(b"hello")
    located = locate(tmp_path, corpus)
    assert located.source == corpus
    assert located.files[0].digest == digest_bytes(b"hello")
    assert server.requests[0][1]["authorization"] == "Bearer secret"


def test_hub_token_stays_with_the_hub(server, make_page, tmp_path, monkeypatch):
    server.pages["/a.txt"] = make_page(b"hello")
    monkeypatch.setenv("HF_TOKEN", "secret")
    locate(tmp_path, server.url("/a.txt"))
    assert "authorization" not in server.requests[0][1]


def test_hub_address_without_a_file_is_refused(tmp_path):
    with pytest.raises(InvalidValue, match="does not name a file"):
        locate(tmp_path, "hf://datasets/owner/name")


def test_builtin_is_made_once_and_again_when_damaged(tmp_path, monkeypatch):
    made = []

    def tell():
        made.append(1)
        yield "one"
        yield "two"

    monkeypatch.setattr(sources, "BUILTIN_CORPORA", {"tiny": BuiltinCorpus("tiny", "", tell, lambda: {"n": 2})})
    first = locate(tmp_path, "builtin:tiny")
    assert first.files[0].path.read_bytes() == b'{"text":"one"}\n{"text":"two"}\n'
    assert first.settings == {"n": 2}
    assert locate(tmp_path, "builtin:tiny").files == first.files
    assert len(made) == 1
    first.files[0].path.write_bytes(b'{"text":"1"}\n')
    mended = locate(tmp_path, "builtin:tiny")
    assert mended.files == first.files
    assert "damaged" in mended.notes[0]
    assert len(made) == 2


def test_validation_source_is_located_too(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    located = locate(tmp_path, tmp_path / "a.txt", validation=str(tmp_path / "b.txt"))
    assert [record.name for record in located.records] == ["a.txt", "validation:b.txt"]
