"""Durable writes: whoever is killed, whatever is full, a reader sees the old content or the new one."""

import os
import subprocess
import sys
import textwrap

import pytest

from trainwright.core.durable import write_chunks, write_file, write_folder
from trainwright.core.errors import DiskFull

OLD, NEW = b"the old content", b"the new content"


def run_child(program, *arguments):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def names_below(folder):
    return sorted(path.name for path in folder.iterdir())


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_file_is_written_whole_and_its_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_file(path, OLD)
    write_file(path, NEW)
    assert path.read_bytes() == NEW
    assert names_below(path.parent) == ["file"]


def test_others_may_read_what_was_written(tmp_path):
    write_file(tmp_path / "file", NEW)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    write_chunks(tmp_path / "secret", [NEW], mode=0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_content_that_fails_half_way_leaves_the_old_file(tmp_path):
    def chunks():
        yield NEW[:5]
        raise RuntimeError("the source broke")

    write_file(tmp_path / "file", OLD)
    with pytest.raises(RuntimeError, match="the source broke"):
        write_chunks(tmp_path / "file", chunks())
    assert (tmp_path / "file").read_bytes() == OLD
    assert names_below(tmp_path) == ["file"]


def test_writer_killed_half_way_leaves_the_old_file(tmp_path):
    write_file(tmp_path / "file", OLD)
    finished = run_child(
        """
        import os, signal, sys
        from pathlib import Path
        from trainwright.core.durable import write_chunks

        def chunks():
            yield b"half of the new"
            os.kill(os.getpid(), signal.SIGKILL)
            yield b" content"

        write_chunks(Path(sys.argv[1]), chunks())
        """,
        tmp_path / "file",
    )
    assert finished.returncode == -9, finished.stderr
    assert (tmp_path / "file").read_bytes() == OLD


def test_new_content_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    happened = []
    real_fsync, real_replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (happened.append("fsync"), real_fsync(descriptor))[1])
    monkeypatch.setattr(
        type(tmp_path), "replace", lambda self, to: (happened.append("rename"), real_replace(self, to))[1]
    )
    write_file(tmp_path / "file", NEW)
    assert happened == ["fsync", "rename", "fsync"]


# ── no room, no permission ────────────────────────────────────────────────────────────────────────────────────────────
def test_file_that_finds_no_room_is_disk_full_and_leaves_the_old_one(tmp_path):
    write_file(tmp_path / "file", OLD)
    finished = run_child(
        """
        import resource, sys
        from pathlib import Path
        from trainwright.core.durable import write_file
        from trainwright.core.errors import DiskFull

        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_file(Path(sys.argv[1]), b"x" * 10_000)
        except DiskFull as error:
            print(error.name, "|", error.why)
        """,
        tmp_path / "file",
    )
    assert finished.stdout.startswith("disk-full | The operating system said: File too large"), finished
    assert (tmp_path / "file").read_bytes() == OLD
    assert names_below(tmp_path) == ["file"]


def test_folder_that_finds_no_room_is_disk_full_and_leaves_nothing(tmp_path):
    finished = run_child(
        """
        import resource, sys
        from pathlib import Path
        from trainwright.core.durable import write_folder
        from trainwright.core.errors import DiskFull

        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            with write_folder(Path(sys.argv[1])) as folder:
                (folder / "small").write_bytes(b"x")
                (folder / "large").write_bytes(b"x" * 10_000)
        except DiskFull as error:
            print(error.name)
        """,
        tmp_path / "folder",
    )
    assert finished.stdout == "disk-full\n", finished
    assert names_below(tmp_path) == []


def test_folder_that_takes_no_file_is_not_writable(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    finished = run_child(
        """
        import os, sys
        from pathlib import Path
        from trainwright.core.durable import write_file
        from trainwright.core.errors import NotWritable

        if os.getuid() == 0:  # nothing is locked for the superuser
            os.setuid(65534)
        try:
            write_file(Path(sys.argv[1]), b"x")
        except NotWritable as error:
            print(error.name, "|", error.why)
        """,
        tmp_path / "locked" / "file",
    )
    assert finished.stdout.startswith("not-writable | The operating system said: Permission denied"), finished


# ── folders ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_folder_appears_whole(tmp_path):
    with write_folder(tmp_path / "a" / "folder") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file").write_bytes(NEW)
        assert not (tmp_path / "a" / "folder").exists()
    assert (tmp_path / "a" / "folder" / "inner" / "file").read_bytes() == NEW
    assert names_below(tmp_path / "a") == ["folder"]
    assert (tmp_path / "a" / "folder").stat().st_mode & 0o777 == 0o755


def test_folder_of_a_block_that_fails_never_appears(tmp_path):
    with pytest.raises(RuntimeError, match="half way"), write_folder(tmp_path / "folder") as temporary:  # noqa: PT012
        (temporary / "file").write_bytes(NEW)
        raise RuntimeError("half way")
    assert names_below(tmp_path) == []


def test_folder_that_is_there_is_kept_unless_it_is_to_be_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_bytes(OLD)
    with pytest.raises(OSError, match="not empty"), write_folder(tmp_path / "folder") as temporary:
        (temporary / "new").write_bytes(NEW)
    assert names_below(tmp_path / "folder") == ["old"]
    with write_folder(tmp_path / "folder", replace=True) as temporary:
        (temporary / "new").write_bytes(NEW)
    assert names_below(tmp_path / "folder") == ["new"]
    assert names_below(tmp_path) == ["folder"]


def test_replaced_folder_is_there_until_the_block_has_ended(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_bytes(OLD)
    with (  # noqa: PT012
        pytest.raises(RuntimeError, match="half way"),
        write_folder(tmp_path / "folder", replace=True) as temporary,
    ):
        (temporary / "new").write_bytes(NEW)
        raise RuntimeError("half way")
    assert names_below(tmp_path / "folder") == ["old"]
    assert names_below(tmp_path) == ["folder"]


def test_replaced_folder_comes_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_bytes(OLD)
    real_replace = type(tmp_path).replace

    def refuse_the_new_one(self, to):
        if self.suffix == ".tmp":
            raise OSError(28, "No space left on device")
        return real_replace(self, to)

    monkeypatch.setattr(type(tmp_path), "replace", refuse_the_new_one)
    with pytest.raises(DiskFull), write_folder(tmp_path / "folder", replace=True) as temporary:
        (temporary / "new").write_bytes(NEW)
    assert names_below(tmp_path / "folder") == ["old"]
    assert names_below(tmp_path) == ["folder"]


def test_writer_of_a_folder_killed_half_way_leaves_no_folder_of_that_name(tmp_path):
    finished = run_child(
        """
        import os, signal, sys
        from pathlib import Path
        from trainwright.core.durable import write_folder

        with write_folder(Path(sys.argv[1])) as folder:
            (folder / "file").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path / "folder",
    )
    assert finished.returncode == -9, finished.stderr
    assert not (tmp_path / "folder").exists()
