"""The devices of this host that one job at a time may have, and how a job comes to see none but its own.

Found without asking a framework, which would take seconds and memory: by the files that the driver makes. CPUs are no such
device; jobs share them.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from trainwright.core.errors import InvalidValue
from trainwright.core.jobs import Job

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The driver's own name for a list of the GPUs that a process sees; it counts them anew, from 0."""
_NAME = re.compile(r"[a-z]+(:[0-9]+)?")


def find_devices(files: Path = Path("/dev"), environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """`cuda:0`, `cuda:1`, … for each GPU that a process started here would see."""
    found = sorted(path.name for path in files.glob("nvidia[0-9]*"))
    if VISIBLE in environment:
        found = found[: len(_read_visible(environment))]
    return tuple(f"cuda:{number}" for number in range(len(found)))


def parse_devices(text: str) -> tuple[str, ...]:
    """Devices as an option names them: `auto`, `none`, or `cuda:0,cuda:1`. Raises InvalidValue."""
    if text == "auto":
        return find_devices()
    if text == "none":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    wrong = [name for name in names if _NAME.fullmatch(name) is None]
    if wrong or len(set(names)) < len(names):
        raise InvalidValue(
            f"--devices {text}: {f'{wrong[0]!r} is no device' if wrong else 'a device stands there twice'}.",
            why="It is `auto` (every GPU that is found), `none`, or names such as cuda:0,cuda:1.",
            next_step="Name each device once.",
        )
    return names


def name_visible(job: Job, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the environment of a job says about GPUs, beyond what it says here: that there is the one it was given.

    A job whose manifest names a device counts on the numbers that devices have on the host, so it sees all of them.
    """
    kind, _, number = (job.device_held or "").partition(":")
    if kind != "cuda" or not number or job.device == job.device_held:
        return {}
    if VISIBLE not in environment:
        return {VISIBLE: number}
    visible = _read_visible(environment)
    return {VISIBLE: visible[int(number)]} if int(number) < len(visible) else {}


def _read_visible(environment: Mapping[str, str]) -> list[str]:
    return [name.strip() for name in environment[VISIBLE].split(",") if name.strip()]
