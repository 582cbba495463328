"""A framework's probe in a process of its own: one that crashes, or hangs, as it is imported takes nobody along.

Run as a module this is that process: a framework and a device as arguments, one JSON document on standard output.
"""

import functools
import os
import subprocess
import sys
from dataclasses import asdict

from trainwright.backends.protocol import Probe
from trainwright.core.records import Frozen

LONGEST_S = 240.0
"""A probe that compiles has this long; one that tries its kernel in a further process has a shorter limit of its own."""


class Probed(Frozen):
    """What a framework said of itself: on which device a real kernel was tried, and what came of it."""

    framework: str
    device: str
    works: bool
    version: str = ""
    device_name: str = ""
    problem: str = ""
    remedy: str = ""


@functools.cache
def probe_apart(framework: str, device: str) -> Probed:
    """Run a real kernel of `framework` in a fresh process, on `device` (`auto`: the one that a run would take).

    Never raises for a framework that is missing or broken. Tried once: a process asks several times.
    """
    words = [sys.executable, "-m", "trainwright.backends.probing", framework, device]
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    try:
        finished = subprocess.run(words, capture_output=True, text=True, timeout=LONGEST_S, check=False, env=quiet)
    except subprocess.TimeoutExpired:
        return _give_up(framework, device, f"A real kernel was not done after {LONGEST_S:.0f} s.")
    if finished.returncode != 0:
        lines = [line.strip() for line in finished.stderr.splitlines() if line.strip()]
        how = f"signal {-finished.returncode}" if finished.returncode < 0 else f"exit status {finished.returncode}"
        said = f": {lines[-1][:300]}" if lines else ""
        return _give_up(framework, device, f"The process that tried a real kernel ended with {how}{said}")
    return Probed.model_validate_json(finished.stdout.splitlines()[-1])  # a framework may greet on the lines before


def probe_here(framework: str, device: str) -> Probed:
    """The same in this process."""
    from trainwright.backends.catalogue import choose_device, open_backend
    from trainwright.core.errors import PackageMissing

    try:
        chosen = choose_device(framework, device)
        probe: Probe = open_backend(framework).probe(chosen)
    except PackageMissing as error:  # not installed, or installed and broken
        problem = f"{error.message} {error.why}"
        return Probed(framework=framework, device=device, works=False, problem=problem, remedy=error.next_step)
    return Probed(framework=framework, device=chosen, **asdict(probe))


def _give_up(framework: str, device: str, problem: str) -> Probed:
    return Probed(
        framework=framework,
        device=device,
        works=False,
        problem=problem,
        remedy="Install the framework again, or name another one in compute.framework.",
    )


if __name__ == "__main__":
    sys.stdout.write(probe_here(*sys.argv[1:]).model_dump_json() + "\n")
