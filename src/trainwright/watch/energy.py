"""Energy that the machine says it used, where it says so: Intel's and AMD's running average power limit (RAPL).

Linux shows a counter of microjoules for each processor package in /sys/class/powercap. It counts the whole package, whoever
used it, and starts again from 0 at `max_energy_range_uj`. Many systems let only root read it, and virtual machines have none.
"""

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class EnergyCounter:
    """Joules of all processor packages since it was made; None where the machine does not tell, and `why_not` says why."""

    def __init__(self, powercap: Path = POWERCAP, *, has_gpu: bool = False) -> None:
        self.why_not = ""
        self._joules = 0.0
        self._last: dict[Path, int] = {}
        # intel-rapl:0 is a package, intel-rapl:0:1 a part of one.
        packages = sorted(path for path in powercap.glob("intel-rapl:*") if path.name.count(":") == 1)
        if has_gpu:
            self.why_not = "the energy of the GPU is not read, and without it the sum would be too small"
        elif not packages:
            self.why_not = f"this machine shows no energy counter in {powercap}"
        else:
            self._begin(packages)

    def read_j(self) -> float | None:
        """Joules since the beginning. Has to be asked before a counter comes round twice (some minutes at full power)."""
        for package, last in self._last.items():
            now = self._read(package / "energy_uj")
            if now is None:
                break
            if now < last:  # it came round
                now_after, limit = now, self._read(package / "max_energy_range_uj")
                if limit is None:
                    break
                self._joules += (limit - last + now_after) / 1e6
            else:
                self._joules += (now - last) / 1e6
            self._last[package] = now
        return None if self.why_not else self._joules

    def _begin(self, packages: list[Path]) -> None:
        for package in packages:
            now = self._read(package / "energy_uj")
            if now is None:
                return
            self._last[package] = now

    def _read(self, path: Path) -> int | None:
        try:
            return int(path.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it holds no number"
            self.why_not = f"{path} cannot be read: {reason}"
            return None
