"""What runs first in a job's container: `python -m trainwright.work.contained JOB_FOLDER CONTAINER COMMAND…`.

It hands signals on to the command (the first process of a container gets none by default), buries processes that lost their
parent, puts into the job's folder what the command says and how it ended, and tells a memory kill from any other: the
container's own counter says so, which is gone with the container.
"""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from trainwright.core.errors import JobOutOfMemory
from trainwright.work.job_folder import JobFolder

_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_BY_SIGNAL = 128


def main() -> None:
    """Run the command to its end, and end as it did: 128 and the number of the signal, where one ended it."""
    folder, name, command = JobFolder(Path(sys.argv[1])), sys.argv[2], sys.argv[3:]
    with folder.log_path.open("ab") as log, folder.answer_path.open("wb") as answer:
        child = subprocess.Popen(  # its standard input is ours, the lifeline
            [sys.executable, "-m", "trainwright.work.child", *command], stdout=answer, stderr=log
        )
        with suppress(OSError):  # where memory runs out, the job is to go, and not who tells of it
            Path(f"/proc/{child.pid}/oom_score_adj").write_text("1000", encoding="ascii")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: child.send_signal(number))
        code = wait_for(child.pid)
        if code == -signal.SIGKILL and count_memory_kills():
            answer.write(json.dumps({"error": describe(folder).as_document()}).encode())
            code = JobOutOfMemory.exit_code
    folder.write_exit_code(name, code)  # not every engine hands it on
    sys.exit(_BY_SIGNAL - code if code < 0 else code)


def wait_for(pid: int) -> int:
    """The exit code of the child (negative: the signal that ended it). Others' orphans, which are ours here, are buried."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            return os.waitstatus_to_exitcode(status)


def count_memory_kills() -> int:
    """How many processes of this container were killed for want of memory, by its own counter; 0 where it has none."""
    for path in _COUNTERS:
        try:
            text = path.read_text(encoding="ascii")
        except OSError:
            continue
        found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
        return int(found.group(1)) if found else 0
    return 0


def describe(folder: JobFolder) -> JobOutOfMemory:
    """The error of a job that was killed for want of memory."""
    job_id = folder.path.name[:12]
    limit = _read_limit()
    return JobOutOfMemory(
        f"The job {job_id} needed more memory than its container may have{f', {limit / 1e6:,.0f} MB' if limit else ''}.",
        why="The system killed its process for it. What it had saved is there.",
        next_step=f"Give containers more (--job-memory-mb of the worker); then trainwright jobs resume {job_id}. "
        "Or start one with a smaller train.batch_size, or a larger train.accumulation.",
    )


def _read_limit() -> int | None:
    for path in _LIMITS:
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        return int(text) if text.isdigit() else None
    return None


if __name__ == "__main__":
    main()
