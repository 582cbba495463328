"""A model behind an endpoint, asked what a suite or an evalset asks: its outputs are kept as recorded predictions."""

from typing import Any

from trainwright.core.errors import EndpointUnreachable, InvalidValue
from trainwright.core.hashing import digest_json
from trainwright.evaluate.endpoint import Endpoint, NoAnswerError
from trainwright.evaluate.generation import Decoding
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.judge import Judge
from trainwright.evaluate.outputs import Output
from trainwright.pipeline.evaluate import Evaluated, Progress, describe_generation, record_outputs
from trainwright.pipeline.questions import Question
from trainwright.pipeline.scoring import open_scoring
from trainwright.store.unfinished_answers import UnfinishedAnswers
from trainwright.store.workspace import Workspace

MAX_AWAY = 3
"""Items in a row for which nobody was there, until no more are tried."""


def evaluate_endpoint(
    endpoint: Endpoint,
    question: Question,
    decoding: Decoding,
    workspace: Workspace,
    progress: Progress,
    judge: Judge | None = None,
) -> Evaluated:
    """Ask every item, each on its own, and score what comes. An item without an answer has the status `error`.

    Raises EndpointRefused, and EndpointUnreachable after several items in a row for which nobody was there: what was answered
    until then is kept, and the same command goes on from there. Raises InvalidValue for a `top_k`, which has no place in a
    request.
    """
    if decoding.top_k:
        raise InvalidValue(
            f"top_k is {decoding.top_k}, and an endpoint cannot be asked for it.",
            why="Chat completions have no such setting.",
            next_step="Set decoding.top_k to 0 in the suite.",
        )
    scoring = open_scoring(question, workspace, judge)
    settings = describe_generation(question, decoding).model_copy(
        update={"endpoint": endpoint.url, "endpoint_model": endpoint.model}
    )
    key = {
        "items": [item.model_dump(mode="json") for item in question.items],
        "settings": settings.model_dump(mode="json"),
    }
    answers = UnfinishedAnswers(workspace.root / "evaluations" / f"{digest_json(key)}.jsonl")
    outputs = _ask_all(endpoint, question, decoding, answers, progress)
    evaluated = record_outputs(question, outputs, scoring, settings, workspace)
    answers.discard()
    return evaluated


def _ask_all(
    endpoint: Endpoint, question: Question, decoding: Decoding, answers: UnfinishedAnswers, progress: Progress
) -> list[Output]:
    outputs: list[Output] = []
    num_away = 0
    for item, prompt in zip(question.items, question.prompts, strict=True):

        def ask(item: EvalItem = item, prompt: str = prompt) -> dict[str, Any]:
            return endpoint.ask(item.id, prompt, decoding).model_dump(mode="json")

        try:
            outputs.append(
                Output.model_validate(answers.get_or_add(item.id, ask))
            )  # errors are not kept: they may pass
            num_away = 0
        except NoAnswerError as error:
            num_away = num_away + 1 if error.is_away else 0
            if num_away == min(MAX_AWAY, len(question.items)):
                raise _unreachable(endpoint, error, num_away) from error
            outputs.append(Output(id=item.id, text=None, error=str(error)))
        progress(len(outputs), len(question.items))
    return outputs


def _unreachable(endpoint: Endpoint, error: NoAnswerError, num_items: int) -> EndpointUnreachable:
    return EndpointUnreachable(
        f"{endpoint.address} did not answer.",
        why=f"{num_items} items in a row: {error}.",
        next_step="See that it runs, and type the command again: what it answered is kept.",
    )
