import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from trainwright.core.errors import InvalidValue, OutputExists, PlanMismatch, RunBusy, RunDamaged
from trainwright.store.objects import MemoryObjects
from trainwright.store.run_folder import RunFolder, create_run_folder

HOLDER = """
import sys
from pathlib import Path
from trainwright.store.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def history(make_history):
    return make_history(MemoryObjects())


@pytest.fixture
def folder(tmp_path, history, environment) -> RunFolder:
    return create_run_folder(tmp_path, history.run, history.plan, environment)


@pytest.fixture
def holder(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_new_run_folder_holds_what_the_run_was_made_from(tmp_path, folder, history, environment) -> None:
    assert folder.path == tmp_path / f"hello-{history.run.id[:12]}"
    again = RunFolder(folder.path)
    assert again.read_run() == history.run
    assert again.read_plan() == history.plan
    assert again.read_environment() == environment
    assert again.checkpoints_path.is_dir()
    assert again.read_attempts() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.path.name]


def test_a_run_folder_is_made_once(tmp_path, folder, history, environment) -> None:
    with pytest.raises(OutputExists):
        create_run_folder(tmp_path, history.run, history.plan, environment)
    assert folder.read_run() == history.run


def test_a_plan_or_environment_that_the_run_does_not_name_is_refused(tmp_path, history, environment) -> None:
    with pytest.raises(ValueError, match="another plan"):
        create_run_folder(tmp_path, history.run, history.plan.model_copy(update={"seed": 1}), environment)
    with pytest.raises(ValueError, match="another environment"):
        create_run_folder(tmp_path, history.run, history.plan, environment | {"threads": 3})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a" * 65])
def test_a_name_that_is_not_safe_in_a_path_is_refused(tmp_path, history, environment, name) -> None:
    run = history.run.model_copy(update={"name": name})
    with pytest.raises(InvalidValue):
        create_run_folder(tmp_path, run, history.plan, environment)


@pytest.mark.parametrize("name", ["run.json", "plan.json", "environment.json"])
@pytest.mark.parametrize("harm", ["remove", "cut", "list", "nan"])
def test_a_damaged_file_is_named(folder, name, harm) -> None:
    path = folder.path / name
    text = path.read_text(encoding="utf-8")
    if harm == "remove":
        path.unlink()
    else:
        path.write_text({"cut": text[:-5], "list": "[]", "nan": '{"kind": NaN}'}[harm])
    read = {"run.json": folder.read_run, "plan.json": folder.read_plan, "environment.json": folder.read_environment}
    with pytest.raises(RunDamaged, match=name):
        read[name]()


def test_changed_content_is_found_by_its_id(folder) -> None:
    for path, read, error in (
        (folder.environment_path, folder.read_environment, RunDamaged),
        (folder.plan_path, folder.read_plan, PlanMismatch),
        (folder.run_path, folder.read_run, RunDamaged),
    ):
        document = json.loads(path.read_text())
        key = next(key for key in document if key in ("threads", "seed", "nonce"))
        document[key] = 7 if key != "nonce" else "7"
        path.write_text(json.dumps(document))
        with pytest.raises(error, match=path.name):
            read()


def test_attempts_are_appended_in_order(folder) -> None:
    for number in range(3):
        folder.append_attempt({"number": number, "why": "ä\n"})
    assert folder.read_attempts() == [{"number": number, "why": "ä\n"} for number in range(3)]


def test_an_attempt_that_was_never_finished_was_never_recorded(folder) -> None:
    folder.append_attempt({"number": 1})
    with folder.attempts_path.open("ab") as file:
        file.write(b'{"numb')
    assert folder.read_attempts() == [{"number": 1}]
    folder.append_attempt({"number": 2})
    assert folder.read_attempts() == [{"number": 1}, {"number": 2}]


def test_a_damaged_attempt_is_named_by_line(folder) -> None:
    folder.append_attempt({"number": 1})
    with folder.attempts_path.open("ab") as file:
        file.write(b"garbage\n")
    with pytest.raises(RunDamaged, match=r"attempts\.jsonl") as caught:
        folder.read_attempts()
    assert "Line 2" in caught.value.why


def test_a_run_that_another_process_writes_is_busy(folder, holder) -> None:
    assert folder.is_locked()
    with pytest.raises(RunBusy) as caught, folder.lock():
        pass
    assert str(holder.pid) in caught.value.why


def test_a_killed_process_lets_go_by_itself(folder, holder) -> None:
    holder.kill()
    holder.wait()
    assert not folder.is_locked()
    with folder.lock():
        assert folder.is_locked()


def test_the_lock_is_let_go_at_the_end_and_on_errors(folder) -> None:
    assert not folder.is_locked()
    with suppress(KeyboardInterrupt), folder.lock():
        assert folder.is_locked()
        raise KeyboardInterrupt
    assert not folder.is_locked()
    with folder.lock(), pytest.raises(RunBusy), RunFolder(folder.path).lock():
        pass


def test_looking_at_a_lock_makes_no_file(folder: RunFolder) -> None:
    assert not folder.is_locked()
    assert not Path(folder.lock_path).exists()
