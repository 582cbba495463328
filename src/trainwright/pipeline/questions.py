"""What is asked: the items of a file or of a suite, all of them or a sample, and what stands around their prompts."""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from trainwright.core.errors import InvalidValue
from trainwright.core.records import ItemSample
from trainwright.core.seeds import build_generator
from trainwright.evaluate.generation import Decoding
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.loaders.formats import By, read_evalset
from trainwright.evaluate.suites import (
    GROUND_TRUTH,
    PLACE,
    DecodingSection,
    OpenedSuite,
    open_suite,
    require_template,
)
from trainwright.pipeline.asking import Asking


@dataclass(frozen=True)
class Question:
    """What is asked, and by which scorers what is said is scored. `suite`: where all of that comes from, if from one."""

    name: str
    items: tuple[EvalItem, ...]
    template: str
    scorers: tuple[str, ...] = (GROUND_TRUTH,)
    suite: OpenedSuite | None = field(default=None, repr=False)
    sample: ItemSample | None = None

    @property
    def prompts(self) -> list[str]:
        """Each item's prompt as the model reads it."""
        return [self.template.replace(PLACE, item.prompt) for item in self.items]

    def asked(self, asking: Asking) -> "Question":
        """The same question in the form in which a model is asked."""
        return replace(self, template=asking.as_text.replace(PLACE, self.template))


@dataclass(frozen=True)
class Request:
    """What a person asks for: an evalset's file or a suite, and what is to be otherwise than it says (None: nothing)."""

    evalset: Path | None = None
    suite: str | None = None
    by: By | None = None
    template: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    limit: int | None = None


def settle(request: Request) -> tuple[Question, By, Decoding]:
    """What is asked, how it is measured, and how answers are written. Raises what `open_suite` and `read_question` raise."""
    if request.suite is not None:
        suite = open_suite(request.suite)
        by, said = request.by or suite.suite.by, suite.suite.decoding
        template = PLACE if by == "text" != suite.suite.by and request.template is None else request.template
        question = build_suite_question(suite, template)
    else:
        by, said = request.by or "generation", DecodingSection()
        question = read_question(request.evalset or Path(), request.template or PLACE, need_answers=by != "text")
    if by == "text" and question.template != PLACE:
        raise InvalidValue(
            f"The template {question.template!r} cannot be used.",
            why="A text is measured as it stands: nothing is put around it.",
            next_step="Leave out --template.",
        )
    if by == "generation":
        require_scorers(question)
    decoding = Decoding(
        max_tokens=said.max_tokens if request.max_tokens is None else request.max_tokens,
        temperature=said.temperature if request.temperature is None else request.temperature,
        top_k=said.top_k,
        top_p=said.top_p,
        seed=said.seed if request.seed is None else request.seed,
    )
    return (question if request.limit is None else draw_items(question, request.limit, decoding.seed)), by, decoding


def read_question(evalset: Path, template: str = PLACE, *, need_answers: bool = True) -> Question:
    """The items of a file. In the template, `\\n` and `\\t` stand for a line end and a tab.

    Raises InvalidValue for a template without `{prompt}`; what `read_evalset` raises.
    """
    template = read_template(template)
    return Question(evalset.stem, tuple(read_evalset(evalset, need_answers=need_answers)), template)


def build_suite_question(suite: OpenedSuite, template: str | None = None) -> Question:
    """What a suite asks; with another template where a person wants one."""
    own = suite.suite.template if template is None else read_template(template)
    return Question(suite.suite.name, suite.items, own, suite.suite.scorers, suite)


def read_template(text: str) -> str:
    """A template from a command line, where `\\n` and `\\t` are written out. Raises InvalidValue without `{prompt}`."""
    template = text.replace("\\n", "\n").replace("\\t", "\t")
    require_template(template)
    return template


def require_scorers(question: Question) -> None:
    """Raises InvalidValue where nothing would score what is said."""
    if not question.scorers:
        raise InvalidValue(
            f"{question.name} names no scorer.",
            why="It is a suite that measures texts, and says nothing about answers.",
            next_step="Leave out --by and --predictions.",
        )


def draw_items(question: Question, limit: int, seed: int) -> Question:
    """At most `limit` of its items, drawn without looking, in the order in which they stand. All of them where that is enough.

    Items of one pair (`pair` in their meta) are drawn together. One at least is drawn, whatever the limit.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(question.items):
        groups[item.find_label("pair") or f"\0{place}"].append(place)
    names = list(groups)
    drawn: list[int] = []
    for number in build_generator(seed, "evaluate", "sample").permutation(len(names)):
        group = groups[names[int(number)]]
        if not drawn or len(drawn) + len(group) <= limit:
            drawn += group
    if len(drawn) == len(question.items):
        return question
    sample = ItemSample(num_items=len(drawn), out_of=len(question.items), seed=seed)
    return replace(question, items=tuple(question.items[place] for place in sorted(drawn)), sample=sample)
