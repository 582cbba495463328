"""Where plain artefacts may go: never over what a person has, never over the workspace, known before anything is begun."""

import pytest

from trainwright.core.errors import InvalidValue, NotWritable, OutputExists
from trainwright.pipeline import publish
from trainwright.pipeline.publish import require_free
from trainwright.prerequisites import Finding
from trainwright.store.workspace import open_workspace


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_workspace(tmp_path / ".trainwright") as opened:
        yield opened


def test_no_folder_asked_for_is_fine(workspace):
    require_free(None, workspace, overwrite=False)


@pytest.mark.parametrize("name", ["out", "deep/in/out"])
def test_folder_that_is_not_there_is_free_and_is_not_made(workspace, tmp_path, name):
    require_free(tmp_path / name, workspace, overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".trainwright"]


def test_empty_folder_is_free(workspace, tmp_path):
    (tmp_path / "out").mkdir()
    require_free(tmp_path / "out", workspace, overwrite=False)


def test_folder_with_something_in_it_needs_to_be_given_up(workspace, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(OutputExists, match="not empty") as refused:
        require_free(tmp_path / "out", workspace, overwrite=False)
    assert "--overwrite" in refused.value.next_step
    require_free(tmp_path / "out", workspace, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_file_is_never_replaced(workspace, tmp_path, overwrite):
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputExists, match="is a file"):
        require_free(tmp_path / "out", workspace, overwrite=overwrite)


@pytest.mark.parametrize("place", [".", "..", ".trainwright", ".trainwright/runs", "/"])
def test_folder_that_holds_the_workspace_or_lies_in_it_is_refused(workspace, tmp_path, place):
    with pytest.raises(InvalidValue, match="cannot be the output folder"):
        require_free(tmp_path / place, workspace, overwrite=True)


def test_link_to_the_folder_that_holds_the_workspace_is_refused(workspace, tmp_path, tmp_path_factory):
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(InvalidValue, match="cannot be the output folder"):
        require_free(link, workspace, overwrite=True)


def test_folder_that_cannot_be_written_is_known_beforehand(workspace, tmp_path, monkeypatch):
    asked = []

    def refuse(folder):
        asked.append(folder)
        return Finding(
            name=f"writable {folder}",
            ok=False,
            found="Permission denied.",
            remedy="Choose another folder.",
            error="not-writable",
        )

    monkeypatch.setattr(publish, "check_writable", refuse)
    with pytest.raises(NotWritable, match="Prerequisite not met"):
        require_free(tmp_path / "deep" / "out", workspace, overwrite=False)
    assert asked == [tmp_path]
