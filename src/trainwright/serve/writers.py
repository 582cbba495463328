"""The models that the service has open: loaded once, kept while they are asked, the answers of each written together."""

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from trainwright.core.errors import TooManyRequests
from trainwright.pipeline.use import find_model
from trainwright.pipeline.writing import Answer, AnswerBatch, Writer, open_writer
from trainwright.store.checkpoints import read_record
from trainwright.store.workspace import Workspace

MAX_OPEN = 2
"""Models that stay loaded: what stands at a stage, and what stood there before it."""
MAX_ANSWERS = 32
"""Answers that may be under way at once, over all models; the next one is refused until one has ended."""
MAX_AHEAD = 64
"""Pieces that an answer is written ahead of who hears it; then it waits, and the others go on."""
ROUND_S = 0.01
"""How long a round of steps goes on, a step at least: who comes meanwhile waits for so long."""


@dataclass(eq=False)
class _Seat:
    """An answer under way, and those of its pieces that nobody took yet."""

    answer: Answer
    pieces: deque[str] = field(default_factory=deque)
    error: BaseException | None = None
    is_over: bool = False
    """Whether its last piece was handed over; `answer.finish` is set while a round is still being played."""
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_ready(self) -> bool:
        """Whether it is to be written on."""
        return self.error is None and self.answer.finish is None and len(self.pieces) < MAX_AHEAD


class Writers:
    """Finds, loads and keeps models, and has their answers written.

    All answers are computed on one thread, in rounds: a token of each answer, all answers of a model in one pass through it,
    so that a short one does not wait for a long one and many cost little more than one. Who comes joins the next round.
    A ref is looked up anew for every request.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._open: OrderedDict[str, Writer] = OrderedDict()
        self._loading = threading.Lock()
        self._turns = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answers")
        self._num_answers = 0
        self._seats: list[_Seat] = []
        self._batches: dict[Writer, AnswerBatch] = {}
        self._stirred = asyncio.Event()
        self._conductor: asyncio.Task[None] | None = None

    def open(self, ref: str) -> Writer:
        """The model that `ref` names now. Raises what `find_model` and `open_writer` raise."""
        trained = find_model(ref, self._workspace)
        checkpoint_id = read_record(trained.path).id
        with self._loading:
            writer = self._open.get(checkpoint_id) or open_writer(trained, self._workspace)
            self._open[checkpoint_id] = writer
            self._open.move_to_end(checkpoint_id)
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)  # an answer under way keeps its own
            return writer

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among the answers under way. Raises TooManyRequests where there is none."""
        if self._num_answers >= MAX_ANSWERS:
            raise TooManyRequests(
                f"{MAX_ANSWERS} answers are being written.",
                why="More at once would only make each of them slower.",
                next_step="Ask again in a moment.",
            )
        self._num_answers += 1
        try:
            yield
        finally:
            self._num_answers -= 1

    async def iter_pieces(self, answer: Answer) -> AsyncIterator[str]:
        """The pieces of an answer as they are written."""
        seat = _Seat(answer)
        self._seats.append(seat)
        self._stir()
        try:
            while True:
                while seat.pieces:
                    yield seat.pieces.popleft()
                    self._stirred.set()
                if seat.error is not None:
                    raise seat.error
                if seat.is_over:
                    return
                seat.heard.clear()
                await seat.heard.wait()
        finally:
            self._seats.remove(seat)
            self._stirred.set()

    def close(self) -> None:
        """Let go of the thread; what is being computed ends with its round."""
        self._turns.shutdown(wait=False, cancel_futures=True)

    def _stir(self) -> None:
        """Have rounds played, if nobody does."""
        if self._conductor is None or self._conductor.done():
            self._stirred = asyncio.Event()
            self._conductor = asyncio.create_task(self._conduct())
        self._stirred.set()

    async def _conduct(self) -> None:
        """Round after round, a model after the other, for as long as there are answers.

        Seats change here and in `iter_pieces` alone, which are on one loop; batches change here while no round is played.
        """
        while self._seats:
            writers = dict.fromkeys(seat.answer.writer for seat in self._seats)
            self._batches = {writer: self._batches.get(writer) or AnswerBatch(writer) for writer in writers}
            if not any(seat.is_ready for seat in self._seats):
                self._stirred.clear()
                await self._stirred.wait()
            for writer in writers:
                await self._play(writer)
        self._batches.clear()

    async def _play(self, writer: Writer) -> None:
        """A round of one model's answers, on the thread of answers. What goes wrong there, each of them is told."""
        seats = [seat for seat in self._seats if seat.answer.writer is writer]
        ready = [seat for seat in seats if seat.is_ready]
        if not ready:
            return
        under_way = {seat.answer for seat in seats if seat.answer.finish is None}
        played = asyncio.get_running_loop().run_in_executor(
            self._turns, _play_round, self._batches[writer], under_way, ready
        )
        await asyncio.wait([played])
        error = played.exception()
        for seat in ready:
            seat.error = error
            if error is None:
                seat.pieces.extend(played.result()[seat])
                seat.is_over = seat.answer.finish is not None
            seat.heard.set()


def _play_round(batch: AnswerBatch, under_way: Collection[Answer], ready: Sequence[_Seat]) -> dict[_Seat, list[str]]:
    """What each answer that is `ready` goes on with: a token of each, and so on for a moment."""
    batch.keep(under_way)
    said: dict[_Seat, list[str]] = {seat: [] for seat in ready}
    until = time.monotonic() + ROUND_S
    while ready:
        for seat, piece in zip(ready, batch.step([seat.answer for seat in ready]), strict=True):
            said[seat].append(piece)
        if time.monotonic() >= until:
            break
        ready = [seat for seat in ready if seat.is_ready and len(seat.pieces) + len(said[seat]) < MAX_AHEAD]
    return said
