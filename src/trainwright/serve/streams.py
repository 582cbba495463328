"""What a job says while it runs, as server-sent events, which a client that lost its connection can go on with.

event: run          one event of the job's runs, exactly as it lies in events.jsonl; its id is RUN:SEQ
event: job          the job, whenever its state changed; without an id, so that `Last-Event-ID` stays the run's
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator

from starlette.concurrency import run_in_threadpool

from trainwright.core.errors import RunDamaged, TrainwrightError, UnknownRef
from trainwright.core.jobs import Job
from trainwright.serve.streaming import Stream
from trainwright.store.run_folder import NUM_ID_DIGITS
from trainwright.store.workspace import Workspace
from trainwright.watch.events import render_event
from trainwright.watch.follow import Follower

LOOK_EVERY_S = 0.5
CHANGE_EVERY_S = 1.0
CHANGE_QUIET_LOOKS = 15
QUIET_LOOKS = 30
"""After so many looks without anything, a comment is sent: who sits between would cut a silent connection."""


class JobTail:
    """Reads on in what a job says, from the event that a client saw last."""

    def __init__(self, job_id: str, workspace: Workspace, last_event_id: str | None) -> None:
        self._job_id = job_id
        self._workspace = workspace
        self._run: str | None = None
        self._follower: Follower | None = None
        self._seen_run, self._seen_seq = _parse_event_id(last_event_id)
        self._told: tuple[object, ...] = ()
        self.is_over = False

    def read_new(self) -> list[str]:
        """The messages that came since the last look. Raises UnknownRef, and what the ledger's absence raises."""
        job = self._workspace.jobs.get(self._job_id)
        messages = []
        standing = (job.state, job.runs, job.attempts, job.stop_asked_by)
        if standing != self._told:
            self._told = standing
            messages.append(_render("job", json.dumps(job.as_document(), ensure_ascii=False)))
        events = list(self._read_events(job))
        self.is_over = job.is_over and not events  # all was read after the job was found to be over
        return messages + events

    def _read_events(self, job: Job) -> Iterator[str]:
        for run in self._list_remaining(job):
            if run != self._run or self._follower is None:
                try:
                    path = self._workspace.find_run_folder(run).events_path
                except (UnknownRef, RunDamaged):  # removed: nothing of it can be told
                    continue
                self._run, self._follower = run, Follower(path)
            for event in self._follower.read_new().events:
                # A resume cuts the stream back and says the same again: what was seen is not told twice.
                if run == self._seen_run and event["seq"] <= self._seen_seq:
                    continue
                self._seen_run, self._seen_seq = run, event["seq"]
                name = f"{run[:NUM_ID_DIGITS]}:{event['seq']}"
                yield _render("run", render_event(event).decode().rstrip("\n"), name)

    def _list_remaining(self, job: Job) -> list[str]:
        """The run that is being read, and those after it; all, where a client names none of them."""
        matching = [run for run in job.runs if self._seen_run and run.startswith(self._seen_run)]
        if matching:
            self._seen_run = matching[0]
            return list(job.runs[job.runs.index(matching[0]) :])
        self._seen_run, self._seen_seq = None, -1
        return list(job.runs)


def send_changes(look: Callable[[], tuple[object, bool]]) -> Stream:
    """Server-sent events for a page that follows something: `change` whenever it stands otherwise, `end` when it is over.

    `look` says how it stands, as something to be compared, and whether it is over.
    """
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(_iter_changes(look), media_type="text/event-stream", headers=headers)


async def _iter_changes(look: Callable[[], tuple[object, bool]]) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    before, _ = await run_in_threadpool(look)
    for number in itertools.count():
        if number % CHANGE_QUIET_LOOKS == 0:
            yield ": still here\n\n"
        standing, is_over = await run_in_threadpool(look)
        if standing != before:
            yield _render("change", "{}")
        elif is_over:
            yield _render("end", "{}")
            return
        before = standing
        await asyncio.sleep(CHANGE_EVERY_S)


async def iter_messages(tail: JobTail) -> AsyncIterator[str]:
    """The messages of a job until it is over and all of them were sent."""
    num_quiet = 0
    yield "retry: 2000\n\n"
    while True:
        try:
            messages = await run_in_threadpool(tail.read_new)
        except TrainwrightError as error:
            yield _render("error", json.dumps({"error": error.as_document()}, ensure_ascii=False))
            return
        for message in messages:
            yield message
        if tail.is_over:
            return
        num_quiet = 0 if messages else num_quiet + 1
        if num_quiet == QUIET_LOOKS:
            num_quiet = 0
            yield ": nothing new\n\n"
        await asyncio.sleep(LOOK_EVERY_S)


def _render(kind: str, data: str, name: str | None = None) -> str:
    identity = "" if name is None else f"id: {name}\n"
    return f"{identity}event: {kind}\ndata: {data}\n\n"


def _parse_event_id(text: str | None) -> tuple[str | None, int]:
    run, _, seq = (text or "").partition(":")
    return (run, int(seq)) if run and seq.isascii() and seq.isdigit() and len(seq) < 19 else (None, -1)
