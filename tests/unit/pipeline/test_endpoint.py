"""An endpoint is asked item by item: errors stay errors, what was answered is kept, and the outputs can be scored again."""

import json

import pytest

from trainwright.core.errors import EndpointUnreachable, InvalidValue
from trainwright.evaluate.endpoint import Endpoint
from trainwright.evaluate.generation import Decoding
from trainwright.evaluate.items import EvalItem
from trainwright.pipeline.endpoint import evaluate_endpoint
from trainwright.pipeline.evaluate import read_evaluation
from trainwright.pipeline.questions import Question
from trainwright.store.workspace import open_workspace

ITEMS = tuple(EvalItem(id=f"i{n}", prompt=f"What is {n} + 1?", expected_answer=str(n + 1)) for n in range(5))
QUESTION = Question("sums", ITEMS, "Q: {prompt}")
GREEDY = Decoding(max_tokens=9, temperature=0.0, top_p=1.0)


@pytest.fixture
def workspace(tmp_path):
    return open_workspace(tmp_path / "ws")


def ask(server, workspace, question=QUESTION, decoding=GREEDY):
    endpoint = Endpoint(server.url, "tiny", wait=lambda _: None)
    return evaluate_endpoint(endpoint, question, decoding, workspace, lambda done, total: None)


def test_outputs_are_recorded_with_how_they_were_asked_for(chat_server, workspace):
    chat_server.answer = lambda prompt: (400, b"no") if "3 + 1" in prompt else (200, "Answer: 2")
    found = ask(chat_server, workspace)
    record = found.record
    assert chat_server.prompts[0] == "Q: What is 0 + 1?"
    assert (record.checkpoint, record.imported_model, record.compute) == (None, None, None)
    assert (record.settings.endpoint, record.settings.endpoint_model) == (chat_server.url, "tiny")
    assert (record.settings.by, record.settings.max_tokens, record.settings.template) == (
        "generation",
        9,
        "Q: {prompt}",
    )
    assert record.statuses["answer_correct"] == {"scored": 4, "error": 1}
    assert [row.score for row in found.rows if row.metric == "answer_correct"] == [0.0, 1.0, 0.0, None, 0.0]
    outputs = [json.loads(line) for line in workspace.objects.get(record.predictions).splitlines()]
    assert outputs[3] == {"id": "i3", "text": None, "error": "the endpoint said 400: no"}
    assert read_evaluation(record, workspace).rows == found.rows
    assert not list((workspace.root / "evaluations").glob("*"))


def test_what_was_answered_is_kept_where_nobody_answers_any_more(chat_server, workspace):
    def break_down(prompt):
        return (200, "1") if "0 + 1" in prompt else (503, b"")

    chat_server.answer = break_down
    found = ask(chat_server, workspace)  # somebody is there, and says so: these are errors of items
    assert found.record.statuses["answer_correct"] == {"scored": 1, "error": 4}

    port, chat_server.port = chat_server.port, 9
    with pytest.raises(EndpointUnreachable, match="did not answer") as away:
        ask(chat_server, workspace)
    assert "3 items in a row" in away.value.why

    chat_server.port = port
    chat_server.answer = lambda prompt: (200, "1")
    chat_server.requests.clear()
    assert ask(chat_server, workspace).record.statuses["answer_correct"] == {"scored": 5}


def test_answered_items_are_not_asked_again(chat_server, workspace):
    def refuse_the_last(prompt):
        return (401, b"") if "4 + 1" in prompt else (200, "1")

    chat_server.answer = refuse_the_last
    with pytest.raises(Exception, match="does not answer for the model"):
        ask(chat_server, workspace)
    chat_server.answer = lambda prompt: (200, "1")
    chat_server.requests.clear()
    ask(chat_server, workspace)
    assert chat_server.prompts == ["Q: What is 4 + 1?"]


def test_setting_that_a_request_has_no_place_for_is_refused(chat_server, workspace):
    with pytest.raises(InvalidValue, match="top_k is 5"):
        ask(chat_server, workspace, decoding=Decoding(top_k=5))
    assert chat_server.requests == []
