"""The accounts: what each run used, under which project and at which prices, and what it may spend.

accounts/runs/RUN_ID/account.json    project, tags, prices and limits, where any were ever given
accounts/runs/RUN_ID/usage.jsonl     what each process that worked on the run used; see watch/usage.py
accounts/projects/NAME.json          what all runs of a project together may spend

They lie beside the runs' folders, not in them: what was spent stays spent where a run is deleted.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from trainwright.core.durable import write_file
from trainwright.core.errors import RunDamaged
from trainwright.core.manifest import CostsSection, LimitsSection
from trainwright.core.records import Frozen
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace
from trainwright.watch.cost import Amounts, Prices, sum_up
from trainwright.watch.settings_file import read_settings
from trainwright.watch.usage import HEARTBEAT_S, Usage, count_tokens, is_processor, read_usages

PRICES_FILE = "prices.yaml"

Kind = TypeVar("Kind", bound=BaseModel)


class Account(Frozen):
    """What is to be known about a run beside what it used. `prices` None: those of the workspace."""

    project: str | None = None
    tags: tuple[str, ...] = ()
    prices: Prices | None = None
    limits: LimitsSection = LimitsSection()


@dataclass(frozen=True)
class Spending:
    """A run's account, and what each process that worked on it used."""

    run_id: str
    account: Account
    usages: tuple[Usage, ...]

    def sum_up(self, prices: Prices | None) -> Amounts:
        """All of it; `prices` are for a run that has none of its own."""
        return sum_up(self.usages, self.account.prices or prices)


# ── what is given ─────────────────────────────────────────────────────────────────────────────────────────────────────
def build_account(costs: CostsSection) -> Account:
    """What a manifest says about a run's costs, with its price file as it is now.

    Raises ManifestNotFound, ManifestUnreadable, UnknownKey, InvalidValue for the price file.
    """
    prices = None if costs.prices is None else read_prices(Path(costs.prices))
    return Account(project=costs.project, tags=costs.tags, prices=prices, limits=costs.limits)


def write_account(run_id: str, account: Account, workspace: Workspace) -> None:
    """Keep what was given about a run, last of all. Raises DiskFull, NotWritable."""
    path = _account_path(run_id, workspace)
    if account != Account() or path.exists():
        write_file(path, _render(account))


def read_account(run_id: str, workspace: Workspace) -> Account:
    """A run's account; an empty one where nothing was ever given. Raises RunDamaged."""
    return _read(_account_path(run_id, workspace), Account) or Account()


def write_project_limits(name: str, limits: LimitsSection, workspace: Workspace) -> None:
    """Say what all runs of a project together may spend. Raises DiskFull, NotWritable."""
    write_file(_project_path(name, workspace), _render(limits))


def read_project_limits(name: str, workspace: Workspace) -> LimitsSection:
    """What all runs of a project together may spend. Raises RunDamaged."""
    return _read(_project_path(name, workspace), LimitsSection) or LimitsSection()


def list_projects(workspace: Workspace) -> list[str]:
    """Every project that a run or a budget names, by name."""
    named = {path.stem for path in (_accounts(workspace) / "projects").glob("*.json")}
    spending = {read_account(run_id, workspace).project for run_id in iter_run_ids(workspace)}
    return sorted(named | {name for name in spending if name is not None})


def read_prices(path: Path) -> Prices:
    """A price file. Raises ManifestNotFound, ManifestUnreadable, UnknownKey, InvalidValue."""
    return read_settings(path, Prices, "price file")


def find_prices(given: Path | None, workspace: Workspace) -> Prices | None:
    """The prices in the file that was given, else those of the workspace, else none. Raises like `read_prices`."""
    path = given or workspace.root / PRICES_FILE
    return None if given is None and not path.is_file() else read_prices(path)


# ── what was used ─────────────────────────────────────────────────────────────────────────────────────────────────────
def iter_run_ids(workspace: Workspace) -> Iterator[str]:
    """The runs that have an account, those whose folder is gone included."""
    for path in sorted((_accounts(workspace) / "runs").glob("*")):
        if path.is_dir():
            yield path.name


def locate_usage(run_id: str, workspace: Workspace) -> Path:
    """Where what each process that worked on the run used is written down."""
    return _accounts(workspace) / "runs" / run_id / "usage.jsonl"


def read_spending(run_id: str, folder: RunFolder | None, workspace: Workspace) -> Spending:
    """What a run has used, by its meters; where a process was killed or had none, as far as its events tell.

    Raises RunDamaged.
    """
    usages = read_usages(locate_usage(run_id, workspace))
    if folder is not None:
        usages = _fill_in(usages, folder)
    return Spending(run_id, read_account(run_id, workspace), tuple(usages))


def _fill_in(usages: list[Usage], folder: RunFolder) -> list[Usage]:
    """With what the events say of processes that were killed after their last line, or that had no meter."""
    unmetered = _list_unmetered(usages, folder)
    if not unmetered and all(usage.is_over for usage in usages):
        return usages
    events = [*_iter_timed(folder.events_path), *_iter_timed(folder.events_path.with_name("events.abandoned.jsonl"))]
    everyone = [*unmetered, *usages]
    following = [usage.begun_at for usage in everyone[1:]] + ["9999"]
    return [
        usage if usage.is_over else _extend(usage, [event for event in events if usage.at < _at(event) < until])
        for usage, until in zip(everyone, following, strict=True)
    ]


def _list_unmetered(usages: list[Usage], folder: RunFolder) -> list[Usage]:
    """The processes that worked on the run before there were meters: of them only the time is known, and the tokens."""
    first = usages[0].begun_at if usages else "9999"
    lines = [line for line in folder.read_attempts() if "from_step" in line and line["at"] < first]
    device = folder.read_plan().compute.device if lines else ""
    return [
        Usage(attempt=f"before-{line['at']}", who=None, device=device, begun_at=line["at"], at=line["at"])
        for line in lines
    ]


def _extend(usage: Usage, events: list[dict[str, Any]]) -> Usage:
    """Until the last event that the process wrote. One with a meter lived less than a heartbeat after its last line."""
    if not events:
        return usage
    last = max(_at(event) for event in events)
    more_s = (datetime.fromisoformat(last) - datetime.fromisoformat(usage.at)).total_seconds()
    if usage.cpu_s is not None:
        more_s = min(more_s, HEARTBEAT_S)
    return usage.model_copy(
        update={
            "at": last,
            "wall_s": usage.wall_s + more_s,
            "gpu_s": usage.gpu_s + (0.0 if is_processor(usage.device) else more_s),
            "num_tokens": usage.num_tokens + sum(count_tokens(event) for event in events),
        }
    )


def _iter_timed(path: Path) -> Iterator[dict[str, Any]]:
    """Events with their times. The file of abandoned ones may hold torn lines, which are passed over."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines:
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("timing"), dict) and "at" in event["timing"]:
                yield event


def _at(event: dict[str, Any]) -> str:
    return str(event["timing"]["at"])


def _accounts(workspace: Workspace) -> Path:
    return workspace.root / "accounts"


def _account_path(run_id: str, workspace: Workspace) -> Path:
    return _accounts(workspace) / "runs" / run_id / "account.json"


def _project_path(name: str, workspace: Workspace) -> Path:
    return _accounts(workspace) / "projects" / f"{name}.json"


def _render(document: Account | LimitsSection) -> bytes:
    return document.model_dump_json(indent=2).encode() + b"\n"


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise RunDamaged(
            f"The account {path} is damaged.",
            why=" ".join(str(error).split())[:300],
            next_step="Restore the file from a copy; or delete it, and set the limits again: trainwright budgets set",
        ) from error
