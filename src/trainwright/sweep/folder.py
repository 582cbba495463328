"""What of a sweep is not on record: who works on it now, and what it may spend, which can be raised.

sweeps/ID/limits.json    what its runs may spend together
sweeps/ID/lock           held by the process that works on it
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from trainwright.core.durable import write_file
from trainwright.core.errors import RunDamaged, SweepBusy, translate_write_errors
from trainwright.core.locking import is_lock_held, take_lock
from trainwright.core.manifest import LimitsSection
from trainwright.store.workspace import Workspace


class SweepFolder:
    """The files of a sweep. The folder is made when something is first written."""

    def __init__(self, sweep_id: str, workspace: Workspace) -> None:
        self.sweep_id = sweep_id
        self.path: Path = workspace.root / "sweeps" / sweep_id
        self.limits_path = self.path / "limits.json"
        self.lock_path = self.path / "lock"

    def read_limits(self) -> LimitsSection:
        """What the sweep may spend; without a file, whatever it takes. Raises RunDamaged."""
        try:
            return LimitsSection.model_validate_json(self.limits_path.read_bytes())
        except FileNotFoundError:
            return LimitsSection()
        except ValidationError as error:
            raise RunDamaged(
                f"The limits of a sweep in {self.limits_path} are damaged.",
                why=" ".join(str(error).split())[:300],
                next_step=f"Set them again: trainwright sweep resume {self.sweep_id[:12]} --hours N",
            ) from error

    def write_limits(self, limits: LimitsSection) -> None:
        """Say what the sweep may spend from now on. Raises DiskFull, NotWritable."""
        write_file(self.limits_path, limits.model_dump_json(indent=2).encode() + b"\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that works on the sweep; a killed process lets go by itself.

        Raises SweepBusy, DiskFull, NotWritable.
        """
        with translate_write_errors(self.lock_path):
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not take_lock(descriptor):
                raise SweepBusy(
                    f"Another process is working on the sweep {self.sweep_id[:12]}.",
                    why=f"It holds {self.lock_path}.",
                    next_step="Wait until it ends, or end it; its lock goes with it.",
                )
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Whether some process is working on the sweep now."""
        return is_lock_held(self.lock_path)
