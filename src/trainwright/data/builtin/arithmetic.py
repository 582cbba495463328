"""Arithmetic traces: a question, reasoning steps that can be followed, and an answer that is right by construction.

Every trace is a pure function of (seed, index), so any part of the stream can be made without the rest.
"""

import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from trainwright.core.seeds import derive_seed

NUM_TRACES = 12_000
SEED = 20_240
UNREAD_SEED = 20_241

_NAMES = (
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gita",
    "Hugo",
    "Ines",
    "Jack",
    "Kim",
    "Lena",
    "Milo",
    "Nora",
    "Omar",
    "Pia",
)
_THINGS = (
    "apples",
    "marbles",
    "stickers",
    "pencils",
    "shells",
    "buttons",
    "books",
    "coins",
    "cards",
    "stones",
    "beads",
    "plums",
)
_BOXES = ("boxes", "bags", "baskets", "jars", "trays", "drawers")


@dataclass(frozen=True)
class ArithmeticTrace:
    """A question with its working. `kind` names the form of the question; `final_answer` is a whole number as text."""

    kind: str
    prompt: str
    steps: tuple[str, ...]
    final_answer: str


def iter_arithmetic_traces(count: int, seed: int, taken: Collection[str] = ()) -> Iterator[ArithmeticTrace]:
    """`count` traces, no prompt twice and none of `taken`; the n-th is the same whatever `count` is.

    Raises ValueError where `count` is more than the different questions that can be found.
    """
    seen = set(taken)
    for index in range(count):
        for attempt in range(100):
            trace = _make_trace(_Draw(random.Random(derive_seed(seed, "arithmetic", index, attempt))))
            if trace.prompt not in seen:
                break
        else:
            raise ValueError(f"no new question was found for trace {index}: ask for fewer than {count}")
        seen.add(trace.prompt)
        yield trace


def render_trace(trace: ArithmeticTrace) -> str:
    """The trace as a text document: the question, numbered steps, `Answer: N`."""
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(trace.steps, start=1))
    return f"Question: {trace.prompt}\n{steps}\nAnswer: {trace.final_answer}\n"


def iter_unread_traces() -> Iterator[ArithmeticTrace]:
    """`NUM_TRACES` traces to learn to answer from: no question of the builtin corpus is among them."""
    read = {trace.prompt for trace in iter_arithmetic_traces(NUM_TRACES, SEED)}
    return iter_arithmetic_traces(NUM_TRACES, UNREAD_SEED, read)


def iter_arithmetic_documents() -> Iterator[str]:
    """The builtin corpus: `NUM_TRACES` rendered traces."""
    return map(render_trace, iter_arithmetic_traces(NUM_TRACES, SEED))


def describe_settings() -> dict[str, Any]:
    """What the text depends on."""
    return {"num_traces": NUM_TRACES, "seed": SEED}


