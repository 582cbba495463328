"""What a worker is told: how much this host may do at once, and where it runs it."""

import math
from typing import Annotated

from pydantic import Field

from trainwright.core.records import Frozen
from trainwright.store.jobs import Limits


class ContainerSettings(Frozen):
    """The container of each job. `memory_bytes`, `num_cpus` None: as much as the host has."""

    image: str = Field(min_length=1)
    memory_bytes: Annotated[int, Field(ge=1)] | None = None
    num_cpus: Annotated[float, Field(gt=0, lt=math.inf)] | None = None
    network: str = Field(default="none", min_length=1)
    mounts: tuple[str, ...] = ()
    """Folders and files of the host that a job may read, beside the one that its manifest's paths begin in."""


class WorkSettings(Frozen):
    """Limits of the host, and the containers that its jobs run in; None: they run as child processes."""

    limits: Limits = Limits()
    container: ContainerSettings | None = None
