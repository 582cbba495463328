"""The queue of jobs in a database: SQLite by default, PostgreSQL by its URL, where workers of several hosts share it.

One claim at a time: SQLite has one writer anyway, and in PostgreSQL claims take turns by a lock of the transaction's, since
what a host may take depends on what it has. All else is decided by the lease in the WHERE of each change.
"""

import json
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from trainwright.core.jobs import ANY_DEVICE, CPU, JOB_STATES, RESUMABLE, Job, JobState
from trainwright.store.database import Database, insert_or_ignore
from trainwright.store.jobs import (
    LEASE_S,
    Claim,
    Limits,
    job_ended,
    job_not_resumable,
    require_same,
    unknown_job,
)
from trainwright.store.ledger import is_id_prefix, read_clock, resolve_text

SCHEMA_VERSION = 2
_CLAIMING = 7_126_001
"""The number of the lock under which claims take turns in PostgreSQL."""
_NUM_CANDIDATES = 10
_ID_DIGITS = 32
_WHEN_DAMAGED = (
    "Move it away: runs and records are elsewhere and intact; jobs that were in line are to be started again."
)

_metadata = sa.MetaData()
_seq = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_jobs = sa.Table(
    "jobs",
    _metadata,
    sa.Column("seq", _seq, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("key", sa.String(255), unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("manifest", sa.Text, nullable=False),  # JSON
    sa.Column("overrides", sa.Text, nullable=False),  # JSON
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("framework", sa.Text, nullable=False),
    sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    sa.Column("device", sa.Text, nullable=False, server_default=ANY_DEVICE),  # since version 2
    sa.Column("device_held", sa.Text),  # since version 2
    sa.Column("submitted_by", sa.Text, nullable=False),
    sa.Column("submitted_at", sa.String(40), nullable=False),
    sa.Column("started_at", sa.String(40)),
    sa.Column("ended_at", sa.String(40)),
    sa.Column("working_s", sa.Float, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("crashes", sa.Integer, nullable=False),
    sa.Column("worker", sa.Text),
    sa.Column("host", sa.Text),
    sa.Column("lease", sa.String(32)),
    sa.Column("lease_until", sa.Float),  # seconds since 1970, by the database's clock
    sa.Column("claimed_at", sa.Float),
    sa.Column("not_before", sa.Float, nullable=False),
    sa.Column("stop_asked_by", sa.Text),
    sa.Column("runs", sa.Text, nullable=False),  # JSON
    sa.Column("exit_code", sa.Integer),
    sa.Column("error", sa.Text),  # JSON
)
_schema_version = sa.Table("jobs_schema", _metadata, sa.Column("version", sa.Integer, primary_key=True))
_JSON = ("manifest", "overrides", "runs", "error")
_LET_GO: dict[str, Any] = dict.fromkeys(("worker", "host", "device_held", "lease", "lease_until", "claimed_at"))


class SqlJobs:
    """Jobs at a SQLAlchemy URL, such as `sqlite:////path/jobs.sqlite`. The contract is `JobStore`'s."""

    def __init__(self, url: str, lease_s: float = LEASE_S) -> None:
        """Open, and make the tables on first use.

        Raises LedgerUnavailable, NotWritable, DiskFull, InvalidValue, PackageMissing, TrainwrightTooOld.
        """
        self.url = url
        self._database = Database(url, "queue of jobs", _WHEN_DAMAGED)
        self._lease_s = lease_s
        self._database.prepare(_schema_version, SCHEMA_VERSION)

    @classmethod
    def open_file(cls, path: Path, lease_s: float = LEASE_S) -> "SqlJobs":
        """The queue in the SQLite file at `path`."""
        return cls(sa.URL.create("sqlite", database=str(path.absolute())).render_as_string(), lease_s)

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def get(self, job_id: str) -> Job:
        """One job; see `JobStore.get`."""
        with self._database.reading() as connection:
            return _require(connection, job_id)

    def resolve(self, text: str) -> str:
        """A full id; see `JobStore.resolve`."""
        low = text.lower()
        begins = sa.and_(_jobs.c.id >= low, _jobs.c.id < low + "g")
        query = sa.select(_jobs.c.id).where(begins).order_by(_jobs.c.id).limit(_NUM_CANDIDATES)
        with self._database.reading() as connection:
            found = connection.scalars(query).all() if is_id_prefix(text) else []
        if not found or len(low) > _ID_DIGITS:
            raise unknown_job(text)
        return found[0] if len(found) == 1 else resolve_text(text, {}, found)

    def find(self, limit: int = 100, after: str | None = None, states: Sequence[JobState] = ()) -> list[Job]:
        """Newest first; see `JobStore.find`."""
        query = sa.select(_jobs).order_by(_jobs.c.seq.desc()).limit(limit)
        if states:
            query = query.where(_jobs.c.state.in_(states))
        with self._database.reading() as connection:
            if after is not None:
                last = connection.scalar(sa.select(_jobs.c.seq).where(_jobs.c.id == after))
                if last is None:
                    raise unknown_job(after)
                query = query.where(_jobs.c.seq < last)
            return [_read_row(row) for row in connection.execute(query)]

    def count(self) -> dict[JobState, int]:
        """By state; see `JobStore.count`."""
        query = sa.select(_jobs.c.state, sa.func.count()).group_by(_jobs.c.state)
        with self._database.reading() as connection:
            found: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in JOB_STATES}

    def measure(self) -> dict[str, Any]:
        """Over all jobs; see `JobStore.measure`."""
        by_framework = (
            sa.select(_jobs.c.framework, sa.func.count()).group_by(_jobs.c.framework).order_by(_jobs.c.framework)
        )
        mean = sa.select(sa.func.avg(_jobs.c.working_s)).where(_jobs.c.state == "completed")
        with self._database.reading() as connection:
            frameworks: dict[str, int] = {row[0]: row[1] for row in connection.execute(by_framework)}
            mean_s = connection.scalar(mean)
        return {"frameworks": frameworks, "mean_working_s": None if mean_s is None else float(mean_s)}

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def add(self, job: Job, key: str | None = None) -> tuple[Job, bool]:
        """Put in line; see `JobStore.add`."""
        row = job.model_dump(mode="json", exclude={"error"}) | {"key": key, "not_before": 0.0}
        row |= {name: json.dumps(row[name]) for name in ("manifest", "overrides", "runs")}
        with self._database.writing() as connection:
            if insert_or_ignore(connection, _jobs, row):
                return job, True
            known = _read_row(connection.execute(sa.select(_jobs).where(_jobs.c.key == key)).one())
        require_same(job, known)
        return known, False

    def ask_stop(self, job_id: str, who: str) -> Job:
        """Stop; see `JobStore.ask_stop`."""
        with self._database.writing() as connection:
            job = _require(connection, job_id, lock=True)
            if job.is_over:
                raise job_ended(job)
            changes: dict[str, Any] = {"stop_asked_by": job.stop_asked_by or who}
            if job.state == "queued":
                changes |= {"state": "cancelled", "ended_at": read_clock()}
            connection.execute(sa.update(_jobs).where(_jobs.c.id == job_id).values(changes))
            return _require(connection, job_id)

    def requeue(self, job_id: str) -> Job:
        """Go on; see `JobStore.requeue`."""
        cleared = {"ended_at": None, "exit_code": None, "error": None, "stop_asked_by": None, "crashes": 0}
        with self._database.writing() as connection:
            job = _require(connection, job_id, lock=True)
            if job.state not in RESUMABLE:
                raise job_not_resumable(job)
            values = {"state": "queued", "not_before": 0.0, **cleared}
            connection.execute(sa.update(_jobs).where(_jobs.c.id == job_id).values(values))
            return _require(connection, job_id)

    # ── working ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def claim(self, worker: str, host: str, limits: Limits) -> Claim | None:
        """Take the next; see `JobStore.claim`."""
        if not self._has_work():
            return None
        with self._database.writing() as connection:
            if self._database.dialect == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:number)"), {"number": _CLAIMING})
            now = self._now(connection)
            _cancel_orphans(connection, now)
            is_held = sa.and_(_jobs.c.state == "running", _jobs.c.host == host, _jobs.c.lease_until >= now)
            held = connection.execute(sa.select(_jobs.c.memory_bytes, _jobs.c.device_held).where(is_held)).all()
            if len(held) >= limits.num_jobs:
                return None
            free = [device for device in limits.devices if device not in {row.device_held for row in held}]
            query = sa.select(_jobs.c.id, _jobs.c.device).where(_is_claimable(now))
            if limits.memory_bytes is not None:
                left_bytes = limits.memory_bytes - sum(row.memory_bytes for row in held)
                query = query.where(_jobs.c.memory_bytes <= left_bytes)
            if limits.devices:
                query = query.where(_jobs.c.device.in_((CPU, *free, *([ANY_DEVICE] if free else []))))
            found = connection.execute(query.order_by(_jobs.c.priority.desc(), _jobs.c.seq).limit(1)).first()
            if found is None:
                return None
            device = found.device if found.device in free else free[0] if found.device == ANY_DEVICE and free else None
            return self._take(connection, found.id, device, worker, host, now)

    def renew(self, job_id: str, lease: str) -> Job | None:
        """Hold on; see `JobStore.renew`."""
        with self._database.writing() as connection:
            if not _change(connection, job_id, lease, {"lease_until": self._now(connection) + self._lease_s}):
                return None
            return _require(connection, job_id)

    def note_runs(self, job_id: str, lease: str, runs: Sequence[str]) -> bool:
        """Keep the runs; see `JobStore.note_runs`."""
        with self._database.writing() as connection:
            return _change(connection, job_id, lease, {"runs": json.dumps(list(runs))})

    def settle(
        self, job_id: str, lease: str, state: JobState, exit_code: int | None, error: dict[str, Any] | None
    ) -> bool:
        """End; see `JobStore.settle`."""
        ending = {
            "state": state,
            "exit_code": exit_code,
            "error": None if error is None else json.dumps(error),
            "ended_at": read_clock(),
        }
        with self._database.writing() as connection:
            return _change(connection, job_id, lease, ending | self._letting_go(connection))

    def release(self, job_id: str, lease: str, after_s: float = 0.0, *, crashed: bool = False) -> bool:
        """Put back; see `JobStore.release`."""
        with self._database.writing() as connection:
            back = {"state": "queued", "not_before": self._now(connection) + after_s}
            back["crashes"] = _jobs.c.crashes + 1 if crashed else 0
            return _change(connection, job_id, lease, back | self._letting_go(connection))

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _now(self, connection: sa.Connection) -> float:
        if self._database.dialect == "postgresql":
            return float(connection.scalar(sa.text("SELECT extract(epoch FROM clock_timestamp())")) or 0.0)
        return time.time()  # SQLite is on this machine

    def _has_work(self) -> bool:
        """Asked without the lock that writers share, since mostly there is none."""
        with self._database.reading() as connection:
            return (
                connection.scalar(sa.select(_jobs.c.id).where(_is_claimable(self._now(connection))).limit(1))
                is not None
            )

    def _take(
        self, connection: sa.Connection, job_id: str, device: str | None, worker: str, host: str, now: float
    ) -> Claim:
        lease = uuid.uuid4().hex
        values = {
            "state": "running",
            "worker": worker,
            "host": host,
            "device_held": device,
            "lease": lease,
            "lease_until": now + self._lease_s,
            "claimed_at": now,
            "attempts": _jobs.c.attempts + 1,
            "started_at": sa.func.coalesce(_jobs.c.started_at, read_clock()),
        }
        connection.execute(sa.update(_jobs).where(_jobs.c.id == job_id).values(values))
        return Claim(_require(connection, job_id), lease)

    def _letting_go(self, connection: sa.Connection) -> dict[str, Any]:
        worked = self._now(connection) - sa.func.coalesce(_jobs.c.claimed_at, self._now(connection))
        return {**_LET_GO, "working_s": _jobs.c.working_s + worked}


def _is_claimable(now: float) -> sa.ColumnElement[bool]:
    in_line = sa.and_(_jobs.c.state == "queued", _jobs.c.not_before <= now)
    orphaned = sa.and_(_jobs.c.state == "running", _jobs.c.lease_until < now)
    return sa.or_(in_line, orphaned)


def _cancel_orphans(connection: sa.Connection, now: float) -> None:
    """A job that was to stop, and whose worker died before it could say that it did, has stopped."""
    was_to_stop = sa.and_(_jobs.c.state == "running", _jobs.c.lease_until < now, _jobs.c.stop_asked_by.is_not(None))
    ended_at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    connection.execute(
        sa.update(_jobs).where(was_to_stop).values({"state": "cancelled", "ended_at": ended_at, **_LET_GO})
    )


def _change(connection: sa.Connection, job_id: str, lease: str, values: dict[str, Any]) -> bool:
    """Change a job that is running under this lease; whether it was."""
    is_held = sa.and_(_jobs.c.id == job_id, _jobs.c.state == "running", _jobs.c.lease == lease)
    changed = connection.execute(sa.update(_jobs).where(is_held).values(values).returning(_jobs.c.seq))
    return changed.first() is not None


def _require(connection: sa.Connection, job_id: str, *, lock: bool = False) -> Job:
    query = sa.select(_jobs).where(_jobs.c.id == job_id)
    # SQLite's writer is alone already, and has no words for this.
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise unknown_job(job_id)
    return _read_row(row)


def _read_row(row: sa.Row[Any]) -> Job:
    values = row._mapping
    known = {name: values[name] for name in Job.model_fields if name not in _JSON}
    return Job.model_validate(
        known | {name: None if values[name] is None else json.loads(values[name]) for name in _JSON}
    )