class _Draw:
    """Choices made from `random.random()` alone, the stream that Python promises to keep from version to version."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def number(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self._source.random() * (high - low + 1))

    def pick(self, choices: tuple[str, ...]) -> str:
        return choices[self.number(0, len(choices) - 1)]

    def operand(self) -> int:
        """Two digits as often as three: small numbers carry the rules, large ones practise them."""
        return self.number(10, 99) if self.number(0, 1) else self.number(100, 999)


def _make_trace(draw: _Draw) -> ArithmeticTrace:
    makers: tuple[Callable[[_Draw], ArithmeticTrace], ...] = (
        _addition, _subtraction, _multiplication, _comparison, _gain_and_loss, _groups_and_rest, _sharing,
    )  # fmt: skip
    return makers[draw.number(0, len(makers) - 1)](draw)


def _place_name(position: int) -> str:
    return ("ones", "tens", "hundreds", "thousands")[position]


def _digit(value: int, position: int) -> int:
    return int(str(value).zfill(position + 1)[-1 - position])


def _addition(draw: _Draw) -> ArithmeticTrace:
    first, second = draw.operand(), draw.operand()
    steps, carry = [], 0
    for position in range(max(len(str(first)), len(str(second)))):
        one, other = _digit(first, position), _digit(second, position)
        total = one + other + carry
        carried = f" + {carry}" if carry else ""
        outcome = f"write {total % 10}, carry {total // 10}" if total > 9 else f"write {total}"
        steps.append(f"Add the {_place_name(position)}: {one} + {other}{carried} = {total}, {outcome}.")
        carry = total // 10
    if carry:
        steps.append(f"Write the carried {carry} in front.")
    return ArithmeticTrace("addition", f"What is {first} + {second}?", tuple(steps), str(first + second))


def _subtraction(draw: _Draw) -> ArithmeticTrace:
    one, other = draw.operand(), draw.operand()
    first, second = max(one, other), min(one, other)
    steps, borrow = [], 0
    for position in range(len(str(first))):
        top, bottom = _digit(first, position) - borrow, _digit(second, position)
        borrow = int(top < bottom)
        if borrow:
            steps.append(
                f"Subtract the {_place_name(position)}: {top} is less than {bottom}, so borrow 10: "
                f"{top + 10} - {bottom} = {top + 10 - bottom}."
            )
        else:
            steps.append(f"Subtract the {_place_name(position)}: {top} - {bottom} = {top - bottom}.")
    return ArithmeticTrace("subtraction", f"What is {first} - {second}?", tuple(steps), str(first - second))


def _multiplication(draw: _Draw) -> ArithmeticTrace:
    first, second = draw.operand(), draw.number(2, 12)
    parts = [(_digit(first, position) * 10**position) for position in reversed(range(len(str(first))))]
    parts = [part for part in parts if part]
    steps = [f"Split {first} into {' + '.join(map(str, parts))}."] if len(parts) > 1 else []
    products = [part * second for part in parts]
    steps += [f"{part} * {second} = {product}." for part, product in zip(parts, products, strict=True)]
    if len(products) > 1:
        steps.append(f"{' + '.join(map(str, products))} = {first * second}.")
    return ArithmeticTrace("multiplication", f"What is {first} * {second}?", tuple(steps), str(first * second))


def _comparison(draw: _Draw) -> ArithmeticTrace:
    first = draw.operand()
    second = first
    while second == first:
        second = draw.operand()
    larger = bool(draw.number(0, 1))
    answer = max(first, second) if larger else min(first, second)
    word = "larger" if larger else "smaller"
    prompt = f"Which number is {word}: {first} or {second}?"
    if len(str(first)) != len(str(second)):
        steps = [
            f"{first} has {len(str(first))} digits and {second} has {len(str(second))} digits.",
            f"The number with {'more' if larger else 'fewer'} digits is {word}.",
        ]
    else:
        steps = _compare_digits(first, second)
    return ArithmeticTrace("comparison", prompt, tuple(steps), str(answer))


def _compare_digits(first: int, second: int) -> list[str]:
    steps = ["Both numbers have the same number of digits, so compare from the left."]
    for position in reversed(range(len(str(first)))):
        one, other = _digit(first, position), _digit(second, position)
        if one != other:
            sign = "more" if one > other else "less"
            steps.append(
                f"The {_place_name(position)}: {one} is {sign} than {other}, so {first} is {sign} than {second}."
            )
            break
        steps.append(f"The {_place_name(position)} are equal: {one} and {other}.")
    return steps


def _gain_and_loss(draw: _Draw) -> ArithmeticTrace:
    name, things = draw.pick(_NAMES), draw.pick(_THINGS)
    start, gained = draw.number(5, 90), draw.number(3, 60)
    given = draw.number(2, start + gained - 1)
    verb = draw.pick(("finds", "buys", "gets", "collects"))
    total = start + gained
    prompt = (
        f"{name} has {start} {things}. {name} {verb} {gained} more and then gives away {given}. "
        f"How many {things} are left?"
    )
    steps = (f"Together: {start} + {gained} = {total}.", f"After giving away: {total} - {given} = {total - given}.")
    return ArithmeticTrace("gain and loss", prompt, steps, str(total - given))


def _groups_and_rest(draw: _Draw) -> ArithmeticTrace:
    name, things, boxes = draw.pick(_NAMES), draw.pick(_THINGS), draw.pick(_BOXES)
    num_boxes, each, extra = draw.number(2, 12), draw.number(2, 20), draw.number(2, 30)
    prompt = (
        f"{name} has {num_boxes} {boxes} with {each} {things} in each, and {extra} more {things}. "
        f"How many {things} is that?"
    )
    in_boxes = num_boxes * each
    steps = (
        f"In the {boxes}: {num_boxes} * {each} = {in_boxes}.",
        f"With the others: {in_boxes} + {extra} = {in_boxes + extra}.",
    )
    return ArithmeticTrace("groups and rest", prompt, steps, str(in_boxes + extra))


def _sharing(draw: _Draw) -> ArithmeticTrace:
    name, things = draw.pick(_NAMES), draw.pick(_THINGS)
    num_friends, each, eaten = draw.number(2, 9), draw.number(2, 15), draw.number(1, 20)
    total = num_friends * each + eaten
    prompt = (
        f"{name} has {total} {things}, keeps {eaten} and shares the rest equally among {num_friends} friends. "
        f"How many {things} does each friend get?"
    )
    rest = total - eaten
    steps = (f"To share: {total} - {eaten} = {rest}.", f"For each friend: {rest} / {num_friends} = {each}.")
    return ArithmeticTrace("sharing", prompt, steps, str(each))
