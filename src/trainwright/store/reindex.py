"""Making a workspace's ledger again: from its own lines, and from what lies in the run folders.

ledger.jsonl is whole    → the database is made again from it
a line of it is damaged  → the database says what the line said, where it can be read; else that line is lost, by number
a run is in neither      → its folder says: run.json, plan.json, the manifests of its checkpoints

The index of traces (members.sqlite) is made again from the dataset versions that are then on record.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from trainwright.core.durable import sync_folder, write_file
from trainwright.core.errors import LedgerUnavailable, RecordDamaged, TrainwrightError, translate_write_errors
from trainwright.core.records import DatasetVersion, Record
from trainwright.store.checkpoints import list_checkpoints, list_held, read_record
from trainwright.store.ledger import Entry, Memo, RefMove, StoredRecord, read_clock
from trainwright.store.ledger_file import Damage, LedgerFile
from trainwright.store.members import Members, take_in_version
from trainwright.store.objects import FolderObjects
from trainwright.store.run_folder import RunFolder
from trainwright.store.sql_ledger import SqlLedger
from trainwright.store.workspace import MEMBERS_FILE


@dataclass(frozen=True)
class Unreadable:
    """Something that could not be read, and whether what it said was found elsewhere."""

    file: str
    line: int | None
    why: str
    recovered: bool


@dataclass(frozen=True)
class Reindexed:
    """What the ledger holds now, what was damaged, and what was found in the run folders alone.

    `before` is what became of the database that was there: `equal` to the new one, `different`, `unreadable` or `missing`.
    `num_members` is how many traces the index found in dataset versions, each once for every version that holds it.
    """

    num_records: dict[str, int]
    num_moves: int
    num_memos: int
    num_members: int
    before: str
    unreadable: tuple[Unreadable, ...]
    found_in_runs: tuple[Record, ...]


def reindex(root: Path) -> Reindexed:
    """Make the ledger of the workspace in `root` again, all of it or nothing; no other process writes meanwhile.

    Raises LedgerUnavailable, NotWritable, DiskFull, and TrainwrightTooOld where a newer one wrote some of it.
    """
    database = root / "ledger.sqlite"
    file = LedgerFile(root / "ledger.jsonl")
    with translate_write_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    with file.held():
        was_there = database.exists()
        old = _read_database(database, file) if was_there else None
        unreadable: list[Unreadable] = []
        entries = _read_entries(file, old, unreadable)
        is_damaged = bool(unreadable)
        is_behind = is_damaged or entries is old or not file.exists()
        found = list(_iter_unrecorded(root / "runs", entries, unreadable))
        entries = [*entries, *(StoredRecord(record, read_clock()) for record in found)]
        if was_there and old is None:
            unreadable.append(Unreadable(database.name, None, "It cannot be read, and was set aside.", bool(entries)))
            _set_aside(database)
        if is_damaged:
            write_file(file.path.with_name(f"damaged-{file.path.name}"), file.path.read_bytes())
        _write(database, file, entries, anew=is_behind or bool(found))
        num_members = _index_members(root, entries, unreadable)
    return Reindexed(
        num_records=dict(sorted(Counter(entry.record.kind for entry in _unique(entries)).items())),
        num_moves=sum(isinstance(entry, RefMove) for entry in entries),
        num_memos=len({entry.key for entry in entries if isinstance(entry, Memo)}),
        num_members=num_members,
        before=_compare(old, entries) if was_there else "missing",
        unreadable=tuple(unreadable),
        found_in_runs=tuple(found),
    )


def _index_members(root: Path, entries: list[Entry], unreadable: list[Unreadable]) -> int:
    """The index of traces, made anew. A version whose list is damaged is not in it, and is named."""
    path = root / MEMBERS_FILE
    with translate_write_errors(path):
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    datasets = [entry.record for entry in reversed(_unique(entries)) if isinstance(entry.record, DatasetVersion)]
    holding = [dataset for dataset in datasets if dataset.holds_traces]
    if not holding:
        return 0
    objects = FolderObjects(root / "objects")
    count = 0
    with closing(Members(path)) as members:
        for dataset in holding:
            try:
                count += take_in_version(members, dataset, objects)
            except TrainwrightError as error:
                where = f"objects/{str(dataset.records)[:2]}/{str(dataset.records)[2:]}"
                unreadable.append(Unreadable(where, None, f"{error.message} {error.why}", recovered=False))
    return count


def _read_entries(file: LedgerFile, old: list[Entry] | None, unreadable: list[Unreadable]) -> list[Entry]:
    """What the file says; where it is damaged or gone, what the database says, if that can be read."""
    lines = list(file.iter_lines())
    damages = [line for line in lines if isinstance(line, Damage)]
    unreadable += [Unreadable(file.path.name, damage.line, damage.why, old is not None) for damage in damages]
    if old is not None and (damages or not lines):
        return old
    return [line for line in lines if not isinstance(line, Damage)]


def _write(database: Path, file: LedgerFile, entries: list[Entry], *, anew: bool) -> None:
    """The database, and the file where it is to be written `anew`. A kill at any moment leaves everything in one of them."""
    with closing(SqlLedger.open_file(database)) as ledger:
        if anew:
            ledger.take_in(entries, None, afresh=True)
            file.write_out(entries)
        ledger.take_in(entries, file.num_bytes(), afresh=True)


def _read_database(path: Path, file: LedgerFile) -> list[Entry] | None:
    """What the database holds, and the good lines that it has not taken in yet; None where it cannot be read."""
    try:
        with closing(SqlLedger.open_file(path)) as ledger:
            entries = list(ledger.iter_entries())
            num_filed = ledger.num_filed()
    except (LedgerUnavailable, RecordDamaged):
        return None
    later = file.iter_lines(num_filed) if num_filed is not None and num_filed < file.num_bytes() else ()
    return entries + [line for line in later if not isinstance(line, Damage)]


def _unique(entries: list[Entry]) -> list[StoredRecord]:
    return list({entry.record.id: entry for entry in reversed(entries) if isinstance(entry, StoredRecord)}.values())


def _compare(old: list[Entry] | None, new: list[Entry]) -> str:
    if old is None:
        return "unreadable"
    return "equal" if _summarise(old) == _summarise(new) else "different"


def _summarise(entries: list[Entry]) -> tuple[list[tuple[str, str]], list[tuple[object, ...]], dict[str, str]]:
    """What two equal ledgers have in common: records with their times, moves, the last memo of each key."""
    moves = [move for move in entries if isinstance(move, RefMove)]
    return (
        sorted((entry.record.id, entry.added_at) for entry in _unique(entries)),
        [(move.name, move.from_id, move.to_id, move.at, move.who, move.why) for move in moves],
        {memo.key: memo.record_id for memo in entries if isinstance(memo, Memo)},
    )


def _iter_unrecorded(runs: Path, entries: list[Entry], unreadable: list[Unreadable]) -> Iterator[Record]:
    """Runs, plans and checkpoints that lie in the run folders and are on record nowhere else."""
    known = {entry.record.id for entry in _unique(entries)}
    for path in sorted(runs.iterdir()) if runs.is_dir() else []:
        if path.name.startswith(".") or not path.is_dir():
            continue
        try:
            for record in _iter_run_records(RunFolder(path)):
                if record.id not in known:
                    yield record
        except TrainwrightError as error:
            unreadable.append(Unreadable(f"runs/{path.name}", None, f"{error.message} {error.why}", recovered=False))


def _iter_run_records(folder: RunFolder) -> Iterator[Record]:
    run = folder.read_run()
    yield folder.read_plan()
    yield run
    paths = [path for _, path in list_checkpoints(folder.checkpoints_path)]
    for path in [*list_held(folder.checkpoints_path), *paths]:  # the last record of a step is the one that counts
        yield read_record(path)


def _set_aside(database: Path) -> None:
    with translate_write_errors(database):
        for suffix in ("", "-wal", "-shm"):
            path = database.with_name(database.name + suffix)
            if path.exists():
                path.replace(path.with_name(f"damaged-{path.name}"))
        sync_folder(database.parent)
