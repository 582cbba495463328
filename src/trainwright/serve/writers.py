"""The models that the service has open: loaded once, kept while they are asked, a token of each answer in turn."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from trainwright.core.errors import TooManyRequests
from trainwright.pipeline.use import find_model
from trainwright.pipeline.writing import Answer, Writer, open_writer
from trainwright.store.checkpoints import read_record
from trainwright.store.workspace import Workspace

MAX_OPEN = 2
"""Models that stay loaded: what stands at a stage, and what stood there before it."""
MAX_ANSWERS = 32
"""Answers that may be under way at once, over all models; the next one is refused until one has ended."""


class Writers:
    """Finds, loads and keeps models, and lets their answers take turns.

    All answers are computed on one thread, a token of each in turn, so that a short one does not wait for a long one. A ref
    is looked up anew for every request.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._open: OrderedDict[str, Writer] = OrderedDict()
        self._loading = threading.Lock()
        self._turns = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answers")
        self._num_answers = 0

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
        """The pieces of an answer, each computed when its turn comes."""
        pieces = iter(answer)
        loop = asyncio.get_running_loop()
        while (piece := await loop.run_in_executor(self._turns, next, pieces, None)) is not None:
            yield piece

    def close(self) -> None:
        """Let go of the thread; what is being computed ends with its token."""
        self._turns.shutdown(wait=False, cancel_futures=True)
