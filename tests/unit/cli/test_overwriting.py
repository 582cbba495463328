"""Who may say that an output folder is replaced."""

from trainwright.cli.options import may_overwrite


def test_taken_folder_is_replaced_only_where_that_was_said(tmp_path, monkeypatch):
    (tmp_path / "kept.txt").write_text("kept")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert not may_overwrite(tmp_path, overwrite=False, yes=False)
    assert may_overwrite(tmp_path, overwrite=True, yes=False)
    assert may_overwrite(tmp_path, overwrite=False, yes=True)


def test_at_a_terminal_the_answer_counts(tmp_path, monkeypatch):
    (tmp_path / "kept.txt").write_text("kept")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer in (True, False):
        monkeypatch.setattr("typer.confirm", lambda *_, answer=answer, **__: answer)
        assert may_overwrite(tmp_path, overwrite=False, yes=False) is answer
    assert not may_overwrite(tmp_path / "free", overwrite=False, yes=False)
