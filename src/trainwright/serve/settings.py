"""What a service is told when it starts."""

from dataclasses import dataclass, field
from pathlib import Path

from trainwright.work.settings import WorkSettings

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Settings:
    """How a service answers. Nothing here changes while it runs."""

    host: str = "127.0.0.1"
    port: int = 8765
    tokens_path: Path | None = None
    """Who may come in; None: anybody on this machine, and nobody else."""
    max_body_bytes: int = 16 * 1024 * 1024
    requests_per_s: float | None = 50.0
    """How often each holder of a token may ask in the long run; None: as often as it likes."""
    burst: int = 200
    has_worker: bool = True
    """Whether a worker runs beside the service."""
    work: WorkSettings = field(default_factory=WorkSettings)
    """What that worker is told."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return self.host in LOOPBACK
