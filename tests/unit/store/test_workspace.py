import json
import shutil
import subprocess
import sys

import pytest

from trainwright.core.errors import AmbiguousRef, NotWritable, ObjectDamaged, RunDamaged, UnknownRef
from trainwright.store.objects import MemoryObjects
from trainwright.store.run_folder import create_run_folder
from trainwright.store.workspace import open_workspace


def test_a_workspace_is_made_and_opened_again(tmp_path, make_history) -> None:
    root = tmp_path / "deep" / "workspace"
    with open_workspace(root) as workspace:
        history = make_history(workspace.objects)
        for record in history.records():
            workspace.ledger.put(record)
    with open_workspace(root) as again:
        assert again.root == root
        assert again.ledger.get(history.run.id) == history.run
        assert again.objects.get(history.run.environment)
        assert [path.is_dir() for path in (again.runs, again.downloads, again.measurements)] == [True] * 3


def test_a_relative_root_stays_where_it_was(tmp_path, monkeypatch, make_history) -> None:
    monkeypatch.chdir(tmp_path)
    with open_workspace(tmp_path.joinpath("w").relative_to(tmp_path)) as workspace:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        history = make_history(workspace.objects)
        workspace.ledger.put(history.dataset)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_processes_may_open_a_new_workspace_at_once(tmp_path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainwright.store.workspace import open_workspace\n"
        "for n in range(5):\n with open_workspace(Path(sys.argv[1]) / str(n)) as w: w.ledger.refs()"
    )
    openers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [(opener.communicate()[1], opener.returncode) for opener in openers] == [("", 0)] * 3


def test_a_file_in_the_way_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotWritable) as caught:
            open_workspace(root)
        assert str(tmp_path / "file") in caught.value.why


def test_importing_the_workspace_does_not_load_the_database(tmp_path) -> None:
    code = "import sys, trainwright.store.workspace; print([m for m in ('sqlalchemy', 'sqlite3') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_run_folder_is_found_by_the_runs_id(tmp_path, make_history, environment) -> None:
    history = make_history(MemoryObjects())
    with open_workspace(tmp_path) as workspace:
        with pytest.raises(UnknownRef):
            workspace.find_run_folder(history.run.id)
        made = create_run_folder(workspace.runs, history.run, history.plan, environment)
        assert workspace.find_run_folder(history.run.id).path == made.path
        (workspace.runs / ".half-made.tmp").mkdir()
        assert [folder.path for folder in workspace.iter_run_folders()] == [made.path]
        with pytest.raises(UnknownRef):  # the same beginning is not the same run
            workspace.find_run_folder(history.run.id[:12] + "0" * 52)


def test_of_a_run_folder_and_its_copy_the_one_named_after_the_run_counts(tmp_path, make_history, environment) -> None:
    with open_workspace(tmp_path) as workspace:
        history = make_history(workspace.objects)
        made = create_run_folder(workspace.runs, history.run, history.plan, environment)
        for name in ("a", "z"):  # before and after it by name
            shutil.copytree(made.path, workspace.runs / f"{name}-{history.run.id[:12]}")
        assert workspace.find_run_folder(history.run.id).path == made.path
        (made.path / "run.json").write_text("no JSON")
        with pytest.raises(RunDamaged):  # a copy may be older: none is taken in its place unasked
            workspace.find_run_folder(history.run.id)
        shutil.rmtree(made.path)
        with pytest.raises(AmbiguousRef) as caught:
            workspace.find_run_folder(history.run.id)
        assert f"a-{history.run.id[:12]}, z-{history.run.id[:12]}" in caught.value.why
        assert made.path.name in caught.value.next_step
        shutil.rmtree(workspace.runs / f"a-{history.run.id[:12]}")
        assert workspace.find_run_folder(history.run.id).path.name == f"z-{history.run.id[:12]}"


def test_runs_whose_ids_begin_alike_are_told_apart_by_the_full_id(tmp_path, make_history, environment) -> None:
    with open_workspace(tmp_path) as workspace:
        history = make_history(workspace.objects)
        made = create_run_folder(workspace.runs, history.run, history.plan, environment)
        alike = history.run.id[:12] + "0" * 52
        damaged = workspace.runs / f"alike-{history.run.id[:12]}"
        damaged.mkdir()
        (damaged / "run.json").write_text("no JSON")
        assert workspace.find_run_folder(history.run.id).path == made.path
        with pytest.raises(RunDamaged):  # it may be that one's
            workspace.find_run_folder(alike)
        shutil.rmtree(damaged)
        with pytest.raises(UnknownRef):
            workspace.find_run_folder(alike)


def test_measurements_are_kept_and_replaced(tmp_path) -> None:
    with open_workspace(tmp_path) as workspace:
        assert workspace.read_measurement("compute-abc") is None
        workspace.write_measurement("compute-abc", {"step_ms": 1.25, "name": "ä"})
        workspace.write_measurement("compute-abc", {"step_ms": 0.1})
        assert workspace.read_measurement("compute-abc") == {"step_ms": 0.1}
        assert (tmp_path / "measurements" / "compute-abc.json").is_file()
        with pytest.raises(ValueError, match="name of a measurement"):
            workspace.write_measurement("../up", {})


@pytest.mark.parametrize("harm", ["cut", "change", "nan", "list", "empty"])
def test_a_damaged_measurement_is_named_set_aside_and_measured_anew(tmp_path, harm) -> None:
    with open_workspace(tmp_path) as workspace:
        workspace.write_measurement("k", {"step_ms": 1.0})
        path = tmp_path / "measurements" / "k.json"
        text = path.read_text()
        harmed = {
            "cut": text[:-1],
            "change": text.replace("1.0", "2.0"),
            "nan": text.replace("1.0", "NaN"),
            "list": json.dumps([1]),
            "empty": "",
        }
        assert harmed[harm] != text
        path.write_text(harmed[harm])
        with pytest.raises(ObjectDamaged, match=r"k\.json"):
            workspace.read_measurement("k")
        assert workspace.read_measurement("k") is None
        assert (tmp_path / "measurements" / "damaged-k.json").read_text() == harmed[harm]
