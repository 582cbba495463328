"""A model behind an endpoint answers, or the item says why not: nothing that went wrong becomes an answer."""

import pytest

from trainwright.core.errors import EndpointRefused, InvalidValue
from trainwright.evaluate.endpoint import Endpoint, NoAnswerError, read_key, require_endpoint_url
from trainwright.evaluate.generation import Decoding

GREEDY = Decoding(max_tokens=9, temperature=0.0, top_p=1.0)


@pytest.fixture
def waits():
    return []


@pytest.fixture
def endpoint(chat_server, waits):
    return Endpoint(chat_server.url, "tiny", key="secret", timeout_s=5, wait=waits.append)


def say(**choice):
    return 200, {"choices": [{"message": {"content": "hm"}, "finish_reason": "stop"} | choice]}


def test_prompt_is_asked_with_its_decoding_and_key(chat_server, endpoint):
    output = endpoint.ask("a", "Hello?", GREEDY)
    assert (output.id, output.text, output.finish, output.refused) == ("a", "You said: Hello?", "end", False)
    ((headers, body),) = chat_server.requests
    assert headers["Authorization"] == "Bearer secret"
    assert body == {
        "model": "tiny", "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 9, "temperature": 0.0,
        "top_p": 1.0,
    }  # fmt: skip
    endpoint.ask("a", "Hello?", Decoding(max_tokens=9, temperature=1.0, top_p=0.5, seed=4))
    assert chat_server.requests[1][1]["seed"] == 4


def test_key_is_not_shown(endpoint):
    assert "secret" not in repr(endpoint)


@pytest.mark.parametrize(
    ("choice", "text", "finish", "refused"),
    [
        ({"finish_reason": "length"}, "hm", "length", False),
        ({"finish_reason": "other"}, "hm", None, False),
        ({"message": {"content": None, "refusal": "I will not."}}, "I will not.", "end", True),
        ({"message": {"content": None}, "finish_reason": "content_filter"}, "", None, True),
        ({"message": {"content": "half \ud83d"}}, "half ?", "end", False),
    ],
)
def test_end_and_refusal_are_read(chat_server, endpoint, choice, text, finish, refused):
    chat_server.answer = lambda prompt: say(**choice)
    output = endpoint.ask("a", "p", GREEDY)
    assert (output.text, output.finish, output.refused) == (text, finish, refused)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b"<html>"), "no JSON"),
        ((200, {"choices": []}), "no message"),
        ((200, [1]), "no message"),
        (say(message={"content": None}), "no text"),
        ((400, b"too long"), "the endpoint said 400: too long"),
    ],
)
def test_answer_that_is_none_is_an_error_at_once(chat_server, endpoint, waits, answer, said):
    chat_server.answer = lambda prompt: answer
    with pytest.raises(NoAnswerError, match=said) as failed:
        endpoint.ask("a", "p", GREEDY)
    assert (failed.value.is_away, waits, len(chat_server.requests)) == (False, [], 1)


def test_passing_trouble_is_waited_for_and_then_given_up(chat_server, endpoint, waits):
    answers = iter([(503, b"busy"), (429, b"slow down"), (200, "at last")])
    chat_server.answer = lambda prompt: next(answers)
    assert endpoint.ask("a", "p", GREEDY).text == "at last"
    assert waits == [1.0, 2.0]
    waits.clear()
    chat_server.answer = lambda prompt: (500, b"broken")
    with pytest.raises(NoAnswerError, match="500: broken"):
        endpoint.ask("a", "p", GREEDY)
    assert waits == [1.0, 2.0, 4.0]


def test_endpoint_says_how_long_to_wait_up_to_a_minute(chat_server, endpoint, waits):
    answers = iter([(429, b""), (429, b""), (200, "yes")])
    chat_server.answer = lambda prompt: next(answers)
    chat_server.headers = {"Retry-After": "600"}
    endpoint.ask("a", "p", GREEDY)
    assert waits == [60.0, 60.0]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_the_next_item_will_not_mend_is_refused_at_once(chat_server, endpoint, waits, status):
    chat_server.answer = lambda prompt: (status, b"no such key: secret")
    with pytest.raises(EndpointRefused, match="does not answer for the model tiny") as refused:
        endpoint.ask("a", "p", GREEDY)
    assert refused.value.why == f"It said {status}: no such key: …."
    assert waits == []


def test_nobody_there_and_a_late_answer_are_errors(chat_server, waits):
    away = Endpoint("http://127.0.0.1:9/v1", "tiny", wait=waits.append)
    with pytest.raises(NoAnswerError, match="could not be reached") as failed:
        away.ask("a", "p", GREEDY)
    assert failed.value.is_away
    assert len(waits) == 3


def test_late_answer_is_an_error(chat_server):
    import threading

    released = threading.Event()
    chat_server.answer = lambda prompt: (200, "late" if released.wait(20) else "never")
    slow = Endpoint(chat_server.url, "tiny", timeout_s=0.05, wait=lambda _: None)
    with pytest.raises(NoAnswerError, match=r"no answer within 0\.05 s") as failed:
        slow.ask("a", "p", GREEDY)
    released.set()
    assert failed.value.is_away


def test_address_is_an_address_and_nothing_else():
    assert require_endpoint_url("https://example.org/v1") == "https://example.org/v1"
    assert Endpoint("http://h/v1/", "m").address == Endpoint("http://h/v1/chat/completions", "m").address
    for url in ("example.org/v1", "ftp://example.org", "http://", "http://[::1"):
        with pytest.raises(InvalidValue, match="is no endpoint"):
            require_endpoint_url(url)
    for url in ("https://me:pass@example.org/v1", "https://example.org/v1?key=1"):
        with pytest.raises(InvalidValue, match="carries more than an address") as refused:
            require_endpoint_url(url)
        assert "pass" not in refused.value.message


def test_key_comes_from_a_variable_that_is_set(monkeypatch):
    monkeypatch.setenv("MY_KEY", " abc \n")
    assert (read_key("MY_KEY"), read_key(None)) == ("abc", None)
    monkeypatch.setenv("MY_KEY", " ")
    with pytest.raises(InvalidValue, match="MY_KEY holds no key"):
        read_key("MY_KEY")
