"""Event streams that pages look at again and again: read once, and then only what was added."""

import threading
from collections import OrderedDict

from trainwright.store.run_folder import RunFolder
from trainwright.watch.events import Event
from trainwright.watch.follow import Follower

MAX_KEPT = 4
"""Streams that are kept read; a long one is some ten megabytes."""


class Readers:
    """The events of runs, by folder. Safe to be asked from several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Follower, list[Event]]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, folder: RunFolder) -> list[Event]:
        """Everything a run has said by now. Raises EventsDamaged."""
        key = str(folder.path)
        with self._lock:
            known = self._kept.pop(key) if key in self._kept else None
            follower, events = known or (Follower(folder.events_path), [])
            while True:
                reading = follower.read_new()
                if reading.restarted:
                    events = []
                events = events + reading.events if reading.events else events
                if not reading.events:
                    break
            self._kept[key] = follower, events
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return events
