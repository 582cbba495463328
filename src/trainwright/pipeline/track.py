"""Runs in other people's dashboards: which trackers follow a run while it goes on, and bringing one up to date later."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainwright.core.durable import write_file
from trainwright.core.errors import RunBusy, RunDamaged, TrackerFailed
from trainwright.core.manifest import WatchSection
from trainwright.pipeline.inspect import find_run
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace
from trainwright.watch.alert_rules import DEFAULT
from trainwright.watch.trackers.feed import Assignment, FeedState, TrackerName
from trainwright.watch.trackers.process import TrackerProcess
from trainwright.watch.trackers.protocol import TrackerSettings


def write_watch(folder: RunFolder, watch: WatchSection) -> None:
    """Keep who follows a run beside it, for those who resume it: they have no manifest."""
    if not watch.trackers and watch.alerts is None and not _watch_path(folder).exists():
        return
    if watch.folder is not None:
        watch = watch.model_copy(update={"folder": _absolute(watch.folder)})
    if watch.alerts not in (None, DEFAULT):
        watch = watch.model_copy(update={"alerts": _absolute(watch.alerts)})
    write_file(_watch_path(folder), watch.model_dump_json(indent=2).encode() + b"\n")


def read_watch(folder: RunFolder) -> WatchSection:
    """Who follows a run: nobody, where nothing was ever said. Raises RunDamaged."""
    path = _watch_path(folder)
    try:
        return WatchSection.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return WatchSection()
    except ValidationError as error:
        raise RunDamaged(
            f"The run folder {folder.path} is damaged: {path.name}.",
            why=" ".join(str(error).split())[:300],
            next_step="Delete the file: it only says which trackers follow the run.",
        ) from error


def read_assignments(folder: RunFolder) -> list[Assignment]:
    """What each of a run's trackers has to do."""
    watch = read_watch(folder)
    return [_assign(folder, tracker, watch) for tracker in dict.fromkeys(watch.trackers)]


def track(
    ref: str, tracker: TrackerName, changes: dict[str, Any], workspace: Workspace
) -> tuple[Assignment, FeedState]:
    """Bring a tracker up to date with a run; `changes` are settings that differ from those of the run.

    What the tracker has already is not written again. Raises TrackerFailed, RunBusy, RunDamaged, UnknownRef.
    """
    folder = workspace.find_run_folder(find_run(ref, workspace).id)
    if folder.is_locked():
        raise RunBusy(
            f"The run in {folder.path} is still going on.",
            why="While it does, the trackers that its manifest names follow it by themselves.",
            next_step="Wait until it ends, or start runs with watch.trackers=[…].",
        )
    watch = read_watch(folder).model_copy(update=changes)
    assignment = _assign(folder, tracker, watch)
    process = TrackerProcess(assignment, say=lambda _: None)
    try:
        state = process.finish()
    except KeyboardInterrupt:
        process.kill()
        raise
    if state.status != "complete":
        raise TrackerFailed(
            f"{tracker} took {state.num_events:,} events and then ended.",
            why=state.why,
            next_step=f"Its log is {assignment.log_path}; the same command goes on where it stopped.",
        )
    return assignment, state


def _assign(folder: RunFolder, tracker: TrackerName, watch: WatchSection) -> Assignment:
    settings = TrackerSettings(
        folder=None if watch.folder is None else _absolute(watch.folder), project=watch.project, uri=watch.uri
    )
    return Assignment(tracker=tracker, run_dir=str(folder.path.resolve()), settings=settings)


def _absolute(folder: str) -> str:
    return str(Path(folder).absolute())


def _watch_path(folder: RunFolder) -> Path:
    return folder.path / "watch.json"
