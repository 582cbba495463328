"""Short stories in simple English, told by a grammar with a memory.

A story is a hero, a place, a plot (see `plots.py`) and an ending. Names, things and places are chosen once and kept to
the last line: what was lost under the bench is found under the bench. Each story is a pure function of (seed, index).
"""

import random
from collections.abc import Iterator
from typing import Any

from trainwright.core.seeds import derive_seed
from trainwright.data.builtin.plots import PLOTS, begin
from trainwright.data.builtin.storytelling import Teller

NUM_STORIES = 6_000
SEED = 1001


def iter_stories(num_stories: int = NUM_STORIES, seed: int = SEED) -> Iterator[str]:
    """The corpus, one story a document, no story twice. Plots take turns: all are told equally often."""
    seen: set[str] = set()
    for index in range(num_stories):
        story = _tell_new_story(index, seed, seen)
        seen.add(story)
        yield story


def describe_settings() -> dict[str, Any]:
    """What the text depends on."""
    return {"num_stories": NUM_STORIES, "seed": SEED}


def _tell_new_story(index: int, seed: int, seen: set[str]) -> str:
    attempt = 0
    while True:
        story = tell_story(index, seed, attempt)
        if story not in seen:
            return story
        attempt += 1


def tell_story(index: int, seed: int, attempt: int = 0) -> str:
    """The story at `index`; another one for another `attempt`."""
    teller = Teller(random.Random(derive_seed(seed, "story", index, attempt)))
    begin(teller)
    PLOTS[index % len(PLOTS)](teller)
    return teller.text()
