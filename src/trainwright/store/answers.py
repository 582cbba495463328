"""Answers that were given under an idempotency key, so that the same request asked again is answered and not done again."""

import time
from pathlib import Path

import sqlalchemy as sa

from trainwright.core.errors import IdempotencyMismatch, RequestUnderWay
from trainwright.store.database import Database, insert_or_ignore

SCHEMA_VERSION = 1
KEPT_S = 7 * 24 * 3600.0
UNDER_WAY_S = 60.0
"""After so long without an answer, whoever was to give it is taken to be dead, and the request is done anew."""

_metadata = sa.MetaData()
_answers = sa.Table(
    "answers",
    _metadata,
    sa.Column("key", sa.String(400), primary_key=True),
    sa.Column("request", sa.String(64), nullable=False),  # digest of what was asked
    sa.Column("begun_at", sa.Float, nullable=False),
    sa.Column("status", sa.Integer),  # null while it is under way
    sa.Column("body", sa.Text),
)
_schema_version = sa.Table("answers_schema", _metadata, sa.Column("version", sa.Integer, primary_key=True))


class Answers:
    """Answers by key, at a SQLAlchemy URL; several services may share one."""

    def __init__(self, url: str) -> None:
        """Open, and make the tables on first use. Raises as `SqlJobs`."""
        self._database = Database(url, "answers that were given", "Move it away: requests are then done anew.")
        self._database.prepare(_schema_version, SCHEMA_VERSION)

    @classmethod
    def open_file(cls, path: Path) -> "Answers":
        """Those in the SQLite file at `path`."""
        return cls(sa.URL.create("sqlite", database=str(path.absolute())).render_as_string())

    def begin(self, key: str, request: str, now: float | None = None) -> tuple[int, str] | None:
        """(status, body) that was answered under the key; None where this request is to be done now, and is noted as such.

        Raises IdempotencyMismatch (the key stands for another request), RequestUnderWay.
        """
        now = time.time() if now is None else now
        with self._database.writing() as connection:
            connection.execute(sa.delete(_answers).where(_answers.c.begun_at < now - KEPT_S))
            if insert_or_ignore(connection, _answers, {"key": key, "request": request, "begun_at": now}):
                return None
            row = connection.execute(sa.select(_answers).where(_answers.c.key == key)).one()
            if row.request == request and row.status is None and row.begun_at < now - UNDER_WAY_S:
                connection.execute(sa.update(_answers).where(_answers.c.key == key).values(begun_at=now))
                return None
        if row.request != request:
            raise IdempotencyMismatch(
                "That idempotency key was used for something else.",
                why="It stands for another request.",
                next_step="Choose a new key for a new request.",
            )
        if row.status is None:
            raise RequestUnderWay(
                "The same request is under way.",
                why="It came before with this key, and is not answered yet.",
                next_step="Ask again in a moment.",
            )
        return row.status, row.body

    def finish(self, key: str, status: int, body: str) -> None:
        """Keep what was answered."""
        with self._database.writing() as connection:
            connection.execute(sa.update(_answers).where(_answers.c.key == key).values(status=status, body=body))

    def forget(self, key: str) -> None:
        """Let the key be used again: what was asked under it was not done."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(_answers).where(_answers.c.key == key))

    def close(self) -> None:
        """Close the connections."""
        self._database.close()
