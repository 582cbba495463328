"""Reading a run's event stream while another process writes it, and without that process noticing.

Two things happen to the file beside growing: a writer that is killed leaves a torn last line, and a resume cuts the file
back to the checkpoint from which it goes on. A follower passes over the first and notices the second.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import Field

from trainwright.core.errors import EventsDamaged
from trainwright.core.hashing import digest_bytes
from trainwright.core.records import Frozen
from trainwright.watch.events import Event, parse_event

MAX_EVENTS = 2000
"""What one reading takes at most, so that a reader of a long run starts to show something at once."""


class Cursor(Frozen):
    """How far a follower has read: `num_events` events in `num_bytes` bytes, and what the last of their lines was.

    The last line holds the time at which it was written, so a file in which it still stands has not been cut before it.
    """

    num_events: int = Field(default=0, ge=0)
    num_bytes: int = Field(default=0, ge=0)
    last_line_bytes: int = Field(default=0, ge=0)
    last_line: str = ""


@dataclass(frozen=True)
class Reading:
    """What a look at the file brought. `restarted`: the file was cut back, so `events` begin at the first one again."""

    events: list[Event]
    restarted: bool = False


class Follower:
    """Reads a stream from a cursor on. It only ever reads, and holds nothing open between two readings."""

    def __init__(self, path: Path, cursor: Cursor | None = None) -> None:
        self.path = path
        self.cursor = cursor or Cursor()

    def read_new(self, max_events: int = MAX_EVENTS) -> Reading:
        """The whole lines that came since the last reading, at most `max_events`; none where there is no file yet.

        Raises EventsDamaged where a whole line is not the event that comes next.
        """
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return Reading([])
        with file:
            restarted = not self._still_stands(file)
            if restarted:
                self.cursor = Cursor()
            try:
                return Reading(self._read(file, max_events), restarted)
            except EventsDamaged:
                # Cut back and grown again between the two looks? Then the next reading begins anew.
                if self._still_stands(file):
                    raise
                return Reading([], restarted)

    def _read(self, file: BinaryIO, max_events: int) -> list[Event]:
        events: list[Event] = []
        num_bytes, last = self.cursor.num_bytes, b""
        file.seek(num_bytes)
        for line in file:
            if len(events) == max_events or not line.endswith(b"\n"):
                break
            events.append(parse_event(self.path, self.cursor.num_events + len(events), line))
            num_bytes, last = num_bytes + len(line), line
        if events:
            self.cursor = Cursor(
                num_events=self.cursor.num_events + len(events),
                num_bytes=num_bytes,
                last_line_bytes=len(last),
                last_line=digest_bytes(last),
            )
        return events

    def _still_stands(self, file: BinaryIO) -> bool:
        cursor = self.cursor
        file.seek(cursor.num_bytes - cursor.last_line_bytes)
        last = file.read(cursor.last_line_bytes)
        return cursor.num_events == 0 or digest_bytes(last) == cursor.last_line
